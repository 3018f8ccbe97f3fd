/**
 * The same sweep through a router that stands in front of hosts, and by our lanes on those hosts: `node bench/router.ts --hosts
 * URL,URL,... --router NAME=URL`. `--router` may be repeated, one address for each policy. docs/router-comparison.md has
 * the whole recipe with the `smg` router before hosts of `coppice host`, and a table.
 *
 * Options: `--repetitions 3`, `--problems 32`, `--root-tokens 1024` and `--problem-tokens 512` (what all prompts share, and what is a
 * problem's own), `--concurrency 32` (asks at once, to a host), `--model NAME`.
 *
 * Every run is `coppice run` with the same strategy and seed; to a router it sees one host that takes all hosts' asks at once.
 * So the client of the router is ours too: it opens tasks oldest first. Each run begins with cold caches: hosts are told to
 * drop theirs, and every prompt of a repetition begins with words of its own, which no router has seen. The runs of a
 * repetition take turns at being first. Tokens are those of the hosts' own metrics, which are vLLM's.
 *
 * It does not measure a GPU where the hosts are simulated; networks of more than this machine; chat, or token ids as prompts.
 */
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { cpus, loadavg, tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { readSummary } from "../services/coordinator/summary-file.ts";
import { createRandom, type Random } from "../services/runtime/random.ts";
import { coppice } from "../test/support/coppice.ts";
import { readMetrics, samplesOf, sumOf } from "../workers/rollout/drivers/http-host/metrics-text.ts";
import { encode } from "../workers/rollout/drivers/simulated/tokenizer.ts";
import { median } from "./median.ts";

const { values } = parseArgs({
  options: {
    hosts: { type: "string" },
    router: { type: "string", multiple: true, default: [] },
    model: { type: "string", default: "simulated" },
    repetitions: { type: "string", default: "3" },
    problems: { type: "string", default: "32" },
    "root-tokens": { type: "string", default: "1024" },
    "problem-tokens": { type: "string", default: "512" },
    concurrency: { type: "string", default: "32" },
  },
});

const WIDTH = 16;
const EXPAND = 4;
const STEPS = 6;
/** Longest wait for one answer of a host or router to a question about itself. */
const ASK_MS = 10_000;

interface Setup {
  readonly hosts: readonly string[];
  readonly ways: readonly Way[];
  readonly repetitions: number;
  readonly problems: number;
  readonly rootTokens: number;
  readonly problemTokens: number;
  readonly concurrency: number;
}

/** Through what a sweep goes: a name, and the hosts that it is told of. */
interface Way {
  readonly name: string;
  readonly hosts: readonly Readonly<Record<string, unknown>>[];
}

interface Tokens {
  readonly computed: number;
  readonly cached: number;
}

interface Measured extends Tokens {
  readonly makespanS: number;
  /** The most that one host computed, over the mean. */
  readonly imbalance: number;
  /** Prompt tokens that some host has to compute, whatever the placement. */
  readonly bound: number;
  readonly rollouts: number;
}

function readSetup(): Setup {
  const hosts = (values.hosts ?? "").split(",").filter((url) => url !== "");
  if (hosts.length === 0) throw new Error("--hosts: expected the hosts' addresses, URL,URL,...; found none");
  const concurrency = count("concurrency", values.concurrency);
  const host = (id: string, more: object) => ({ id, timeout_ms: 600_000, ...more });
  const lanes: Way = {
    name: "our lanes",
    hosts: hosts.map((url, i) => host(`host-${i}`, { engine: "vllm", url, concurrency })),
  };
  const routers = values.router.map((text): Way => {
    const [name = "", url] = text.split(/=(.*)/s);
    if (url === undefined || !URL.canParse(url))
      throw new Error(`--router: expected NAME=URL, found ${JSON.stringify(text)}`);
    return {
      name,
      hosts: [host("router", { engine: "openai", url, concurrency: concurrency * hosts.length })],
    };
  });
  return {
    hosts,
    ways: [lanes, ...routers],
    repetitions: count("repetitions", values.repetitions),
    problems: count("problems", values.problems),
    rootTokens: count("root-tokens", values["root-tokens"]),
    problemTokens: count("problem-tokens", values["problem-tokens"]),
    concurrency,
  };
}

function count(name: string, text: string): number {
  const value = Number(text);
  if (Number.isSafeInteger(value) && value > 0) return value;
  throw new Error(`--${name}: expected a whole number from 1, found ${JSON.stringify(text)}`);
}

async function measure(way: Way, repetition: number, setup: Setup, folder: string): Promise<Measured> {
  await Promise.all(setup.hosts.map((host) => dropCache(host)));
  const before = await Promise.all(setup.hosts.map((host) => tokensOf(host)));
  const output = join(folder, `${repetition}-${way.name.replaceAll(/[^a-z0-9]+/gi, "-")}`);
  const file = `${output}.json`;
  await writeFile(file, JSON.stringify({ ...sweepOf(repetition, setup), hosts: way.hosts, output }));
  const { status, err } = await coppice(["run", file]);
  if (status !== 0) throw new Error(`${way.name}: coppice run ${file} ended with ${status}: ${err}`);
  const summary = await readSummary(output);
  const after = await Promise.all(setup.hosts.map((host) => tokensOf(host)));
  const each = after.map((tokens, i) => tokens.computed - (before[i]?.computed ?? 0));
  const computed = each.reduce((sum, tokens) => sum + tokens, 0);
  const cached = after.reduce((sum, tokens, i) => sum + tokens.cached - (before[i]?.cached ?? 0), 0);
  // The summary counts what all prompts share once for each task; some host has it after the first, others need it too.
  const unique = summary.prefix.unique_tokens ?? Number.NaN;
  const root = encode(rootText(repetition, setup)).length;
  return {
    makespanS: summary.wall_ms / 1_000,
    computed,
    cached,
    imbalance: (Math.max(...each) * each.length) / computed,
    bound: unique - (setup.problems - setup.hosts.length) * root,
    rollouts: summary.rollouts,
  };
}

function sweepOf(repetition: number, setup: Setup): Readonly<Record<string, unknown>> {
  const random = createRandom(1_000 + repetition);
  return {
    name: "router",
    problems: Array.from({ length: setup.problems }, (_, i) => ({
      id: `p${i}`,
      prompt: words(random, setup.problemTokens),
      reference: "1",
    })),
    prompt_template: `${rootText(repetition, setup)}\n{prompt}\n`,
    model: values.model,
    sampling: { max_tokens: 512 },
    strategies: [
      { strategy: "beam-search", width: WIDTH, expand: EXPAND, max_steps: STEPS, step_stop: ["\n"] },
    ],
    verifier: { kind: "numeric" },
    process_verifier: {
      kind: "process-reward",
      prompt: "{prompt}{text}?",
      positive: " good",
      negative: " bad",
    },
    seed: repetition,
  };
}

function rootText(repetition: number, { rootTokens }: Setup): string {
  return words(createRandom(repetition), rootTokens);
}

/** Words by chance, each one token of the simulated hosts and about as much of any other. */
function words(random: Random, tokens: number): string {
  const letter = (): string => String.fromCharCode(97 + Math.floor(random.next() * 26));
  return Array.from({ length: tokens }, () => letter() + letter() + letter()).join(" ");
}

async function dropCache(host: string): Promise<void> {
  const response = await fetch(`${host}/reset_prefix_cache`, {
    method: "POST",
    signal: AbortSignal.timeout(ASK_MS),
  });
  await response.arrayBuffer();
  if (!response.ok)
    throw new Error(`${host}/reset_prefix_cache: expected it to be done, found status ${response.status}`);
}

async function tokensOf(host: string): Promise<Tokens> {
  const response = await fetch(`${host}/metrics`, { signal: AbortSignal.timeout(ASK_MS) });
  const metrics = readMetrics(await response.text());
  const from = (source: string): number => {
    const tokens = sumOf(samplesOf(metrics, ["vllm:prompt_tokens_by_source_total"], { source }));
    if (tokens === null)
      throw new Error(
        `${host}/metrics: expected vllm:prompt_tokens_by_source_total of ${source}, found none`,
      );
    return tokens;
  };
  return { computed: from("local_compute"), cached: from("local_cache_hit") };
}

function shown(of: readonly number[], digits: number): string {
  const [low, middle, high] = [Math.min(...of), median(of), Math.max(...of)].map((each) =>
    each.toLocaleString("en", { minimumFractionDigits: digits, maximumFractionDigits: digits }),
  );
  return `${middle} (${low} to ${high})`;
}

if (values.hosts === undefined) {
  console.log(
    "nothing to measure: it needs a router before hosts; docs/router-comparison.md says how to start them",
  );
  process.exit(0);
}
const setup = readSetup();
const { hosts, ways, repetitions } = setup;
console.log(`node bench/router.ts ${process.argv.slice(2).join(" ")}`);
console.log(`${cpus().length} x ${cpus()[0]?.model ?? "unknown processor"}, Node ${process.version}`);
console.log(
  `beam search ${WIDTH}/${EXPAND}, ${STEPS} steps, ${setup.problems} problems of ${setup.problemTokens} tokens ` +
    `behind ${setup.rootTokens} that all share; ${hosts.length} hosts, ${setup.concurrency} asks at once to each`,
);
const folder = await mkdtemp(join(tmpdir(), "coppice-router-"));
const results = new Map<string, Measured[]>(ways.map(({ name }) => [name, []]));
try {
  for (let repetition = 1; repetition <= repetitions; repetition += 1) {
    for (let turn = 0; turn < ways.length; turn += 1) {
      const way = ways[(turn + repetition) % ways.length];
      if (way === undefined) continue;
      const measured = await measure(way, repetition, setup, folder);
      results.get(way.name)?.push(measured);
      const load = loadavg()[0]?.toFixed(1);
      console.log(
        `repetition ${repetition}, ${way.name}: ${measured.makespanS.toFixed(1)} s, ${measured.computed} computed, load ${load}`,
      );
    }
  }
} finally {
  await rm(folder, { recursive: true, force: true });
}
console.log(`median of ${repetitions} (lowest to highest)`);
console.table(
  Object.fromEntries(
    [...results].map(([name, all]) => {
      const row = {
        "makespan, s": shown(
          all.map(({ makespanS }) => makespanS),
          1,
        ),
        "prompt tokens computed": shown(
          all.map(({ computed }) => computed),
          0,
        ),
        "/ bound": shown(
          all.map(({ computed, bound }) => computed / bound),
          2,
        ),
        "cached share": shown(
          all.map(({ computed, cached }) => cached / (computed + cached)),
          3,
        ),
        "busiest host / mean": shown(
          all.map(({ imbalance }) => imbalance),
          2,
        ),
        rollouts: median(all.map(({ rollouts }) => rollouts)),
      };
      return [name, row];
    }),
  ),
);
console.log("bound: every part of the search trees once, and what all prompts share once for each host");
