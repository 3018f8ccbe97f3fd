/** A round: a sweep on the bed, the faults of a seed while it runs, and what must hold when it is over. */
import { existsSync, readdirSync, readFileSync, statSync } from "node:fs";
import { rm } from "node:fs/promises";
import { join } from "node:path";
import { connectSweeps } from "../../services/cli/sweep-client.ts";
import { systemClock } from "../../services/runtime/clock.ts";
import { createRandom } from "../../services/runtime/random.ts";
import { coppice } from "../support/coppice.ts";
import type { Bed } from "./bed.ts";
import type { Fault } from "./fault.ts";
import { violations } from "./invariants.ts";
import { jobKeys } from "./redis-keys.ts";
import { strike, type Target } from "./strike.ts";
import { type Reference, settings } from "./sweep.ts";
import { untilTrue } from "./waiting.ts";

/** A sweep that has not ended by then never will: every limit on the way is far below. */
const ROUND_MS_MAX = 240_000;
/** A job whose worker was killed at its end is found by the stall check, and found to be over. */
const CALM_MS_MAX = 45_000;
const SUBMITS_MAX = 10;

export interface Round {
  readonly faults: readonly { readonly fault: Fault; readonly hasStruck: boolean }[];
  readonly ms: number;
  /** What did not hold. */
  readonly wrong: readonly string[];
}

/** @param name Of the sweep: no two of a bed are named alike. */
export async function runRound(
  bed: Bed,
  name: string,
  { faults, reference }: { readonly faults: readonly Fault[]; readonly reference: Reference },
): Promise<Round> {
  const startMs = performance.now();
  const target = targetOf(bed, name);
  await submit(bed, target, reference);
  const wrong: string[] = [];
  const submittedMs = performance.now();
  const struck = faults.map(async (fault) => {
    await untilTrue(() => target.hasEnded() || performance.now() - submittedMs >= fault.atMs, ROUND_MS_MAX);
    try {
      return await strike(fault, bed, target);
    } catch (error) {
      wrong.push(`${fault.kind} ${fault.victim}: ${error instanceof Error ? error.message : String(error)}`);
      return true;
    }
  });
  const isOver = async (): Promise<boolean> => {
    wrong.push(...(await bed.supervise()));
    return target.hasEnded() || wrong.length > 0;
  };
  if (!(await untilTrue(isOver, ROUND_MS_MAX))) wrong.push(`the sweep did not end within ${ROUND_MS_MAX} ms`);
  const hasStruck = await Promise.all(struck);
  if (wrong.length === 0) wrong.push(...(await violations(target.output, reference)));
  if (wrong.length === 0) wrong.push(...(await unrest(bed)));
  if (wrong.length === 0) await rm(target.output, { recursive: true });
  return {
    faults: faults.map((fault, n) => ({ fault, hasStruck: hasStruck[n] ?? false })),
    ms: performance.now() - startMs,
    wrong,
  };
}

/** A client tries again while the coordinator comes up. */
async function submit(bed: Bed, target: Target, reference: Reference): Promise<void> {
  const sets = [...settings(reference), `output=${target.id}`].flatMap((set) => ["--set", set]);
  for (let tries = 1; ; tries += 1) {
    const args = ["submit", reference.file, "--coordinator", bed.cluster.coordinator, ...sets];
    const { status, err } = await coppice(args, { cwd: bed.directory });
    if (status === 0) return;
    if (tries === SUBMITS_MAX) throw new Error(`the sweep cannot be submitted: ${err}`);
  }
}

function targetOf(bed: Bed, id: string): Target {
  const output = join(bed.runs, id);
  const summary = join(output, "summary.json");
  const journal = join(output, "journal");
  return {
    id,
    output,
    hasEnded: () => existsSync(summary) && JSON.parse(readFileSync(summary, "utf8")).state === "completed",
    journalBytes: () =>
      readdirSync(journal).reduce((sum, file) => sum + statSync(join(journal, file)).size, 0),
    async hasFailed() {
      const options = { clock: systemClock, random: createRandom(1) };
      const sweeps = connectSweeps(bed.cluster.coordinator, options);
      try {
        return (await sweeps.get(id)).state === "failed";
      } catch {
        return false; // the coordinator cannot be reached now
      } finally {
        sweeps.close();
      }
    },
  };
}

/** What is still there some time after the end that should be gone. */
async function unrest(bed: Bed): Promise<readonly string[]> {
  let left: readonly string[] = [];
  const isCalm = async (): Promise<boolean> => {
    const keys = await jobKeys(bed.cluster.redisUrl, "coppice").catch((error: unknown) => [String(error)]);
    left = [
      ...(await bed.supervise()),
      ...keys.map((key) => `in Redis: ${key}`),
      ...bed.strays().map((stray) => `left behind: ${stray}`),
    ];
    return left.length === 0;
  };
  return (await untilTrue(isCalm, CALM_MS_MAX)) ? [] : left.slice(0, 10);
}
