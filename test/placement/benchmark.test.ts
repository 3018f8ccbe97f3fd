/** The benchmark itself, on small clusters: what it runs, what it concludes, what it draws. */
import { describe, expect, test } from "vitest";
import { runCell } from "../../bench/placement/cell.ts";
import { plot } from "../../bench/placement/plot.ts";
import { OURS, POLICY_NAMES, clientsOf } from "../../bench/placement/policies.ts";
import { findings, type Row, summarize } from "../../bench/placement/summary.ts";
import { tables } from "../../bench/placement/tables.ts";
import { isAskedAtOnce, WORKLOADS, type Workload } from "../../bench/placement/workloads.ts";

const find = (name: string): Workload => {
  const found = WORKLOADS.find((each) => each.name === name);
  if (found === undefined) throw new Error(`expected a workload, found ${name}`);
  return found;
};
const BEAM = find("beam, ample KV");

const spread = (median: number): Row["makespan"] => ({ median, min: median, max: median });

function row(policy: string, client: Row["client"], makespanS: number, prefill = 1): Row {
  return {
    policy,
    client,
    makespan: spread(makespanS / 100),
    prefill: spread(prefill),
    edges: spread(prefill),
    makespanS: spread(makespanS),
    cachedShare: spread(0.9),
    taskP99S: spread(10),
    loadMaxToMean: spread(1),
    preemptions: spread(0),
    makespansMs: new Map([[1, makespanS * 1_000]]),
  };
}

describe("the placement benchmark", () => {
  test("runs every policy with its clients over the same tasks", () => {
    const problems = 12;
    const results = POLICY_NAMES.flatMap((policy) =>
      clientsOf(policy, isAskedAtOnce(BEAM)).map((client) =>
        runCell({ workload: BEAM.name, policy, client, hosts: 2, problems, seed: 1 }),
      ),
    );
    expect(results).toHaveLength(2 * POLICY_NAMES.length - 1);
    const [first] = results;
    for (const { result } of results) {
      expect(result.tasks).toBe(problems);
      expect(result.completionTokens).toBe(first?.result.completionTokens);
      expect(result.bounds.uniqueTokens).toBe(first?.result.bounds.uniqueTokens);
    }
    const summary = summarize(BEAM, results);
    expect(summary.rows).toHaveLength(results.length);
    const scattered = summary.rows.find(({ policy }) => policy === "round robin");
    const sticky = summary.rows.find(({ policy }) => policy === "sticky least-loaded");
    expect(scattered?.prefill.median).toBeGreaterThan(3 * (sticky?.prefill.median ?? Infinity));
  });

  test("runs one client for both where everything is asked at once", () => {
    const workload = find("best-of-64");
    expect(clientsOf("round robin", isAskedAtOnce(workload))).toEqual(["arrival"]);
    const cell = { workload: workload.name, policy: "round robin", hosts: 1, problems: 3, seed: 1 } as const;
    const [once, deep] = (["arrival", "depth-first"] as const).map((client) => runCell({ ...cell, client }));
    expect(deep?.result).toEqual(once?.result);
    const rows = once === undefined ? [] : summarize(workload, [once]).rows;
    expect(rows.map(({ client }) => client)).toEqual(["arrival", "depth-first"]);
  });

  test("concludes what holds from the best baseline of each client", () => {
    const summary = (limit: Workload["limit"], ours: Row) => ({
      workload: { ...BEAM, limit },
      boundS: spread(100),
      rows: [
        ours,
        row("a", "arrival", 150),
        row("b", "arrival", 140),
        row("a", "depth-first", 120),
        row("b", "depth-first", 130),
      ],
    });
    const held = (limit: Workload["limit"], ours: Row) =>
      findings(summary(limit, ours)).map(({ found, holds }) => [found, holds]);
    expect(held("kv", row(OURS, null, 100))).toEqual([
      ["1.000", true],
      ["0.833 of a", true],
      ["1.40 times b", true],
    ]);
    expect(held("decode", row(OURS, null, 124, 1.2))).toEqual([
      ["1.200", false],
      ["1.033 of a", false],
      ["1.240", false],
    ]);
    expect(held("prefill", row(OURS, null, 121))).toEqual([
      ["1.000", true],
      ["1.008 of a", true],
    ]);
  });

  test("shows a row for each policy and client, and draws them all", async () => {
    const rows = [
      row(OURS, null, 100),
      row("round robin", "arrival", 300, 9),
      row("round robin", "depth-first", 290, 8),
    ];
    const summaries = [{ workload: BEAM, rows, boundS: spread(100) }];
    const lines = tables(summaries);
    expect(lines).toContain("makespan / lower bound");
    expect(lines.find((line) => line.startsWith("round robin, DFS"))).toMatch(/2\.90$/);
    const svg = await plot(summaries, "Placement on 2 hosts");
    expect(svg).toMatch(/^<svg /);
    for (const word of [
      "Placement on 2 hosts",
      "beam, ample KV",
      "round robin",
      "makespan / lower bound",
      "depth first",
    ])
      expect(svg).toContain(word);
    expect(svg).not.toContain("NaN");
  });
});
