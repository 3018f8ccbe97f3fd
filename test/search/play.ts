/** Plays a model, a verifier and tools to one search, and writes down what was asked. */
import type { Answer, Ask, Loss, Outcome, SampleAsk, Tool, Verdict } from "../../services/search/program.ts";
import { rootPrefix, Search, textOf } from "../../services/search/search.ts";
import type { Parameter, ParameterValues, Strategy } from "../../services/search/strategy.ts";
import { withDefaults } from "../../services/search/strategy.ts";
import { drive, PROBLEM } from "./drive.ts";

export interface Cast {
  /** What the model says behind a prompt. `turn` counts its rollouts from 0, `sample` those of that prompt. */
  readonly says: (prompt: string, at: { readonly turn: number; readonly sample: number }) => string;
  /** What the outcome verifier says of an answer, without the prompt; default: incorrect with score 0. */
  readonly judges?: (answer: string) => Partial<Verdict>;
  readonly tool?: (tool: Tool | null, input: string) => Partial<Verdict>;
  readonly loses?: (ask: Ask) => Loss | null;
}

export interface Played {
  readonly outcome: Outcome | null;
  readonly loss: Loss | null;
  /** What the model was asked, whole, in the order of asking. */
  readonly prompts: readonly string[];
  /** What was judged, without the prompt, in the order of asking. */
  readonly judged: readonly string[];
  /** The input of every use of a tool. */
  readonly used: readonly string[];
  readonly asks: readonly Ask[];
}

/** The rendered prompt of every search that is played. */
export const QUESTION = "Q";

/** Runs a strategy to its end, every answer given at once, the oldest ask first. Throws what the strategy threw. */
export function play<P extends Readonly<Record<string, Parameter>>>(
  strategy: Strategy<P>,
  given: Partial<ParameterValues<P>>,
  { says, judges, tool, loses }: Cast,
): Played {
  const values = withDefaults(strategy.parameters, given);
  const search = new Search(() => strategy.search(rootPrefix(QUESTION), values, PROBLEM));
  let turn = 0;
  const { asks } = drive(search, {
    answer(ask) {
      if (ask.kind === "sample")
        return rollout(says(textOf(ask.prefix), { turn: turn++, sample: ask.sample }), ask.options.stop);
      if (ask.role === "tool") return verdict(tool?.(ask.tool, textOf(ask.prefix)) ?? {});
      return verdict(judges?.(answerIn(ask)) ?? {});
    },
    ...(loses === undefined ? {} : { lose: loses }),
  });
  if (search.error !== null) throw search.error;
  const verifications = asks.filter((ask) => ask.kind === "verify");
  return {
    outcome: search.outcome,
    loss: search.loss,
    prompts: samplesOf({ asks }).map(({ prefix }) => textOf(prefix)),
    judged: verifications.flatMap((ask) => (ask.role === "tool" ? [] : [answerIn(ask)])),
    used: verifications.flatMap((ask) => (ask.role === "tool" ? [textOf(ask.prefix)] : [])),
    asks,
  };
}

/** The answer that a play ended with, without the prompt. */
export function answerOf({ outcome }: Played): string | null {
  const prefix = outcome?.candidate?.prefix;
  return prefix === undefined ? null : textOf(prefix).slice(QUESTION.length);
}

/** What the model was asked, in the order of asking. */
export function samplesOf({ asks }: Pick<Played, "asks">): readonly SampleAsk[] {
  return asks.filter((ask) => ask.kind === "sample");
}

function answerIn(ask: Ask): string {
  return textOf(ask.prefix).slice(QUESTION.length);
}

/** What a host would give: it stops behind the first stop string. */
function rollout(said: string, stops: readonly string[] = []): Answer {
  const stopString = stops.find((stop) => said.includes(stop)) ?? null;
  const text = stopString === null ? said : said.slice(0, said.indexOf(stopString) + stopString.length);
  return {
    kind: "rollout",
    rollout: { text, finishReason: "stop", stopString, completionTokens: 1, meanLogprob: null },
  };
}

function verdict(said: Partial<Verdict>): Answer {
  return {
    kind: "verdict",
    verdict: { verdict: "incorrect", score: null, answer: null, reason: null, ...said },
  };
}
