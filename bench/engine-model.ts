/**
 * The simulated engine in virtual time: how many requests one core simulates in a second.
 *
 *   node bench/engine-model.ts [requests] [rounds]
 *
 * Each shape keeps its host full: a request is submitted as one finishes. Siblings share a prompt as the samples of one problem
 * do. Trust the order of magnitude; the rates are of one process on whatever else the machine does. Not measured: the driver and
 * the server, which work in wall time; thousands of hosts, whose caches do not fit the processor's.
 */
import { cpus, loadavg } from "node:os";
import { createRandom } from "../services/runtime/random.ts";
import { EngineModel, type EngineRequest } from "../workers/rollout/drivers/simulated/engine-model.ts";
import { engineProfile } from "../workers/rollout/drivers/simulated/engine-profile.ts";

const REQUESTS = Number(process.argv[2] ?? 200_000);
const ROUNDS = Number(process.argv[3] ?? 3);
const IN_FLIGHT = 320;

interface Shape {
  readonly name: string;
  readonly kvTokens?: number;
  readonly root: number;
  readonly problem: number;
  readonly siblings: number;
  readonly completion: number;
}

const SHAPES: readonly Shape[] = [
  {
    name: "best-of-64, prompt 1,536, completion ~512",
    root: 1_024,
    problem: 512,
    siblings: 64,
    completion: 512,
  },
  {
    name: "best-of-16, prompt 4,096, completion ~256",
    root: 512,
    problem: 3_584,
    siblings: 16,
    completion: 256,
  },
  { name: "steps: prompt 2,048, completion ~64", root: 1_024, problem: 1_024, siblings: 16, completion: 64 },
  { name: "scores: prompt 2,048, 1 token", root: 1_024, problem: 1_024, siblings: 4, completion: 1 },
  {
    name: "tight KV (60,000), prompt 1,536, completion ~512",
    kvTokens: 60_000,
    root: 1_024,
    problem: 512,
    siblings: 64,
    completion: 512,
  },
];

function requestsOf(shape: Shape): readonly EngineRequest[] {
  const random = createRandom(1);
  let pieces: EngineRequest["pieces"] = [];
  return Array.from({ length: REQUESTS }, (_, id) => {
    if (id % shape.siblings === 0) {
      pieces = [
        { id: 0, tokens: shape.root },
        { id: 1 + id, tokens: shape.problem },
      ];
    }
    const completionTokens = shape.completion === 1 ? 1 : Math.ceil(shape.completion * (0.5 + random.next()));
    return { id, pieces, completionTokens, output: -1 - id, priority: 0 };
  });
}

function simulate(shape: Shape, requests: readonly EngineRequest[]) {
  const profile = engineProfile(
    "8b-h100",
    shape.kvTokens === undefined ? {} : { kvCapacityTokens: shape.kvTokens },
  );
  const model = new EngineModel(profile, { sharesColdPrefixes: true, schedulesByPriority: false });
  const startedMs = performance.now();
  let next = 0;
  const submit = (atMs: number): void => {
    const request = requests[next];
    next += 1;
    if (request !== undefined) model.submit(request, atMs);
  };
  for (let lane = 0; lane < IN_FLIGHT; lane += 1) submit(0);
  let virtualMs = 0;
  for (let atMs = model.nextMs(); atMs < Infinity; atMs = model.nextMs()) {
    for (const event of model.advance(atMs)) if (event.kind === "finished") submit(event.atMs);
    virtualMs = atMs;
  }
  const wallMs = performance.now() - startedMs;
  return { rate: (1_000 * requests.length) / wallMs, speed: virtualMs / wallMs, signals: model.signals };
}

const [processor] = cpus();
console.log(
  `machine: ${cpus().length} x ${processor?.model ?? "?"}, node ${process.version}, load ${loadavg()[0]?.toFixed(1)}`,
);
console.log(`command: node bench/engine-model.ts ${process.argv.slice(2).join(" ")}`);
console.log(
  `8b-h100, ${REQUESTS} requests, ${IN_FLIGHT} in flight, at most 256 running; median of ${ROUNDS} rounds (least to most)\n`,
);
for (const shape of SHAPES) {
  const requests = requestsOf(shape);
  const runs = Array.from({ length: ROUNDS }, () => simulate(shape, requests)).toSorted(
    (a, b) => a.rate - b.rate,
  );
  const middle = runs[Math.floor(runs.length / 2)];
  const rates = [runs[0], runs.at(-1)].map((run) => ((run?.rate ?? 0) / 1_000).toFixed(0)).join(" to ");
  const { promptTokensCached = 0, promptTokensComputed = 0, preemptions = 0 } = middle?.signals ?? {};
  const cached = (100 * promptTokensCached) / (promptTokensCached + promptTokensComputed);
  console.log(
    `  ${shape.name.padEnd(50)} ${((middle?.rate ?? 0) / 1_000).toFixed(0)}k requests/s (${rates}), ` +
      `${(middle?.speed ?? 0).toFixed(0)} x real time, ${cached.toFixed(1)}% cached, ${preemptions} preemptions`,
  );
}
