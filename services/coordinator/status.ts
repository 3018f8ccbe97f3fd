/** What is told of a sweep: to the terminal, over gRPC, in `metrics.jsonl` and in `summary.json`. Field names are the file's. */

import type { DecisionKind, Reason } from "./scheduler/decision.ts";

export type SweepState = "running" | "paused" | "completed" | "cancelled" | "interrupted" | "failed";
export type TaskState = "queued" | "running" | "completed" | "exhausted" | "failed" | "cancelled";

/** What was used; null is unknown (I8): one unknown part makes the total unknown. */
export interface Usage {
  /** Of rollouts that were accepted, as are the next three. */
  readonly prompt_tokens: number | null;
  /** Of the prompt, taken from the host's cache. */
  readonly cached_tokens: number | null;
  /** Of the prompt, computed. */
  readonly computed_tokens: number | null;
  readonly completion_tokens: number | null;
  /** Prompt and completion of verifications by models on hosts. */
  readonly verifier_tokens: number | null;
  /** Completion tokens that no candidate kept. */
  readonly pruned_tokens: number | null;
  /** Sampled for asks that were withdrawn; and by tries that were in vain: lost, or begun again. */
  readonly cancelled_tokens: number | null;
  readonly retried_tokens: number | null;
  /** The asks' share of their hosts' busy GPUs (`GpuMeter`). */
  readonly gpu_seconds: number | null;
  /** Of rollouts and verifications (`flopsOf`); unknown where the sweep does not say how many parameters the model has. */
  readonly flops: number | null;
}

/** In a budget's units, as a file has them: null is no ceiling where it is given, unknown where it is spent. */
export interface BudgetAmounts {
  readonly rollouts: number | null;
  readonly completion_tokens: number | null;
  readonly total_tokens: number | null;
  readonly verifier_tokens: number | null;
  readonly usd: number | null;
  /** GPUs of all hosts that were there, busy or not, over time. */
  readonly gpu_seconds: number | null;
  readonly wall_ms: number | null;
}

/** What asks were charged: worst cases where nobody counted. */
export type ChargedAmounts = Readonly<
  Record<Exclude<keyof BudgetAmounts, "gpu_seconds" | "wall_ms">, number>
>;

/** The part of a budget that is an arm's. */
export interface ArmAmounts {
  readonly given: Omit<BudgetAmounts, "gpu_seconds" | "wall_ms">;
  readonly spent: ChargedAmounts;
}

/** A snapshot of a sweep that runs. */
export interface SweepStatus {
  readonly id: string;
  readonly name: string;
  readonly state: SweepState;
  readonly tasks: {
    readonly total: number;
    readonly queued: number;
    readonly running: number;
    readonly completed: number;
    readonly exhausted: number;
    readonly failed: number;
    readonly cancelled: number;
  };
  /** Tasks with at least one correct candidate. */
  readonly solved: number;
  readonly rollouts: number;
  readonly verifications: number;
  readonly usage: Usage;
  readonly budget: { readonly given: BudgetAmounts; readonly spent: BudgetAmounts };
  /** Asks dispatched and not yet answered. */
  readonly in_flight: number;
  /** Rollouts lost for good. */
  readonly failures: number;
  /** The same by class of failure (`queue/failure-classes.ts`); without those that were not lost yet. */
  readonly failures_by_reason: Readonly<Record<string, number>>;
  readonly hosts: readonly {
    readonly id: string;
    readonly engine: string;
    readonly open_tasks: number;
    readonly waiting: number;
    readonly running: number;
  }[];
  readonly elapsed_ms: number;
  readonly output: string;
}

/** A mean over problems, and its 95% interval over problems (`MeanTotals.estimate`). */
export interface Estimate {
  readonly mean: number;
  readonly low: number;
  readonly high: number;
  readonly problems: number;
}

/** By k, ascending; a k that some problem has too few judged samples for is left out. */
export type EstimatesByK = Readonly<Record<string, Estimate>>;

/** What k samples per problem would have given. All empty where rollouts are not independent samples. */
export interface Estimates {
  /** At least one of k is correct. */
  readonly pass_at_k: EstimatesByK;
  /** All of k are correct. */
  readonly pass_hat_k: EstimatesByK;
  /** The one of k with the highest score is correct. */
  readonly best_of_at_k: EstimatesByK;
  /** The answer that most of k give is correct; empty where the verifier reads no answers. */
  readonly majority_at_k: EstimatesByK;
  /** The same, where votes weigh their scores. */
  readonly weighted_at_k: EstimatesByK;
}

export interface StrategySummary {
  /** Without those that the allocator passed over in favour of another arm. */
  readonly problems: number;
  readonly passed_over?: number | undefined;
  readonly solved: number;
  /** Share of problems whose selected answer is correct. */
  readonly accuracy: number;
  /** By k; empty where rollouts are not independent samples. */
  readonly pass_at_k: Readonly<Record<string, number>>;
  readonly estimates: Estimates;
  readonly rollouts: number;
  readonly mean_rollouts: number;
  readonly usage: Usage;
  readonly budget: ArmAmounts;
  /** Completion tokens over solved problems; null when none is solved or tokens are unknown. */
  readonly tokens_per_solved: number | null;
  readonly tasks: {
    readonly completed: number;
    readonly exhausted: number;
    readonly failed: number;
    readonly cancelled: number;
  };
}

export type VerdictWord = "correct" | "incorrect" | "undecided";

/** How the verdicts of `coppice score` compare with those of the run that it verified again. */
export interface Agreement {
  /** The run directory whose candidates these are. */
  readonly run: string;
  /** The kinds of the verifiers. */
  readonly before: string;
  readonly after: string;
  /** Candidates by the verdict before, and by the verdict after. */
  readonly verdicts: Readonly<Record<VerdictWord, Readonly<Record<VerdictWord, number>>>>;
  /** Candidates that the new verifier could not be asked about; they have no verdict now. */
  readonly lost: number;
  /** Tasks whose answer was selected again by the same rule; the others kept theirs, whose rule their rows do not tell. */
  readonly selected_again: number;
  readonly selection_kept: number;
}

export interface Summary {
  readonly name: string;
  readonly version: string;
  readonly state: SweepState;
  readonly tasks: {
    readonly total: number;
    readonly completed: number;
    readonly exhausted: number;
    readonly failed: number;
    readonly cancelled: number;
  };
  readonly strategies: Readonly<Record<string, StrategySummary>>;
  readonly rollouts: number;
  /** Rollouts and verdicts lost for good, by class of failure, or "budget". */
  readonly failures_by_reason: Readonly<Record<string, number>>;
  /** Asks that were sent to a second host since the first was slow; what the slower copy had made stands in `cancelled_tokens`. */
  readonly hedged: number;
  /** Candidates that the verifier could not decide: it took too long, died, or says so. Null where a part of the run did not count them. */
  readonly undecided: number | null;
  readonly usage: Usage;
  readonly budget: { readonly given: BudgetAmounts; readonly spent: BudgetAmounts };
  readonly prefix: {
    readonly prompt_tokens: number | null;
    readonly computed_tokens: number | null;
    readonly unique_tokens: number | null;
    readonly ratio: number | null;
  };
  readonly wall_ms: number;
  /** In a run that `coppice score` wrote. */
  readonly agreement?: Agreement | undefined;
}

/** The decision that opened a task: the host that it was placed on first, and why there (`scheduler/decision.ts`). */
export interface Opening {
  readonly kind: DecisionKind;
  readonly host: string;
  readonly reason: Reason;
}

/** What `watch` streams. A stream starts with a status. */
export type SweepEvent =
  | { readonly kind: "status"; readonly status: SweepStatus }
  | {
      readonly kind: "task";
      readonly task: string;
      readonly state: TaskState;
      readonly verdict: "correct" | "incorrect" | "undecided" | null;
      readonly rollouts: number;
      /** Null where no host ever had it. */
      readonly opening: Opening | null;
    }
  | {
      /** A task got its home, or another one. Of many in a second some are told. */
      readonly kind: "placed";
      readonly task: string;
      readonly decision: DecisionKind;
      readonly host: string;
      readonly home: string | null;
      readonly reason: Reason;
      /** Placements that were not told since the last one that was. */
      readonly skipped: number;
    }
  | { readonly kind: "log"; readonly level: "info" | "warn" | "error"; readonly message: string }
  | { readonly kind: "ended"; readonly summary: Summary };
