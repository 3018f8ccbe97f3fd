/**
 * What hedging saves where one of four hosts is five times slower than the others, and what it costs where none is: the same sweep
 * through the coordinator on simulated hosts (8B on an H100), with and without `hedge: {}`, in one run.
 * Run: node bench/hedging.ts     (about 90 s of wall time, a few seconds of it computing)
 * Does not measure: hosts that answer nothing at all (test/coordinator/hedges.test.ts), real engines, queues between the processes.
 */
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { HEDGE_DEFAULTS } from "../services/coordinator/sweep-file/sweep-schema.ts";
import type { HedgeRule } from "../services/coordinator/sweep.ts";
import { systemClock } from "../services/runtime/clock.ts";
import { arm, newSweep, puzzles, RAW, startInProcess } from "../test/support/in-process.ts";
import { engineProfile } from "../workers/rollout/drivers/simulated/engine-profile.ts";
import { createSimulatedDriver } from "../workers/rollout/drivers/simulated.ts";

const ROUNDS = 3;
const HOSTS = 4;
const PROBLEMS = 24;
const SAMPLES = 16;
const MAX_TOKENS = 512;
/** Milliseconds of a host in one of ours, so that an answer takes about half a second. */
const SPEED = 4;
/** The limits of a coordinator, as much faster. */
const HEDGES = { everyMs: 500 / SPEED, waitMsMin: 1_000 / SPEED, samplesMin: 16 };

interface Run {
  readonly wallMs: number;
  readonly p99Ms: number;
  readonly copies: number;
  readonly tokens: number;
}

async function measure(slowBy: number, hedge: HedgeRule | null): Promise<Run> {
  const parts = await startInProcess({ run: { hedges: HEDGES } });
  for (let host = 0; host < HOSTS; host += 1) {
    const speed = host === 0 ? SPEED / slowBy : SPEED;
    const profile = engineProfile("8b-h100");
    const driver = createSimulatedDriver({
      profile,
      model: "seeded",
      speed,
      clock: systemClock,
      concurrency: 16,
    });
    await parts.addHost(`host-${host}`, driver);
  }
  const sampled = arm("best-of-n", { n: SAMPLES });
  const arms = [{ ...sampled, sampling: { ...sampled.sampling, maxTokens: MAX_TOKENS } }];
  const sweep = await newSweep({ arms, hedge });
  const startMs = performance.now();
  const run = await parts.coordinator.submit(sweep, puzzles(PROBLEMS), RAW);
  const { hedged, budget } = await run.ended;
  const wallMs = performance.now() - startMs;
  await parts.close();
  const text = await readFile(join(sweep.output, "results.jsonl"), "utf8");
  // Rows of the program's own making.
  const rows = text
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line) as { readonly wall_ms: number });
  const walls = rows.map(({ wall_ms }) => wall_ms).toSorted((a, b) => a - b);
  const p99Ms = walls[Math.ceil(walls.length * 0.99) - 1] ?? Number.NaN;
  return { wallMs, p99Ms, copies: hedged, tokens: budget.spent.completion_tokens ?? Number.NaN };
}

function spread(values: readonly number[], digits: number): string {
  const [low, middle, high] = values.toSorted((a, b) => a - b);
  return `${middle?.toFixed(digits)} (${low?.toFixed(digits)}-${high?.toFixed(digits)})`;
}

const SETTINGS: readonly (readonly [string, HedgeRule | null])[] = [
  ["hedge: null", null],
  ["hedge: {}", HEDGE_DEFAULTS],
  ["hedge: { share: 0.2 }", { ...HEDGE_DEFAULTS, share: 0.2 }],
];
for (const slowBy of [5, 1]) {
  const runs = new Map<string, Run[]>(SETTINGS.map(([name]) => [name, []]));
  for (let round = 0; round < ROUNDS; round += 1)
    for (const [name, hedge] of SETTINGS) runs.get(name)?.push(await measure(slowBy, hedge));
  const hosts = slowBy === 1 ? `${HOSTS} equal hosts` : `${HOSTS} hosts, one ${slowBy} times slower`;
  console.log(`${hosts}: ${PROBLEMS} problems x best-of-${SAMPLES}; median (least-most) of ${ROUNDS} runs`);
  for (const [name, each] of runs) {
    const seconds = (pick: (run: Run) => number): string =>
      spread(
        each.map((run) => pick(run) / 1_000),
        1,
      );
    const made = spread(
      each.map(({ tokens }) => tokens),
      0,
    );
    console.log(
      `  ${name.padEnd(24)} makespan ${seconds(({ wallMs }) => wallMs)} s, p99 task ${seconds(({ p99Ms }) => p99Ms)} s, ` +
        `copies ${spread(
          each.map(({ copies }) => copies),
          0,
        )}, tokens charged ${made}`,
    );
  }
}
process.exit(0);
