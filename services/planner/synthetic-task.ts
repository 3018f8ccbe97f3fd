/**
 * A task without a model: a real strategy's program under `Search`, told answers made from a seed. What it
 * asks, and when, has the shape of the real search: texts are unique, their lengths are drawn, scores are
 * uniform, paths end after so many steps. An answer depends on its ask's id alone, never on the order of
 * arrival (I4).
 *
 * It says of every ask what an inference host would be sent: the pieces of its prompt, by identity, and
 * tokens.
 */
import type { Answer, Ask, AskId, Prefix, SampleAsk, VerifyAsk } from "../search/program.ts";
import { rootPrefix, Search, type Step } from "../search/search.ts";
import type { Strategy } from "../search/strategy.ts";
import { chanceOf, drawLength, type Lengths } from "./lengths.ts";

/** A piece of a prompt. Equal ids are equal paths from the first token to the end of the piece. */
export interface PathPiece {
  readonly id: number;
  readonly tokens: number;
  /** Whether a host makes it by decoding, so that whoever goes on from it there need not compute it. */
  readonly isGenerated: boolean;
}

/**
 * Where something is answered: by a host, with so many tokens (0: it only reads), or by others in constant
 * time.
 */
export type Answerer =
  | { readonly at: "hosts"; readonly completionTokens: number }
  | { readonly at: "elsewhere"; readonly ms: number };

/** What tasks of one kind are like. */
export interface TaskShape {
  /** Trees of one kind are alike. */
  readonly kind: string;
  readonly strategy: Strategy;
  /** Complete, as the strategy declares them. */
  readonly parameters: Readonly<Record<string, unknown>>;
  /** The beginning that all tasks of the run share (a system prompt), and what is the problem's own. */
  readonly rootTokens: number;
  readonly problem: Lengths;
  /** A rollout that is a whole answer, one that is a step, and after how many steps a task's answers end. */
  readonly answer: Lengths;
  readonly step: Lengths;
  readonly depth: Lengths;
  /** Who samples: hosts, or, where only verification is looked at, others. */
  readonly sampling: Answerer;
  readonly outcome: Answerer;
  readonly process: Answerer;
  /** Share of finished answers that are correct. */
  readonly passRate: number;
  /** Whether texts are as long as their tokens say: where a strategy puts them into prompts of its own. */
  readonly hasFullTexts: boolean;
}

export interface TaskFacts {
  /** Its place among all tasks of the run, from 0. */
  readonly ordinal: number;
  /**
   * The place of its problem, whose prompt it shares with other tasks of it; absent: a problem of its own.
   */
  readonly problem?: number;
  readonly seed: number;
  /** Null: drawn from the shape. */
  readonly problemTokens?: number | null;
}

/** An ask on its way. */
export interface VirtualRequest {
  /** Unique in a run. */
  readonly id: number;
  readonly task: SyntheticTask;
  readonly ask: Ask;
  /** Null: a host answers it; else others do, after so long. */
  readonly elsewhereMs: number | null;
  readonly pieces: readonly PathPiece[];
  readonly promptTokens: number;
  readonly completionTokens: number;
  /** What decoding adds to the path. */
  readonly output: number;
  /** Milliseconds of the shortest dependent chain that ends with it: what no number of hosts makes faster. */
  chainMs: number;
}

export interface TaskStep {
  readonly asked: readonly VirtualRequest[];
  /** Asked before, not answered, and no longer wanted. */
  readonly withdrawn: readonly VirtualRequest[];
  readonly ended: boolean;
}

/** The piece that all tasks begin with. */
export const ROOT_PIECE_ID = 0;
/** Pieces of a task at most: ids of different tasks differ. */
const PIECES_OF_TASK_MAX = 2 ** 22;
/** Where a text is not sampled, so many characters count as a token. */
const CHARS_PER_TOKEN = 4;
/** Different wrong answers that occur. */
const WRONG_ANSWERS = 16;
const LIKELIHOOD: Answerer = { at: "hosts", completionTokens: 0 };

export class SyntheticTask {
  readonly shape: TaskShape;
  readonly ordinal: number;
  readonly #seed: number;
  readonly #depth: number;
  readonly #search: Search;
  readonly #open = new Map<AskId, VirtualRequest>();
  readonly #paths = new Map<Prefix, readonly PathPiece[]>();
  readonly #nextRequestId: () => number;
  #pieces = 0;

  /** @param nextRequestId Gives ids that are unique among all tasks of the run. */
  constructor(
    shape: TaskShape,
    { ordinal, seed, problemTokens, problem = ordinal }: TaskFacts,
    nextRequestId: () => number,
  ) {
    this.shape = shape;
    this.ordinal = ordinal;
    this.#nextRequestId = nextRequestId;
    const chance = chanceOf(seed, `task ${ordinal} ${shape.kind}`);
    this.#seed = Math.floor(chance.next() * 2 ** 31);
    const tokens = problemTokens ?? drawLength(shape.problem, chance);
    this.#depth = drawLength(shape.depth, chance);
    const root = rootPrefix(`problem ${ordinal}`);
    const shared: PathPiece = { id: ROOT_PIECE_ID, tokens: shape.rootTokens, isGenerated: false };
    const own: PathPiece = { id: problemPieceId(problem), tokens, isGenerated: false };
    this.#paths.set(root, shape.rootTokens > 0 ? [shared, own] : [own]);
    const facts = { id: String(ordinal), prompt: root.text, metadata: {} };
    // Whoever made the shape completed the parameters by the strategy's own declaration.
    this.#search = new Search(() => shape.strategy.search(root, shape.parameters as never, facts), {
      draw: (name) => chanceOf(this.#seed, `draw ${name}`).next(),
    });
  }

  /** @throws What a strategy threw, were it a bug of it. */
  start(): TaskStep {
    return this.#take(this.#search.start());
  }

  /** An ask is answered; one that is no longer wanted changes nothing. */
  answered({ ask }: VirtualRequest): TaskStep {
    this.#open.delete(ask.id);
    return this.#take(this.#search.tell(ask.id, this.#answerTo(ask)));
  }

  #take(step: Step): TaskStep {
    if (this.#search.error !== null) throw this.#search.error;
    const asked = step.asked.map((ask) => {
      const request = this.#request(ask);
      this.#open.set(ask.id, request);
      return request;
    });
    const withdrawn = step.withdrawn.flatMap((id) => this.#open.get(id) ?? []);
    for (const { ask } of withdrawn) this.#open.delete(ask.id);
    return { asked, withdrawn, ended: step.ended };
  }

  #request(ask: Ask): VirtualRequest {
    const pieces = this.#pathOf(ask.prefix);
    const answerer = this.#answererOf(ask);
    const sampled = ask.kind === "sample" ? this.#pathOf(this.#continued(ask)).at(-1) : undefined;
    return {
      id: this.#nextRequestId(),
      task: this,
      ask,
      elsewhereMs: answerer.at === "hosts" ? null : answerer.ms,
      pieces,
      promptTokens: pieces.reduce((sum, { tokens }) => sum + tokens, 0),
      completionTokens: sampled?.tokens ?? (answerer.at === "hosts" ? answerer.completionTokens : 0),
      output: sampled?.id ?? this.#pieceId(),
      chainMs: 0,
    };
  }

  #answererOf(ask: Ask): Answerer {
    if (ask.kind === "sample") return this.shape.sampling;
    switch (ask.role) {
      case "outcome":
        return this.shape.outcome;
      case "process":
        return this.shape.process;
      case "likelihood":
        return LIKELIHOOD;
      case "tool":
        return { at: "elsewhere", ms: 0 };
    }
  }

  #answerTo(ask: Ask): Answer {
    return ask.kind === "sample" ? this.#rollout(ask) : this.#verdict(ask);
  }

  #rollout(ask: SampleAsk): Answer {
    const [stop] = ask.options.stop ?? [];
    const isEnd = stop === undefined || ask.prefix.depth + 1 >= this.#depth;
    return {
      kind: "rollout",
      rollout: {
        text: this.#textOf(ask),
        finishReason: "stop",
        stopString: isEnd ? null : stop,
        completionTokens: this.#tokensOf(ask),
        meanLogprob: -chanceOf(this.#seed, `logprob ${ask.id}`).next(),
      },
    };
  }

  #verdict(ask: VerifyAsk): Answer {
    const chance = chanceOf(this.#seed, `verdict ${ask.id}`);
    const score = chance.next();
    if (ask.role !== "outcome") {
      return { kind: "verdict", verdict: { verdict: "undecided", score, answer: null, reason: null } };
    }
    const isCorrect = chance.next() < this.shape.passRate;
    const answer = isCorrect ? "right" : `wrong ${Math.floor(chance.next() * WRONG_ANSWERS)}`;
    return {
      kind: "verdict",
      verdict: { verdict: isCorrect ? "correct" : "incorrect", score, answer, reason: null },
    };
  }

  #tokensOf(ask: SampleAsk): number {
    const { stop = [], maxTokens = Infinity } = ask.options;
    const lengths = stop.length > 0 ? this.shape.step : this.shape.answer;
    return Math.min(drawLength(lengths, chanceOf(this.#seed, ask.id)), maxTokens);
  }

  /** Where the program will stand when it goes on from this rollout. */
  #continued(ask: SampleAsk): Prefix {
    const prefix = ask.prefix.extend(this.#textOf(ask), ask.id);
    if (!this.#paths.has(prefix)) {
      const piece: PathPiece = {
        id: this.#pieceId(),
        tokens: this.#tokensOf(ask),
        isGenerated: this.shape.sampling.at === "hosts",
      };
      this.#paths.set(prefix, [...this.#pathOf(ask.prefix), piece]);
    }
    return prefix;
  }

  #pathOf(prefix: Prefix): readonly PathPiece[] {
    const known = this.#paths.get(prefix);
    if (known !== undefined) return known;
    // A prompt of the program's own, or text that it put behind one: hosts have to read it.
    const tokens = Math.max(1, Math.ceil(prefix.text.length / CHARS_PER_TOKEN));
    const before = prefix.parent === null ? [] : this.#pathOf(prefix.parent);
    const path = [...before, { id: this.#pieceId(), tokens, isGenerated: false }];
    this.#paths.set(prefix, path);
    return path;
  }

  #pieceId(): number {
    this.#pieces += 1;
    return (this.ordinal + 1) * PIECES_OF_TASK_MAX + this.#pieces;
  }

  /** Unique in its task. */
  #textOf(ask: SampleAsk): string {
    const text = `rollout ${ask.id}\n`;
    return this.shape.hasFullTexts ? text.padStart(this.#tokensOf(ask) * CHARS_PER_TOKEN, ".") : text;
  }
}

/** Below the root's, so that it is no piece of a task. */
function problemPieceId(problem: number): number {
  return ROOT_PIECE_ID - 1 - problem;
}
