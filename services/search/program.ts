/**
 * The words that a strategy is written in. A program is a generator: it yields effects and is resumed with
 * what came back, so it reads like the pseudocode of its paper. `Search` (search.ts) runs it as a synchronous
 * state machine.
 *
 * PURE: no I/O, no clock, no chance. Given the same answers in the same order, a program asks the same asks
 * with the same ids, which is what lets a journal rebuild it (I4).
 */

/**
 * A node of the search's prefix tree: the text up to here is its parent's text and its own. Equal
 * continuations of one node are one node, so asking twice for the same prefix is seen to be the same.
 */
export interface Prefix {
  readonly parent: Prefix | null;
  readonly text: string;
  /** Pieces behind the rendered prompt; a prompt that the program wrote (`writePrompt`) counts as one. */
  readonly depth: number;
  /**
   * The ask whose rollout produced this node; null for a root (a prompt) and written text. Of
   * several rollouts with equal text it is the one first in the order of paths, never of arrival (I4).
   */
  readonly ask: AskId | null;
  /** The node for this prefix continued by `text`; "" is the node itself. `ask`: whose rollout `text` is. */
  extend(text: string, ask?: AskId | null): Prefix;
}

/** `strand/step` or `strand/step.member`: the path of the ask in its program; equal on every replay. */
export type AskId = string;

/** What a strategy may say about how to sample; what it leaves out is the sweep's. */
export interface SampleOptions {
  readonly temperature?: number;
  readonly maxTokens?: number;
  readonly stop?: readonly string[];
}

/**
 * What is asked about a path. `outcome`, `process`: what the sweep's verifier, or its process verifier, says of it.
 * `likelihood`: how likely the model itself finds the path's last piece behind the rest. `tool`: what a tool makes of
 * the path's text.
 */
export type VerifierRole = "outcome" | "process" | "likelihood" | "tool";

/** What a program may have done outside of the model: arithmetic, or a program run in the sandbox. */
export type Tool = "calculator" | "python" | "javascript";

export interface SampleAsk {
  readonly kind: "sample";
  readonly id: AskId;
  readonly prefix: Prefix;
  readonly options: SampleOptions;
  /** The how-manieth sample of this prefix in this search, from 0. */
  readonly sample: number;
}

export interface VerifyAsk {
  readonly kind: "verify";
  readonly id: AskId;
  readonly role: VerifierRole;
  /** Of the role `tool`, else null. */
  readonly tool: Tool | null;
  /** The path to judge, prompt included. */
  readonly prefix: Prefix;
  /** The ask of the rollout that ends the path: rows carry the verdict there. */
  readonly of: AskId | null;
}

export type Ask = SampleAsk | VerifyAsk;

/** One sampled continuation, as its program sees it. */
export interface Rollout {
  readonly ask: AskId;
  /**
   * Its position among the asks of one bulk `sample`; 0 for a single one. Ties break by it, never by arrival.
   */
  readonly index: number;
  /** With the stop string that ended it. */
  readonly text: string;
  readonly finishReason: "stop" | "length";
  /** Null when the model ended the text itself, or the length did: such a step is terminal. */
  readonly stopString: string | null;
  readonly completionTokens: number | null;
  readonly meanLogprob: number | null;
}

export interface Verdict {
  readonly verdict: "correct" | "incorrect" | "undecided";
  readonly score: number | null;
  /** Canonical answer key; null abstains from votes. */
  readonly answer: string | null;
  readonly reason: string | null;
}

/** What `Search.tell` takes. */
export type Answer =
  | { readonly kind: "rollout"; readonly rollout: Omit<Rollout, "ask" | "index"> }
  | { readonly kind: "verdict"; readonly verdict: Verdict };

/** Why an ask has no answer. `budget`: the ledger refused it, the search should end with what it has. */
export interface Loss {
  readonly reason: "budget" | "lost" | "cancelled";
  readonly message: string;
}

/** Thrown into a program at a `yield*` whose answer is lost; joins that tolerate loss do not throw it. */
export class LostError extends Error {
  override readonly name = "LostError";
  readonly loss: Loss;
  constructor(loss: Loss) {
    super(loss.message);
    this.loss = loss;
  }
}

/**
 * A finished text up for selection. Programs `consider` each one, so that an exhausted search still has its
 * best.
 */
export interface Candidate {
  /** Order in which ties break: by the program's own numbering, never by arrival. */
  readonly index: number;
  readonly prefix: Prefix;
  /** The ask of its last rollout. */
  readonly ask: AskId | null;
  readonly verdict: Verdict | null;
  /** What the strategy ranks it by; null ranks last. */
  readonly score: number | null;
}

/**
 * How an answer was chosen. `mbr`: the least expected disagreement with the others; `model-choice`: the model was asked to
 * choose; `dual-execution`: agreement of programs and tests; `last`: the one that a chain ended with; `drawn`: by chance,
 * in proportion to weights.
 */
export type Selection =
  | "highest-score"
  | "majority"
  | "weighted-vote"
  | "first-correct"
  | "most-visited"
  | "mbr"
  | "model-choice"
  | "dual-execution"
  | "last"
  | "drawn";

/** What a search ends with. */
export interface Outcome {
  /** Null when nothing finished. */
  readonly candidate: Candidate | null;
  readonly answer: string | null;
  readonly score: number | null;
  readonly selection: Selection;
  /** Votes only: the share of finished candidates in [0, 1] that had no answer key and so did not vote. */
  readonly abstained?: number;
}

/** The identity of a group of strands (`openGroup`); its state is the search's. */
export interface GroupKey {
  readonly kind: "group";
}

/** A strand of a group that has settled: with a value, or lost because an ask of it was. */
export type Settled<T> =
  | { readonly index: number; readonly value: T; readonly lost: null }
  | { readonly index: number; readonly value: null; readonly lost: Loss };

/** What a program may want. Programs do not build these: they `yield*` the operations of operations.ts. */
export type Effect =
  | {
      readonly kind: "sample";
      readonly prefix: Prefix;
      readonly options: SampleOptions;
      readonly n: number;
      readonly minimum: number;
      /** Resumed with an array, and the ids of its asks end in `.member`. */
      readonly isBulk: boolean;
    }
  | {
      readonly kind: "verify";
      readonly role: VerifierRole;
      readonly tool: Tool | null;
      readonly prefix: Prefix;
      readonly of: AskId | null;
    }
  | { readonly kind: "write"; readonly text: string }
  | { readonly kind: "draw" }
  | { readonly kind: "add"; readonly group: GroupKey; readonly program: Program<unknown> }
  | { readonly kind: "next"; readonly group: GroupKey }
  | { readonly kind: "cancel"; readonly group: GroupKey; readonly index: number | "all" }
  | { readonly kind: "consider"; readonly candidate: Candidate };

/**
 * A generator that yields effects of `Search`. `Effect` is opaque to programs: they `yield*` operations.ts.
 */
export type Program<T> = Generator<Effect, T, unknown>;
