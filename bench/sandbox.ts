/**
 * Programs per second: in sandboxes that wait for them, in sandboxes started when they are needed, and in bare processes
 * without any sandbox, in one run. The program is small; what a real one computes adds to each alike. Rates say how many
 * get through with so many at once, latencies how long one waits when nothing else runs.
 */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { availableParallelism } from "node:os";
import { systemClock } from "../services/runtime/clock.ts";
import { messageOf } from "../services/runtime/errors.ts";
import { provenTools } from "../workers/verify/sandbox/probe.ts";
import { DEFAULT_PROGRAM_LIMITS, type Language, LANGUAGES } from "../workers/verify/sandbox/program.ts";
import { SandboxPool } from "../workers/verify/sandbox/sandbox-pool.ts";

const PROGRAMS = 100;
const ALONE = 15;
const ROUNDS = 3;
const AT_ONCE = availableParallelism();
const SOURCES: Readonly<Record<Language, string>> = {
  python: "import math, re\nassert math.comb(10, 3) == 120 and re.match('a+', 'aa')\nprint('ok')",
  javascript: "if ([1, 2, 3].map((n) => n * n).join() !== '1,4,9') throw new Error(); console.log('ok');",
};

type Run = (language: Language) => Promise<void>;

async function bare(language: Language): Promise<void> {
  const [command, args] =
    language === "python" ? ["/usr/bin/python3", ["-s", "-B", "-c"]] : [process.execPath, ["-e"]];
  const child = spawn(command, [...args, SOURCES[language]], { stdio: ["ignore", "pipe", "pipe"] });
  child.stdout.resume();
  child.stderr.resume();
  const [status] = await once(child, "close");
  if (status !== 0) throw new Error(`a bare ${language} ended with ${status}`);
}

function within(pool: SandboxPool): Run {
  return async (language) => {
    const program = { language, source: SOURCES[language], testsLine: null };
    const limits = { ...DEFAULT_PROGRAM_LIMITS, wallMs: 60_000 };
    const { end, stderr } = await pool.run(program, limits, new AbortController().signal);
    if (end.kind !== "exited" || end.status !== 0) throw new Error(`${JSON.stringify(end)}: ${stderr}`);
  };
}

async function perSecond(run: Run, language: Language): Promise<number> {
  const startedMs = performance.now();
  let left = PROGRAMS;
  const strand = async (): Promise<void> => {
    while (left > 0) {
      left -= 1;
      await run(language);
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, strand));
  return PROGRAMS / ((performance.now() - startedMs) / 1_000);
}

/** Milliseconds of one program, with a pause before it in which a sandbox can get ready. */
async function alone(run: Run, language: Language): Promise<number> {
  const tookMs: number[] = [];
  for (let n = 0; n < ALONE; n += 1) {
    await new Promise((resolve) => setTimeout(resolve, 200));
    const startedMs = performance.now();
    await run(language);
    tookMs.push(performance.now() - startedMs);
  }
  return median(tookMs);
}

const median = (values: readonly number[]): number =>
  values.toSorted((a, b) => a - b)[values.length >> 1] ?? 0;

const tools = await provenTools({ clock: systemClock, env: process.env }).catch((error: unknown) => {
  console.log(`nothing to measure: ${messageOf(error)}`);
  process.exit(0);
});
const waiting = new SandboxPool({ clock: systemClock, tools, spares: AT_ONCE });
const started = new SandboxPool({ clock: systemClock, tools, spares: 0 });
const ways: readonly (readonly [string, Run])[] = [
  ["bare process", bare],
  ["sandbox that waits", within(waiting)],
  ["sandbox started", within(started)],
];
console.log(
  `programs/s, ${AT_ONCE} at once (median and spread of ${ROUNDS}, interleaved), ratio to bare; ms alone`,
);
for (const language of LANGUAGES) {
  const rates = ways.map((): number[] => []);
  for (let round = 0; round < ROUNDS; round += 1) {
    for (const [index, [, run]] of ways.entries()) rates[index]?.push(await perSecond(run, language));
  }
  const base = median(rates[0] ?? []);
  for (const [index, [name, run]] of ways.entries()) {
    const rate = rates[index] ?? [];
    const spread = `${Math.min(...rate).toFixed(1)}-${Math.max(...rate).toFixed(1)}`;
    const ratio = (median(rate) / base).toFixed(2);
    const ms = (await alone(run, language)).toFixed(0);
    console.log(
      `${language.padEnd(11)} ${name.padEnd(19)} ${median(rate).toFixed(1).padStart(6)} (${spread})  ${ratio}  ${ms} ms`,
    );
  }
}
await Promise.all([waiting.close(), started.close()]);
