import { encode } from "@msgpack/msgpack";
import { afterEach, describe, expect, it } from "vitest";
import { systemClock } from "../../services/runtime/clock.ts";
import type { Log } from "../../services/runtime/log.ts";
import { createRandom } from "../../services/runtime/random.ts";
import { readKvEventBatch } from "../../workers/rollout/drivers/kv-events/kv-event-batch.ts";
import { KvEventStream } from "../../workers/rollout/drivers/kv-events/kv-event-stream.ts";
import { createVllmDriver } from "../../workers/rollout/drivers/vllm.ts";
import { startOpenaiServer } from "../support/openai-server.ts";
import { startZmtpPublisher } from "../support/zmtp-publisher.ts";

const never = new AbortController().signal;
const LIMITS = { backoffMs: 1, backoffMaxMs: 5, connectMs: 2_000 };

const opened: { close(): Promise<void> }[] = [];
afterEach(async () => {
  for (const each of opened.splice(0).toReversed()) await each.close();
});

/** As vLLM and SGLang write events by default, and as vLLM does since it names their fields. */
const stored = (n: number) => [
  "BlockStored",
  Array.from({ length: n }, (_, at) => at),
  null,
  [1, 2],
  16,
  null,
  "GPU",
];
const storedMap = (n: number) => ({
  type: "BlockStored",
  block_hashes: Array.from({ length: n }, (_, at) => at),
});
const removed = (n: number) => [
  "BlockRemoved",
  Array.from({ length: n }, (_, at) => Buffer.from([at])),
  "GPU",
];
const CLEARED = ["AllBlocksCleared"];

function message(sequence: number, events: readonly unknown[], rank: number | null = 0): readonly Buffer[] {
  const number = Buffer.alloc(8);
  number.writeBigUInt64BE(BigInt(sequence));
  return [
    Buffer.from("kv-events"),
    number,
    Buffer.from(encode([1_700_000_000.5, events, rank], { useBigInt64: true })),
  ];
}

async function open(options: Parameters<typeof startZmtpPublisher>[0] = {}) {
  const publisher = await startZmtpPublisher(options);
  const logged: string[] = [];
  const note = (_fields: unknown, event: string) => void logged.push(event);
  const log: Log = { debug: note, info: note, warn: note, error: note, child: () => log };
  let clears = 0;
  const stream = new KvEventStream({
    endpoint: publisher.endpoint,
    clock: systemClock,
    random: createRandom(1),
    log,
    limits: LIMITS,
    onClear: () => (clears += 1),
  });
  opened.push(publisher, stream);
  return { publisher, stream, logged, clears: () => clears };
}

describe("a batch of KV events", () => {
  it("is read as an array or as a map, and its events likewise", () => {
    const counts = { sequence: 5, stored: 3, removed: 1, cleared: 1 };
    expect(readKvEventBatch(message(5, [stored(3), removed(1), CLEARED]))).toEqual(counts);
    const events = [
      storedMap(3),
      { type: "BlockRemoved", block_hashes: [2n ** 63n] },
      { type: "AllBlocksCleared" },
    ];
    expect(readKvEventBatch(message(5, events))).toEqual(counts);
    const [topic, sequence] = message(5, []);
    const map = Buffer.from(encode({ ts: 1, events, data_parallel_rank: 0 }, { useBigInt64: true }));
    if (topic === undefined || sequence === undefined) throw new Error("a message has three frames");
    expect(readKvEventBatch([topic, sequence, map])).toEqual(counts);
  });

  it("is passed over where it is none, and so is an event that is not known", () => {
    const [topic, sequence, batch] = message(1, [["BlockMoved", [1]], 7, null, stored(1)]);
    if (topic === undefined || sequence === undefined || batch === undefined) throw new Error("three frames");
    expect(readKvEventBatch([topic, sequence, batch])).toMatchObject({ stored: 1, removed: 0, cleared: 0 });
    expect(readKvEventBatch([topic, batch])).toBeNull();
    expect(readKvEventBatch([topic, Buffer.alloc(4), batch])).toBeNull();
    expect(readKvEventBatch([topic, sequence, Buffer.from([0xc1])])).toBeNull();
    expect(readKvEventBatch([topic, sequence, Buffer.from(encode("events"))])).toBeNull();
  });
});

describe("KV events", () => {
  it("are counted, however the bytes are cut", async () => {
    const { publisher, stream, clears } = await open();
    await expect.poll(() => publisher.subscribers()).toBe(1);
    publisher.publish(message(0, [stored(300)]));
    publisher.publish(message(1, [removed(2), stored(4)]), { pieceBytes: 1 });
    publisher.publish(message(2, [CLEARED]), { pieceBytes: 7 });
    await expect
      .poll(() => stream.counts())
      .toEqual({
        isConnected: true,
        batches: 3,
        stored: 304,
        removed: 2,
        cleared: 1,
        missed: 0,
        malformed: 0,
      });
    expect(clears()).toBe(1);
  });

  it("that did not come are counted and logged", async () => {
    const { publisher, stream, logged } = await open();
    await expect.poll(() => publisher.subscribers()).toBe(1);
    for (const sequence of [7, 8, 12]) publisher.publish(message(sequence, []));
    await expect.poll(() => stream.counts()).toMatchObject({ batches: 3, missed: 3 });
    expect(logged.filter((event) => event === "kv_events_gap")).toHaveLength(1);
    // A publisher that was started anew begins with 0.
    publisher.publish(message(0, []));
    publisher.publish(message(1, []));
    await expect.poll(() => stream.counts()).toMatchObject({ batches: 5, missed: 3 });
  });

  it("go on when the connection was lost, and tell of the loss once", async () => {
    const { publisher, stream, logged } = await open();
    await expect.poll(() => publisher.subscribers()).toBe(1);
    publisher.publish(message(0, [stored(1)]));
    await expect.poll(() => stream.counts().batches).toBe(1);
    const port = Number(new URL(publisher.endpoint).port);
    await publisher.close();
    await expect.poll(() => stream.counts().isConnected).toBe(false);
    const again = await startZmtpPublisher({ port });
    opened.splice(0, 1, again);
    await expect.poll(() => again.subscribers()).toBe(1);
    again.publish(message(3, [stored(1)]));
    await expect.poll(() => stream.counts()).toMatchObject({ batches: 2, stored: 2, missed: 2 });
    expect(logged).toEqual(["kv_events_connected", "kv_events_lost", "kv_events_connected", "kv_events_gap"]);
  });

  it("that are none are passed over", async () => {
    const { publisher, stream, logged } = await open();
    await expect.poll(() => publisher.subscribers()).toBe(1);
    for (const text of ["hello", "again"]) publisher.publish([Buffer.from(text)]);
    publisher.publish(message(0, [stored(1)]));
    await expect.poll(() => stream.counts()).toMatchObject({ batches: 1, malformed: 2 });
    expect(logged.filter((event) => event === "kv_events_malformed")).toHaveLength(1);
  });

  it("answers a publisher that asks whether it is still there", async () => {
    const { publisher } = await open();
    await expect.poll(() => publisher.subscribers()).toBe(1);
    publisher.send(Buffer.from("04090450494e47000a6869", "hex"));
    await expect
      .poll(() => Buffer.concat(publisher.answers()))
      .toEqual(Buffer.from("040704504f4e476869", "hex"));
  });

  const wrong = [
    ["is no ZeroMQ", { greeting: Buffer.from("HTTP/1.1 400 Bad Request\r\n\r\n".padEnd(80, " ")) }],
    ["speaks an older version", { greeting: Buffer.from("ff00000000000000017f01".padEnd(128, "0"), "hex") }],
    [
      "wants security",
      {
        greeting: Buffer.concat([
          Buffer.from("ff00000000000000017f0300", "hex"),
          Buffer.from("CURVE".padEnd(52, "\0"), "latin1"),
        ]),
      },
    ],
    [
      "publishes nothing",
      { ready: Buffer.from("04190552454144590b536f636b65742d5479706500000003524551", "hex") },
    ],
    ["sends half a property", { ready: Buffer.from("040a0552454144590b536f63", "hex") }],
    ["sends a frame without end", { ready: Buffer.from("06ffffffffffffffff", "hex") }],
  ] as const;
  for (const [what, options] of wrong) {
    it(`never come from what ${what}, and that fails nothing`, async () => {
      const { publisher, stream, logged } = await open(options);
      await expect.poll(() => logged).toContain("kv_events_lost");
      expect(publisher.subscribers()).toBe(0);
      expect(stream.counts()).toMatchObject({ isConnected: false, batches: 0 });
    });
  }

  it("are refused where the address is none", () => {
    for (const endpoint of ["gpu1:5557", "tcp://gpu1", "tcp://*:5557", "ipc:///tmp/x", "tcp://gpu1:0"])
      expect(() => new KvEventStream({ ...quiet, endpoint })).toThrow(
        /expected kv_events such as tcp:\/\/gpu1:5557/,
      );
  });
});

const quiet = { clock: systemClock, random: createRandom(1), onClear: () => undefined };

describe("a driver that follows KV events", () => {
  it("tells of a dropped cache in its signals, and works on without a publisher", async () => {
    const server = await startOpenaiServer({ kind: "vllm" });
    const publisher = await startZmtpPublisher();
    const driver = createVllmDriver({
      url: server.url,
      model: null,
      apiKey: null,
      concurrency: 4,
      kvEvents: publisher.endpoint,
      clock: systemClock,
      random: createRandom(1),
      kvEventLimits: LIMITS,
    });
    opened.push(server, driver);
    expect(driver.kvEvents()).toBeNull();
    await driver.probe(never);
    await expect.poll(() => publisher.subscribers()).toBe(1);
    publisher.publish(message(0, [stored(2), CLEARED]));
    await expect.poll(() => driver.kvEvents()).toMatchObject({ stored: 2, cleared: 1 });
    expect(await driver.signals(never)).toMatchObject({ cacheClears: 1 });
    await publisher.close();
    const sampling = { temperature: 1, topP: 1, topK: 0, minP: 0, maxTokens: 4, stop: [] };
    const request = { pieces: [{ text: "4 5" }], problem: "p", sample: 0, seed: 1, sampling };
    expect((await driver.sample(request, never)).result.kind).toBe("rollout");
    expect(driver.kvEvents()).toMatchObject({ isConnected: false, stored: 2 });
  });
});
