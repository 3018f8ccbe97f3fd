/** What a settled task adds to the totals, and the totals. The journal keeps tallies, so a resumed run sums the same. */
import type { TaskProgress } from "./allocate/allocator.ts";
import { EstimateTotals } from "./estimate-totals.ts";
import type { Arm, Sweep } from "./sweep.ts";
import type {
  BudgetAmounts,
  EstimatesByK,
  StrategySummary,
  Summary,
  SweepState,
  TaskState,
  Usage,
} from "./status.ts";
import type { TaskEstimates } from "./task-estimates.ts";
import { type Amount, NOTHING, sumOf } from "./amount.ts";
import { amountsIn } from "./unit-keys.ts";
import { addKnown, addUsage, NO_USAGE } from "./usage.ts";

export type SettledState = Exclude<TaskState, "queued" | "running">;

export interface TaskTally {
  readonly arm: string;
  readonly state: SettledState;
  /** At least one candidate is correct. */
  readonly isSolved: boolean;
  /** The selected candidate is correct. */
  readonly isAccurate: boolean;
  readonly rollouts: number;
  readonly verifications: number;
  /** Rollouts lost for good. */
  readonly losses: number;
  /** The same by class of failure (`RETRY_RULES`), or "budget"; absent where nothing was lost. */
  readonly lossesByReason?: Readonly<Record<string, number>>;
  /** Asks that were sent a second time; absent in a journal of a version that did not. */
  readonly hedged?: number;
  /** Candidates with a verdict, and those that are correct: n and c of pass@k. */
  readonly judged: number;
  readonly correct: number;
  /** Those that the verifier could not decide; absent in a journal of a version that did not count them. */
  readonly undecided?: number;
  /** The allocator meant it for no work: it counts in no accuracy. Absent: it did not say so. */
  readonly isPassedOver?: true;
  /** How it ended, for an allocator that learns from it; and that it is of the development fold. Absent where none does. */
  readonly progress?: TaskProgress;
  readonly isOfFold?: true;
  /** Null where its rollouts are no independent samples. */
  readonly estimates: TaskEstimates | null;
  readonly usage: Usage;
  /** What the ledger was charged for its asks. */
  readonly charged: Amount;
  /** Prompt tokens that had to be computed at least once, whatever the placement; null when the engine does not count. */
  readonly uniqueTokens: number | null;
}

/** Running totals of one arm: constant memory, whatever the number of tasks (I6). */
class ArmTotals {
  readonly tasks = { completed: 0, exhausted: 0, failed: 0, cancelled: 0 };
  solved = 0;
  accurate = 0;
  passedOver = 0;
  rollouts = 0;
  usage: Usage = NO_USAGE;
  charged = NOTHING;
  uniqueTokens: number | null = 0;
  readonly estimates = new EstimateTotals();

  add(tally: TaskTally): void {
    this.tasks[tally.state] += 1;
    this.rollouts += tally.rollouts;
    if (tally.isPassedOver === true) this.passedOver += 1;
    else {
      this.solved += Number(tally.isSolved);
      this.accurate += Number(tally.isAccurate);
      this.estimates.add(tally);
    }
    this.usage = addUsage(this.usage, tally.usage);
    this.charged = sumOf(this.charged, tally.charged);
    this.uniqueTokens = addKnown(this.uniqueTokens, tally.uniqueTokens);
  }

  get settled(): number {
    return this.tasks.completed + this.tasks.exhausted + this.tasks.failed + this.tasks.cancelled;
  }
}

export class Totals {
  readonly #sweep: Sweep;
  readonly #arms: ReadonlyMap<string, ArmTotals>;
  solved = 0;
  rollouts = 0;
  verifications = 0;
  losses = 0;
  readonly lossesByReason: Record<string, number> = {};
  hedged = 0;
  undecided: number | null = 0;
  usage: Usage = NO_USAGE;
  readonly tasks = { completed: 0, exhausted: 0, failed: 0, cancelled: 0 };

  constructor(sweep: Sweep) {
    this.#sweep = sweep;
    this.#arms = new Map(sweep.arms.map((arm) => [arm.id, new ArmTotals()]));
  }

  add(tally: TaskTally): void {
    const arm = this.#arms.get(tally.arm);
    if (arm === undefined) throw new Error(`no arm ${tally.arm} in this sweep`);
    arm.add(tally);
    this.tasks[tally.state] += 1;
    this.solved += Number(tally.isSolved);
    this.rollouts += tally.rollouts;
    this.verifications += tally.verifications;
    this.losses += tally.losses;
    for (const [reason, count] of Object.entries(tally.lossesByReason ?? {}))
      this.lossesByReason[reason] = (this.lossesByReason[reason] ?? 0) + count;
    this.hedged += tally.hedged ?? 0;
    this.undecided = addKnown(this.undecided, tally.undecided ?? null);
    this.usage = addUsage(this.usage, tally.usage);
  }

  get settled(): number {
    return this.tasks.completed + this.tasks.exhausted + this.tasks.failed + this.tasks.cancelled;
  }

  /** Over all arms: settled tasks that are solved, and that are right, among those that the allocator did not pass over. */
  get results(): { readonly solved: number; readonly accurate: number; readonly passedOver: number } {
    const sum = { solved: 0, accurate: 0, passedOver: 0 };
    for (const { solved, accurate, passedOver } of this.#arms.values()) {
      sum.solved += solved;
      sum.accurate += accurate;
      sum.passedOver += passedOver;
    }
    return sum;
  }

  summary(run: {
    readonly version: string;
    readonly state: SweepState;
    readonly total: number;
    readonly budget: { readonly given: BudgetAmounts; readonly spent: BudgetAmounts };
    readonly wallMs: number;
  }): Summary {
    const arms = [...this.#arms.values()];
    const unique = arms.reduce<number | null>((sum, arm) => addKnown(sum, arm.uniqueTokens), 0);
    const { prompt_tokens: prompt, computed_tokens: computed } = this.usage;
    return {
      name: this.#sweep.name,
      version: run.version,
      state: run.state,
      tasks: { total: run.total, ...this.tasks },
      strategies: Object.fromEntries(this.#sweep.arms.map((arm) => [arm.id, this.#armSummary(arm)])),
      rollouts: this.rollouts,
      failures_by_reason: { ...this.lossesByReason },
      hedged: this.hedged,
      undecided: this.undecided,
      usage: this.usage,
      budget: run.budget,
      prefix: {
        prompt_tokens: prompt,
        computed_tokens: computed,
        unique_tokens: unique,
        ratio: computed === null || unique === null || unique === 0 ? null : computed / unique,
      },
      wall_ms: Math.round(run.wallMs),
    };
  }

  #armSummary(arm: Arm): StrategySummary {
    const totals = this.#arms.get(arm.id) ?? new ArmTotals();
    const { usage, passedOver } = totals;
    const settled = totals.settled - passedOver;
    const tokens = addKnown(usage.completion_tokens, usage.cancelled_tokens);
    const estimates = totals.estimates.read();
    return {
      problems: settled,
      solved: totals.solved,
      accuracy: settled === 0 ? 0 : totals.accurate / settled,
      pass_at_k: passAtRoundKs(estimates.pass_at_k),
      estimates,
      rollouts: totals.rollouts,
      mean_rollouts: settled === 0 ? 0 : totals.rollouts / settled,
      usage,
      budget: { given: amountsIn(arm.budget), spent: amountsIn(totals.charged) },
      tokens_per_solved: tokens === null || totals.solved === 0 ? null : tokens / totals.solved,
      tasks: totals.tasks,
      ...(passedOver === 0 ? {} : { passed_over: passedOver }),
    };
  }
}

/** The means for 1, 2, 5, 10, ...: k = n, when it is none of them, stands under `estimates` only. */
function passAtRoundKs(estimates: EstimatesByK): Readonly<Record<string, number>> {
  const round = Object.entries(estimates).filter(([k]) => /^[125]0*$/.test(k));
  return Object.fromEntries(round.map(([k, { mean }]) => [k, mean]));
}
