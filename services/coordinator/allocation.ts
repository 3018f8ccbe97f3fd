/**
 * The allocation of a run: asks the allotment, journals what it says, and carries it out. The ledger alone enforces the budget
 * (I3); what is granted here and does not fit there waits.
 *
 * Invariants: I4 (grants and stops are journaled, so a resumed run makes the same), I6 (tasks are open together in cohorts).
 */
import { Allotment, type LearnedFrom, type Means } from "./allocate/allotment.ts";
import type { TaskProgress } from "./allocate/allocator.ts";
import { createAllocator } from "./allocate/catalogue.ts";
import type { CohortEntry, GrantEntry, StopEntry } from "./journal-entry.ts";
import type { Amount, Ceilings } from "./amount.ts";
import type { Past } from "./past.ts";
import { tokenPriceMax } from "./prices.ts";
import type { Sweep } from "./sweep.ts";
import type { TaskTally } from "./tally.ts";
import type { TaskRun } from "./task-run.ts";

export interface AllocationOptions {
  readonly sweep: Sweep;
  readonly past: Past;
  /** Problems of the run. */
  readonly problems: number;
  readonly cohortTasksMax: number;
  /** Writes it to the journal, before all that comes of it. */
  readonly note: (entry: CohortEntry | GrantEntry) => void;
  /** The task is to ask for no more. */
  readonly stop: (task: TaskRun, entry: StopEntry) => void;
  /** The task has asks that may be sent. */
  readonly funded: (task: TaskRun) => void;
}

export class Allocation {
  readonly #options: AllocationOptions;
  readonly #allotment: Allotment<TaskRun>;
  readonly #guess: Amount;

  constructor(options: AllocationOptions) {
    const { sweep, past, problems, cohortTasksMax } = options;
    this.#options = options;
    this.#guess = guessOf(sweep);
    this.#allotment = new Allotment({
      allocator: createAllocator(sweep.allocate, { arms: sweep.arms.map(({ id }) => id), problems }),
      tasks: problems * sweep.arms.length,
      arms: sweep.arms.length,
      settled: past.settled,
      cohortTasksMax,
      isBound: mayBind(sweep, problems),
      isDeterministic: sweep.deterministic,
      begun:
        past.cohort === null
          ? null
          : {
              cohort: past.cohort,
              ended: [...past.cohortTallies].map(([ordinal, tally]) => endedOf(ordinal, tally)),
            },
      fold: past.fold.filter(({ ordinal }) => !past.cohortTallies.has(ordinal)),
    });
  }

  /** Whether the next task may be opened. */
  mayOpen(): boolean {
    if (this.#allotment.opening === "begin") {
      const cohort = this.#allotment.begin(this.#means);
      const share = Number.isFinite(cohort.share) ? cohort.share : null;
      this.#options.note({ kind: "cohort", ...cohort, share });
    }
    return this.#allotment.opening === "open";
  }

  /** See `Allotment`. */
  learnsFrom(ordinal: number): LearnedFrom | null {
    return this.#allotment.learnsFrom(ordinal);
  }

  opened(task: TaskRun): void {
    task.grant(this.#allotment.opened(task));
  }

  /** Something happened to the task. @returns Whether it may go on sending. */
  saw(task: TaskRun): boolean {
    const isShort = task.isResting && task.isShort && this.#allotment.stop(task);
    if (isShort) this.#options.stop(task, { kind: "stop", task: task.id, state: "exhausted", reason: null });
    if (isShort || !this.#allotment.saw(task)) return task.isStopped || !this.#allotment.isStopping(task);
    this.#options.stop(task, { kind: "stop", task: task.id, state: "completed", reason: null });
    return false;
  }

  /** What may be granted is. */
  divide(): void {
    const { note, stop, funded } = this.#options;
    const { grants, stops } = this.#allotment.divide(this.#means);
    if (grants.size > 0) {
      note({ kind: "grant", grants: Object.fromEntries([...grants].map(([{ id }, count]) => [id, count])) });
      for (const [task, rollouts] of grants) task.grant(rollouts);
      for (const task of grants.keys()) funded(task);
    }
    for (const { task, state, reason } of stops) stop(task, { kind: "stop", task: task.id, state, reason });
  }

  settled(task: TaskRun): void {
    this.#allotment.settled(task);
  }

  get #means(): Means {
    const { ledger } = this.#options.past;
    return { rollouts: ledger.affordable(this.#guess), charged: ledger.charged.rollouts };
  }
}

/** What a rollout may cost, before any has said: its text at full length, behind a prompt that costs as much. */
function guessOf({ arms, prices }: Sweep): Amount {
  const completion = Math.max(...arms.map(({ sampling }) => sampling.maxTokens));
  const tokens = { prompt: completion, completion, verifier: 0 };
  return {
    rollouts: 1,
    completionTokens: completion,
    totalTokens: 2 * completion,
    verifierTokens: 0,
    usdMicros: tokenPriceMax(prices, tokens),
  };
}

/** Whether a ceiling of the sweep or of an arm is below what it could cost at most. */
function mayBind({ arms, budget }: Sweep, problems: number): boolean {
  let rollouts = 0;
  let tokens = 0;
  for (const arm of arms) {
    const most = problems * arm.strategy.cost(arm.parameters as never).rollouts; // Complete and valid: see `TaskRun`.
    if (isBelow(arm.budget, { rollouts: most, tokens: most * arm.sampling.maxTokens })) return true;
    rollouts += most;
    tokens += most * arm.sampling.maxTokens;
  }
  return isBelow(budget, { rollouts, tokens });
}

/** What other units come to nobody knows before: their ceilings may always bind. */
function isBelow(
  { rollouts, completionTokens, totalTokens, verifierTokens, usdMicros }: Ceilings,
  most: { readonly rollouts: number; readonly tokens: number },
): boolean {
  if (totalTokens !== null || verifierTokens !== null || usdMicros !== null) return true;
  return (rollouts ?? Infinity) < most.rollouts || (completionTokens ?? Infinity) < most.tokens;
}

/** What the journal still knows of a task that is settled. */
function endedOf(ordinal: number, tally: TaskTally): TaskProgress {
  if (tally.progress !== undefined) return tally.progress;
  const { arm, rollouts, losses, judged, correct, usage } = tally;
  return {
    ordinal,
    problem: "",
    arm,
    metadata: {},
    granted: rollouts,
    made: rollouts + losses,
    wanted: 0,
    judged,
    correct,
    bestScore: null,
    meanScore: null,
    votes: [],
    verdict: null,
    tokens: usage.completion_tokens,
    isEnded: true,
  };
}
