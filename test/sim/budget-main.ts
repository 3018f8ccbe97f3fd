/**
 * `node test/sim/budget-main.ts --runs 10000 [--from 1]`: random programs under every allocator, with faults, on a budget that ends
 * them. Says how much of the budgets was used, and how often they were passed. Exit status 1 when a promise was broken.
 */
import { parseArgs } from "node:util";
import { BLOWS, FaultCounts, MISHAPS } from "./faults.ts";
import { simulateBudget } from "./budget.ts";

const { values } = parseArgs({
  options: { runs: { type: "string", default: "1000" }, from: { type: "string", default: "1" } },
});
const say = (line: string): void => void process.stdout.write(`${line}\n`);
const [runs, from] = [Number(values.runs), Number(values.from)];
if (!Number.isSafeInteger(runs) || !Number.isSafeInteger(from) || runs < 1) {
  say(`expected whole numbers --runs from 1 and --from; found ${values.runs} and ${values.from}`);
  process.exit(1);
}

const counts = new FaultCounts();
const broken: number[] = [];
const used = new Map<string, { runs: number; exhausted: number; sum: number; least: number }>();
const startedMs = performance.now();
for (let seed = from; seed < from + runs; seed += 1) {
  try {
    const ended = await simulateBudget(seed);
    counts.merge(ended.faults);
    for (const name of [ended.allocator, ended.unit]) {
      const row = used.get(name) ?? { runs: 0, exhausted: 0, sum: 0, least: 1 };
      row.runs += 1;
      if (ended.isChecked) {
        row.exhausted += 1;
        row.sum += ended.used;
        row.least = Math.min(row.least, ended.used);
      }
      used.set(name, row);
    }
  } catch (error) {
    broken.push(seed);
    say(`seed ${seed}: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}`);
  }
  if ((seed - from + 1) % 500 === 0) say(`${seed - from + 1} runs, ${broken.length} broken`);
}
const share = (value: number): string => `${(value * 100).toFixed(2)}%`;
say("");
say("                     runs  ended by budget  used, mean  used, least");
for (const [name, row] of used)
  say(
    `${name.padEnd(18)} ${String(row.runs).padStart(6)} ${String(row.exhausted).padStart(16)} ` +
      `${share(row.sum / Math.max(1, row.exhausted)).padStart(11)} ${share(row.least).padStart(12)}`,
  );
say("");
const struck = [...BLOWS, ...MISHAPS].reduce((sum, fault) => sum + counts.of(fault), 0);
const seconds = ((performance.now() - startedMs) / 1_000).toFixed(1);
say(
  `${runs} runs, ${struck} faults in ${seconds} s; ${broken.length === 0 ? "no budget was passed, and each that ended tasks was used up" : `broken: ${broken.join(", ")}`}`,
);
process.exitCode = broken.length === 0 ? 0 : 1;
