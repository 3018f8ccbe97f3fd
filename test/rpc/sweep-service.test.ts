import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { Sweeps } from "../../proto/gen/coppice/v1/sweeps_pb.ts";
import { connectSweeps } from "../../services/cli/sweep-client.ts";
import type { SweepClient } from "../../services/cli/sweep-client.ts";
import type { Coordinator, SweepRun } from "../../services/coordinator/coordinator-api.ts";
import type { Summary, SweepEvent, SweepState, SweepStatus } from "../../services/coordinator/status.ts";
import { createSweepService } from "../../services/coordinator/service/sweep-service.ts";
import type { Problem, Sweep } from "../../services/coordinator/sweep.ts";
import { systemClock } from "../../services/runtime/clock.ts";
import { CoppiceError } from "../../services/runtime/errors.ts";
import { createRandom } from "../../services/runtime/random.ts";
import { connectRpc, serveRpc } from "../../services/runtime/rpc.ts";
import type { RpcServer } from "../../services/runtime/rpc.ts";
import { TestDesk } from "../conformance/link.ts";
import { NO_CEILINGS } from "../support/budget.ts";

const UNKNOWN_USAGE = {
  prompt_tokens: null,
  cached_tokens: null,
  completion_tokens: null,
  verifier_tokens: null,
  pruned_tokens: null,
  cancelled_tokens: null,
  retried_tokens: null,
  computed_tokens: null,
  gpu_seconds: null,
  flops: null,
};

/** A sweep that does what the test tells it. */
class TestRun implements SweepRun {
  readonly id: string;
  state: SweepState = "running";
  rollouts = 0;
  cancelledFor: string | null = null;
  readonly #ended = Promise.withResolvers<Summary>();
  readonly ended = this.#ended.promise;
  readonly listeners = new Set<(event: SweepEvent) => void>();

  constructor(id: string) {
    this.id = id;
    this.ended.catch(() => {});
  }

  status(): SweepStatus {
    return {
      id: this.id,
      name: "game24",
      state: this.state,
      tasks: { total: 5, queued: 1, running: 1, completed: 1, exhausted: 1, failed: 1, cancelled: 0 },
      solved: 1,
      rollouts: this.rollouts,
      verifications: 2 ** 40,
      usage: { ...UNKNOWN_USAGE, prompt_tokens: 31, cached_tokens: 0, gpu_seconds: 0.125, flops: 3e21 },
      budget: {
        given: { ...NO_CEILINGS, rollouts: 0, usd: 0.25 },
        spent: {
          ...NO_CEILINGS,
          rollouts: 0,
          verifier_tokens: 5,
          usd: 0.000_001,
          gpu_seconds: 1.5,
          wall_ms: 12,
        },
      },
      in_flight: 3,
      failures: 0,
      failures_by_reason: { host_timeout: 1 },
      hosts: [{ id: "host-a", engine: "replay", open_tasks: 1, waiting: 2, running: 3 }],
      elapsed_ms: 12,
      output: "runs/game24",
    };
  }

  watch(listener: (event: SweepEvent) => void): () => void {
    this.listeners.add(listener);
    listener({ kind: "status", status: this.status() });
    return () => this.listeners.delete(listener);
  }

  tell(event: SweepEvent): void {
    for (const listener of this.listeners) listener(event);
  }

  end(): Summary {
    this.state = "completed";
    const budget = NO_CEILINGS;
    const summary: Summary = {
      name: "game24",
      version: "0.1.0",
      state: "completed",
      tasks: { total: 5, completed: 5, exhausted: 0, failed: 0, cancelled: 0 },
      strategies: {},
      rollouts: this.rollouts,
      failures_by_reason: {},
      hedged: 0,
      undecided: 0,
      usage: UNKNOWN_USAGE,
      budget: { given: budget, spent: budget },
      prefix: { prompt_tokens: null, computed_tokens: null, unique_tokens: null, ratio: null },
      wall_ms: 12,
    };
    this.#ended.resolve(summary);
    return summary;
  }

  fail(error: Error): void {
    this.#ended.reject(error);
  }
  pause(): void {
    this.state = "paused";
  }
  resume(): void {
    this.state = "running";
  }
  async cancel(reason: string): Promise<void> {
    this.state = "cancelled";
    this.cancelledFor = reason;
  }
  async interrupt(): Promise<void> {}
}

class TestCoordinator implements Coordinator {
  readonly desk = new TestDesk();
  readonly runs = new Map<string, TestRun>();
  problems: Problem[] = [];
  submitted: { readonly sweep: Sweep; readonly raw: object } | null = null;

  add(id = `sweep-${this.runs.size + 1}`): TestRun {
    const run = new TestRun(id);
    this.runs.set(id, run);
    return run;
  }
  async submit(
    sweep: Sweep,
    problems: Iterable<Problem> | AsyncIterable<Problem>,
    raw: { readonly given: string; readonly resolved: string },
  ): Promise<SweepRun> {
    this.submitted = { sweep, raw };
    this.problems = await Array.fromAsync(problems);
    return this.add();
  }
  async reopen(): Promise<SweepRun> {
    return this.add();
  }
  get(id: string): SweepRun | null {
    return this.runs.get(id) ?? null;
  }
  list(): readonly SweepRun[] {
    return [...this.runs.values()];
  }
  drain(): Promise<number> {
    return Promise.resolve(0);
  }

  async close(): Promise<void> {}
}

/** Only what a coordinator of this test reads. */
const SWEEP = { name: "game24", model: "tiny" } as Sweep;

function problem(index: number): Problem {
  return {
    id: `p${index}`,
    prompt: `4 5 6 ${index} é`,
    reference: index % 2 === 0 ? "24" : null,
    tests: null,
    metadata: { index },
  };
}

let coordinator: TestCoordinator;
let server: RpcServer;
let client: SweepClient;

function serve(address = "127.0.0.1:0", heldMax = 4_096): Promise<RpcServer> {
  const parseSweep = (text: string, source: string, overrides: readonly string[]): Sweep => {
    if (text.includes("wrong")) throw new CoppiceError("invalid_argument", `${source}: wrong key at line 1`);
    return { ...SWEEP, name: [text, ...overrides].join(" ") };
  };
  return serveRpc([createSweepService(coordinator, { parseSweep, limits: { heldMax, pageDefault: 2 } })], {
    address,
  });
}

function connect(address: string): SweepClient {
  return connectSweeps(address, {
    clock: systemClock,
    random: createRandom(1),
    limits: { backoffMinMs: 5, backoffMaxMs: 20 },
    rpcLimits: { redialMinMs: 5, redialMaxMs: 20 },
  });
}

beforeEach(async () => {
  coordinator = new TestCoordinator();
  server = await serve();
  client = connect(server.address);
});
afterEach(async () => {
  client.close();
  await server.close(0);
});

describe("submit", () => {
  it("brings the sweep's text and every problem to the coordinator, in order", async () => {
    const problems = Array.from({ length: 20_000 }, (_, index) => problem(index));
    const status = await client.submit({ given: "g: 1", resolved: "r: 1", overrides: ["seed=3"] }, problems);
    expect(status).toEqual(coordinator.runs.get("sweep-1")?.status());
    expect(coordinator.submitted).toMatchObject({
      sweep: { name: "r: 1 seed=3" },
      raw: { given: "g: 1", resolved: "r: 1" },
    });
    expect(coordinator.problems).toEqual(problems);
  });

  it("starts nothing when the sweep is wrong, and says what is", async () => {
    await expect(client.submit({ given: "", resolved: "wrong" }, [])).rejects.toMatchObject({
      code: "invalid_argument",
      message: expect.stringMatching(/submitted by .*wrong key at line 1/),
    });
    await expect(client.submit({ given: "", resolved: "" }, [])).rejects.toMatchObject({
      code: "invalid_argument",
      message: "sweep.resolved: required, found nothing",
    });
    expect(coordinator.runs.size).toBe(0);
  });

  it("names the line and the field of a problem that is wrong", async () => {
    const raw = connectRpc(Sweeps, { address: server.address });
    const submit = (...jsonLines: string[]) =>
      raw.call.submit(
        (async function* () {
          yield { part: { case: "sweep" as const, value: { resolved: "x" } } };
          for (const lines of jsonLines)
            yield { part: { case: "problems" as const, value: { jsonLines: lines } } };
        })(),
      );
    const good = JSON.stringify(problem(1));
    await expect(submit(`${good}\n${good}`, "{")).rejects.toMatchObject({
      code: "invalid_argument",
      message: expect.stringContaining("problems line 3: expected JSON"),
    });
    await expect(submit(`[1]`)).rejects.toMatchObject({
      message: "problems line 1: expected a JSON object, found [1]",
    });
    await expect(submit(`{"id":"a"}`)).rejects.toMatchObject({
      message: "problems line 1.prompt: expected a text, found nothing",
    });
    await expect(submit(`{"id":"a","prompt":"b","metadata":3}`)).rejects.toMatchObject({
      message: "problems line 1.metadata: expected an object, found 3",
    });
    await expect(raw.call.submit((async function* () {})())).rejects.toMatchObject({
      code: "invalid_argument",
      message: expect.stringContaining("expected sweep in the first message, found nothing"),
    });
    raw.close();
    expect(coordinator.runs.size).toBe(0);
  });

  it("passes on what the client's own problems fail with", async () => {
    const problems = (async function* (): AsyncGenerator<Problem> {
      yield problem(1);
      throw new CoppiceError("invalid_argument", "problems.jsonl:2 is not JSON");
    })();
    await expect(client.submit({ given: "", resolved: "x" }, problems)).rejects.toMatchObject({
      code: "invalid_argument",
      message: "problems.jsonl:2 is not JSON",
    });
  });
});

describe("watch", () => {
  it("begins with a status, brings every event unchanged and ends with the summary", async () => {
    const run = coordinator.add();
    const told: SweepEvent[] = [
      {
        kind: "placed",
        task: "best-of-n/p1",
        decision: "placed",
        host: "host-a",
        home: null,
        reason: "least-wait",
        skipped: 3,
      },
      {
        kind: "task",
        task: "best-of-n/p1",
        state: "completed",
        verdict: "correct",
        rollouts: 4,
        opening: { kind: "placed", host: "host-a", reason: "holds-prefix" },
      },
      { kind: "task", task: "best-of-n/p2", state: "queued", verdict: null, rollouts: 0, opening: null },
      { kind: "log", level: "warn", message: "host-a is slow" },
    ];
    const seen: SweepEvent[] = [];
    for await (const event of client.watch(run.id)) {
      if (seen.push(event) === 1) {
        for (const one of told) run.tell(one);
        run.end();
      }
    }
    expect(seen).toEqual([
      { kind: "status", status: { ...run.status(), state: "running" } },
      ...told,
      { kind: "ended", summary: await run.ended },
    ]);
  });

  it("brings the newest status only", async () => {
    const run = coordinator.add();
    const seen: SweepEvent[] = [];
    for await (const event of client.watch(run.id)) {
      if (seen.push(event) === 1) {
        for (run.rollouts = 1; run.rollouts < 1_000; run.rollouts += 1)
          run.tell({ kind: "status", status: run.status() });
      } else if (event.kind === "status") {
        expect(event.status.rollouts).toBe(1_000);
        run.end();
      }
    }
    expect(seen.map(({ kind }) => kind)).toEqual(["status", "status", "ended"]);
  });

  it("tells a watcher that fell behind how many events it missed, and never misses the end", async () => {
    await server.close(0);
    server = await serve(server.address, 100);
    const run = coordinator.add();
    let hasTold = false;
    let tasks = 0;
    const logs: string[] = [];
    const kinds: string[] = [];
    for await (const event of client.watch(run.id)) {
      kinds.push(event.kind);
      if (event.kind === "task") tasks += 1;
      if (event.kind === "log") logs.push(event.message);
      if (hasTold) continue;
      hasTold = true;
      for (let index = 0; index < 5_000; index += 1)
        run.tell({
          kind: "task",
          task: `t${index}`,
          state: "completed",
          verdict: null,
          rollouts: 1,
          opening: null,
        });
      run.end();
    }
    expect(kinds.at(-1)).toBe("ended");
    expect(logs).toHaveLength(1);
    expect(Number.parseInt(logs[0] ?? "", 10) + tasks).toBe(5_000);
  });

  it("comes back after the coordinator's line was cut and goes on where it was", async () => {
    const run = coordinator.add();
    const seen: string[] = [];
    for await (const event of client.watch(run.id)) {
      seen.push(event.kind === "task" ? event.task : event.kind);
      if (seen.length === 1)
        run.tell({ kind: "task", task: "t1", state: "completed", verdict: null, rollouts: 1, opening: null });
      if (seen.length === 2) {
        await server.close(0);
        server = await serve(server.address);
      }
      if (seen.length === 3) {
        run.tell({ kind: "task", task: "t2", state: "completed", verdict: null, rollouts: 1, opening: null });
        run.end();
      }
    }
    expect(seen).toEqual(["status", "t1", "status", "t2", "ended"]);
  });

  it("goes on after the last event it saw, on the same coordinator", async () => {
    const run = coordinator.add();
    const raw = connectRpc(Sweeps, { address: server.address });
    let resumeToken = "";
    let count = 0;
    for await (const response of raw.call.watch({ sweep: run.id })) {
      count += 1;
      if (count === 1)
        for (const task of ["t1", "t2", "t3"])
          run.tell({ kind: "task", task, state: "running", verdict: null, rollouts: 0, opening: null });
      if (count === 3) {
        ({ resumeToken } = response);
        break;
      }
    }
    run.end();
    const rest = await Array.fromAsync(raw.call.watch({ sweep: run.id, resumeToken }), ({ event }) =>
      event?.event.case === "task" ? event.event.value.task : event?.event.case,
    );
    expect(rest).toEqual(["status", "t3", "ended"]);
    await expect(
      Array.fromAsync(raw.call.watch({ sweep: run.id, resumeToken: resumeToken.replace(/\d+$/, "999") })),
    ).rejects.toMatchObject({ code: "invalid_argument" });
    raw.close();
  });

  it("fails with what the sweep failed with", async () => {
    const run = coordinator.add();
    run.fail(new CoppiceError("data_loss", "the journal is damaged at byte 17"));
    await expect(Array.fromAsync(client.watch(run.id))).rejects.toMatchObject({
      code: "data_loss",
      message: "the journal is damaged at byte 17",
    });
    await expect(Array.fromAsync(client.watch("nobody"))).rejects.toMatchObject({
      code: "not_found",
      message: expect.stringContaining("nobody"),
    });
  });

  it("stops when its signal aborts", async () => {
    const run = coordinator.add();
    const stop = new AbortController();
    const watching = (async () => {
      for await (const _ of client.watch(run.id, stop.signal)) stop.abort(new Error("enough"));
    })();
    await expect(watching).rejects.toThrow("enough");
  });
});

describe("get, list, cancel, pause and resume", () => {
  it("list every sweep over several pages, oldest first", async () => {
    for (let index = 0; index < 5; index += 1) coordinator.add();
    const all = await Array.fromAsync(client.list());
    expect(all.map(({ id }) => id)).toEqual(["sweep-1", "sweep-2", "sweep-3", "sweep-4", "sweep-5"]);
    const raw = connectRpc(Sweeps, { address: server.address });
    await expect(raw.call.list({ pageSize: 101 })).rejects.toMatchObject({
      code: "invalid_argument",
      message: "page_size: expected at most 100, found 101",
    });
    await expect(raw.call.list({ pageToken: "gone" })).rejects.toMatchObject({ code: "invalid_argument" });
    raw.close();
  });

  it("act on the sweep named and return its status after that", async () => {
    const run = coordinator.add();
    await expect(client.get(run.id)).resolves.toEqual(run.status());
    await expect(client.pause(run.id)).resolves.toMatchObject({ state: "paused" });
    await expect(client.resume(run.id)).resolves.toMatchObject({ state: "running" });
    await expect(client.cancel(run.id, "changed my mind")).resolves.toMatchObject({ state: "cancelled" });
    expect(run.cancelledFor).toBe("changed my mind");
    await expect(client.get("nobody")).rejects.toMatchObject({
      code: "not_found",
      message: expect.stringContaining("nobody"),
    });
    await expect(client.get("")).rejects.toMatchObject({
      code: "invalid_argument",
      message: "sweep: required, found nothing",
    });
  });
});
