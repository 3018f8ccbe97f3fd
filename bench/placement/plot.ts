/**
 * The benchmark as a picture: two dots plots a workload, makespan and prefill tokens over their lower bounds.
 */
import { parse, View } from "vega";
import { compile, type TopLevelSpec } from "vega-lite";
import { POLICY_NAMES } from "./policies.ts";
import type { Row, WorkloadSummary } from "./summary.ts";

const WIDTH = 330;
const ROW_HEIGHT = 15;
const CLIENTS = {
  none: "the scheduler",
  arrival: "in order of arrival",
  "depth-first": "depth first",
} as const;
const COLORS = ["#c0392b", "#9aa5b1", "#1f5f8b"];

interface Dot {
  readonly workload: string;
  readonly policy: string;
  readonly client: string;
  readonly makespan: number;
  readonly makespanMin: number;
  readonly makespanMax: number;
  readonly prefill: number;
  readonly prefillMin: number;
  readonly prefillMax: number;
}

/** The SVG's text. @param title What was run, on how many hosts. */
export async function plot(summaries: readonly WorkloadSummary[], title: string): Promise<string> {
  const { spec } = compile(chart(summaries, title));
  const view = new View(parse(spec), { renderer: "none" });
  try {
    // Hundredths of a pixel are enough.
    return (await view.toSVG()).replaceAll(/\d+\.\d{3,}/g, (number) => Number(number).toFixed(2));
  } finally {
    view.finalize();
  }
}

function chart(summaries: readonly WorkloadSummary[], title: string): TopLevelSpec {
  return {
    $schema: "https://vega.github.io/schema/vega-lite/v6.json",
    title: { text: title, anchor: "start", fontSize: 15 },
    background: "white",
    spacing: 22,
    resolve: { scale: { color: "shared" } },
    vconcat: summaries.map(({ workload, rows }) => ({
      title: { text: `${workload.name}: ${workload.about}`, anchor: "start", fontSize: 12 },
      spacing: 12,
      data: { values: rows.map((row) => dotOf(workload.name, row)) },
      hconcat: [
        panel("makespan", "makespan / lower bound"),
        panel("prefill", "prefill tokens / lower bound"),
      ],
    })),
    config: {
      // A picture of some hundred dots: a description of each would make it ten times as large.
      aria: false,
      axis: { labelFontSize: 10, titleFontSize: 11 },
      view: { stroke: "#d5d9dd" },
    },
  } as TopLevelSpec;
}

/** @returns A Vega-Lite view, whose type is as wide as the whole language. */
function panel(field: "makespan" | "prefill", title: string): object {
  const names = POLICY_NAMES;
  return {
    width: WIDTH,
    height: { step: ROW_HEIGHT },
    encoding: {
      y: {
        field: "policy",
        type: "nominal",
        sort: names,
        title: null,
        axis: { labels: field === "makespan", ticks: false, grid: true, labelLimit: 200 },
      },
      color: {
        field: "client",
        type: "nominal",
        title: "client",
        scale: { domain: Object.values(CLIENTS), range: COLORS },
        legend: { orient: "top", symbolType: "circle" },
      },
    },
    layer: [
      {
        mark: { type: "rule", strokeWidth: 1.5 },
        encoding: { x: { field: `${field}Min`, ...axis(title) }, x2: { field: `${field}Max` } },
      },
      {
        mark: { type: "point", filled: true, size: 55, opacity: 0.9 },
        encoding: { x: { field, ...axis(title) } },
      },
    ],
  };
}

function axis(title: string): object {
  return {
    type: "quantitative",
    title,
    scale: { type: "log", nice: false, padding: 6, domainMin: 0.93 },
    axis: { format: "~g", tickCount: 6 },
  };
}

function dotOf(workload: string, row: Row): Dot {
  const { makespan, prefill, policy, client } = row;
  return {
    workload,
    policy,
    client: CLIENTS[client ?? "none"],
    makespan: makespan.median,
    makespanMin: makespan.min,
    makespanMax: makespan.max,
    prefill: prefill.median,
    prefillMin: prefill.min,
    prefillMax: prefill.max,
  };
}
