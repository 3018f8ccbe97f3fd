import type { Parameter } from "../../search/strategy.ts";
import type { AllocatorKind, Grants, Round, TaskProgress } from "./allocator.ts";
import { shareEqually } from "./shares.ts";
import { fitSolveRate, gains, posterior, type SolveRate } from "./solve-rate.ts";

const PARAMETERS = {
  probe: {
    type: "integer",
    default: 4,
    min: 0,
    max: 100_000,
    about: "Rollouts that every task gets first, to learn how hard the problems are.",
  },
  round: {
    type: "integer",
    default: 8,
    min: 1,
    max: 100_000,
    about: "Rollouts that a task gets at most before all are looked at again.",
  },
  prior: {
    type: "text",
    default: "",
    about: "Where problems say their predicted solve rate, such as metadata.rate; empty: learned as it goes.",
  },
  prior_strength: {
    type: "number",
    default: 8,
    min: 0.1,
    max: 1_000_000,
    about: "How many verdicts a predicted solve rate weighs as much as.",
  },
} as const satisfies Readonly<Record<string, Parameter>>;

/**
 * Greedy on the expected gain: the next rollout goes to the task for which it is most likely to be the first correct one, per
 * token that it is expected to cost. With p the solve rate of a task, the b-th further rollout gains E[p (1 - p)^(b - 1)],
 * which falls with b, so greedy is optimal. p has a beta prior, fitted to all tasks of the cohort or predicted by the problem's
 * metadata, and the task's verdicts update it: tasks that fail again and again come last. What the whole budget would be spent
 * on is planned anew in each round. A task that is solved is done.
 */
export const marginal: AllocatorKind<typeof PARAMETERS> = {
  kind: "marginal",
  about: "The next rollout goes where it is most likely to solve a problem, per token.",
  paper: "Damani et al. 2024, Learning How Hard to Think, arXiv 2410.04707",
  parameters: PARAMETERS,

  create: ({ probe, round, prior, prior_strength: strength }) => ({
    first: ({ share }) => Math.min(share, probe),
    isEnough: ({ correct }) => correct > 0,
    divide({ tasks, ended, rollouts }: Round): Grants {
      const cohort = fitSolveRate([...tasks, ...ended]);
      const believed = (task: TaskProgress): SolveRate => {
        const mean = predicted(task, prior);
        return posterior(mean === null ? cohort : { mean, strength }, task);
      };
      const plan = planGreedily(tasks, rollouts, { believed, tokens: meanTokens([...tasks, ...ended]) });
      return new Map([...plan].map(([ordinal, count]) => [ordinal, Math.min(count, round)]));
    },
  }),
};

interface Beliefs {
  readonly believed: (task: TaskProgress) => SolveRate;
  /** Expected of a rollout of this task. */
  readonly tokens: (task: TaskProgress) => number;
}

/** Gives one rollout after the other to the task with the highest gain per token; ties go to the lowest ordinal. */
export function planGreedily(
  tasks: readonly TaskProgress[],
  rollouts: number,
  { believed, tokens }: Beliefs,
): Grants {
  const all = tasks.reduce((sum, task) => sum + task.wanted, 0);
  if (all <= rollouts) return shareEqually(tasks, all);
  const plan = new Map<number, number>();
  const line = new GainLine();
  for (const task of tasks) {
    if (task.wanted < 1) continue;
    const gain = gains(believed(task));
    line.push({ task, gain, tokens: tokens(task), value: gain.next().value / tokens(task) });
  }
  for (let left = rollouts; left >= 1; left -= 1) {
    const next = line.pop();
    if (next === null) break;
    const count = (plan.get(next.task.ordinal) ?? 0) + 1;
    plan.set(next.task.ordinal, count);
    if (count < next.task.wanted) line.push({ ...next, value: next.gain.next().value / next.tokens });
  }
  return plan;
}

interface Offer {
  readonly task: TaskProgress;
  readonly gain: Generator<number, never>;
  readonly tokens: number;
  /** Of the task's next rollout, per token. */
  readonly value: number;
}

/** A binary heap, the best offer on top. */
class GainLine {
  readonly #heap: Offer[] = [];

  push(offer: Offer): void {
    let at = this.#heap.length;
    for (; at > 0; at = (at - 1) >> 1) {
      const parent = this.#heap[(at - 1) >> 1];
      if (parent === undefined || !isBefore(offer, parent)) break;
      this.#heap[at] = parent;
    }
    this.#heap[at] = offer;
  }

  pop(): Offer | null {
    const [top] = this.#heap;
    const last = this.#heap.pop();
    if (top === undefined || last === undefined) return null;
    if (this.#heap.length > 0) this.#sink(last);
    return top;
  }

  #sink(offer: Offer): void {
    let at = 0;
    for (;;) {
      const left = this.#heap[2 * at + 1];
      const right = this.#heap[2 * at + 2];
      if (left === undefined) break;
      const isRight = right !== undefined && isBefore(right, left);
      const child = isRight ? right : left;
      if (!isBefore(child, offer)) break;
      this.#heap[at] = child;
      at = 2 * at + (isRight ? 2 : 1);
    }
    this.#heap[at] = offer;
  }
}

function isBefore(a: Offer, b: Offer): boolean {
  return a.value > b.value || (a.value === b.value && a.task.ordinal < b.task.ordinal);
}

/** Of a task its own mean, else that of all; 1 where nobody counts tokens, so that rollouts are what counts. */
function meanTokens(all: readonly TaskProgress[]): (task: TaskProgress) => number {
  const counted = all.filter(({ tokens, made }) => tokens !== null && tokens > 0 && made > 0);
  const tokens = counted.reduce((sum, task) => sum + (task.tokens ?? 0), 0);
  const made = counted.reduce((sum, task) => sum + task.made, 0);
  const mean = made === 0 ? 1 : tokens / made;
  // Of few rollouts the mean of all says more than their own.
  return (task) => (task.tokens === null ? mean : (task.tokens + mean) / (task.made + 1));
}

/** What the problem says of its own solve rate; null where that is no number from 0 to 1. */
function predicted({ metadata }: TaskProgress, path: string): number | null {
  if (path === "") return null;
  const rate = metadata[path.replace(/^metadata\./, "")];
  return typeof rate === "number" && rate >= 0 && rate <= 1 ? rate : null;
}
