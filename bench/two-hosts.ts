/**
 * Real KV caches: beam search and MCTS over held-out puzzles behind a long few-shot prompt, on two embedded llama.cpp hosts, placed by
 * our scheduler and in turns: `node bench/two-hosts.ts [--quick] [--puzzles 8] [--repetitions 3]`.
 *
 * Tokens are those that llama.cpp computed: of each request its prompt less what was in the KV cache, as the hosts count them,
 * compared with the lower bound: every part of the search trees once, and what all prompts share once for each host. The bound is of
 * rollouts, a score adds two tokens at least: the last of the text, which was made and never computed, and the question mark.
 * The examples in the prompt are the same for all puzzles, or in an order of each puzzle's own, as where they are chosen for it.
 * Both ways run the same searches (`deterministic`), from cold caches, one thread to a host, and take turns at being first.
 *
 * The model is the shipped one, made to answer behind a long prompt (bench/two-hosts/long-prompt-model.ts). In turns, all is ours but
 * the placement: each ask goes to the next host (bench/two-hosts/in-turns.ts).
 *
 * Does not measure: larger models, whose prefill costs more of the time; GPUs; hosts on machines of their own.
 */
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { cpus, loadavg, tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { hostLane } from "../services/coordinator/scheduler/dispatcher.ts";
import { arm, newSweep, RAW, startInProcess } from "../test/support/in-process.ts";
import type { Problem } from "../services/coordinator/sweep.ts";
import { createRandom } from "../services/runtime/random.ts";
import type { AttemptUsage } from "../services/queue/job.ts";
import type { Driver } from "../workers/rollout/driver.ts";
import { createEmbeddedDriver } from "../workers/rollout/drivers/embedded.ts";
import { examplesInOrder, FEW_SHOT_TEMPLATE, tokensOfPrompt } from "./two-hosts/few-shot.ts";
import { inTurns } from "./two-hosts/in-turns.ts";
import { LONG_PROMPT_MODEL, longPromptModel } from "./two-hosts/long-prompt-model.ts";

const { values } = parseArgs({
  options: {
    quick: { type: "boolean", default: false },
    puzzles: { type: "string" },
    repetitions: { type: "string" },
  },
});
const PUZZLES = Number(values.puzzles ?? (values.quick ? 3 : 8));
const REPETITIONS = Number(values.repetitions ?? (values.quick ? 1 : 3));
const HOSTS = ["a", "b"];
const SEQUENCES = 32;
const CONTEXT_TOKENS = 1_280;
const STEPS = { max_steps: 3, step_stop: ["\n"] };
const ARMS = [
  arm("beam-search", { width: 8, expand: 4, ...STEPS }),
  arm("mcts", { simulations: 24, parallel: 4, explore: 0.3, stop_when: "never", ...STEPS }),
];
const WAYS = ["ours", "in turns"] as const;
type Way = (typeof WAYS)[number];
const WORKLOADS = ["the same examples for all", "examples of its own"] as const;
type Workload = (typeof WORKLOADS)[number];

/** Prompt tokens of one kind of request. */
interface Counted {
  requests: number;
  prompt: number;
  computed: number;
}

interface Measured {
  readonly wallS: number;
  readonly rollouts: Counted;
  readonly scores: Counted;
  readonly bound: number;
  readonly solved: number;
}

/** A driver that counts what its host computed. */
function counting(driver: Driver, counts: { readonly rollouts: Counted; readonly scores: Counted }): Driver {
  const count = (to: Counted, { promptTokens, cachedTokens }: AttemptUsage): void => {
    if (promptTokens === null || cachedTokens === null)
      throw new Error("expected the host to count its tokens");
    to.requests += 1;
    to.prompt += promptTokens;
    to.computed += promptTokens - cachedTokens;
  };
  return {
    ...driver,
    sample: async (request, signal) => {
      const answer = await driver.sample(request, signal);
      count(counts.rollouts, answer.usage);
      return answer;
    },
    score: async (request, signal) => {
      const answer = await driver.score(request, signal);
      count(counts.scores, answer.usage);
      return answer;
    },
  };
}

async function measure(
  { workload, way }: { readonly workload: Workload; readonly way: Way },
  modelPath: string,
  folder: string,
): Promise<Measured> {
  const problems = await heldOutPuzzles(workload);
  const counts = {
    rollouts: { requests: 0, prompt: 0, computed: 0 },
    scores: { requests: 0, prompt: 0, computed: 0 },
  };
  const cluster = await startInProcess(
    way === "ours" ? {} : { run: { siblingsMax: 1 }, around: (lanes) => inTurns(lanes, HOSTS.map(hostLane)) },
  );
  try {
    for (const id of HOSTS) {
      const driver = createEmbeddedDriver({ modelPath, sequences: SEQUENCES, contextTokens: CONTEXT_TOKENS });
      await cluster.addHost(id, counting(driver, counts));
    }
    const sweep = await newSweep({
      arms: ARMS,
      model: LONG_PROMPT_MODEL,
      promptTemplate: FEW_SHOT_TEMPLATE,
      deterministic: true,
      output: join(folder, "run"),
    });
    const startMs = performance.now();
    const run = await cluster.coordinator.submit(sweep, problems, RAW);
    const summary = await run.ended;
    const wallS = (performance.now() - startMs) / 1_000;
    return {
      wallS,
      ...counts,
      bound: (summary.prefix.unique_tokens ?? Number.NaN) - repeatedTokens(problems.map(tokensOf)),
      solved: Object.values(summary.strategies).reduce((sum, { solved }) => sum + solved, 0),
    };
  } finally {
    await cluster.close();
    await rm(join(folder, "run"), { recursive: true, force: true });
  }
}

/** Puzzles that the model was not trained on. */
async function heldOutPuzzles(workload: Workload): Promise<readonly Problem[]> {
  const file = new URL("../models/game24/demo-puzzles.jsonl", import.meta.url);
  const lines = (await readFile(file, "utf8")).trim().split("\n").slice(0, PUZZLES);
  const [ofAll] = WORKLOADS;
  return lines.map((line, i) => {
    const { id, prompt }: { id: string; prompt: string } = JSON.parse(line);
    const examples = examplesInOrder(createRandom(workload === ofAll ? 1 : i + 1));
    return { id, prompt: prompt.trim(), reference: null, tests: null, metadata: { examples } };
  });
}

function tokensOf({ metadata, prompt }: Problem): readonly string[] {
  return tokensOfPrompt(String(metadata["examples"]), prompt);
}

/** The summary counts a prompt once for each task; this is what of them some host has already, or must have again. */
function repeatedTokens(prompts: readonly (readonly string[])[]): number {
  const sorted = prompts.toSorted((a, b) => (a.join("\0") < b.join("\0") ? -1 : 1));
  const shares = sorted.slice(1).map((prompt, i) => sharedLength(prompt, sorted[i] ?? []));
  const sum = (of: readonly number[]): number => of.reduce((all, each) => all + each, 0);
  const unique = sum(prompts.map((prompt) => prompt.length)) - sum(shares);
  const ofAll = Math.min(...shares);
  return ARMS.length * sum(prompts.map((prompt) => prompt.length)) - unique - (HOSTS.length - 1) * ofAll;
}

function sharedLength(a: readonly string[], b: readonly string[]): number {
  const differs = a.findIndex((token, i) => token !== b[i]);
  return differs === -1 ? a.length : differs;
}

function shown(of: readonly number[], digits = 0): string {
  const sorted = of.toSorted((a, b) => a - b);
  const text = (value: number | undefined): string =>
    (value ?? Number.NaN).toLocaleString("en", {
      minimumFractionDigits: digits,
      maximumFractionDigits: digits,
    });
  const middle = text(sorted[sorted.length >> 1]);
  return sorted[0] === sorted.at(-1) ? middle : `${middle} (${text(sorted[0])} to ${text(sorted.at(-1))})`;
}

console.log(`node bench/two-hosts.ts ${process.argv.slice(2).join(" ")}`.trimEnd());
console.log(`${cpus().length} x ${cpus()[0]?.model ?? "unknown processor"}, Node ${process.version}`);
console.log(
  `${PUZZLES} held-out puzzles by beam search 8/4 and by MCTS of 24 simulations; ${HOSTS.length} hosts, ${SEQUENCES} sequences each; ${REPETITIONS} repetitions`,
);
const folder = await mkdtemp(join(tmpdir(), "coppice-two-hosts-"));
const results = new Map(WORKLOADS.map((workload) => [workload, new Map<Way, Measured[]>()]));
try {
  const modelPath = join(folder, "model.gguf");
  const shipped = await readFile(new URL("../models/game24/game24-tiny.gguf", import.meta.url));
  await writeFile(modelPath, longPromptModel(shipped, CONTEXT_TOKENS));
  for (let repetition = 0; repetition < REPETITIONS; repetition += 1) {
    for (const [workload, found] of results) {
      for (let turn = 0; turn < WAYS.length; turn += 1) {
        const way = WAYS[(turn + repetition) % WAYS.length] ?? "ours";
        const measured = await measure({ workload, way }, modelPath, folder);
        found.set(way, [...(found.get(way) ?? []), measured]);
        const { wallS, rollouts, scores } = measured;
        const tokens = `${rollouts.computed} and ${scores.computed} tokens computed`;
        const load = loadavg()[0]?.toFixed(1);
        console.log(
          `repetition ${repetition + 1}, ${workload}, ${way}: ${wallS.toFixed(1)} s, ${tokens}, load ${load}`,
        );
      }
    }
  }
} finally {
  await rm(folder, { recursive: true, force: true });
}
console.log(`median of ${REPETITIONS} (lowest to highest); prompt tokens that llama.cpp computed`);
for (const [workload, found] of results) {
  console.log(`\n${workload}`);
  console.table(Object.fromEntries([...found].map(([way, all]) => [way, rowOf(all)])));
  const totals = (way: Way) => (found.get(way) ?? []).map((each) => ({ ...each, tokens: computedOf(each) }));
  const turns = totals("in turns");
  const against = (value: (each: (typeof turns)[number]) => number): string =>
    shown(
      totals("ours").map((ours, i) => {
        const other = turns[i];
        return other === undefined ? Number.NaN : value(other) / value(ours);
      }),
      2,
    );
  console.log(
    `in turns / ours, within a repetition: wall ${against(({ wallS }) => wallS)}, tokens computed ${against(({ tokens }) => tokens)}`,
  );
}

function computedOf({ rollouts, scores }: Measured): number {
  return rollouts.computed + scores.computed;
}

function rowOf(all: readonly Measured[]): Readonly<Record<string, string>> {
  const of = (value: (measured: Measured) => number, digits = 0): string => shown(all.map(value), digits);
  return {
    "wall, s": of(({ wallS }) => wallS, 1),
    "by rollouts": of(({ rollouts }) => rollouts.computed),
    bound: of(({ bound }) => bound),
    "/ bound": of(({ rollouts, bound }) => rollouts.computed / bound, 2),
    "by scores": of(({ scores }) => scores.computed),
    "% of prompts": of((each) => (100 * computedOf(each)) / (each.rollouts.prompt + each.scores.prompt), 1),
    requests: of(({ rollouts, scores }) => rollouts.requests + scores.requests),
    solved: of(({ solved }) => solved),
  };
}
