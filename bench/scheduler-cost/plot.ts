/** What a scheduler's asks cost over the number of live nodes, as a picture: microseconds an ask by operation, and bytes a node. */
import { parse, View } from "vega";
import { compile, type TopLevelSpec } from "vega-lite";

export interface Point {
  readonly nodes: number;
  readonly hosts: number;
  /** Microseconds an ask: median and range of the rounds. */
  readonly us: { readonly median: number; readonly min: number; readonly max: number };
  readonly bytesPerNode: number;
  /** Microseconds an ask in each operation. */
  readonly parts: Readonly<Record<string, number>>;
}

const WIDTH = 300;
const HEIGHT = 220;

/** The SVG's text. */
export async function plot(points: readonly Point[], title: string): Promise<string> {
  const { spec } = compile(chart(points, title));
  const view = new View(parse(spec), { renderer: "none" });
  try {
    return (await view.toSVG()).replaceAll(/\d+\.\d{3,}/g, (number) => Number(number).toFixed(2));
  } finally {
    view.finalize();
  }
}

function chart(points: readonly Point[], title: string): TopLevelSpec {
  const x = {
    field: "nodes",
    type: "quantitative",
    title: "live tree nodes (hosts: 1 for 1,000)",
    scale: { type: "log", nice: false, padding: 12 },
    axis: { values: points.map(({ nodes }) => nodes), format: ".2~s" },
  };
  const y = (field: string, label: string): object => ({
    field,
    type: "quantitative",
    title: label,
    scale: { zero: true },
  });
  const parts = points.flatMap(({ nodes, parts: of }) =>
    Object.entries(of).map(([operation, us]) => ({ nodes, operation, us })),
  );
  const totals = points.map(({ nodes, us, bytesPerNode }) => ({
    nodes,
    operation: "all",
    us: us.median,
    min: us.min,
    max: us.max,
    bytesPerNode,
  }));
  const color = { field: "operation", type: "nominal", title: null, sort: ["all"] };
  return {
    $schema: "https://vega.github.io/schema/vega-lite/v6.json",
    title: { text: title, anchor: "start", fontSize: 14 },
    background: "white",
    hconcat: [
      {
        width: WIDTH,
        height: HEIGHT,
        layer: [
          {
            data: { values: totals },
            mark: { type: "rule", strokeWidth: 1.5 },
            encoding: { x, y: y("min", "processor time an ask, µs"), y2: { field: "max" }, color },
          },
          {
            data: { values: [...totals, ...parts] },
            mark: { type: "line", point: true },
            encoding: { x, y: y("us", "processor time an ask, µs"), color },
          },
        ],
      },
      {
        width: WIDTH,
        height: HEIGHT,
        data: { values: totals },
        mark: { type: "line", point: true },
        encoding: { x, y: y("bytesPerNode", "bytes a live node") },
      },
    ],
    config: { aria: false, view: { stroke: "#d5d9dd" } },
  } as TopLevelSpec; // Vega-Lite's type is as wide as the whole language.
}
