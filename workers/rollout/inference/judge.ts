/**
 * A generative verifier: the model writes its judgement, as often as there are votes (GenRM-CoT, Zhang et al. 2024, votes 32
 * times). It costs rollouts; all votes on one candidate share their prompt.
 */
import { CoppiceError } from "../../../services/runtime/errors.ts";
import { deriveSeed } from "../../../services/runtime/random.ts";
import type { AttemptUsage, VerdictResult } from "../../../services/queue/job.ts";
import { correct, incorrect, quote, undecided } from "../../verify/verifier.ts";
import {
  defineInferenceVerifier,
  fillPath,
  MODEL_OPTION,
  NO_REFERENCE,
  sumOfUsages,
} from "./inference-verifier.ts";

const VOTES_MAX = 1_024;
/** What of a judgement is read, from its end: a pattern is not tried on more. */
const READ_CHARS_MAX = 16_384;

export const judge = defineInferenceVerifier({
  kind: "judge",
  about: "What a model writes of the text when it is asked to judge it, by the majority of votes.",
  options: {
    model: MODEL_OPTION,
    template: {
      type: "text",
      default: "{prompt}{text}\n\nIs this answer correct? Yes or No:",
      about:
        "What it goes on from: {prompt} is the rendered prompt, {text} what was written after it, {reference} the reference.",
    },
    votes: { type: "integer", default: 1, min: 1, max: VOTES_MAX, about: "Judgements of one text." },
    temperature: { type: "number", default: 0, min: 0, max: 100, about: "Of a vote; above 0 for several." },
    max_tokens: { type: "integer", default: 256, min: 1, max: 1_048_576, about: "Longest judgement." },
    stop: { type: "strings", default: [], about: "Texts that end a judgement." },
    yes: {
      type: "strings",
      default: ["yes"],
      about: "Words for a text that is right; the last of either kind counts.",
    },
    no: { type: "strings", default: ["no"], about: "Words for a text that is wrong." },
    number: {
      type: "text",
      default: null,
      about: "A regular expression whose first group, at its last match, is a grade; read instead of words.",
    },
    scale: {
      type: "number",
      default: 1,
      min: 1e-9,
      max: 1e9,
      about: "The best grade; a score is the grade by it.",
    },
    pass: {
      type: "number",
      default: 0.5,
      min: 0,
      max: 1,
      about: "From which score on a grade votes for right.",
    },
  },
  check({ votes, temperature, number, yes, no }) {
    if (votes > 1 && temperature === 0) throw wrong("temperature must be above 0 for several votes, found 0");
    if (number === null && (yes.join("") === "" || no.join("") === ""))
      throw wrong("yes and no must name a word each, found none");
    if (number !== null) patternOf(number);
  },
  async judge(judging, { driver, options }, signal) {
    const pieces = fillPath(options.template ?? "", judging);
    if (pieces === null) return NO_REFERENCE;
    const { problem, seed } = judging;
    const { temperature, max_tokens: maxTokens, stop } = options;
    const sampling = { temperature, topP: 1, topK: 0, minP: 0, maxTokens, stop };
    const read = readerOf(options);
    const usages: AttemptUsage[] = [];
    const votes: (number | null)[] = [];
    let unread = "";
    // One after another: the first leaves the prompt in the host's cache, and an ask has one place at the host.
    for (let vote = 0; vote < options.votes; vote += 1) {
      // Not the rendered prompt of the problem: a replay finds judgements by the whole prompt.
      const request = { pieces, problem: problem.id, sample: vote, depth: 1, sampling };
      const { result, usage } = await driver.sample(
        { ...request, seed: deriveSeed(seed, "vote", vote) },
        signal,
      );
      usages.push(usage);
      const said = read(result.text.slice(-READ_CHARS_MAX));
      votes.push(said);
      if (said === null) unread = result.text;
    }
    return { result: verdictOf(votes, { pass: options.pass, unread }), usage: sumOfUsages(usages) };
  },
});

type Reader = (text: string) => number | null;

/** Reads a judgement: 1 or 0 by its words, from 0 to 1 by its grade; null where it says neither. */
function readerOf(options: {
  readonly yes: readonly string[];
  readonly no: readonly string[];
  readonly number: string | null;
  readonly scale: number;
}): Reader {
  const { number, scale } = options;
  if (number !== null) {
    const pattern = patternOf(number);
    return (text) => {
      const found = [...text.matchAll(pattern)].at(-1)?.[1];
      const grade = found === undefined || found.trim() === "" ? Number.NaN : Number(found);
      return Number.isFinite(grade) ? Math.min(1, Math.max(0, grade / scale)) : null;
    };
  }
  const isYes = new Set(options.yes.map((word) => word.toLowerCase()));
  const words = [...options.yes, ...options.no]
    .filter((word) => word !== "")
    .map((word) => RegExp.escape(word));
  // A word of letters stands for itself alone: "no" is not in "now".
  const pattern = new RegExp(`(?<![\\p{L}\\p{N}])(?:${words.join("|")})(?![\\p{L}\\p{N}])`, "giu");
  return (text) => {
    const last = [...text.matchAll(pattern)].at(-1)?.[0];
    return last === undefined ? null : Number(isYes.has(last.toLowerCase()));
  };
}

/** By the majority of the votes that could be read; the score is their mean. */
function verdictOf(
  votes: readonly (number | null)[],
  { pass, unread }: { readonly pass: number; readonly unread: string },
): VerdictResult {
  const said = votes.filter((vote) => vote !== null);
  if (said.length === 0)
    return undecided(null, `none of ${votes.length} votes could be read: ${quote(unread)}`);
  const score = said.reduce((sum, vote) => sum + vote, 0) / said.length;
  const right = said.filter((vote) => vote >= pass).length;
  const lost = votes.length - said.length;
  const count = `${right} of ${said.length} votes for it${lost === 0 ? "" : `, ${lost} that could not be read`}`;
  if (2 * right === said.length) return { ...undecided(null, count), score };
  return { ...(2 * right > said.length ? correct(null) : incorrect(null, count)), score };
}

function patternOf(source: string): RegExp {
  let pattern: RegExp;
  try {
    pattern = new RegExp(source, "giu");
  } catch (error) {
    throw wrong(`number must be a regular expression, found ${quote(source)} (${String(error)})`);
  }
  if (new RegExp(`${source}|`, "u").exec("")?.length === 1)
    throw wrong(`number must be a regular expression with a group, found ${quote(source)}`);
  return pattern;
}

function wrong(message: string): CoppiceError {
  return new CoppiceError("invalid_argument", `verifier judge: ${message}`);
}
