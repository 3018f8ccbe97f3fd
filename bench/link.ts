/**
 * Reports per second through the gRPC link on loopback, and what the link adds to a bare stream of the same batches.
 *
 *   node bench/link.ts            prints reports/s: link, bare stream, their ratio; each the median of five, interleaved
 *
 * Measures encoding, transport, decoding, field checks and acknowledgements of reports with 2 KB of text, worker and
 * coordinator in one process each (two processes on one machine). Does not measure the journal (the desk accepts at
 * once), nor a real network.
 */
import { fork } from "node:child_process";
import { once } from "node:events";
import { cpus } from "node:os";
import { Workers } from "../proto/gen/coppice/v1/workers_pb.ts";
import { serveWorkers } from "../services/link/grpc-desk.ts";
import { createGrpcLink } from "../services/link/grpc-link.ts";
import { reportToWire } from "../services/link/link-wire.ts";
import type { Report } from "../services/queue/job.ts";
import { systemClock } from "../services/runtime/clock.ts";
import { createRandom } from "../services/runtime/random.ts";
import { connectRpc, rpcService, serveRpc } from "../services/runtime/rpc.ts";
import { median } from "./median.ts";

const REPORTS = 20_000;
const BATCH = 64;
const ROUNDS = 5;
/** Reports not yet acknowledged that the worker has at once. */
const IN_FLIGHT = 512;

const REPORT: Report = {
  sweep: "bench",
  task: "best-of-n/p1",
  ask: "0/12",
  job: "job-1",
  attempt: 1,
  worker: "bench",
  host: "host-a",
  result: {
    kind: "rollout",
    text: "10 - 4 = 6 left 5 6 6\n".repeat(93),
    finishReason: "stop",
    stopString: null,
    meanLogprob: -0.5,
  },
  usage: { promptTokens: 31, cachedTokens: 28, completionTokens: 790 },
  startedMs: 1_700_000_000_000,
  endedMs: 1_700_000_001_000,
};

if (process.argv[2] === "serve") await serveBoth();
else await measure();

/** The coordinator's process: one server with the link's desk, one whose Report only counts. */
async function serveBoth(): Promise<void> {
  const desk = serveWorkers({
    register: () => ({ lanes: ["bench"], leaseMs: 10_000 }),
    connected: () => () => {},
    heard: () => {},
    signalled: () => {},
    accept: () => Promise.resolve(),
    segments: () => [],
    left: () => {},
  });
  const bare = rpcService(Workers, {
    register: () => ({}),
    async *report(requests) {
      for await (const { reports } of requests) yield { acknowledged: reports.map(({ number }) => number) };
    },
    segments: () => ({}),
    leave: () => ({}),
  });
  const servers = await Promise.all(
    [desk, bare].map((service) => serveRpc([service], { address: "127.0.0.1:0" })),
  );
  process.send?.(servers.map(({ address }) => address));
  process.on("message", () => process.send?.(process.cpuUsage()));
  process.on("disconnect", () => process.exit(0));
}

async function measure(): Promise<void> {
  const server = fork(import.meta.filename, ["serve"]);
  const [[linkAddress, bareAddress]] = (await once(server, "message")) as [[string, string]]; // What serveBoth sends.
  const ways = { link: () => throughLink(linkAddress), bare: () => throughBareStream(bareAddress) };
  const figures: Record<keyof typeof ways, Figure[]> = { link: [], bare: [] };
  const cpuOfServer = async (): Promise<number> => {
    server.send("cpu");
    const [usage] = (await once(server, "message")) as [NodeJS.CpuUsage]; // What serveBoth answers.
    return usage.user + usage.system;
  };
  const cpuOfWorker = (): number => process.cpuUsage().user + process.cpuUsage().system;
  // The first round warms both up and is not counted.
  for (let round = 0; round <= ROUNDS; round += 1) {
    for (const way of ["link", "bare"] as const) {
      const [worker, coordinator] = [cpuOfWorker(), await cpuOfServer()];
      const perSecond = await ways[way]();
      const figure = {
        perSecond,
        workerUs: (cpuOfWorker() - worker) / REPORTS,
        coordinatorUs: ((await cpuOfServer()) - coordinator) / REPORTS,
      };
      if (round > 0) figures[way].push(figure);
    }
  }
  server.disconnect();
  console.log(
    `node ${process.version}, ${cpus().length} x ${cpus()[0]?.model ?? "unknown processor"}; ${REPORTS} reports of 2 KB a round`,
  );
  for (const [way, rounds] of Object.entries(figures)) {
    const rates = rounds.map(({ perSecond }) => perSecond);
    const [workerUs, coordinatorUs] = [
      median(rounds.map((round) => round.workerUs)),
      median(rounds.map((round) => round.coordinatorUs)),
    ];
    console.log(
      `${way}: median ${rate(median(rates))} reports/s (${rate(Math.min(...rates))} to ${rate(Math.max(...rates))}); CPU of a report: worker ${workerUs.toFixed(1)} us, coordinator ${coordinatorUs.toFixed(1)} us`,
    );
  }
  const ofLink = median(figures.link.map(({ perSecond }) => perSecond));
  console.log(
    `link / bare stream: ${(ofLink / median(figures.bare.map(({ perSecond }) => perSecond))).toFixed(2)}`,
  );
}

interface Figure {
  readonly perSecond: number;
  readonly workerUs: number;
  readonly coordinatorUs: number;
}

async function throughLink(address: string): Promise<number> {
  const link = createGrpcLink({ address, clock: systemClock, random: createRandom(1) });
  await link.connect({ id: "bench", offers: { kind: "verification", verifiers: ["bench"], concurrency: 1 } });
  const startMs = performance.now();
  let left = REPORTS;
  const reporter = async (): Promise<void> => {
    for (; left > 0;) {
      left -= 1;
      await link.report(REPORT);
    }
  };
  await Promise.all(Array.from({ length: IN_FLIGHT }, reporter));
  const perSecond = REPORTS / ((performance.now() - startMs) / 1_000);
  await link.close();
  return perSecond;
}

async function throughBareStream(address: string): Promise<number> {
  const client = connectRpc(Workers, { address });
  const startMs = performance.now();
  const batches = (async function* () {
    for (let first = 0; first < REPORTS; first += BATCH) {
      yield {
        reports: Array.from({ length: BATCH }, (_, index) => ({
          number: first + index,
          report: reportToWire(REPORT),
        })),
      };
    }
  })();
  for await (const _ of client.call.report(batches));
  const perSecond = REPORTS / ((performance.now() - startMs) / 1_000);
  client.close();
  return perSecond;
}

function rate(perSecond: number): string {
  return Math.round(perSecond).toLocaleString("en-US");
}
