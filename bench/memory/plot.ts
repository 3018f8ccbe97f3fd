/** The measurement as a picture: memory over the tasks settled, a panel for the coordinator and one for Redis. */
import { parse, View } from "vega";
import { compile, type TopLevelSpec } from "vega-lite";
import type { Measured } from "./measured-sweep.ts";

const WIDTH = 360;
const HEIGHT = 200;
const MIB = 1024 * 1024;

/** The SVG's text. */
export async function plot(all: readonly Measured[]): Promise<string> {
  const { spec } = compile(chart(all));
  const view = new View(parse(spec), { renderer: "none" });
  try {
    // Hundredths of a pixel are enough.
    return (await view.toSVG()).replaceAll(/\d+\.\d{3,}/g, (number) => Number(number).toFixed(2));
  } finally {
    view.finalize();
  }
}

function chart(all: readonly Measured[]): TopLevelSpec {
  const points = all.flatMap(({ tasks, samples }) =>
    // What is of before and after stands in the table: a share of the tasks settled is what the axis can show.
    samples.slice(1, -1).map(({ settled, heapBytes, rssBytes, redisBytes }) => ({
      sweep: `${tasks.toLocaleString("en")} tasks`,
      tasks,
      share: settled / tasks,
      heap: heapBytes / MIB,
      resident: rssBytes / MIB,
      redis: redisBytes / MIB,
    })),
  );
  const sweeps = all.map(({ tasks }) => `${tasks.toLocaleString("en")} tasks`);
  return {
    $schema: "https://vega.github.io/schema/vega-lite/v6.json",
    title: { text: "Memory of a sweep, by its size", anchor: "start", fontSize: 15 },
    background: "white",
    data: { values: points },
    spacing: 24,
    hconcat: [
      panel("heap", "coordinator: live heap (MiB)", sweeps),
      panel("redis", "Redis: memory used (MiB)", sweeps),
    ],
    config: {
      aria: false,
      axis: { labelFontSize: 10, titleFontSize: 11 },
      view: { stroke: "#d5d9dd" },
      legend: { orient: "top", title: null, symbolType: "stroke", symbolStrokeWidth: 3 },
    },
  } as TopLevelSpec;
}

/** @returns A Vega-Lite view, whose type is as wide as the whole language. */
function panel(field: "heap" | "redis", title: string, sweeps: readonly string[]): object {
  return {
    width: WIDTH,
    height: HEIGHT,
    mark: { type: "line", point: { size: 18 }, strokeWidth: 2 },
    encoding: {
      x: { field: "share", type: "quantitative", title: "tasks settled", axis: { format: "%" } },
      y: { field, type: "quantitative", title, scale: { zero: true } },
      color: {
        field: "sweep",
        type: "nominal",
        sort: sweeps,
        scale: { domain: sweeps, range: ["#9aa5b1", "#1f5f8b", "#c0392b", "#2e7d32"] },
      },
    },
  };
}
