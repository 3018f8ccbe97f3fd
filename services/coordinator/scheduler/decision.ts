/** Why here, why now: what the scheduler says of each thing that it does. Plain data, for events and `decisions.jsonl`. */
import type { Candidate } from "./placement.ts";

/**
 * `placed`: a tree got its home host. `moved`: it got another one. `sent`: asks went to the tree's home. `lent`: asks went to
 * another host, the tree stays. `hedged`: an ask that is on its way to one host went to another one too. `retried`: an ask that failed at one host goes to another.
 */
export type DecisionKind = "placed" | "moved" | "sent" | "lent" | "hedged" | "retried";

export type Reason =
  /** The host that can begin soonest. */
  | "least-wait"
  /** It holds so much of the path that waiting for it costs less than computing that again. */
  | "holds-prefix"
  /** The tree lives there, and it is the oldest that has asks waiting and is admitted. */
  | "oldest-tree"
  /** No task is left to open, and it is the one there that has asked least: trees that end together end soonest. */
  | "least-asked"
  /** Nothing else runs there: a host never idles for the sake of its cache. */
  | "host-idle"
  /** The tree's home is gone. */
  | "home-gone"
  /** The host ran dry, and computing the path there costs less than waiting at home. */
  | "host-dry"
  /** No task is left to open, and the tree's home has far more to do than this host. */
  | "evens-out"
  /** The ask waits much longer at its host than its like take elsewhere, or its host does not answer; this one has room. */
  | "host-slow"
  /** The ask failed at the host that had it. */
  | "host-failed";

export interface Decision {
  readonly kind: DecisionKind;
  readonly reason: Reason;
  readonly host: string;
  /** Where the tree lived before, or lives. */
  readonly home: string | null;
  /** The how-manieth tree it is, by age, from 0. */
  readonly age: number;
  /** Of the path that goes first: its tokens, and how many of them the host should hold. */
  readonly promptTokens: number;
  readonly cachedTokens: number;
  /** Asks at the host before this, and how many it may have. */
  readonly inFlight: number;
  readonly room: number;
  /** Tokens of the host's KV cache that are in use, and there are; null: unknown. */
  readonly pinnedTokens: number;
  readonly kvCapacityTokens: number | null;
  /** Best first, at most three; of `placed`, `moved`, `lent`, `hedged` and `retried`. */
  readonly considered: readonly Candidate[];
}
