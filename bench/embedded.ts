/**
 * The embedded host against the same engine driven bare.
 *
 *   node bench/embedded.ts [model.gguf] [rounds]
 *
 * Bare (public): node-llama-cpp's `evaluate` on each of 32 sequences, no stop strings, no text. Bare
 * (binding): the binding that the host itself uses, 32 sequences in lock step, no pool, no prefix reuse, no
 * text. Host: the driver, with texts and prefix reuse, `reproducible` off and on. All do the same requests
 * with the same seeds, interleaved in rounds; trust the ratios within a round, not the rates. Not measured:
 * larger models, other processors, GPUs.
 */
import { readFileSync } from "node:fs";
import { cpus, loadavg } from "node:os";
import { getLlama, LlamaLogLevel } from "node-llama-cpp";
import type { Token } from "node-llama-cpp";
import { createEmbeddedDriver } from "../workers/rollout/drivers/embedded.ts";
import type { EmbeddedOptions } from "../workers/rollout/drivers/embedded.ts";
import { loadEngine } from "../workers/rollout/drivers/embedded/engine.ts";
import type { Engine } from "../workers/rollout/drivers/embedded/engine.ts";
import { readModelFile } from "../workers/rollout/drivers/embedded/model-file.ts";
import type { SampleAnswer } from "../workers/rollout/driver.ts";
import type { Sampling } from "../services/queue/job.ts";
import { median } from "./median.ts";

const MODEL = process.argv[2] ?? new URL("../models/game24/game24-tiny.gguf", import.meta.url).pathname;
const ROUNDS = Number(process.argv[3] ?? 5);
const SEQUENCES = 32;
const SIBLINGS = 4;
const EQUAL_SAMPLES = 200;
const THREADS_REQUESTS = 32;
const SAMPLING: Sampling = { temperature: 0.8, topP: 1, topK: 0, minP: 0, maxTokens: 64, stop: [] };
const never = new AbortController().signal;

interface Request {
  readonly prompt: string;
  readonly seed: number;
}
interface Run {
  readonly tokensPerSecond: number;
  /** Share of prompt tokens taken from the KV cache; null where the way of running cannot reuse any. */
  readonly cachedShare: number | null;
}

const puzzles = readFileSync(new URL("../models/game24/demo-puzzles.jsonl", import.meta.url), "utf8")
  .split("\n")
  .filter((line) => line !== "")
  .map((line): string => JSON.parse(line).prompt);
const siblings = puzzles.flatMap((prompt, i) =>
  Array.from({ length: SIBLINGS }, (_, k): Request => ({ prompt, seed: 1 + i * SIBLINGS + k })),
);

async function timed(work: () => Promise<{ tokens: number; cachedShare?: number }>): Promise<Run> {
  const startedMs = performance.now();
  const { tokens, cachedShare } = await work();
  return {
    tokensPerSecond: (tokens / (performance.now() - startedMs)) * 1000,
    cachedShare: cachedShare ?? null,
  };
}

/** Runs `serve` on `lanes` lanes that pull requests until none is left. */
async function pull(
  lanes: number,
  serve: (request: Request, lane: number) => Promise<number>,
): Promise<{ tokens: number }> {
  const queue = [...siblings];
  let tokens = 0;
  const lane = async (index: number): Promise<void> => {
    for (let next = queue.shift(); next !== undefined; next = queue.shift()) {
      const made = await serve(next, index);
      tokens += made;
    }
  };
  await Promise.all(Array.from({ length: lanes }, (_, index) => lane(index)));
  return { tokens };
}

async function openPublic(): Promise<{ run: () => Promise<Run>; close: () => Promise<void> }> {
  const llama = await getLlama({ gpu: false, build: "never", logLevel: LlamaLogLevel.disabled });
  const model = await llama.loadModel({ modelPath: MODEL, useMmap: false });
  const context = await model.createContext({
    contextSize: Math.min(model.trainContextSize, 4096),
    sequences: SEQUENCES,
    threads: 1,
    flashAttention: true,
  });
  const sequences = Array.from({ length: SEQUENCES }, () => context.getSequence());
  const begin: Token[] =
    model.tokens.shouldPrependBosToken && model.tokens.bos !== null ? [model.tokens.bos] : [];
  const serve = async ({ prompt, seed }: Request, lane: number): Promise<number> => {
    const sequence = sequences[lane];
    if (sequence === undefined) return 0;
    await sequence.clearHistory();
    const options = { temperature: SAMPLING.temperature, topK: 0, topP: 1, seed, yieldEogToken: true };
    let tokens = 0;
    for await (const token of sequence.evaluate([...begin, ...model.tokenize(prompt, true)], options)) {
      tokens += 1;
      if (tokens === SAMPLING.maxTokens || model.isEogToken(token)) break;
    }
    return tokens;
  };
  return {
    run: () => timed(() => pull(SEQUENCES, serve)),
    close: () => context.dispose().then(() => model.dispose()),
  };
}

async function openBinding(): Promise<{ run: () => Promise<Run>; close: () => Promise<void> }> {
  const engine = await loadEngine(await readModelFile(MODEL), {
    sequences: SEQUENCES,
    contextTokens: null,
    threads: 1,
  });
  return {
    run: () => timed(async () => ({ tokens: await lockStep(engine) })),
    close: () => engine.dispose(),
  };
}

async function lockStep(engine: Engine): Promise<number> {
  const queue = [...siblings];
  const lanes = Array.from({ length: SEQUENCES }, (_, sequence) => ({
    sequence,
    position: 0,
    made: 0,
    ...start(engine, queue),
  }));
  let tokens = 0;
  for (let live = lanes; live.length > 0; live = live.filter((lane) => lane.pending.length > 0)) {
    const items = live.map(({ sequence, position, pending }) => ({
      sequence,
      position,
      tokens: pending,
      rows: [pending.length - 1],
      wants: 1,
    }));
    const logits = await engine.decode(items);
    const sampled = await Promise.all(
      live.map((lane, i) => engine.sampleNext(logits[i]?.[0] ?? 0, lane.sampler)),
    );
    for (const [i, lane] of live.entries()) {
      const token = sampled[i] ?? 0;
      tokens += 1;
      lane.position += lane.pending.length;
      lane.made += 1;
      lane.pending = [token];
      if (lane.made < SAMPLING.maxTokens && !engine.isEnd(token)) continue;
      lane.sampler.dispose();
      engine.truncate(lane.sequence, 0);
      Object.assign(lane, { position: 0, made: 0, ...start(engine, queue) });
    }
  }
  return tokens;
}

function start(
  engine: Engine,
  queue: Request[],
): { pending: readonly number[]; sampler: ReturnType<Engine["createSampler"]> } {
  const next = queue.shift();
  const sampler = engine.createSampler(SAMPLING, next?.seed ?? 0);
  return { pending: next === undefined ? [] : engine.tokenize(next.prompt), sampler };
}

/** `requests` as a worker would send them, `inFlight` at once, on a fresh host: its cache starts cold. */
async function runHost(
  options: Partial<EmbeddedOptions>,
  requests = siblings,
  inFlight = SEQUENCES,
): Promise<Run> {
  return withHost(options, (sample) =>
    timed(async () => {
      const answers = await inTurns(requests, inFlight, sample);
      const sum = (of: (answer: SampleAnswer) => number | null): number =>
        answers.reduce((all, a) => all + (of(a) ?? 0), 0);
      const cachedShare = sum((a) => a.usage.cachedTokens) / sum((a) => a.usage.promptTokens);
      return { tokens: sum((a) => a.usage.completionTokens), cachedShare };
    }),
  );
}

async function withHost<T>(
  options: Partial<EmbeddedOptions>,
  use: (sample: (request: Request) => Promise<SampleAnswer>) => Promise<T>,
): Promise<T> {
  const driver = createEmbeddedDriver({ modelPath: MODEL, sequences: SEQUENCES, ...options });
  await driver.probe(never);
  try {
    return await use(({ prompt, seed }) =>
      driver.sample(
        { pieces: [{ text: prompt }], problem: "bench", sample: 0, seed, sampling: SAMPLING },
        never,
      ),
    );
  } finally {
    await driver.close();
  }
}

async function inTurns<T>(
  requests: readonly Request[],
  inFlight: number,
  serve: (request: Request) => Promise<T>,
): Promise<T[]> {
  const queue = [...requests.entries()];
  const answers: T[] = [];
  const lane = async (): Promise<void> => {
    for (let next = queue.shift(); next !== undefined; next = queue.shift())
      answers[next[0]] = await serve(next[1]);
  };
  await Promise.all(Array.from({ length: inFlight }, lane));
  return answers;
}

async function equalShare(options: Partial<EmbeddedOptions>): Promise<number> {
  const requests = Array.from({ length: EQUAL_SAMPLES }, (_, i): Request => ({
    prompt: puzzles[i % puzzles.length] ?? "",
    seed: 900 + i,
  }));
  const textsAt = (inFlight: number): Promise<string[]> =>
    withHost(options, (sample) =>
      inTurns(requests, inFlight, async (request) => (await sample(request)).result.text),
    );
  const alone = await textsAt(1);
  const together = await textsAt(SEQUENCES);
  return together.filter((text, i) => text === alone[i]).length / EQUAL_SAMPLES;
}

function show(values: readonly number[], digits = 0): string {
  const sorted = values.toSorted((a, b) => a - b).map((value) => value.toFixed(digits));
  return `${median(values).toFixed(digits)} (${sorted[0]} to ${sorted.at(-1)})`;
}

const [processor] = cpus();
console.log(
  `machine: ${cpus().length} x ${processor?.model ?? "?"}, node ${process.version}, load ${loadavg()[0]?.toFixed(1)}`,
);
console.log(`command: node bench/embedded.ts ${process.argv.slice(2).join(" ")}`);
console.log(
  `${siblings.length} requests (${puzzles.length} prompts x ${SIBLINGS}), ${SEQUENCES} sequences, 1 thread, ${ROUNDS} rounds\n`,
);

const free = { reproducible: false };
const steady = { reproducible: true };
const barePublic = await openPublic();
const bareBinding = await openBinding();
const rounds: Record<"public" | "binding" | "free" | "steady" | "drafts", Run>[] = [];
await Promise.all([barePublic.run(), bareBinding.run()]);
for (let round = 0; round < ROUNDS; round += 1) {
  rounds.push({
    public: await barePublic.run(),
    free: await runHost(free),
    binding: await bareBinding.run(),
    steady: await runHost(steady),
    drafts: await runHost({ ...steady, speculativeTokens: 4 }),
  });
}
await barePublic.close();
await bareBinding.close();

const names = {
  public: "bare, public API",
  binding: "bare, binding",
  free: "host, reproducible off",
  steady: "host, reproducible on",
  drafts: "the same, drafts of 4",
};
console.log("tokens/s: median (least to most); ratio to each bare loop, per round");
for (const way of ["public", "binding", "free", "steady", "drafts"] as const) {
  const rates = rounds.map((round) => round[way].tokensPerSecond);
  const ratio = (to: "public" | "binding"): string =>
    show(
      rounds.map((r) => r[way].tokensPerSecond / r[to].tokensPerSecond),
      2,
    );
  console.log(
    `  ${names[way].padEnd(24)} ${show(rates).padEnd(24)} / public ${ratio("public").padEnd(22)} / binding ${ratio("binding")}`,
  );
}

const distinct = siblings.filter((_, i) => i % SIBLINGS === 0);
const cached = (run: Run): string => (100 * (run.cachedShare ?? 0)).toFixed(1);
console.log(
  `\ncached share: ${SIBLINGS} siblings a prompt ${cached(await runHost(free))}%, one a prompt ${cached(await runHost(free, distinct))}%`,
);

const few = distinct.slice(0, 16);
const one = { free: [] as number[], steady: [] as number[], drafts: [] as number[] };
for (let round = 0; round < ROUNDS; round += 1) {
  one.free.push((await runHost(free, few, 1)).tokensPerSecond);
  one.steady.push((await runHost(steady, few, 1)).tokensPerSecond);
  one.drafts.push((await runHost({ ...steady, speculativeTokens: 4 }, few, 1)).tokensPerSecond);
}
console.log(
  `one rollout at a time, tokens/s: reproducible off ${show(one.free)}, on ${show(one.steady)}, drafts of 4 ${show(one.drafts)}`,
);

const some = siblings.slice(0, THREADS_REQUESTS);
const threads = [await runHost(free, some), await runHost({ ...free, threads: 2 }, some)];
console.log(
  `threads 1 and 2, ${some.length} requests, tokens/s: ${threads.map((run) => run.tokensPerSecond.toFixed(0)).join(" and ")}`,
);

for (const [name, options] of [
  ["off", free],
  ["on", steady],
] as const) {
  const share = await equalShare(options);
  console.log(
    `equal texts, alone against ${SEQUENCES} at once, reproducible ${name}: ${(100 * share).toFixed(1)}% of ${EQUAL_SAMPLES}`,
  );
}
