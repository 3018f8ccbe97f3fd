/**
 * What scheduling costs: the production `Scheduler` under a drive (bench/scheduler-cost/drive.ts) at 10,000, 100,000 and a million
 * live tree nodes on 10, 100 and 1,000 hosts. `node bench/scheduler-cost.ts [--quick] [--svg PATH]`; --quick leaves out the largest.
 *
 * Linear in practice is: the time of an ask does not depend on the size. An ask is sent, answered and learned from; the time
 * includes the opening, placing and felling of its tree (of 80 asks) and the drive's own. It is processor time, so what else the
 * machine does shows little in it. Memory is what is free once the scheduler is let go, over its live nodes.
 *
 * Does not measure: lanes, ledger, journal; strategies, whose asks are made beforehand here.
 */
import { writeFileSync } from "node:fs";
import { cpus } from "node:os";
import { parseArgs } from "node:util";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { createRandom } from "../services/runtime/random.ts";
import { Drive, OPERATIONS } from "./scheduler-cost/drive.ts";
import { plot, type Point } from "./scheduler-cost/plot.ts";

const { values } = parseArgs({
  options: { quick: { type: "boolean", default: false }, svg: { type: "string" } },
});
const SIZES = [
  { nodes: 10_000, hosts: 10 },
  { nodes: 100_000, hosts: 100 },
  ...(values.quick ? [] : [{ nodes: 1_000_000, hosts: 1_000 }]),
];
/** Asks answered before it is measured, for each node: until the hosts' caches are full. */
const FILL = 1.5;
const ASKS = 40_000;
const ROUNDS = 5;

setFlagsFromString("--expose-gc");
const collect: unknown = runInNewContext("gc");

function bytesUsed(): number {
  if (typeof collect === "function") collect();
  const { heapUsed, arrayBuffers } = process.memoryUsage();
  return heapUsed + arrayBuffers;
}

interface Measured extends Point {
  readonly inFlight: number;
  readonly openTrees: number;
  readonly decisionsPerS: { readonly median: number; readonly min: number; readonly max: number };
}

function measure({ nodes, hosts }: { readonly nodes: number; readonly hosts: number }): Measured {
  const drive = new Drive({ nodes, hosts, random: createRandom(1) });
  drive.answer(Math.ceil(nodes * FILL));
  const us: number[] = [];
  const decisionsPerS: number[] = [];
  for (let round = 0; round < ROUNDS; round += 1) {
    const before = drive.decisions;
    const spent = processorUs(() => drive.answer(ASKS));
    us.push(spent / ASKS);
    decisionsPerS.push(((drive.decisions - before) / spent) * 1e6);
  }
  drive.timeBy(() => performance.now());
  const total = processorUs(() => drive.answer(ASKS)) / ASKS;
  // Shares of the time that passes, of processor time: the machine may do other things meanwhile.
  const passed = OPERATIONS.reduce((sum, operation) => sum + drive.timesMs[operation], 0);
  const parts = OPERATIONS.map(
    (operation) => [operation, (drive.timesMs[operation] / passed) * total] as const,
  );
  const { inFlight, openTrees, liveNodes } = drive;
  const withIt = bytesUsed();
  drive.scheduler = null;
  return {
    nodes: liveNodes,
    hosts,
    us: spread(us),
    decisionsPerS: spread(decisionsPerS),
    bytesPerNode: (withIt - bytesUsed()) / liveNodes,
    parts: Object.fromEntries(parts),
    inFlight,
    openTrees,
  };
}

function processorUs(work: () => void): number {
  const start = process.cpuUsage();
  work();
  const { user, system } = process.cpuUsage(start);
  return user + system;
}

function spread(of: readonly number[]): Point["us"] {
  const sorted = of.toSorted((a, b) => a - b);
  return { median: sorted[sorted.length >> 1] ?? 0, min: sorted[0] ?? 0, max: sorted.at(-1) ?? 0 };
}

const whole = (value: number): string => Math.round(value).toLocaleString("en");

console.log(`node bench/scheduler-cost.ts ${process.argv.slice(2).join(" ")}`.trimEnd());
const machine = `${cpus().length} x ${cpus()[0]?.model ?? "unknown processor"}, Node ${process.version}`;
console.log(`${machine}; ${ROUNDS} rounds of ${whole(ASKS)} asks, median (lowest to highest)`);
const measured: Measured[] = [];
for (const size of SIZES) {
  const found = measure(size);
  measured.push(found);
  console.log(
    `${whole(found.nodes)} nodes, ${whole(found.hosts)} hosts: ${found.us.median.toFixed(1)} µs an ask`,
  );
}
console.table(
  Object.fromEntries(
    measured.map(({ nodes, hosts, us, decisionsPerS, bytesPerNode, inFlight, openTrees }) => [
      `${whole(nodes)} nodes, ${whole(hosts)} hosts`,
      {
        "µs an ask": `${us.median.toFixed(1)} (${us.min.toFixed(1)} to ${us.max.toFixed(1)})`,
        "asks/s": whole(1e6 / us.median),
        "decisions/s": `${whole(decisionsPerS.median)} (${whole(decisionsPerS.min)} to ${whole(decisionsPerS.max)})`,
        "bytes/node": whole(bytesPerNode),
        "in flight": whole(inFlight),
        "open trees": whole(openTrees),
      },
    ]),
  ),
);
console.log("µs an ask, by what the runner calls:");
console.table(
  Object.fromEntries(
    measured.map(({ nodes, parts }) => [
      `${whole(nodes)} nodes`,
      Object.fromEntries(Object.entries(parts).map(([name, us]) => [name, us.toFixed(2)])),
    ]),
  ),
);
if (values.svg !== undefined) {
  writeFileSync(values.svg, await plot(measured, `The scheduler's cost over three sizes (${machine})`));
  console.log(`wrote ${values.svg}`);
}
