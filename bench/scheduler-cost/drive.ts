/**
 * A cluster that does nothing but ask the scheduler: trees are planted as it wants them, what it sends is answered in nearly the
 * order in which it was sent, with random lengths, and a tree whose search is over falls. Each search is a beam search of 16 asks a round
 * on 4 paths, so a live tree has a shape that strategies make. Pure but for the clock that it is given.
 */
import type { Decision } from "../../services/coordinator/scheduler/decision.ts";
import type { PlacementNeeds } from "../../services/coordinator/scheduler/placement.ts";
import type { PathPiece } from "../../services/coordinator/scheduler/prefix-tree.ts";
import { Scheduler } from "../../services/coordinator/scheduler/scheduler.ts";
import type { Leaf, Tree } from "../../services/coordinator/scheduler/tree.ts";
import type { Random } from "../../services/runtime/random.ts";

const BEAMS = 4;
const SIBLINGS = 4;
const ROUNDS = 5;
const PROMPT_TOKENS = 1_536;
const STEP_TOKENS = 128;
const STEP_TOKENS_MAX = 512;
/** Of what a host holds: of steps, a share of the prompt of their tree, and what is kept free for asks in flight. */
const TOKENS_PER_NODE = 190;
const CONCURRENCY = 64;
const BLOCK_TOKENS = 16;
/** Of the asks on their way to a host, so many of the oldest may be answered next. */
const NEXT_OF_HOST = 32;
/** Answers that come in between two passes of the runner. */
const ANSWERS_PER_PASS = 16;
const NEEDS: PlacementNeeds = { model: "model", can: new Set() };
const KIND = "beam";
const OWNER = "sweep";

export const OPERATIONS = ["wants", "plant", "run", "settled", "fell"] as const;
export type Operation = (typeof OPERATIONS)[number];

/** An ask on its way. */
interface Flight {
  readonly key: string;
  readonly tree: BeamTree;
  readonly path: readonly PathPiece[];
  /** Of the prompt, as the scheduler predicted it: hosts of this cluster do as they are predicted. */
  readonly cachedTokens: number;
}

export interface DriveOptions {
  readonly hosts: number;
  /** Nodes that the caches of all hosts hold, about. */
  readonly nodes: number;
  readonly random: Random;
}

export class Drive {
  /** Null once it was let go, to see what it had taken. */
  scheduler: Scheduler | null = new Scheduler();
  readonly #random: Random;
  readonly #hosts: number;
  /** Those before `#answered` are answered. */
  #flights: Flight[] = [];
  #answered = 0;
  readonly #trees = new Set<BeamTree>();
  #planted = 0;
  #decisions = 0;
  /** Milliseconds in each operation, while they are timed. */
  readonly timesMs: Record<Operation, number> = { wants: 0, plant: 0, run: 0, settled: 0, fell: 0 };
  #nowMs: (() => number) | null = null;

  constructor({ hosts, nodes, random }: DriveOptions) {
    this.#random = random;
    this.#hosts = hosts;
    const kvCapacityTokens = PROMPT_TOKENS + Math.ceil((nodes / hosts) * TOKENS_PER_NODE);
    for (let host = 0; host < hosts; host += 1) {
      const id = `host-${String(host).padStart(5, "0")}`;
      this.#scheduler.join({
        id,
        engine: "vllm",
        model: NEEDS.model,
        concurrency: CONCURRENCY,
        concurrencyMax: CONCURRENCY,
        kvCapacityTokens,
        contextTokens: 131_072,
        reportsCachedTokens: true,
        blockTokens: BLOCK_TOKENS,
        sharesColdPrefixes: true,
        can: [],
      });
      this.#scheduler.ready(id);
    }
    this.#scheduler.hasMore(OWNER, true);
  }

  get decisions(): number {
    return this.#decisions;
  }

  get inFlight(): number {
    return this.#flights.length - this.#answered;
  }

  /** Of the scheduler's prefix tree. */
  get liveNodes(): number {
    return this.#scheduler.liveNodes;
  }

  get openTrees(): number {
    return this.#trees.size;
  }

  /** From here on each operation is timed; null: no longer. */
  timeBy(nowMs: (() => number) | null): void {
    this.#nowMs = nowMs;
  }

  /** Has `asks` more answered. */
  answer(asks: number): void {
    for (let done = 0; done < asks; done += ANSWERS_PER_PASS) {
      this.#pass();
      for (let i = 0; i < ANSWERS_PER_PASS; i += 1) this.#answerOne();
    }
  }

  /** As the runner: sends what can be sent, then opens a task where one is wanted, and looks again. */
  #pass(): void {
    this.#timed("run", () => this.#scheduler.run());
    while (this.#timed("wants", () => this.#scheduler.wants(NEEDS, KIND))) {
      const tree = new BeamTree(`tree-${this.#planted}`, (decision, leaves) =>
        this.#sent(tree, decision, leaves),
      );
      this.#planted += 1;
      this.#trees.add(tree);
      this.#timed("plant", () => {
        this.#scheduler.plant(tree);
        this.#scheduler.touched(tree.id);
      });
      this.#timed("run", () => this.#scheduler.run());
    }
  }

  #sent(tree: BeamTree, { cachedTokens }: Decision, leaves: readonly Leaf[]): void {
    this.#decisions += 1;
    for (const { key, path } of leaves) this.#flights.push({ key, tree, path, cachedTokens });
  }

  #answerOne(): void {
    const flight = this.#nextFlight();
    const { key, tree, path, cachedTokens } = flight;
    const tokens = Math.ceil(STEP_TOKENS * (0.5 + this.#random.next()));
    const output: PathPiece = { id: idOf(key), tokens, isKnown: true };
    const outcome = {
      promptTokens: path.reduce((sum, piece) => sum + piece.tokens, 0),
      cachedTokens,
      completionTokens: tokens,
      firstTokenMs: 20 + 20 * this.#random.next(),
      decodeMs: tokens * 8,
    };
    this.#timed("settled", () => this.#scheduler.settled(key, outcome, output));
    tree.answered([...path, output]);
    if (tree.isOver) {
      this.#trees.delete(tree);
      this.#timed("fell", () => this.#scheduler.fell(tree.id));
    } else if (tree.waiting() > 0) this.#timed("plant", () => this.#scheduler.touched(tree.id));
  }

  #nextFlight(): Flight {
    const among = Math.min(this.inFlight, this.#hosts * NEXT_OF_HOST);
    const at = this.#answered + Math.floor(this.#random.next() * among);
    const [oldest, flight] = [this.#flights[this.#answered], this.#flights[at]];
    if (oldest === undefined || flight === undefined) throw new Error("nothing is on its way");
    this.#flights[at] = oldest;
    this.#answered += 1;
    if (this.#answered * 2 > this.#flights.length) {
      this.#flights = this.#flights.slice(this.#answered);
      this.#answered = 0;
    }
    return flight;
  }

  get #scheduler(): Scheduler {
    if (this.scheduler === null) throw new Error("the scheduler was let go");
    return this.scheduler;
  }

  #timed<T>(operation: Operation, work: () => T): T {
    const nowMs = this.#nowMs;
    if (nowMs === null) return work();
    const startMs = nowMs();
    const result = work();
    this.timesMs[operation] += nowMs() - startMs;
    return result;
  }
}

/** One search: rounds of asks, each on the paths that the round before it kept. */
class BeamTree implements Tree {
  readonly id: string;
  readonly kind = KIND;
  readonly needs = NEEDS;
  readonly extendsRollouts = true;
  readonly revisits = false;
  readonly #told: (decision: Decision, leaves: readonly Leaf[]) => void;
  #line: { readonly path: readonly PathPiece[]; count: number }[];
  #made: (readonly PathPiece[])[] = [];
  #round = 0;
  #sent = 0;

  constructor(id: string, told: (decision: Decision, leaves: readonly Leaf[]) => void) {
    this.id = id;
    this.#told = told;
    this.#line = [
      { path: [{ id: idOf(id), tokens: PROMPT_TOKENS, isKnown: true }], count: BEAMS * SIBLINGS },
    ];
  }

  get isOver(): boolean {
    return this.#round === ROUNDS;
  }

  waiting(): number {
    return this.#line.reduce((sum, { count }) => sum + count, 0);
  }

  peek(): readonly PathPiece[] | null {
    return this.#line[0]?.path ?? null;
  }

  peekTokensMax(): number {
    return STEP_TOKENS_MAX;
  }

  decided(): void {}

  send(decision: Decision, max: number): readonly Leaf[] {
    const [head] = this.#line;
    if (head === undefined) return [];
    const count = Math.min(max, head.count);
    head.count -= count;
    if (head.count === 0) this.#line.shift();
    const leaves = Array.from({ length: count }, () => {
      this.#sent += 1;
      return { key: `${this.id}/${this.#sent}`, path: head.path, tokensMax: STEP_TOKENS_MAX };
    });
    this.#told(decision, leaves);
    return leaves;
  }

  answered(path: readonly PathPiece[]): void {
    this.#made.push(path);
    if (this.#made.length < BEAMS * SIBLINGS) return;
    this.#round += 1;
    const kept = this.#made.slice(0, BEAMS);
    this.#made = [];
    if (!this.isOver) this.#line = kept.map((each) => ({ path: each, count: SIBLINGS }));
  }
}

/** As long as a segment's id. */
function idOf(key: string): string {
  return key.padStart(32, "0");
}
