/**
 * Thoughts: the states of a tree of thoughts, how a state's next ones are made, and what a state is thought to be worth. Shared
 * by the strategies that search such a tree.
 */
import { isTerminal } from "./candidate.ts";
import { gather, graver, judge } from "./operations.ts";
import { textOf } from "./prefix.ts";
import type { AskId, Loss, Prefix, Program } from "./program.ts";
import { scoreOf } from "./selection.ts";
import { distinctPaths, sampleWithin } from "./steps.ts";
import type { BudgetWatch } from "./steps.ts";
import type { ProblemFacts } from "./strategy.ts";
import { fillTemplate, pathFrom } from "./template.ts";
import { valueWord } from "./thought-parameters.ts";
import type { ThoughtValues } from "./thought-parameters.ts";

/** A state of the tree: the steps from the problem to it. */
export interface Thought {
  readonly prefix: Prefix;
  /** Its steps as text, behind the prompt. */
  readonly path: string;
  /** The rollout that ended in its last step; null where one rollout listed several, and for the problem. */
  readonly ask: AskId | null;
  readonly depth: number;
  /** Whether there is nothing to add. */
  readonly isOver: boolean;
}

export interface RatedThought extends Thought {
  readonly value: number;
}

/** One search through thoughts. */
export interface Thinking {
  readonly prompt: Prefix;
  readonly problem: ProblemFacts;
  readonly parameters: ThoughtValues;
  /** By the prompt that asks for a value, or by the path that a verifier scored: what is known. */
  readonly known: Map<Prefix, number>;
  readonly watch: BudgetWatch;
}

export function startThinking(
  prompt: Prefix,
  { problem, parameters }: { readonly problem: ProblemFacts; readonly parameters: ThoughtValues },
): Thinking {
  return { prompt, problem, parameters, known: new Map(), watch: { refused: null } };
}

/** The problem itself. */
export function firstThought({ prompt }: Pick<Thinking, "prompt">): Thought {
  return { prefix: prompt, path: "", ask: null, depth: 0, isOver: false };
}

export interface Thoughts<T = Thought> {
  readonly thoughts: readonly T[];
  readonly lost: Loss | null;
}

/** A thought's next ones: fewer, where rollouts are lost. */
export function* nextThoughts(from: Thought, thinking: Thinking): Program<Thoughts> {
  const { generate, branch, proposals, propose, propose_last, goal, reply_stop } = thinking.parameters;
  if (generate === "sample") {
    const { values, lost } = yield* gather(Array.from({ length: branch }, () => oneThought(from, thinking)));
    return { thoughts: values.filter((thought) => thought !== undefined), lost };
  }
  const template = stateOf(from, thinking) === goal ? propose_last : propose;
  const { values, lost } = yield* gather([
    sampleWithin(thinking.watch, yield* promptFor(template, { of: from, thinking }), { stop: reply_stop }),
  ]);
  const reply = values[0]?.text.trim() ?? "";
  // A blank line between others is a step too, as in the authors' code: the state stays what it was.
  const lines = reply === "" ? [] : reply.split(/\r?\n/u).slice(0, proposals);
  return { thoughts: lines.map((line) => thoughtAfter(from, { text: `${line}\n`, thinking })), lost };
}

function* oneThought(from: Thought, thinking: Thinking): Program<Thought> {
  const rollout = yield* sampleWithin(thinking.watch, from.prefix, { stop: thinking.parameters.step_stop });
  const next = thoughtAfter(from, { text: rollout.text, ask: rollout.ask, thinking });
  return { ...next, isOver: isTerminal(rollout, { isLast: next.isOver }) };
}

function thoughtAfter(
  from: Thought,
  {
    text,
    ask = null,
    thinking,
  }: { readonly text: string; readonly ask?: AskId | null; readonly thinking: Thinking },
): Thought {
  const depth = from.depth + 1;
  const isOver = depth >= thinking.parameters.max_steps;
  return { prefix: from.prefix.extend(text, ask), path: from.path + text, ask, depth, isOver };
}

/**
 * The value of each thought. Of equal ones in one call the first has the value and the others 0, so that they do not fill a beam;
 * equal prompts are asked once per search. A lost evaluation counts 0, and is not remembered when all of a value are lost.
 */
export function* rate(thoughts: readonly Thought[], thinking: Thinking): Program<Thoughts<RatedThought>> {
  const { known } = thinking;
  const distinct = distinctPaths(thoughts);
  const prompts = new Map<Thought, Prefix>();
  const unknown = new Map<Prefix, Thought>();
  for (const thought of distinct) {
    const prompt = yield* valuePrompt(thought, thinking);
    prompts.set(thought, prompt);
    if (known.has(prompt)) continue;
    if (isAnswerMissing(thought, thinking.parameters)) known.set(prompt, 0);
    else if (!unknown.has(prompt)) unknown.set(prompt, thought);
  }
  const { values, lost } = yield* gather(
    [...unknown].map(([prompt, thought]) => evaluate(thought, { prompt, thinking })),
  );
  let worst = lost;
  for (const [i, prompt] of [...unknown.keys()].entries()) {
    const found = values[i];
    if (found === undefined) continue;
    if (found.value !== null) known.set(prompt, found.value);
    if (found.lost !== null) worst = graver(worst, found.lost);
  }
  const rated = thoughts.map((thought) => {
    const prompt = prompts.get(thought);
    return { ...thought, value: prompt === undefined ? 0 : (known.get(prompt) ?? 0) };
  });
  return { thoughts: rated, lost: worst };
}

/** A thought's next ones with their values. */
export function* expandThought(from: Thought, thinking: Thinking): Program<Thoughts<RatedThought>> {
  const next = yield* nextThoughts(from, thinking);
  const rated = yield* rate(next.thoughts, thinking);
  const lost = rated.lost === null ? next.lost : graver(next.lost, rated.lost);
  return { thoughts: rated.thoughts, lost };
}

interface Evaluation {
  /** Null when it is lost. */
  readonly value: number | null;
  readonly lost: Loss | null;
}

function* evaluate(
  { prefix, ask }: Thought,
  { prompt, thinking }: { readonly prompt: Prefix; readonly thinking: Thinking },
): Program<Evaluation> {
  const { evaluate: by, evaluations, value_words, reply_stop: stop } = thinking.parameters;
  if (by === "process") {
    return { value: scoreOf(yield* judge({ role: "process", prefix, of: ask })), lost: null };
  }
  const replies = Array.from({ length: evaluations }, () => sampleWithin(thinking.watch, prompt, { stop }));
  const { values, lost } = yield* gather(replies);
  const words = values.filter((rollout) => rollout !== undefined).map(({ text }) => lastWord(text));
  const value = value_words.map(valueWord).reduce((sum, { word, worth }) => {
    return sum + worth * words.filter((said) => said === word).length;
  }, 0);
  return { value: words.length === 0 ? null : value, lost };
}

function* valuePrompt(thought: Thought, thinking: Thinking): Program<Prefix> {
  const { evaluate: by, value, value_last } = thinking.parameters;
  if (by === "process") return thought.prefix;
  const template = stateOf(thought, thinking) === null ? value_last : value;
  return yield* promptFor(template, { of: thought, thinking });
}

function isAnswerMissing(
  { depth, path }: Thought,
  { max_steps, answer_mark, evaluate: by }: ThoughtValues,
): boolean {
  return by === "value" && depth >= max_steps && !path.toLowerCase().includes(answer_mark.toLowerCase());
}

/** What the marks enclose in a path's last line, the problem where there is no step yet; null where nothing is marked. */
function stateOf({ path }: Thought, { problem, parameters }: Thinking): string | null {
  if (path === "") return problem.prompt.trim();
  const [before = "", after] = parameters.state_marks;
  const parts = lastLine(path).split(before);
  const rest = parts.at(-1);
  if (rest === undefined || parts.length < 2) return null;
  return (after === undefined ? rest : (rest.split(after)[0] ?? rest)).trim();
}

/** A filled template behind the path itself where it begins with it, so that hosts share what they have computed. */
export function* promptFor(
  template: string,
  {
    of,
    thinking,
    more = {},
  }: {
    readonly of: Thought;
    readonly thinking: Thinking;
    readonly more?: Readonly<Record<string, string>>;
  },
): Program<Prefix> {
  const { prompt, problem } = thinking;
  const step = of.path === "" ? problem.prompt.trim() : lastLine(of.path);
  const state = stateOf(of, thinking) ?? step;
  const fields = { problem: problem.prompt.trim(), path: of.path, step, state, ...more };
  const pathFirst = "{prompt}{path}";
  if (template.startsWith(pathFirst)) {
    return of.prefix.extend(
      fillTemplate(template.slice(pathFirst.length), { ...fields, prompt: textOf(prompt) }),
    );
  }
  return yield* pathFrom(template, prompt, fields);
}

function lastLine(text: string): string {
  return text.trim().split("\n").at(-1)?.trim() ?? "";
}

function lastWord(text: string): string {
  return /(\p{L}+)\P{L}*$/u.exec(text)?.[1]?.toLowerCase() ?? "";
}
