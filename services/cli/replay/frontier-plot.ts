/** The frontier as a picture: coverage over the rollouts that were spent, a line for each allocator. Plain SVG: nothing to install. */
import type { Point } from "./frontier.ts";

const WIDTH = 640;
const HEIGHT = 400;
const LEFT = 60;
const RIGHT = 170;
const TOP = 40;
const BOTTOM = 50;
const COLORS = ["#1f5f8b", "#c0392b", "#2e8b57", "#b8860b", "#6a4c93", "#5c6670", "#d2691e", "#008080"];
const TICKS = 5;

/** @param title What was replayed. */
export function plotFrontier(points: readonly Point[], title: string): string {
  const coverages = points.flatMap(({ coverage }) => [coverage.min, coverage.max]);
  const [low, high] = [Math.min(...coverages), Math.max(...coverages)];
  const margin = Math.max(0.01, (high - low) * 0.1);
  const x = scale([0, Math.max(1, ...points.map(({ rollouts }) => rollouts))], [LEFT, WIDTH - RIGHT]);
  const y = scale([Math.max(0, low - margin), Math.min(1, high + margin)], [HEIGHT - BOTTOM, TOP]);
  const lines = [...Map.groupBy(points, ({ allocator }) => allocator)].map(([allocator, own], i) =>
    line({ allocator, points: own, color: COLORS[i % COLORS.length] ?? "", row: i }, { x, y }),
  );
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" width="${WIDTH}" height="${HEIGHT}" viewBox="0 0 ${WIDTH} ${HEIGHT}" font-family="sans-serif" font-size="11">`,
    `<rect width="100%" height="100%" fill="white"/>`,
    text({ x: LEFT, y: 22, size: 14 }, title),
    ...x.ticks.map((at) =>
      tick(x.at(at), HEIGHT - BOTTOM + 16, "middle", Math.round(at).toLocaleString("en")),
    ),
    ...y.ticks.map((at) => tick(LEFT - 6, y.at(at) + 4, "end", `${(at * 100).toFixed(1)}%`)),
    ...y.ticks.map((at) => rule(LEFT, y.at(at), WIDTH - RIGHT, y.at(at))),
    text({ x: (LEFT + WIDTH - RIGHT) / 2 - 24, y: HEIGHT - 12, size: 11 }, "rollouts"),
    text({ x: 8, y: TOP - 8, size: 11 }, "coverage"),
    ...lines,
    `</svg>`,
    "",
  ].join("\n");
}

interface Scale {
  readonly ticks: readonly number[];
  at(value: number): number;
}

function scale([from, to]: readonly [number, number], [start, end]: readonly [number, number]): Scale {
  const span = to - from === 0 ? 1 : to - from;
  return {
    ticks: Array.from({ length: TICKS + 1 }, (_, i) => from + (span * i) / TICKS),
    at: (value) => start + ((value - from) / span) * (end - start),
  };
}

function line(
  {
    allocator,
    points,
    color,
    row,
  }: {
    readonly allocator: string;
    readonly points: readonly Point[];
    readonly color: string;
    readonly row: number;
  },
  { x, y }: { readonly x: Scale; readonly y: Scale },
): string {
  const places = points.map(({ rollouts, coverage }) => `${px(x.at(rollouts))},${px(y.at(coverage.mean))}`);
  const spreads = points.map(({ rollouts, coverage }) => {
    const at = px(x.at(rollouts));
    return `<line x1="${at}" x2="${at}" y1="${px(y.at(coverage.min))}" y2="${px(y.at(coverage.max))}" stroke="${color}" opacity="0.35"/>`;
  });
  const dots = places.map((place) => {
    const [cx, cy] = place.split(",");
    return `<circle cx="${cx}" cy="${cy}" r="3" fill="${color}"/>`;
  });
  const legend = TOP + 12 + row * 18;
  return [
    `<polyline points="${places.join(" ")}" fill="none" stroke="${color}" stroke-width="1.5"/>`,
    ...spreads,
    ...dots,
    `<rect x="${WIDTH - RIGHT + 14}" y="${legend - 9}" width="10" height="10" fill="${color}"/>`,
    text({ x: WIDTH - RIGHT + 30, y: legend, size: 11 }, allocator),
  ].join("\n");
}

function tick(x: number, y: number, anchor: "middle" | "end", label: string): string {
  return `<text x="${px(x)}" y="${px(y)}" text-anchor="${anchor}" fill="#5c6670">${label}</text>`;
}

function rule(x1: number, y1: number, x2: number, y2: number): string {
  return `<line x1="${px(x1)}" y1="${px(y1)}" x2="${px(x2)}" y2="${px(y2)}" stroke="#e3e6e9"/>`;
}

function text(at: { readonly x: number; readonly y: number; readonly size: number }, label: string): string {
  const escaped = label.replaceAll("&", "&amp;").replaceAll("<", "&lt;");
  return `<text x="${px(at.x)}" y="${px(at.y)}" font-size="${at.size}">${escaped}</text>`;
}

/** Tenths of a pixel are enough. */
function px(value: number): string {
  return value.toFixed(1);
}
