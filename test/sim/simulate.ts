/** One seed: its world, and what must be true of it once its sweep is over. */
import { createRandom, deriveSeed } from "../../services/runtime/random.ts";
import { drawPlan, NO_FAULTS, type Plan } from "./faults.ts";
import { drawInt, drawSweep, hasBudget, type SimulatedSweep } from "./sweep.ts";
import { Violation } from "./violation.ts";
import { type Ended, runWorld } from "./world.ts";

export interface SimulateOptions {
  readonly tell?: ((line: string) => void) | undefined;
  /** Whether the world is run twice and its traces compared. */
  readonly isTwice: boolean;
}

/** @throws Violation, or whatever production code threw. */
export async function simulate(seed: number, { tell, isTwice }: SimulateOptions): Promise<Ended> {
  const random = createRandom(deriveSeed(seed, "plan"));
  const sweep = await drawSweep(random);
  const plan: Plan = drawPlan(random);
  const hosts = drawInt(random, 1, 3);
  const ended = await runWorld({ seed, sweep, plan, hosts, tell });
  checkRows(sweep, ended);
  if (isTwice) {
    const again = await runWorld({ seed, sweep, plan, hosts });
    if (again.trace.digest !== ended.trace.digest)
      throw new Violation(
        "a seed is a world, twice the same",
        `${ended.trace.digest}, then ${again.trace.digest}`,
      );
  }
  if (sweep.sweep.deterministic && !hasBudget(sweep) && !ended.mayDiffer)
    await checkUndisturbed(seed, sweep, ended);
  return ended;
}

interface Row {
  readonly task: string;
  readonly ask?: string;
  readonly rollouts?: number;
  readonly charged?: { readonly rollouts: number };
}

function rowsIn(text: string): readonly Row[] {
  return text
    .split("\n")
    .filter((line) => line !== "")
    .map((line) => JSON.parse(line) as Row); // Rows of the program's own making.
}

function checkRows({ sweep, problems }: SimulatedSweep, { summary, results, rollouts }: Ended): void {
  const expected = problems.length * sweep.arms.length;
  const settled = rowsIn(results);
  const unpaid = settled.find(({ charged, rollouts: made }) => (charged?.rollouts ?? 0) < (made ?? 0));
  if (unpaid !== undefined)
    throw new Violation("every rollout that has a row is charged (I3)", JSON.stringify(unpaid));
  const ceiling = sweep.budget.rollouts ?? Infinity;
  if (summary.rollouts > ceiling)
    throw new Violation("no more rollouts than the budget has (I3)", `${summary.rollouts} of ${ceiling}`);
  const tasks = settled.map(({ task }) => task);
  if (tasks.length !== expected || new Set(tasks).size !== expected)
    throw new Violation(
      "each task has one row",
      `${tasks.length} rows, ${new Set(tasks).size} tasks of ${expected}`,
    );
  const asks = rowsIn(rollouts).map(({ task, ask }) => `${task} ${ask}`);
  if (new Set(asks).size !== asks.length)
    throw new Violation("each rollout has one row", `${asks.length} rows`);
  if (summary.rollouts !== asks.length)
    throw new Violation("the summary counts the rows", `${summary.rollouts} rollouts, ${asks.length} rows`);
  const { completed, exhausted, failed, cancelled } = summary.tasks;
  if (completed + exhausted + failed + cancelled !== expected)
    throw new Violation("the summary counts the tasks", JSON.stringify(summary.tasks));
}

/** I4: the rows are those of one host to which nothing happens. */
async function checkUndisturbed(seed: number, sweep: SimulatedSweep, disturbed: Ended): Promise<void> {
  const calm = await runWorld({ seed: deriveSeed(seed, "calm"), sweep, plan: NO_FAULTS, hosts: 1 });
  for (const file of ["results", "rollouts"] as const) {
    const [found, expected] = [canonical(disturbed[file]), canonical(calm[file])];
    const at = expected.findIndex((line, n) => line !== found[n]);
    if (found.length !== expected.length || at >= 0)
      throw new Violation(
        `${file} are those of an undisturbed run (I4)`,
        `${found.length} rows of ${expected.length}; expected ${expected[at] ?? "no more"}, found ${found[at] ?? "none"}`,
      );
  }
}

/** What may differ between two runs, as what was withdrawn in flight had cost; what hosts counted is left out too, since they lie. */
const DROPPED = new Set(["host", "attempt", "started_ms", "ended_ms", "wall_ms", "usage", "charged"]);

function canonical(text: string): readonly string[] {
  return rowsIn(text)
    .map((row) => JSON.stringify(row, (key, value: unknown) => (DROPPED.has(key) ? undefined : value)))
    .toSorted();
}
