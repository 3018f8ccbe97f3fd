/**
 * Memory of the coordinator and of Redis over sweeps of growing size, which must not grow with it (I6): `node bench/memory.ts`.
 * Options: `--tasks 1000,10000` (each a sweep; 100000 takes nine to fourteen minutes on two shared cores), `--svg PATH`.
 *
 * The parts are processes that run the shipped commands: a coordinator, two rollout workers that replay records and so answer at
 * once, a verification worker, a redis-server. The heap is what is live after a forced collection (over the inspector); the
 * resident set depends on when the collector runs by itself. It does not measure the workers, nor searches that keep long trees open.
 */
import { writeFileSync } from "node:fs";
import { cpus } from "node:os";
import { parseArgs } from "node:util";
import { measureSweep, type Measured, SAMPLES } from "./memory/measured-sweep.ts";
import { plot } from "./memory/plot.ts";

/** Where samples are taken, of the tasks settled. */
const SHARES = Array.from({ length: 20 }, (_, n) => (n + 0.5) / 20);
const QUARTILES = [0.25, 0.5, 0.75];

const { values } = parseArgs({
  options: { tasks: { type: "string", default: "1000,10000" }, svg: { type: "string" } },
});
const sizes = values.tasks.split(",").map((text) => {
  const size = Number(text);
  if (!Number.isSafeInteger(size) || size < 100)
    throw new Error(`--tasks: expected whole numbers from 100, found ${JSON.stringify(text)}`);
  return size;
});
const title = `${cpus().length} x ${cpus()[0]?.model ?? "unknown"}, Node ${process.version}; best-of-${SAMPLES}, replayed`;
const all: Measured[] = [];
for (const tasks of sizes) {
  all.push(await measureSweep(tasks, SHARES));
  report(all[all.length - 1]);
}
console.log(`\nnode bench/memory.ts --tasks ${values.tasks}; ${title}`);
console.table(all.flatMap(rowsOf));
if (values.svg !== undefined) writeFileSync(values.svg, await plot(all));

function report(measured: Measured | undefined): void {
  if (measured === undefined) return;
  const { tasks, seconds, runDirectoryBytes } = measured;
  const rate = (tasks / seconds).toFixed(0);
  console.log(
    `${tasks} tasks: ${seconds.toFixed(0)} s, ${rate} tasks/s, ${mib(runDirectoryBytes)} MiB of rows`,
  );
}

/** Before the sweep, at its quartiles, and after its end. */
function rowsOf({ tasks, samples }: Measured): readonly Readonly<Record<string, string | number>>[] {
  const between = samples.slice(1, -1);
  const nearest = (share: number) =>
    between.toSorted((a, b) => Math.abs(a.settled - share * tasks) - Math.abs(b.settled - share * tasks))[0];
  const picked = [samples[0], ...QUARTILES.map(nearest), samples.at(-1)];
  const names = ["before", "25%", "50%", "75%", "after"];
  return picked.flatMap((sample, n) =>
    sample === undefined
      ? []
      : [
          {
            tasks,
            at: names[n] ?? "",
            "heap MiB": mib(sample.heapBytes),
            "external MiB": mib(sample.externalBytes),
            "resident MiB": mib(sample.rssBytes),
            "Redis MiB": mib(sample.redisBytes),
            "Redis keys": sample.redisKeys,
          },
        ],
  );
}

function mib(bytes: number): string {
  return (bytes / 1024 / 1024).toFixed(1);
}
