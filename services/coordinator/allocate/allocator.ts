/**
 * What an allocator is. It decides which task gets the next part of the budget; it never sees the budget itself, and what it
 * grants is still reserved by the ledger, which alone enforces (I3). A new one is one file, one line in `catalogue.ts` and one
 * conformance call. Pure: the same answers give the same grants, whatever their order of arrival (I4).
 */
import type { Parameter, ParameterValues } from "../../search/strategy.ts";

/** What is known of a task when the budget is divided. */
export interface TaskProgress {
  /** Its position among all tasks of the sweep: where all else is equal, the lower one is served first. */
  readonly ordinal: number;
  readonly problem: string;
  readonly arm: string;
  /** Of the problem. */
  readonly metadata: Readonly<Record<string, unknown>>;
  /** Rollouts that it was allowed to ask for. */
  readonly granted: number;
  /** Rollouts that it has, those that were lost included. */
  readonly made: number;
  /** Rollouts that it may still ask for at most, beyond those granted; 0 once it is ended. */
  readonly wanted: number;
  /** Its candidates with a verdict, and those of them that are correct. */
  readonly judged: number;
  readonly correct: number;
  /** Of its candidates; null where none has a score. */
  readonly bestScore: number | null;
  readonly meanScore: number | null;
  /** How many candidates gave the two most frequent answers; empty where the verifier reads no answers. */
  readonly votes: readonly number[];
  /** On the answer that it would give now; null where there is none, or nothing judged it. */
  readonly verdict: "correct" | "incorrect" | "undecided" | null;
  /** Completion tokens of its rollouts; null where they are not counted. */
  readonly tokens: number | null;
  readonly isEnded: boolean;
}

/** What a round is divided by: every task of a cohort, and what it may spend. */
export interface Round {
  /** Tasks that rest and want more, by ordinal. */
  readonly tasks: readonly TaskProgress[];
  /** Tasks of the same cohort that are ended, and those of the development fold: what they tell of the others. */
  readonly ended: readonly TaskProgress[];
  /** Rollouts that can be afforded; Infinity without a ceiling. */
  readonly rollouts: number;
}

/** Whole numbers above 0 by ordinal, in all at most `Round.rollouts`; who is not named gets nothing this time. */
export type Grants = ReadonlyMap<number, number>;

/** A task that is about to be opened. */
export interface NewTask {
  readonly ordinal: number;
  readonly problem: string;
  readonly arm: string;
  /** Its equal share of what can be afforded, a whole number; Infinity without a ceiling. */
  readonly share: number;
}

export interface Allocator {
  /**
   * So many problems, from the first on, are a development fold: they are done before any other is opened, and every round after
   * that is told of them. A task of the fold has as large a share as all tasks of another problem together. Absent: there is none.
   */
  readonly fold?: number;
  /** Rollouts granted to a task as it is opened: a whole number up to its share. */
  first(task: NewTask): number;
  /** Whether the task has what it came for: it is ended with its best so far, and asks for no more. */
  isEnough(task: TaskProgress): boolean;
  /**
   * Grants for the next round. Where a task wants more and a rollout can be afforded, at least one is granted: a budget is used
   * up, never stranded.
   */
  divide(round: Round): Grants;
  /**
   * Tasks to be ended without any more. Asked before `divide`. With a reason, which its row gives: the task was not meant to be
   * worked on, and counts in no accuracy. Null: it has had its part.
   */
  passOver?(round: Round): ReadonlyMap<number, string | null>;
}

/** What an allocator may know of the sweep before it starts. */
export interface AllocatedSweep {
  /** Ids of its arms, in their order. */
  readonly arms: readonly string[];
  readonly problems: number;
}

/** What an allocator's file exports. */
export interface AllocatorKind<
  P extends Readonly<Record<string, Parameter>> = Readonly<Record<string, Parameter>>,
> {
  readonly kind: string;
  readonly about: string;
  readonly paper: string | null;
  /** In the sweep file's snake_case. */
  readonly parameters: P;
  /** What is wrong with parameters that are right one by one; null when nothing is. */
  check?(parameters: ParameterValues<P>): string | null;
  /** `parameters` are complete and within their declared limits. */
  create(parameters: ParameterValues<P>, sweep: AllocatedSweep): Allocator;
}
