/**
 * What a simulated model says: functions of prompt and seed alone, equal on any host. Its texts are words of a small vocabulary, in
 * lines, and where it ends a text itself, an answer ends it: " so the answer is 7."
 */
import { createHash } from "node:crypto";
import { createRandom, deriveSeed, type Random } from "../../../../services/runtime/random.ts";
import { decode, encode, END, textOf } from "./tokenizer.ts";

/** One token each, with a space before it. */
const WORDS = (
  "the of and to in is it we so if as by sum add set let one two six ten odd now see try use all any for get has put yes no " +
  "not but can may 1 2 3 4 5 6 7 8 9 0 + - * ="
)
  .split(" ")
  .map((word) => encode(` ${word}`));
const NEWLINE = encode("\n");
const ANSWER = encode(" so the answer is");
/** Words that verifiers ask for: what a list of likely next tokens always has. */
export const JUDGING_WORDS = [
  " good",
  " bad",
  "+",
  "-",
  " +",
  " -",
  " yes",
  " no",
  " Yes",
  " No",
  "yes",
  "no",
  "Yes",
  "No",
  " true",
  " false",
  " A",
  " B",
  "1",
  "0",
] as const;

export interface TextShape {
  /** Mean tokens of a text that nothing else ends. */
  readonly meanTokens: number;
  /** Mean tokens of a line. */
  readonly lineTokens: number;
}

export const DEFAULT_TEXT_SHAPE: TextShape = { meanTokens: 256, lineTokens: 32 };

export interface TextRequest {
  readonly prompt: string;
  readonly seed: number;
  /** 0: the seed says nothing. */
  readonly temperature: number;
  readonly maxTokens: number;
  readonly stop: readonly string[];
}

export interface WrittenText {
  /** Exactly the tokens of `text`. */
  readonly tokens: readonly number[];
  /** With the stop string that ended it. */
  readonly text: string;
  readonly finishReason: "stop" | "length";
  /** Null where the model ended the text itself, or the length did. */
  readonly stopString: string | null;
  /** Tokens that were generated: the model's own end is one more. At least 1. */
  readonly completionTokens: number;
  /** By token of `tokens`. */
  readonly logprobs: readonly number[];
}

export function writeText(request: TextRequest, shape: TextShape): WrittenText {
  const seed = request.temperature === 0 ? 0 : request.seed;
  const random = createRandom(deriveSeed(seed, "text", request.prompt));
  const tokens: number[] = [];
  let text = "";
  for (let planned: number[] = []; tokens.length < request.maxTokens;) {
    if (planned.length === 0) planned = nextTokens(random, shape, tokens.length);
    const token = planned.shift() ?? END;
    if (token === END) return ended(text, { reason: "stop", stopString: null, endTokens: 1 });
    tokens.push(token);
    const before = text.length;
    text += textOf(token);
    const stopped = firstStop(text, before, request.stop);
    if (stopped !== null)
      return ended(text.slice(0, stopped.end), { reason: "stop", stopString: stopped.stop, endTokens: 0 });
  }
  return ended(text, { reason: "length", stopString: null, endTokens: 0 });
}

/** What the engine generates for it: the tokens, and `END` where the model ended the text itself. */
export function generatedOf(written: WrittenText): readonly number[] {
  return written.completionTokens > written.tokens.length ? [...written.tokens, END] : written.tokens;
}

/** One of these texts, by prompt and seed: what a structure leaves to say. */
export function writeChoice(request: TextRequest, choices: readonly string[]): WrittenText {
  const seed = request.temperature === 0 ? 0 : request.seed;
  const random = createRandom(deriveSeed(seed, "choice", request.prompt));
  const chosen = encode(choices[Math.floor(random.next() * choices.length)] ?? "");
  const isCut = chosen.length > request.maxTokens;
  const text = decode(isCut ? chosen.slice(0, request.maxTokens) : chosen);
  return ended(text, { reason: isCut ? "length" : "stop", stopString: null, endTokens: isCut ? 0 : 1 });
}

/** The next word or line end; where the text ends, its answer and `END`. */
function nextTokens(random: Random, shape: TextShape, written: number): number[] {
  const chance = random.next();
  if (written > 0 && chance < 1 / shape.meanTokens) {
    // Small digits are likelier, so that votes agree on something.
    const digit = Math.floor(10 * random.next() ** 2);
    return [...ANSWER, ...encode(` ${digit}.`), END];
  }
  if (written > 0 && chance > 1 - 1 / shape.lineTokens) return [...NEWLINE];
  return [...(WORDS[Math.floor(random.next() * WORDS.length)] ?? NEWLINE)];
}

function ended(
  text: string,
  end: { reason: "stop" | "length"; stopString: string | null; endTokens: number },
): WrittenText {
  // A stop string may end inside of a token: the text as it stands is what counts.
  const tokens = encode(text);
  return {
    tokens,
    text,
    finishReason: end.reason,
    stopString: end.stopString,
    completionTokens: tokens.length + end.endTokens,
    logprobs: tokens.map((token, at) => tokenLogprob(token, tokens[at - 1] ?? 0)),
  };
}

/** The stop string that ends first, looking only where the text is new. */
function firstStop(
  text: string,
  knownChars: number,
  stops: readonly string[],
): { readonly stop: string; readonly end: number } | null {
  let found: { readonly stop: string; readonly end: number } | null = null;
  for (const stop of stops) {
    const at = text.indexOf(stop, Math.max(0, knownChars - stop.length + 1));
    const end = at + stop.length;
    if (at >= 0 && (found === null || end < found.end)) found = { stop, end };
  }
  return found;
}

/** As though the model were sure of some tokens behind others and not of the rest; below 0. */
export function tokenLogprob(token: number, before: number): number {
  const random = createRandom(Math.imul(token, 0x9e3779b1) ^ Math.imul(before, 0x85ebca6b));
  return -0.01 - 2 * random.next();
}

/** The mean over the tokens of a continuation; the continuation is not empty. */
export function meanLogprobOf(prompt: readonly number[], continuation: readonly number[]): number {
  let sum = 0;
  let before = prompt.at(-1) ?? 0;
  for (const token of continuation) {
    sum += tokenLogprob(token, before);
    before = token;
  }
  return continuation.length === 0 ? 0 : sum / continuation.length;
}

/** Log-probabilities of these words behind a prompt, which share all but a little of what is likely. Likeliest first. */
export function nextWordLogprobs(
  prompt: string,
  words: readonly string[],
): readonly (readonly [string, number])[] {
  const digest = createHash("sha256").update(prompt).digest("hex");
  const weights = words.map((word) => 4 * fraction("word", digest, word));
  const all = weights.reduce((sum, weight) => sum + Math.exp(weight), 0.1);
  return words
    .map((word, at) => [word, (weights[at] ?? 0) - Math.log(all)] as const)
    .toSorted((a, b) => b[1] - a[1]);
}

/** P(positive) / (P(positive) + P(negative)). */
export function scoreOf(prompt: string, positive: string, negative: string): number {
  const logprobs = new Map(nextWordLogprobs(prompt, [positive, negative]));
  return 1 / (1 + Math.exp((logprobs.get(negative) ?? 0) - (logprobs.get(positive) ?? 0)));
}

/** What a reward model says of a text, or of each of its lines. */
export function rewardsOf(input: string, over: "text" | "steps"): readonly (readonly number[])[] {
  const lines = over === "text" ? [] : input.split(/(?<=\n)/).filter((line) => line.trim() !== "");
  return (lines.length === 0 ? [input] : lines).map((text) => [fraction("reward", text)]);
}

function fraction(...names: readonly string[]): number {
  return deriveSeed(0, ...names) / 0x7fff_ffff;
}
