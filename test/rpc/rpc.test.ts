import { createServer } from "node:net";
import type { AddressInfo } from "node:net";
import { afterEach, describe, expect, it, vi } from "vitest";
import { Sweeps } from "../../proto/gen/coppice/v1/sweeps_pb.ts";
import { CoppiceError } from "../../services/runtime/errors.ts";
import type { ErrorCode } from "../../services/runtime/errors.ts";
import { errorOfStatus, statusOfCode } from "../../services/runtime/rpc-types.ts";
import type { RpcHandlers, RpcLimits } from "../../services/runtime/rpc-types.ts";
import { connectRpc, rpcService, serveRpc } from "../../services/runtime/rpc.ts";
import type { RpcClient, RpcServer } from "../../services/runtime/rpc.ts";

type Handlers = RpcHandlers<typeof Sweeps>;

const refuse = (): never => {
  throw new CoppiceError("unimplemented", "not in this test");
};
const NOTHING: Handlers = {
  submit: refuse,
  watch: refuse,
  get: refuse,
  list: refuse,
  cancel: refuse,
  pause: refuse,
  resume: refuse,
};

const open: { close(): unknown }[] = [];
afterEach(async () => {
  for (const part of open.splice(0)) await part.close();
});

async function serve(
  handlers: Partial<Handlers>,
  options: { readonly token?: string; readonly limits?: Partial<RpcLimits> } = {},
): Promise<RpcServer> {
  const server = await serveRpc([rpcService(Sweeps, { ...NOTHING, ...handlers })], {
    address: "127.0.0.1:0",
    ...options,
  });
  open.unshift({ close: () => server.close(0) });
  return server;
}

function dial(
  address: string,
  options: { readonly token?: string; readonly limits?: Partial<RpcLimits> } = {},
): RpcClient<typeof Sweeps> {
  const client = connectRpc(Sweeps, { address, ...options });
  open.unshift(client);
  return client;
}

describe("errors over rpc", () => {
  const codes: readonly ErrorCode[] = [
    "invalid_argument",
    "not_found",
    "already_exists",
    "failed_precondition",
    "resource_exhausted",
    "aborted",
    "cancelled",
    "data_loss",
    "unimplemented",
    "internal",
    "unavailable",
    "deadline_exceeded",
  ];

  it("keep code, message and whether to retry, for every code", async () => {
    const server = await serve({
      get: ({ sweep }) => {
        // The test sends nothing but codes.
        throw new CoppiceError(sweep as ErrorCode, `why: ${sweep}, and é 漢`);
      },
    });
    const { call } = dial(server.address);
    for (const code of codes) {
      const { isRetryable } = new CoppiceError(code, "");
      await expect(call.get({ sweep: code })).rejects.toMatchObject({
        code,
        isRetryable,
        message: expect.stringContaining(`why: ${code}, and é 漢`),
      });
      expect(errorOfStatus(statusOfCode(code), "x").code).toBe(code);
    }
  });

  it("that nobody foresaw become internal, and the server goes on", async () => {
    const server = await serve({
      get: () => {
        throw new TypeError("a slip");
      },
      list: () => ({ nextPageToken: "fine" }),
    });
    const { call } = dial(server.address);
    await expect(call.get({ sweep: "x" })).rejects.toMatchObject({ code: "internal", message: "a slip" });
    await expect(call.list({})).resolves.toMatchObject({ nextPageToken: "fine" });
  });

  it("name the address that cannot be reached", async () => {
    const server = await serve({});
    await server.close(0);
    await expect(dial(server.address).call.get({ sweep: "x" })).rejects.toMatchObject({
      code: "unavailable",
      message: expect.stringContaining(server.address),
    });
  });

  it("name the address that cannot be listened on", async () => {
    const taken = createServer().listen(0, "127.0.0.1");
    open.unshift(taken);
    await new Promise((resolve) => taken.on("listening", resolve));
    // A TCP server that listens has such an address.
    const address = `127.0.0.1:${(taken.address() as AddressInfo).port}`;
    await expect(serveRpc([rpcService(Sweeps, NOTHING)], { address })).rejects.toMatchObject({
      code: "unavailable",
      message: expect.stringContaining(address),
    });
  });
});

describe("a call", () => {
  it("has a deadline, which the handler sees as an abort", async () => {
    const aborted = Promise.withResolvers<void>();
    const server = await serve({
      list: () => ({}),
      get: (_, { signal }) => {
        signal.addEventListener("abort", () => aborted.resolve());
        return new Promise(() => {});
      },
    });
    const { call } = dial(server.address, { limits: { callDeadlineMs: 500 } });
    // The connection is made first, so that the deadline falls into the handler's time.
    await call.list({}, { deadlineMs: 30_000 });
    await expect(call.get({ sweep: "x" })).rejects.toMatchObject({
      code: "deadline_exceeded",
      isRetryable: true,
    });
    await aborted.promise;
  });

  it("is cancelled on the server when the caller's signal aborts, and rejects with its reason", async () => {
    const aborted = Promise.withResolvers<void>();
    const server = await serve({
      async *watch(_, { signal }) {
        signal.addEventListener("abort", () => aborted.resolve());
        yield {};
        await aborted.promise;
      },
    });
    const stop = new AbortController();
    const reading = (async () => {
      for await (const _ of dial(server.address).call.watch({ sweep: "x" }, { signal: stop.signal }))
        stop.abort(new Error("enough"));
    })();
    await expect(reading).rejects.toThrow("enough");
    await aborted.promise;
  });

  it("is cancelled on the server when the caller leaves the loop", async () => {
    const aborted = Promise.withResolvers<void>();
    const server = await serve({
      async *watch(_, { signal }) {
        signal.addEventListener("abort", () => aborted.resolve());
        yield {};
        await aborted.promise;
      },
    });
    for await (const _ of dial(server.address).call.watch({ sweep: "x" })) break;
    await aborted.promise;
  });

  it("does not run ahead of a reader that is slow", async () => {
    let made = 0;
    const server = await serve({
      async *watch() {
        for (; made < 2_000; made += 1) yield { resumeToken: "x".repeat(64 * 1024) };
      },
    });
    const client = dial(server.address, { limits: { receiveWindowBytes: 256 * 1024 } });
    const events = client.call.watch({ sweep: "x" });
    const reader = events[Symbol.asyncIterator]();
    await reader.next();
    let before = -1;
    await vi.waitFor(
      () => {
        const isStill = before === made;
        before = made;
        expect(isStill).toBe(true);
      },
      { interval: 100, timeout: 10_000 },
    );
    expect(made).toBeLessThan(500);
    let read = 1;
    for (let next = await reader.next(); next.done !== true; next = await reader.next()) read += 1;
    expect(read).toBe(2_000);
  });

  it("refuses to send a message that is too large, and says how large", async () => {
    const server = await serve(
      { get: () => ({ status: { name: "y".repeat(2_000) } }) },
      { limits: { messageBytesMax: 1_000 } },
    );
    const { call } = dial(server.address, { limits: { messageBytesMax: 1_000 } });
    await expect(call.get({ sweep: "x".repeat(2_000) })).rejects.toMatchObject({
      code: "invalid_argument",
      message: expect.stringMatching(/GetRequest: a message of \d+ bytes, more than the 1000 allowed/),
    });
    await expect(call.get({ sweep: "x" })).rejects.toMatchObject({
      code: "invalid_argument",
      message: expect.stringContaining("GetResponse"),
    });
    await expect(dial(server.address).call.get({ sweep: "x".repeat(2_000) })).rejects.toMatchObject({
      code: "resource_exhausted",
    });
  });

  it("that streams up is answered once with what the handler made of it", async () => {
    const server = await serve({
      async submit(requests) {
        let lines = 0;
        for await (const { part } of requests)
          if (part.case === "problems") lines += part.value.jsonLines.length;
        return { status: { id: "s1", rollouts: BigInt(lines) } };
      },
    });
    const parts = (async function* () {
      for (let index = 0; index < 300; index += 1)
        yield { part: { case: "problems" as const, value: { jsonLines: "z".repeat(10_000) } } };
    })();
    await expect(dial(server.address).call.submit(parts)).resolves.toMatchObject({
      status: { id: "s1", rollouts: 3_000_000n },
    });
  });
});

describe("a token", () => {
  it("is asked of every call when the server has one", async () => {
    const server = await serve(
      { list: () => ({ nextPageToken: "in" }), watch: async function* () {} },
      { token: "secret" },
    );
    await expect(dial(server.address, { token: "secret" }).call.list({})).resolves.toMatchObject({
      nextPageToken: "in",
    });
    await expect(dial(server.address).call.list({})).rejects.toMatchObject({
      code: "failed_precondition",
      isRetryable: false,
      message: expect.stringMatching(/found none.*COPPICE_TOKEN/),
    });
    await expect(dial(server.address, { token: "guess" }).call.list({})).rejects.toMatchObject({
      code: "failed_precondition",
      message: expect.stringContaining("not the expected one"),
    });
    await expect(Array.fromAsync(dial(server.address).call.watch({ sweep: "x" }))).rejects.toMatchObject({
      code: "failed_precondition",
    });
  });

  it("is missed with a warning on an address that is not loopback, and only there", async () => {
    for (const [address, token, count] of [
      ["0.0.0.0:0", undefined, 1],
      ["0.0.0.0:0", "t", 0],
      ["127.0.0.1:0", undefined, 0],
      ["localhost:0", undefined, 0],
    ] as const) {
      const warnings: string[] = [];
      const server = await serveRpc([rpcService(Sweeps, NOTHING)], {
        address,
        token,
        onWarning: (message) => warnings.push(message),
      });
      await server.close(0);
      expect(warnings).toHaveLength(count);
      for (const warning of warnings) expect(warning).toContain("COPPICE_TOKEN");
    }
  });
});

describe("the receive window", () => {
  it("of a server is widened for connections that call it", async () => {
    let window = 0;
    const server = await serve({ list: () => ({}) }, { limits: { receiveWindowBytes: 3 * 1024 * 1024 } });
    const { connect } = await import("node:http2");
    const session = connect(`http://${server.address}`);
    session.on("remoteSettings", ({ initialWindowSize }) => (window = initialWindowSize ?? 0));
    const stream = session.request({
      ":method": "POST",
      ":path": "/coppice.v1.Sweeps/List",
      "content-type": "application/grpc",
      te: "trailers",
    });
    stream.resume();
    stream.end(Buffer.alloc(5));
    await vi.waitFor(() => expect(window).toBe(3 * 1024 * 1024), 10_000);
    session.destroy();
  });
});
