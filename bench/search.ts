/**
 * How long the search core takes per ask: `node bench/search.ts`. Answers are made at once, in order of
 * asking, so this is the time of the state machine and the strategies alone: no host, no queue, no journal.
 */
import { cpus } from "node:os";
import { gather, sample, sampleMany } from "../services/search/operations.ts";
import type { Answer, Ask, Prefix, Program } from "../services/search/program.ts";
import { rootPrefix, Search } from "../services/search/search.ts";
import { mcts } from "../services/search/strategies/mcts.ts";
import { withDefaults } from "../services/search/strategy.ts";

const SIZES = [1_000, 10_000, 100_000] as const;
const REPEATS = 5;
const NS_PER_MS = 1e6;

const SHAPES: Readonly<Record<string, (prompt: Prefix, asks: number) => Program<unknown>>> = {
  "one bulk sample": (prompt, asks) => sampleMany(prompt, { n: asks }),
  "one strand each": (prompt, asks) => gather(Array.from({ length: asks }, () => sample(prompt))),
  "one after another": oneAfterAnother,
  // Half of its asks are samples, half are verifications.
  mcts: (prompt, asks) =>
    mcts.search(
      prompt,
      withDefaults(mcts.parameters, { simulations: asks / 2, parallel: 64, stop_when: "never" }),
      { id: "p", prompt: "problem", metadata: {} },
    ),
};

function* oneAfterAnother(prompt: Prefix, asks: number): Program<void> {
  let prefix = prompt;
  for (let i = 0; i < asks; i++) prefix = prefix.extend((yield* sample(prefix)).text);
}

/** Never twice the same text, so that no step is known already. */
function answer(ask: Ask, turn: number): Answer {
  if (ask.kind === "verify") {
    const score = ((turn * 7919) % 1000) / 1000;
    return { kind: "verdict", verdict: { verdict: "undecided", score, answer: null, reason: "benchmark" } };
  }
  const text = `${turn}\n`;
  return {
    kind: "rollout",
    rollout: { text, finishReason: "stop", stopString: "\n", completionTokens: 2, meanLogprob: null },
  };
}

/** Nanoseconds per ask of one whole search. */
function measure(shape: (prompt: Prefix) => Program<unknown>, inOrder: boolean): number {
  const prompt = rootPrefix("problem\n");
  const search = new Search(() => shape(prompt), { inOrder });
  const start = performance.now();
  const queue: Ask[] = [...search.start().asked];
  let turn = 0;
  for (; turn < queue.length; turn++) {
    const ask = queue[turn];
    if (ask === undefined) break;
    for (const next of search.tell(ask.id, answer(ask, turn)).asked) queue.push(next);
  }
  if (!search.isEnded) throw new Error(`the search did not end after ${turn} answers`);
  return ((performance.now() - start) * NS_PER_MS) / turn;
}

const machine = cpus()[0]?.model ?? "unknown processor";
console.log(`node ${process.version}, ${machine}, median of ${REPEATS} (lowest to highest)`);
console.log("ns per ask".padEnd(30) + SIZES.map((size) => `${size} asks`.padStart(24)).join(""));
for (const [name, shape] of Object.entries(SHAPES)) {
  for (const inOrder of [false, true]) {
    const cells = SIZES.map((size) => {
      const runs = Array.from({ length: REPEATS }, () => measure((prompt) => shape(prompt, size), inOrder));
      const [low = 0, , median = 0, , high = 0] = runs.toSorted((a, b) => a - b).map(Math.round);
      return `${median} (${low} to ${high})`.padStart(24);
    });
    console.log((name + (inOrder ? ", in order" : "")).padEnd(30) + cells.join(""));
  }
}
