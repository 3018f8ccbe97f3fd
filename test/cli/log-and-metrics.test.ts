import { existsSync } from "node:fs";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { createLateSink, createLog } from "../../services/runtime/log.ts";
import { createMetrics, parseAddress, serveMetrics } from "../../services/runtime/metrics.ts";

function logTo(lines: string[]) {
  return createLog({ name: "test", level: "debug", stream: { write: (line) => void lines.push(line) } });
}

describe("a log", () => {
  test("writes an event with its fields, its level by name and the time", () => {
    const lines: string[] = [];
    logTo(lines).child({ sweep: "s" }).info({ task: "a/b" }, "placed");
    expect(JSON.parse(lines[0] ?? "")).toMatchObject({
      level: "info",
      name: "test",
      sweep: "s",
      task: "a/b",
      event: "placed",
      time: expect.any(String),
    });
  });

  test.skipIf(!existsSync("/dev/full"))("costs no work when its disk is full", () => {
    const log = createLog({ name: "test", file: "/dev/full" });
    const sink = createLateSink();
    sink.open("/dev/full");
    for (let n = 0; n < 3; n += 1) {
      expect(() => log.error({ n }, "not_written")).not.toThrow();
      expect(() => sink.write(`${n}\n`)).not.toThrow();
    }
  });

  test("cuts a field that would make a line nobody reads", () => {
    const lines: string[] = [];
    logTo(lines).warn({ text: "x".repeat(100_000) }, "long");
    expect(lines[0]?.length).toBeLessThan(5_000);
  });

  test("holds its lines until it is known where they go", async () => {
    const directory = await mkdtemp(join(tmpdir(), "coppice-log-"));
    const sink = createLateSink();
    const log = createLog({ name: "test", stream: sink });
    log.info({}, "early");
    sink.open(join(directory, "attempt-1", "run.log"));
    log.info({}, "late");
    const lines = (await readFile(join(directory, "attempt-1", "run.log"), "utf8")).trim().split("\n");
    expect(lines.map((line) => (JSON.parse(line) as { event: string }).event)).toEqual(["early", "late"]);
    await rm(directory, { recursive: true });
  });
});

describe("metrics", () => {
  test("are served as Prometheus reads them, with the state of health", async () => {
    const metrics = createMetrics();
    let complaint: string | null = null;
    const server = await serveMetrics({ metrics, address: "127.0.0.1:0", complaint: () => complaint });
    metrics
      .counter({ name: "coppice_rollouts_total", about: "Rollouts.", labels: ["host"] })
      .add(3, { host: "gpu1" });
    metrics
      .counter({ name: "coppice_rollouts_total", about: "Rollouts.", labels: ["host"] })
      .add(1, { host: "gpu1" });
    const depth = metrics.gauge({ name: "coppice_depth", about: "Depth." });
    metrics.beforeScrape(() => depth.set(7));
    metrics.addText(() => "coppice_extra 1");
    const text = await (await fetch(`http://${server.address}/metrics`)).text();
    expect(text).toContain('coppice_rollouts_total{host="gpu1"} 4');
    expect(text).toContain("coppice_depth 7");
    expect(text).toContain("coppice_extra 1");
    expect((await fetch(`http://${server.address}/healthz`)).status).toBe(200);
    complaint = "Redis is down";
    const sick = await fetch(`http://${server.address}/healthz`);
    expect([sick.status, await sick.text()]).toEqual([503, "Redis is down\n"]);
    expect((await fetch(`http://${server.address}/other`)).status).toBe(404);
    expect((await fetch(`http://${server.address}/metrics`, { method: "POST" })).status).toBe(405);
    await expect(serveMetrics({ metrics, address: server.address })).rejects.toThrow(
      `cannot listen on ${server.address}`,
    );
    await server.close();
  });

  test("an address is host and port; without a host it is loopback", () => {
    expect(parseAddress("[::1]:9090")).toEqual({ host: "::1", port: 9090 });
    expect(parseAddress(":9090")).toEqual({ host: "127.0.0.1", port: 9090 });
    for (const wrong of ["", "9090", "host", "host:x", "host:99999"])
      expect(() => parseAddress(wrong)).toThrow("expected HOST:PORT");
  });
});
