/** The sweep of every round, and what an undisturbed run of it leaves. */
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { coppice } from "../support/coppice.ts";
import { rowsOf } from "../support/in-process.ts";
import { chargesOf, type Expected } from "./invariants.ts";

const PROBLEMS = 8;
const TOKENS_MAX = 64;
/** Of what the undisturbed run was charged: an ask that was withdrawn from a worker that died is charged its worst. */
const BUDGET_SHARE = 1.25;

/** Sampling alone, steps judged by the hosts, a tree that grows, and one that withdraws what it does not need any more. */
const STRATEGIES = [
  { strategy: "best-of-n", n: 16 },
  { strategy: "beam-search", width: 4, expand: 2, max_steps: 3, step_stop: ["\n"] },
  { strategy: "mcts", simulations: 16, parallel: 4, max_steps: 3, step_stop: ["\n"] },
  { strategy: "first-correct", n: 12, parallel: 4 },
] as const;

export interface Reference extends Expected {
  readonly file: string;
  readonly seed: number;
}

/** Runs the sweep in one process, undisturbed. */
export async function undisturbed(directory: string, seed: number): Promise<Reference> {
  const file = join(directory, "sweep.yaml");
  const host = { engine: "simulated", profile: "8b-h100", speed: 50 };
  const sweep = {
    name: "chaos",
    problems: Array.from({ length: PROBLEMS }, (_, n) => ({
      id: `p${n}`,
      prompt: `What is ${n} plus ${(n * 7) % 10}? Think step by step.\n`,
      reference: String(n % 10),
    })),
    model: "simulated",
    hosts: [host, host],
    sampling: { max_tokens: TOKENS_MAX },
    strategies: STRATEGIES,
    verifier: { kind: "numeric" },
    process_verifier: {
      kind: "process-reward",
      prompt: "{prompt}{text}?",
      positive: " good",
      negative: " bad",
    },
    deterministic: true,
    seed: 1,
    output: "unused",
  };
  writeFileSync(file, JSON.stringify(sweep));
  const output = join(directory, `undisturbed-${seed}`);
  const { status, err } = await coppice(["run", file, "--set", `seed=${seed}`, "--set", `output=${output}`]);
  if (status !== 0) throw new Error(`the undisturbed run ended with ${status}: ${err}`);
  const charges = Object.entries(await chargesOf(output));
  const budget = Object.fromEntries(charges.map(([unit, sum]) => [unit, Math.ceil(sum * BUDGET_SHARE)]));
  return { file, seed, rows: await rowsOf(output), budget };
}

/** Of the sweep as it is submitted to the bed. */
export function settings({ seed, budget }: Reference): readonly string[] {
  return [
    `seed=${seed}`,
    `budget.rollouts=${budget["rollouts"]}`,
    `budget.completion_tokens=${budget["completionTokens"]}`,
  ];
}
