/** What the scheduler knows of the work that it places: trees, and the leaves that they send to hosts. */
import type { Decision } from "./decision.ts";
import type { PlacementNeeds } from "./placement.ts";
import type { PathPiece } from "./prefix-tree.ts";

/** The asks of one task that go to hosts of one model: they share prefixes, so they live on one host. */
export interface Tree {
  /** Unique among the trees that are planted. */
  readonly id: string;
  /** Trees of one kind are alike: what one needed is expected of the next. */
  readonly kind: string;
  readonly needs: PlacementNeeds;
  /** Whether it means to ask for continuations of what it gets: then what it was given should stay cached. */
  readonly extendsRollouts: boolean;
  /** Whether it may go on, later, from any that it ever got, and not only from the latest: then all of them should. */
  readonly revisits: boolean;
  /** Asks that wait. */
  waiting(): number;
  /** The path of the ask that goes next, root first; null when none waits. */
  peek(): readonly PathPiece[] | null;
  /** Tokens that the ask which goes next may make at most. */
  peekTokensMax(): number;
  /** It got its home, or another one. */
  decided(decision: Decision): void;
  /**
   * Sends up to `max` of the asks that wait, siblings, beginning with the one that goes next.
   * @returns What was sent. Empty: nothing may be now (no budget, paused); the tree is left alone until it is `touched`.
   */
  send(decision: Decision, max: number): readonly Leaf[];
}

/** One ask on its way to a host. */
export interface Leaf {
  /** Unique among the leaves that are on their way. */
  readonly key: string;
  readonly path: readonly PathPiece[];
  /** Tokens that it may make at most. */
  readonly tokensMax: number;
}

/** How a leaf ended on its host. null is unknown (I8). */
export interface LeafOutcome {
  readonly promptTokens: number | null;
  readonly cachedTokens: number | null;
  readonly completionTokens: number | null;
  /** From its sending to its first token, and from there to its end. */
  readonly firstTokenMs: number | null;
  readonly decodeMs: number | null;
}
