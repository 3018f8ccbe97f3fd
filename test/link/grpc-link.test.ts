import { connect as connectHttp2 } from "node:http2";
import type { IncomingHttpHeaders } from "node:http2";
import { connect as connectSocket } from "node:net";
import { create, toBinary } from "@bufbuild/protobuf";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { RegisterRequestSchema } from "../../proto/gen/coppice/v1/workers_pb.ts";
import { serveWorkers } from "../../services/link/grpc-desk.ts";
import { createGrpcLink } from "../../services/link/grpc-link.ts";
import type { GrpcLinkOptions, LinkState } from "../../services/link/grpc-link.ts";
import type { LinkLimits } from "../../services/link/link-limits.ts";
import { systemClock } from "../../services/runtime/clock.ts";
import { createRandom } from "../../services/runtime/random.ts";
import { serveRpc } from "../../services/runtime/rpc.ts";
import type { RpcServer } from "../../services/runtime/rpc.ts";
import { ROLLOUT_WORKER, TestDesk, linkConformance, rolloutReport } from "../conformance/link.ts";

function serve(
  desk: TestDesk,
  address = "127.0.0.1:0",
  limits: Partial<LinkLimits> = {},
): Promise<RpcServer> {
  return serveRpc([serveWorkers(desk, { limits })], { address });
}

function linkTo(address: string, options: Partial<GrpcLinkOptions> = {}) {
  return createGrpcLink({
    address,
    clock: systemClock,
    random: createRandom(1),
    limits: { backoffMinMs: 1, backoffMaxMs: 20 },
    rpcLimits: { redialMinMs: 10, redialMaxMs: 20 },
    ...options,
  });
}

linkConformance("grpc-link", async () => {
  const desk = new TestDesk();
  const server = await serve(desk);
  return { desk, createLink: () => linkTo(server.address), close: () => server.close(0) };
});

describe("grpc-link over a line that breaks", () => {
  let desk: TestDesk;
  let server: RpcServer;
  beforeEach(async () => {
    desk = new TestDesk();
    server = await serve(desk);
  });
  afterEach(() => server.close(0));

  it("delivers every report at least once over coordinators that are killed and started again on the same port", async () => {
    const states: LinkState["kind"][] = [];
    const link = linkTo(server.address, { onState: ({ kind }) => states.push(kind) });
    await link.connect(ROLLOUT_WORKER);
    const durable = new Set<string>();
    let acknowledged = 0;
    // Each coordinator makes so many reports durable, then answers no more until it is killed; the last takes all.
    const takeOnly = (target: TestDesk, count: number): void => {
      let left = count;
      target.beforeAccept = async ({ ask }) => {
        left -= 1;
        if (left < 0) await new Promise(() => {});
        durable.add(ask);
      };
    };
    takeOnly(desk, 100);
    const asks = Array.from({ length: 600 }, (_, index) => `0/${index}`);
    const reported = asks.map((ask) => link.report(rolloutReport(ask)).then(() => (acknowledged += 1)));
    let expected = 100;
    for (const count of [0, 200, Number.POSITIVE_INFINITY]) {
      await vi.waitFor(() => expect(acknowledged).toBe(expected), 10_000);
      await server.close(0);
      desk = new TestDesk();
      takeOnly(desk, count);
      server = await serve(desk, server.address);
      await vi.waitFor(() => expect(desk.events).toContain("connected worker-1"), 10_000);
      expected += count;
    }
    await Promise.all(reported);
    expect(asks.filter((ask) => !durable.has(ask))).toEqual([]);
    expect(states.filter((kind) => kind === "lost").length).toBeGreaterThanOrEqual(3);
    await link.close();
  });

  it("keeps reports made while the coordinator is away, registers again, and delivers them", async () => {
    const link = linkTo(server.address);
    await link.connect(ROLLOUT_WORKER);
    await server.close(0);
    const reported = Promise.all([link.report(rolloutReport("0")), link.report(rolloutReport("1"))]);
    desk = new TestDesk();
    server = await serve(desk, server.address);
    await reported;
    expect(desk.events.slice(0, 2)).toEqual(["register worker-1", "connected worker-1"]);
    expect(desk.accepted.map(({ ask }) => ask)).toEqual(["0", "1"]);
    await link.close();
  });

  it("connects to a coordinator that starts later", async () => {
    const { address } = server;
    await server.close(0);
    const lost = Promise.withResolvers<LinkState>();
    const link = linkTo(address, { onState: lost.resolve });
    const connecting = link.connect(ROLLOUT_WORKER);
    await expect(lost.promise).resolves.toMatchObject({
      kind: "lost",
      error: { code: "unavailable", message: expect.stringContaining(address) },
    });
    server = await serve(desk, address);
    await expect(connecting).resolves.toMatchObject({ lanes: ["host-host-a"] });
    await link.close();
  });

  it("tells the desk of a worker that vanished without a goodbye", async () => {
    const session = connectHttp2(`http://${server.address}`);
    await grpcCall(session, "Register", registration());
    const stream = session.request({
      ":method": "POST",
      ":path": "/coppice.v1.Workers/Report",
      "content-type": "application/grpc",
      te: "trailers",
    });
    stream.on("error", () => {});
    stream.write(frame(Buffer.from([0x0a, 8, ...Buffer.from("worker-1")])));
    await vi.waitFor(() => expect(desk.events).toContain("connected worker-1"), 10_000);
    session.destroy();
    await vi.waitFor(() => expect(desk.events).toContain("lost worker-1"), 10_000);
    expect(desk.events).not.toContain("left worker-1");
  });

  it("tells the desk of a worker that holds its line and says nothing for its lease", async () => {
    desk.leaseMs = 50;
    const session = connectHttp2(`http://${server.address}`);
    await grpcCall(session, "Register", registration());
    const answered = grpcCall(session, "Report", Buffer.from([0x0a, 8, ...Buffer.from("worker-1")]), {
      isLeftOpen: true,
    });
    await expect(answered).resolves.toMatchObject({
      status: 14,
      message: expect.stringContaining("nothing heard for 50 ms"),
    });
    expect(desk.events).toContain("lost worker-1");
    session.destroy();
  });

  it("ends the first line of a worker that opens a second", async () => {
    const first = linkTo(server.address, { limits: { backoffMinMs: 60_000, backoffMaxMs: 60_000 } });
    await first.connect(ROLLOUT_WORKER);
    const second = linkTo(server.address);
    await second.connect(ROLLOUT_WORKER);
    expect(desk.events).toEqual([
      "register worker-1",
      "connected worker-1",
      "register worker-1",
      "lost worker-1",
      "connected worker-1",
    ]);
    await second.report(rolloutReport("0"));
    await Promise.all([first.close(), second.close()]);
  });
});

describe("grpc-link within its limits", () => {
  it("holds back further reports while the most allowed are unacknowledged", async () => {
    const desk = new TestDesk();
    const server = await serve(desk);
    const link = linkTo(server.address, { limits: { unacknowledgedMax: 10 } });
    await link.connect(ROLLOUT_WORKER);
    let arrived = 0;
    const gate = Promise.withResolvers<void>();
    desk.beforeAccept = () => {
      arrived += 1;
      return gate.promise;
    };
    const reported = Promise.all(
      Array.from({ length: 25 }, (_, index) => link.report(rolloutReport(String(index)))),
    );
    await vi.waitFor(() => expect(arrived).toBe(10), 10_000);
    desk.held.set("a".repeat(32), "text");
    await link.segments(["a".repeat(32)]);
    expect(arrived).toBe(10);
    gate.resolve();
    await reported;
    expect(desk.accepted).toHaveLength(25);
    await link.close();
    await server.close(0);
  });

  it("refuses one report that is too large or malformed, and carries the others", async () => {
    const desk = new TestDesk();
    const server = await serve(desk);
    const link = linkTo(server.address);
    await link.connect(ROLLOUT_WORKER);
    const negative = {
      ...rolloutReport("0"),
      usage: { promptTokens: -1, cachedTokens: null, completionTokens: null },
    };
    const wrong = [
      expect(link.report(rolloutReport("1", "x".repeat(7 * 1024 * 1024)))).rejects.toMatchObject({
        code: "invalid_argument",
        message: expect.stringMatching(/ask 1 .* more than the 6291456 allowed/),
      }),
      expect(link.report(negative)).rejects.toMatchObject({
        code: "invalid_argument",
        message: expect.stringContaining("report.usage.prompt_tokens"),
      }),
      expect(link.report(rolloutReport(""))).rejects.toMatchObject({
        code: "invalid_argument",
        message: expect.stringMatching(/^reports\[\d\]\.report\.ask: required/),
      }),
    ];
    await Promise.all([
      ...wrong,
      link.report(rolloutReport("2")),
      link.report(rolloutReport("3", "y".repeat(5 * 1024 * 1024))),
    ]);
    expect(desk.accepted.map(({ ask }) => ask).toSorted()).toEqual(["2", "3"]);
    expect(desk.events.filter((event) => event.startsWith("lost"))).toEqual([]);
    await link.close();
    await server.close(0);
  });

  it("fetches segments that do not fit into one message", async () => {
    const desk = new TestDesk();
    const server = await serve(desk);
    const link = linkTo(server.address);
    await link.connect(ROLLOUT_WORKER);
    const ids = Array.from({ length: 12 }, (_, index) => index.toString(16).padStart(32, "0"));
    for (const id of ids) desk.held.set(id, "z".repeat(1024 * 1024));
    const found = await link.segments(ids);
    expect(found.map(({ id, text }) => [id, text.length])).toEqual(ids.map((id) => [id, 1024 * 1024]));
    await link.close();
    await server.close(0);
  });
});

describe("the workers service under hostile bytes", () => {
  let desk: TestDesk;
  let server: RpcServer;
  beforeEach(async () => {
    desk = new TestDesk();
    server = await serve(desk);
  });
  afterEach(() => server.close(0));

  it("answers with the field that is wrong and goes on serving", async () => {
    const link = linkTo(server.address);
    await link.connect(ROLLOUT_WORKER);
    const session = connectHttp2(`http://${server.address}`);
    const noMessage = await grpcCall(session, "Register", Buffer.from([0xff, 0xff, 0xff]));
    expect(noMessage).toMatchObject({
      status: 3,
      message: expect.stringContaining("expected a coppice.v1.RegisterRequest"),
    });
    const noWorker = await grpcCall(session, "Register", Buffer.alloc(0));
    expect(noWorker).toMatchObject({ status: 3, message: "worker: required, found nothing" });
    const noOffer = await grpcCall(
      session,
      "Register",
      Buffer.from(toBinary(RegisterRequestSchema, create(RegisterRequestSchema, { worker: "w" }))),
    );
    expect(noOffer).toMatchObject({ status: 3, message: "offers: required, found nothing" });
    const noHost = await grpcCall(session, "Register", registration({ model: "" }));
    expect(noHost).toMatchObject({ status: 3, message: "rollout.host.model: required, found nothing" });
    for (const [stepFloorMs, expected] of [
      [0, "expected a number above 0, found 0"],
      [-7, "expected a number above 0, found -7"],
      [Number.NaN, "expected a finite number, found NaN"],
    ] as const) {
      const refused = await grpcCall(session, "Register", registration({ stepFloorMs }));
      expect(refused).toMatchObject({ status: 3, message: `rollout.host.step_floor_ms: ${expected}` });
    }
    const stranger = await grpcCall(session, "Report", Buffer.from([0x0a, 1, 0x78]));
    expect(stranger).toMatchObject({
      status: 9,
      message: expect.stringContaining("expected it to register"),
    });
    const noIds = await grpcCall(session, "Segments", Buffer.alloc(0));
    expect(noIds).toMatchObject({ status: 3, message: "ids: expected 1 to 1024, found 0" });
    const noMethod = await grpcCall(session, "Nothing", Buffer.alloc(0));
    expect(noMethod.status).toBe(12);
    session.close();
    await link.report(rolloutReport("0"));
    expect(desk.events).toEqual(["register worker-1", "connected worker-1"]);
    await link.close();
  });

  it("survives a peer that speaks no HTTP/2 at all", async () => {
    const [host, port] = server.address.split(":");
    const socket = connectSocket(Number(port), host);
    const closed = new Promise<void>((resolve) => socket.on("close", () => resolve()));
    socket.on("error", () => {});
    socket.resume();
    socket.write("GET / HTTP/1.1\r\nhost: x\r\n\r\n".repeat(100));
    socket.end();
    await closed;
    const link = linkTo(server.address);
    await link.connect(ROLLOUT_WORKER);
    await link.report(rolloutReport("0"));
    await link.close();
  });
});

function registration(host: object = {}): Buffer {
  const offer = { id: "host-a", engine: "replay", model: "*", concurrency: 1, ...host };
  return Buffer.from(
    toBinary(
      RegisterRequestSchema,
      create(RegisterRequestSchema, {
        worker: "worker-1",
        offers: { case: "rollout", value: { host: offer } },
      }),
    ),
  );
}

function frame(message: Buffer): Buffer {
  const header = Buffer.alloc(5);
  header.writeUInt32BE(message.length, 1);
  return Buffer.concat([header, message]);
}

/** One message by hand, without our client: its gRPC status and message. */
function grpcCall(
  session: ReturnType<typeof connectHttp2>,
  method: string,
  message: Buffer,
  options: { readonly isLeftOpen?: boolean } = {},
): Promise<{ readonly status: number; readonly message: string }> {
  return new Promise((resolve) => {
    const stream = session.request({
      ":method": "POST",
      ":path": `/coppice.v1.Workers/${method}`,
      "content-type": "application/grpc",
      te: "trailers",
    });
    const headers = new Map<string, string>();
    const take = (more: IncomingHttpHeaders): void => {
      for (const name of ["grpc-status", "grpc-message"])
        if (typeof more[name] === "string") headers.set(name, more[name]);
    };
    stream.on("response", take);
    stream.on("trailers", take);
    stream.on("error", () => {});
    // The answer is complete at the end of what the server sends, also where our side is left open.
    stream.on("end", () =>
      resolve({
        status: Number(headers.get("grpc-status")),
        message: decodeURIComponent(headers.get("grpc-message") ?? ""),
      }),
    );
    stream.resume();
    stream.write(frame(message));
    if (options.isLeftOpen !== true) stream.end();
  });
}
