/** What a task is made of. */
import type { Segment } from "../queue/job.ts";
import type { AskId } from "../search/program.ts";
import type { LearnedFrom } from "./allocate/allotment.ts";
import type { Prices } from "./prices.ts";
import type { Routes } from "./routes.ts";
import type { Arm, Problem } from "./sweep.ts";

export interface TaskRunOptions {
  readonly ordinal: number;
  readonly arm: Arm;
  readonly problem: Problem;
  /** The rendered prompt. */
  readonly prompt: string;
  /** Of the arm. */
  readonly routes: Routes;
  readonly sweepSeed: number;
  readonly isDeterministic: boolean;
  /** Of the sweep. */
  readonly prices: Prices | null;
  /** Asks that an earlier attempt at the run stopped after it had sent them. */
  readonly spentBefore?: ReadonlySet<AskId>;
  readonly modelParameters: number | null;
  /** An earlier attempt at the run opened it, and nobody can say what was in flight when that ended. */
  readonly isReopened: boolean;
  /** Whether the allocator learns from how it ends. */
  readonly learnedFrom: LearnedFrom | null;
  /** Called once per segment that the task's jobs may name. */
  readonly retain: (segment: Segment) => void;
}
