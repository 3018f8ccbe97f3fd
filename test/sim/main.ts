/**
 * `node test/sim/main.ts --seed 7 [--trace]` simulates one seed; `--from 1 --to 10000 [--twice]` many, and says how often what really
 * went wrong in them. Exit status 1 when a promise was broken, with the last of what happened and the command that repeats it.
 */
import { parseArgs } from "node:util";
import { BLOWS, FaultCounts, MISHAPS } from "./faults.ts";
import { simulate } from "./simulate.ts";

const { values } = parseArgs({
  options: {
    seed: { type: "string" },
    trace: { type: "boolean", default: false },
    from: { type: "string", default: "1" },
    to: { type: "string", default: "1000" },
    twice: { type: "boolean", default: false },
  },
});

const say = (line: string): void => void process.stdout.write(`${line}\n`);
const [from, to] =
  values.seed === undefined
    ? [Number(values.from), Number(values.to)]
    : [Number(values.seed), Number(values.seed)];
if (!Number.isSafeInteger(from) || !Number.isSafeInteger(to) || from > to) {
  say(
    `expected whole numbers --seed, or --from at most --to; found ${values.seed ?? `${values.from} to ${values.to}`}`,
  );
  process.exit(1);
}

const counts = new FaultCounts();
const broken: string[] = [];
const startedMs = performance.now();
let virtualMs = 0;
for (let seed = from; seed <= to; seed += 1) {
  const lines: string[] = [];
  const isTwice = values.twice || values.seed !== undefined || seed % 10 === 0;
  const keep = (line: string): void => {
    if (values.trace) say(line);
    lines.push(line);
    if (lines.length > 40) lines.shift();
  };
  try {
    const ended = await simulate(seed, { tell: keep, isTwice });
    counts.merge(ended.faults);
    virtualMs += ended.virtualMs;
  } catch (error) {
    broken.push(String(seed));
    if (!values.trace) for (const line of lines) say(`  ${line}`);
    say(`seed ${seed}: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}`);
    say(`again: node test/sim/main.ts --seed ${seed} --trace`);
  }
  if ((seed - from + 1) % 500 === 0) say(`${seed - from + 1} seeds, ${broken.length} broken`);
}
const seconds = (performance.now() - startedMs) / 1_000;
say("");
for (const fault of [...BLOWS, ...MISHAPS])
  say(`${fault.padEnd(24)} ${String(counts.of(fault)).padStart(9)}`);
say("");
say(
  `${to - from + 1} seeds, ${Math.round(virtualMs / 3_600_000)} simulated hours in ${seconds.toFixed(1)} s; ` +
    (broken.length === 0 ? "every promise was kept" : `broken: ${broken.join(", ")}`),
);
process.exitCode = broken.length === 0 ? 0 : 1;
