/** The benchmark's tables: a column for each workload, a row for each policy with its client. */
import { alignColumns } from "../../services/cli/summary-table.ts";
import type { Finding, Row, Spread, WorkloadSummary } from "./summary.ts";

interface Table {
  readonly title: string;
  readonly pick: (row: Row) => Spread;
  readonly digits: number;
}

const TABLES: readonly Table[] = [
  { title: "makespan / lower bound", pick: ({ makespan }) => makespan, digits: 2 },
  {
    title: "prefill tokens / lower bound (blocks, tails, a root for each host)",
    pick: ({ prefill }) => prefill,
    digits: 2,
  },
  { title: "prefill tokens / (U + (H - 1) * root)", pick: ({ edges }) => edges, digits: 2 },
  { title: "cached share of prompt tokens", pick: ({ cachedShare }) => cachedShare, digits: 2 },
  {
    title: "p99 of a task, from its first request to its end, seconds",
    pick: ({ taskP99S }) => taskP99S,
    digits: 0,
  },
  {
    title: "prefill and completion tokens of the busiest host / mean",
    pick: ({ loadMaxToMean }) => loadMaxToMean,
    digits: 2,
  },
  { title: "preemptions", pick: ({ preemptions }) => preemptions, digits: 0 },
];

export function tables(summaries: readonly WorkloadSummary[]): readonly string[] {
  return TABLES.flatMap((table) => ["", table.title, ...tableOf(table, summaries)]);
}

/** What the project aims at, workload by workload, and what was found. */
export function aims(findings: readonly Finding[]): readonly string[] {
  const rows = findings.map(({ workload, promise, found, holds }) => [
    workload,
    promise,
    found,
    holds ? "met" : "not met",
  ]);
  return alignColumns([["workload", "aim", "found", ""], ...rows]);
}

function tableOf({ title, pick, digits }: Table, summaries: readonly WorkloadSummary[]): readonly string[] {
  const labels = summaries[0]?.rows.map(labelOf) ?? [];
  const header = ["", ...summaries.map(({ workload }) => workload.name)];
  const rows = labels.map((label) => [
    label,
    ...summaries.map(({ rows: all }) => {
      const row = all.find((each) => labelOf(each) === label);
      return row === undefined ? "-" : spreadText(pick(row), digits);
    }),
  ]);
  if (title.startsWith("makespan"))
    rows.push(["the bound, seconds", ...summaries.map(({ boundS }) => spreadText(boundS, 0))]);
  return alignColumns([header, ...rows]);
}

export function labelOf({ policy, client }: Pick<Row, "policy" | "client">): string {
  return client === null ? policy : `${policy}, ${client === "arrival" ? "FIFO" : "DFS"}`;
}

/** The median, and half of what lies between the least and the most. */
function spreadText({ median, min, max }: Spread, digits: number): string {
  const half = ((max - min) / 2).toFixed(digits);
  return Number(half) === 0 ? median.toFixed(digits) : `${median.toFixed(digits)}±${half}`;
}
