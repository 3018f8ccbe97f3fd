/**
 * Placement policies over the workloads of bench/placement/workloads.ts, on a virtual cluster: `node
 * bench/placement.ts`. Options: `--hosts 8,64`, `--seeds 3`, `--workload NAME`, `--policy NAME` (both may be
 * repeated), `--problems N` (to a host), `--all` (every policy), `--svg PATH`, `--threads N`, `--check` (exit
 * status 1 when an aim is not met).
 *
 * It does not measure a GPU: hosts are the engine model of workers/rollout/drivers/simulated with the profile
 * 8b-h100, networks take no time, routers' metrics are fresh. Makespan and prefill tokens are compared with
 * lower bounds (services/planner/lower-bound.ts).
 */
import { writeFileSync } from "node:fs";
import { availableParallelism, cpus } from "node:os";
import { parseArgs } from "node:util";
import { suggestion } from "../services/runtime/nearest.ts";
import type { Cell } from "./placement/cell.ts";
import { plot } from "./placement/plot.ts";
import { clientsOf, MAIN_POLICY_NAMES, POLICY_NAMES, USUAL_POLICY_NAMES } from "./placement/policies.ts";
import { runCells } from "./placement/pool.ts";
import { findings, summarize } from "./placement/summary.ts";
import { aims, tables } from "./placement/tables.ts";
import { isAskedAtOnce, WORKLOADS } from "./placement/workloads.ts";

/** Problems to a host, by the size of the cluster: enough that hosts are full for most of the time. */
const PROBLEMS_PER_HOST: readonly (readonly [hostsMax: number, problems: number])[] = [
  [16, 24],
  [128, 12],
  [Infinity, 4],
];
/** Clusters up to this size are run with every policy and several seeds. */
const SMALL_HOSTS_MAX = 16;
const SEEDS = 2;

const { values } = parseArgs({
  options: {
    hosts: { type: "string", default: "8" },
    seeds: { type: "string" },
    problems: { type: "string" },
    threads: { type: "string", default: String(availableParallelism()) },
    workload: { type: "string", multiple: true },
    policy: { type: "string", multiple: true },
    all: { type: "boolean", default: false },
    svg: { type: "string" },
    check: { type: "boolean", default: false },
  },
});

function wholeNumber(name: string, text: string): number {
  const value = Number(text);
  if (!Number.isSafeInteger(value) || value < 1)
    throw new Error(`--${name}: expected a whole number from 1, found ${JSON.stringify(text)}`);
  return value;
}

function chosen(
  name: string,
  wanted: readonly string[] | undefined,
  known: readonly string[],
): readonly string[] {
  for (const each of wanted ?? [])
    if (!known.includes(each))
      throw new Error(`--${name}: found ${JSON.stringify(each)}${suggestion(each, known)}`);
  return wanted ?? known;
}

/** @returns Whether every aim is met. */
async function run(hosts: number): Promise<boolean> {
  const isSmall = hosts <= SMALL_HOSTS_MAX;
  const names = chosen(
    "workload",
    values.workload,
    WORKLOADS.map(({ name }) => name),
  );
  const usual = values.all ? POLICY_NAMES : isSmall ? USUAL_POLICY_NAMES : MAIN_POLICY_NAMES;
  const policies = values.policy === undefined ? usual : chosen("policy", values.policy, POLICY_NAMES);
  const seeds = values.seeds === undefined ? (isSmall ? SEEDS : 1) : wholeNumber("seeds", values.seeds);
  const perHost =
    values.problems === undefined
      ? (PROBLEMS_PER_HOST.find(([hostsMax]) => hosts <= hostsMax)?.[1] ?? 1)
      : wholeNumber("problems", values.problems);
  const workloads = WORKLOADS.filter(({ name }) => names.includes(name));
  const cells: readonly Cell[] = workloads.flatMap((workload) =>
    policies.flatMap((policy) =>
      clientsOf(policy, isAskedAtOnce(workload)).flatMap((client) =>
        Array.from({ length: seeds }, (_, i) => {
          return {
            workload: workload.name,
            policy,
            client,
            hosts,
            problems: Math.ceil(hosts * perHost * workload.problemsFactor),
            seed: i + 1,
          };
        }),
      ),
    ),
  );
  console.log(
    `\n${hosts} hosts (8b-h100), ${perHost} problems to a host, ${seeds} seeds, ${cells.length} runs`,
  );
  for (const { name, about, problemsFactor } of workloads) {
    const more = problemsFactor === 1 ? "" : `; ${problemsFactor} times as many problems`;
    console.log(`  ${name}: ${about}${more}`);
  }
  const startMs = performance.now();
  const onDone = (done: number): void => {
    if (process.stderr.isTTY) process.stderr.write(`\r${done} of ${cells.length} runs`);
  };
  const results = await runCells(cells, { threads: wholeNumber("threads", values.threads), onDone });
  if (process.stderr.isTTY) process.stderr.write("\r");
  const summaries = workloads.map((workload) => summarize(workload, results));
  for (const line of tables(summaries)) console.log(line);
  const found = summaries.flatMap(findings);
  console.log("");
  for (const line of aims(found)) console.log(line);
  console.log(
    `${found.filter(({ holds }) => holds).length} of ${found.length} aims met; ${seconds(startMs)} s`,
  );
  if (values.svg !== undefined) {
    const title = `Placement on ${hosts} hosts (8B on an H100, simulated), median and range of ${seeds} seeds`;
    writeFileSync(values.svg, await plot(summaries, title));
    console.log(`wrote ${values.svg}`);
  }
  return found.every(({ holds }) => holds);
}

function seconds(sinceMs: number): string {
  return ((performance.now() - sinceMs) / 1_000).toFixed(0);
}

const machine = `${cpus().length} x ${cpus()[0]?.model ?? "unknown processor"}, Node ${process.version}`;
console.log(`node bench/placement.ts ${process.argv.slice(2).join(" ")}`.trimEnd());
console.log(`${machine}; simulated time does not depend on the machine; ± is half of the range over seeds`);
let isMet = true;
for (const hosts of values.hosts.split(",")) isMet = (await run(wholeNumber("hosts", hosts))) && isMet;
if (values.check && !isMet) process.exitCode = 1;
