import type { Parameter } from "../../search/strategy.ts";
import type { AllocatorKind, Grants, NewTask, Round, TaskProgress } from "./allocator.ts";
import { shareEqually } from "./shares.ts";

const PARAMETERS = {
  fold: {
    type: "number",
    default: 0.2,
    min: 0.001,
    max: 1,
    about:
      "Share of the problems, from the first on, that are the development fold: they run under every arm.",
  },
  bins: {
    type: "integer",
    default: 5,
    min: 1,
    max: 100,
    about: "Bins of difficulty, each with as many problems of the fold as the others.",
  },
  difficulty: {
    type: "text",
    default: "score",
    about:
      "How hard a problem is: score, votes or verdicts of its first rollouts, or a number that it brings, such as metadata.rate.",
  },
  probe: {
    type: "integer",
    default: 8,
    min: 1,
    max: 100_000,
    about: "Rollouts under the first arm that tell how hard a problem is; none where its metadata does.",
  },
} as const satisfies Readonly<Record<string, Parameter>>;

const METADATA = /^metadata\.(.+)$/;
const SIGNALS = ["score", "votes", "verdicts"];

/**
 * The best strategy for each difficulty: argmax over arms of the accuracy at the budget b of a problem, for each bin, on a
 * development fold (Snell, section 3.1). The fold is the first problems of the sweep, so these must be in no order. Each of
 * its tasks gets b, where b is such that the fold under all arms and every other problem under one come to the budget. Every
 * other problem then runs only under the arm that was best in its bin: the most answers right, of equal arms the one that
 * spent fewer tokens, then the first; its tasks under other arms are passed over. Where the fold says nothing of a bin, the
 * best arm of the whole fold is taken.
 *
 * Difficulty of a problem that was not run yet is never known from its reference answer, unless the sweep says so:
 *   score      the mean score that the verifier gives its first `probe` rollouts under the first arm: the paper's predicted
 *              difficulty, as label-free as the verifier is (one that gives no scores: 1 for what it finds correct, else 0)
 *   votes      the share of these rollouts that give their most frequent answer: label-free, no scores needed
 *   verdicts   the share of these that is correct: the paper's oracle difficulty from few samples, for verifiers that are exact
 *   metadata.x the number x that the problem brings: oracle or predicted, whoever wrote it; nothing is sampled for it
 * Problems of the fold are told by all rollouts of their first arm. The rollouts of a probe are paid for, which the paper leaves
 * out; where the first arm is chosen they are its first ones.
 */
export const computeOptimal: AllocatorKind<typeof PARAMETERS> = {
  kind: "compute-optimal",
  about:
    "Learns on the first problems which arm is best at which difficulty; the others run under that arm only.",
  paper: "Snell et al. 2024, Scaling LLM Test-Time Compute Optimally, arXiv 2408.03314",
  parameters: PARAMETERS,

  check: ({ difficulty }) =>
    SIGNALS.includes(difficulty) || METADATA.test(difficulty)
      ? null
      : `difficulty: expected ${SIGNALS.join(", ")} or metadata.NAME, found ${JSON.stringify(difficulty)}`,

  create: ({ fold: part, bins, difficulty, probe }, { arms, problems }) => {
    const fold = Math.min(problems, Math.max(1, Math.round(part * problems)));
    const isOfFold = ({ ordinal }: { readonly ordinal: number }): boolean => ordinal < fold * arms.length;
    // With nothing beyond the fold there is nothing to hold its budget for.
    const isHeld = (task: TaskProgress): boolean => fold < problems && isOfFold(task);
    const isProbe = ({ arm }: { readonly arm: string }): boolean => arm === arms[0];
    const isSampled = !METADATA.test(difficulty);
    const hardness = (tasks: readonly TaskProgress[]): number | null => {
      const [first] = tasks;
      const told = isSampled ? tasks.find(isProbe) : first;
      return told === undefined ? null : difficultyOf(told, difficulty);
    };

    return {
      fold,
      first: (task: NewTask) => {
        if (isOfFold(task)) return task.share;
        return isSampled && isProbe(task) ? Math.min(task.share, probe) : 0;
      },
      isEnough: () => false,

      passOver({ tasks, ended }: Round) {
        const policy = learnPolicy([...tasks, ...ended].filter(isOfFold), { arms, bins, hardness });
        const passed = new Map<number, string | null>(
          tasks.filter(isHeld).map(({ ordinal }) => [ordinal, null]),
        );
        const others = [...tasks, ...ended].filter((task) => !isOfFold(task));
        for (const of of Map.groupBy(others, problemOf(arms)).values()) {
          const best = policy(hardness(of));
          for (const task of of)
            if (!task.isEnded && task.arm !== best)
              passed.set(task.ordinal, `passed over: ${best} is the best arm for problems as hard as this`);
        }
        return passed;
      },

      divide: ({ tasks, rollouts }: Round): Grants => shareEqually(tasks, rollouts),
    };
  },
};

/** By ordinal: problems stand one after the other, each with all of its arms. */
function problemOf(arms: readonly string[]): (task: TaskProgress) => number {
  return ({ ordinal }) => Math.floor(ordinal / arms.length);
}

interface PolicyOptions {
  readonly arms: readonly string[];
  readonly bins: number;
  /** Of a problem, by its tasks; low is hard; null where nobody knows. */
  readonly hardness: (tasks: readonly TaskProgress[]) => number | null;
}

/** @returns The arm for a problem, by how hard it is. */
function learnPolicy(
  fold: readonly TaskProgress[],
  { arms, bins, hardness }: PolicyOptions,
): (difficulty: number | null) => string {
  const problems = [...Map.groupBy(fold, problemOf(arms)).values()].map((tasks) => ({
    tasks,
    difficulty: hardness(tasks),
  }));
  const known = problems
    .flatMap(({ difficulty }) => (difficulty === null ? [] : [difficulty]))
    .toSorted((a, b) => a - b);
  // The highest difficulty of each bin but the last.
  const edges = Array.from(
    { length: bins - 1 },
    (_, i) => known[Math.ceil(((i + 1) * known.length) / bins) - 1],
  );
  const binOf = (difficulty: number): number =>
    edges.filter((edge) => edge !== undefined && difficulty > edge).length;
  const whole = bestArm(fold, arms) ?? arms[0] ?? "";
  const best = new Map<number, string | null>();
  for (let bin = 0; bin < bins; bin += 1) {
    const inside = problems.filter(({ difficulty }) => difficulty !== null && binOf(difficulty) === bin);
    best.set(
      bin,
      bestArm(
        inside.flatMap(({ tasks }) => tasks),
        arms,
      ),
    );
  }
  return (difficulty) => (difficulty === null ? null : best.get(binOf(difficulty))) ?? whole;
}

/** Null without any task. */
function bestArm(tasks: readonly TaskProgress[], arms: readonly string[]): string | null {
  if (tasks.length === 0) return null;
  const results = arms.map((arm) => {
    const own = tasks.filter((task) => task.arm === arm);
    const right = own.filter(({ verdict }) => verdict === "correct").length / Math.max(1, own.length);
    const tokens = own.reduce((sum, task) => sum + (task.tokens ?? 0), 0);
    return { arm, right, tokens };
  });
  return results.toSorted((a, b) => b.right - a.right || a.tokens - b.tokens)[0]?.arm ?? null;
}

/** Low is hard; null where nothing tells. */
function difficultyOf(task: TaskProgress, difficulty: string): number | null {
  const { metadata, meanScore, votes, judged, correct } = task;
  const [first = 0] = votes;
  switch (difficulty) {
    case "score":
      return meanScore;
    case "votes":
      return judged === 0 ? null : first / judged;
    case "verdicts":
      return judged === 0 ? null : correct / judged;
    default: {
      const value = metadata[METADATA.exec(difficulty)?.[1] ?? ""];
      return typeof value === "number" && Number.isFinite(value) ? value : null;
    }
  }
}
