import { answerTo } from "../candidate.ts";
import { inStep, propose, repeat, turn } from "../chain.ts";
import type { Chain } from "../chain.ts";
import { all, sample } from "../operations.ts";
import type { Candidate, Prefix, Program, Rollout } from "../program.ts";
import { SELECT, selectBy } from "../selection.ts";
import type { Parameter, Strategy } from "../strategy.ts";
import { fieldsOf, pathFrom } from "../template.ts";

const NODES_MAX = 64;
/** The field that no node fills. */
const PROMPT = "prompt";

const PARAMETERS = {
  nodes: {
    type: "texts",
    default: {
      plan: "{prompt}\n\nBefore answering, write down how to go about it.\n\nPlan:\n",
      answer: "{prompt}\n\nPlan:\n{plan}\n\nFollow the plan.\n\nAnswer:\n",
    },
    max: NODES_MAX,
    about:
      "By name, the prompt of each node: {prompt} is the problem's prompt, {name} what the node of that name wrote.",
  },
  answer: { type: "text", default: "", about: "The node that writes the answer; empty: the last one." },
  n: { type: "integer", default: 1, min: 1, max: 10_000, about: "Runs of the whole chain." },
  select: SELECT,
} as const satisfies Readonly<Record<string, Parameter>>;

type Nodes = Readonly<Record<string, string>>;

/**
 * A prompt chain: a graph of prompts, where the text that one node writes is bound into the prompts of
 * others: env = {prompt}; while a node is unwritten: await all of env[node] = call(node, env) whose inputs
 * are in env. Which nodes need which is read from the fields of their templates. What the answer's node
 * writes is the candidate; of `n` runs, which go layer by layer together, the highest score or the majority
 * wins, ties go to the lowest run. A lost rollout ends its run.
 */
export const promptChain: Strategy<typeof PARAMETERS> = {
  name: "prompt-chain",
  version: 1,
  about: "Runs a graph of prompts, each filled with what the ones before it wrote.",
  paper: "Wu et al. 2022, AI Chains, arXiv 2110.01691",
  parameters: PARAMETERS,
  isIndependentSampling: false,
  isOrderAdaptive: false,
  extendsRollouts: false,
  needs: () => ({}),
  costFormula: "n rollouts per node, n verifications",
  cost: ({ nodes, n }) => ({ rollouts: n * Object.keys(nodes).length, verifications: n }),
  check: ({ nodes, answer }) =>
    complaintAboutNames(nodes, answer) ?? complaintAboutCycle(nodes) ?? complaintAboutUnused(nodes, answer),

  *search(prompt, { nodes, answer, n, select }) {
    const candidates: Candidate[] = [];

    function* run(index: number): Chain {
      const env = new Map<string, Rollout>();
      const end = answerOf(nodes, answer);
      while (!env.has(end)) {
        const ready = Object.keys(nodes).filter(
          (name) => !env.has(name) && inputsOf(nodes, name).every((input) => env.has(input)),
        );
        if (ready.length === 0) throw new Error(`prompt-chain: expected a way to node ${end}, found none`);
        const calls = ready.map((name) => call(nodes[name] ?? "", { prompt, env }));
        const written = yield* turn(all(calls, { minimum: calls.length }));
        for (const [i, rollout] of written.entries()) if (rollout) env.set(ready[i] ?? "", rollout);
      }
      const { text, ask } = env.get(end) as Rollout; // The loop ended because it is there.
      yield* propose(answerTo(prompt, { index, text, ask }), candidates);
    }

    const lost = yield* inStep(repeat(n, run));
    return selectBy(select, candidates, lost);
  },
};

function* call(
  template: string,
  { prompt, env }: { readonly prompt: Prefix; readonly env: ReadonlyMap<string, Rollout> },
): Program<Rollout> {
  const values = Object.fromEntries([...env].map(([name, { text }]) => [name, text.trim()]));
  return yield* sample(yield* pathFrom(template, prompt, values));
}

function answerOf(nodes: Nodes, answer: string): string {
  return answer === "" ? (Object.keys(nodes).at(-1) ?? "") : answer;
}

/** The nodes that a node's template refers to. */
function inputsOf(nodes: Nodes, name: string): readonly string[] {
  return fieldsOf(nodes[name] ?? "").filter((field) => field !== PROMPT);
}

function complaintAboutNames(nodes: Nodes, answer: string): string | null {
  const names = Object.keys(nodes);
  if (names.length === 0) return "nodes: expected at least one, found none";
  if (names.includes(PROMPT))
    return "nodes.prompt: {prompt} is the problem's prompt; call the node otherwise";
  if (answer !== "" && !names.includes(answer))
    return `answer: expected one of ${names.join(", ")}; found "${answer}"`;
  for (const name of names) {
    const unknown = inputsOf(nodes, name).find((input) => !names.includes(input));
    if (unknown !== undefined)
      return `nodes.${name}: refers to {${unknown}}; expected prompt or one of ${names.join(", ")}`;
  }
  return null;
}

function complaintAboutCycle(nodes: Nodes): string | null {
  const written = new Set<string>();
  const names = Object.keys(nodes);
  const isReady = (name: string): boolean => inputsOf(nodes, name).every((input) => written.has(input));
  for (let size = -1; size !== written.size;) {
    size = written.size;
    for (const name of names) if (isReady(name)) written.add(name);
  }
  // Each node left waits for another one that is left: going from one to the next ends in a cycle.
  const path: string[] = [];
  let next = names.find((name) => !written.has(name));
  while (next !== undefined && !path.includes(next)) {
    path.push(next);
    next = inputsOf(nodes, next).find((input) => !written.has(input));
  }
  if (next === undefined) return null;
  const cycle = [...path.slice(path.indexOf(next)), next].map((name) => `{${name}}`);
  return `nodes.${next}: waits for itself: ${cycle.join(" needs ")}`;
}

function complaintAboutUnused(nodes: Nodes, answer: string): string | null {
  const needed = new Set([answerOf(nodes, answer)]);
  for (const name of needed) for (const input of inputsOf(nodes, name)) needed.add(input);
  const unused = Object.keys(nodes).find((name) => !needed.has(name));
  return unused === undefined
    ? null
    : `nodes.${unused}: no way leads from it to the answer, the node "${answerOf(nodes, answer)}"`;
}
