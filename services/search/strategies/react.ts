import { parseMove } from "../action.ts";
import type { Markers } from "../action.ts";
import { inStep, propose, repeat, turn } from "../chain.ts";
import type { Chain } from "../chain.ts";
import { excerpt } from "../excerpt.ts";
import { orNull, sample, useTool, writePrompt } from "../operations.ts";
import type { AskId, Candidate, Prefix, Program, Rollout, Tool, Verdict } from "../program.ts";
import { SELECT, selectBy } from "../selection.ts";
import type { Parameter, Strategy } from "../strategy.ts";
import { pathFrom } from "../template.ts";

/** What the model is told of each tool. */
const TOOLS: Readonly<Record<Tool, string>> = {
  calculator: "calculator[an expression]: its value",
  python: "python[a program]: what it prints",
  javascript: "javascript[a program]: what it prints",
};

const PARAMETERS = {
  n: { type: "integer", default: 1, min: 1, max: 10_000, about: "Trajectories beside each other." },
  max_turns: {
    type: "integer",
    default: 8,
    min: 1,
    max: 1000,
    about: "Turns of a trajectory at most; in the last one it must answer.",
  },
  tools: {
    type: "strings",
    default: ["calculator"],
    about: `What it may use, of ${Object.keys(TOOLS).join(", ")}.`,
  },
  instructions: {
    type: "text",
    default:
      "{prompt}\n\nSolve this in turns. In each turn think first, then write one action on a line of its own:\n" +
      "{action} tool[input]\nand stop; what comes of it is told to you after {observation} The tools are:\n{tools}\n" +
      "Once you know the answer, write instead:\n{final} the answer\n\n",
    about:
      "Begins a trajectory. {prompt}: the problem's prompt; {tools}: the tools; {action}, {observation}, {final}: the markers.",
  },
  action: { type: "text", default: "Action:", about: "Marks an action." },
  observation: {
    type: "text",
    default: "Observation:",
    about: "Stands before what came of an action; a turn stops at it.",
  },
  final: { type: "text", default: "Final Answer:", about: "Marks the answer." },
  observation_chars: {
    type: "integer",
    default: 2000,
    min: 16,
    max: 1_000_000,
    about: "An observation in UTF-16 units; of a longer one its beginning and its end.",
  },
  select: SELECT,
} as const satisfies Readonly<Record<string, Parameter>>;

/** What a turn came to. */
type Turned =
  | { readonly kind: "answered"; readonly text: string; readonly ask: AskId }
  | { readonly kind: "observed"; readonly path: Prefix };

/**
 * ReAct: a trajectory c_t = (x, z_1, a_1, o_1, ..., z_t, a_t, o_t): in a turn the model thinks (z) and acts
 * (a), the tool's answer is the observation (o), until it gives its final answer. A turn that names no tool,
 * or that cannot be read, is observed to do so and goes on, and so is a tool's failure or a lost answer of
 * one. In turn `max_turns` the marker of the answer is written for it, so that every trajectory ends with
 * one. Each prompt has the one before and what the model said there as prefix. Of `n` trajectories the
 * highest score or the majority wins, ties go to the lowest. A lost rollout ends its trajectory, without an
 * answer.
 */
export const react: Strategy<typeof PARAMETERS> = {
  name: "react",
  version: 1,
  about: "Thinks, uses a tool, observes what came of it, and so on until it knows the answer.",
  paper: "Yao et al. 2023, ReAct, arXiv 2210.03629",
  parameters: PARAMETERS,
  isIndependentSampling: false,
  isOrderAdaptive: false,
  extendsRollouts: true,
  needs: ({ tools }) => ({ tools: knownTools(tools) }),
  costFormula: "at most n * max_turns rollouts, n * (max_turns - 1) uses of tools, n verifications",
  cost: ({ n, max_turns }) => ({ rollouts: n * max_turns, verifications: n * max_turns }),
  check({ tools }) {
    const known = Object.keys(TOOLS).join(", ");
    const unknown = tools.find((tool) => !Object.hasOwn(TOOLS, tool));
    if (unknown !== undefined) return `tools: expected some of ${known}; found "${unknown}"`;
    return tools.length === 0 ? `tools: expected some of ${known}; found none` : null;
  },

  *search(prompt, { n, max_turns, tools, instructions, observation_chars, select, ...words }) {
    const candidates: Candidate[] = [];
    const { action, observation, final } = words;
    const known = knownTools(tools);
    const list = known.map((tool) => TOOLS[tool]).join("\n");
    const begun = yield* pathFrom(instructions, prompt, { tools: list, action, observation, final });

    function* trajectory(index: number): Chain {
      let path = begun;
      for (let t = 1; t < max_turns; t++) {
        const turned = yield* turn(act(path, { words, tools: known, observation_chars }));
        if (turned.kind === "answered") {
          const { text, ask } = turned;
          // Only part of a rollout: not the text that the ask stands for.
          return yield* propose({ index, prefix: prompt.extend(text), ask }, candidates);
        }
        path = turned.path;
      }
      const { text, ask } = yield* turn(sample(path.extend(final)));
      yield* propose({ index, prefix: prompt.extend(text.trim()), ask }, candidates);
    }

    const lost = yield* inStep(repeat(n, trajectory));
    return selectBy(select, candidates, lost);
  },
};

interface ActOptions {
  readonly words: Markers & { readonly observation: string };
  readonly tools: readonly Tool[];
  readonly observation_chars: number;
}

/** One turn: the model's thought and action, and what came of it. */
function* act(path: Prefix, { words, tools, observation_chars }: ActOptions): Program<Turned> {
  const rollout = yield* sample(path, { stop: [words.observation] });
  const move = parseMove(withoutStop(rollout), words);
  if (move.kind === "final") return { kind: "answered", text: move.text, ask: rollout.ask };
  const tool = move.kind === "action" ? tools.find((one) => one === move.tool) : undefined;
  const observed =
    move.kind === "action" && tool !== undefined
      ? observationOf(yield* orNull(use(tool, move.input)))
      : `error: expected "${words.action} tool[input]" with one of ${tools.join(", ")}, or "${words.final} ...", ` +
        (move.kind === "action" ? `found the tool "${move.tool}"` : "found neither");
  const opening = rollout.stopString === null ? `\n${words.observation}` : "";
  const said = path.extend(rollout.text, rollout.ask);
  return { kind: "observed", path: said.extend(`${opening} ${excerpt(observed, observation_chars)}\n`) };
}

function* use(tool: Tool, input: string): Program<Verdict> {
  return yield* useTool(tool, yield* writePrompt(input));
}

function observationOf(verdict: Verdict | null): string {
  if (verdict === null) return "error: the tool gave no answer";
  if (verdict.verdict === "correct") return verdict.answer?.trim() ?? "";
  return `error: ${verdict.reason ?? "the tool failed"}`;
}

function withoutStop({ text, stopString }: Rollout): string {
  return stopString !== null && text.endsWith(stopString) ? text.slice(0, -stopString.length) : text;
}

function knownTools(tools: readonly string[]): readonly Tool[] {
  return tools.filter((tool): tool is Tool => Object.hasOwn(TOOLS, tool));
}
