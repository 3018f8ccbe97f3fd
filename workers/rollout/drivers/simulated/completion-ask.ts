/** The body of POST /v1/completions, in vLLM's dialect, read with care. What vLLM passes over is passed over here too. Pure. */
import { CoppiceError } from "../../../../services/runtime/errors.ts";
import { choicesOf } from "./structure-choices.ts";
import { decode, tokensOf } from "./tokenizer.ts";

const LOGPROBS_MAX = 20;
const BEAMS_MAX = 64;
const STOPS_MAX = 64;
const SEED_MAX = 2 ** 53 - 1;

export interface CompletionAsk {
  readonly prompt: readonly number[];
  readonly text: string;
  readonly maxTokens: number;
  readonly temperature: number;
  readonly stop: readonly string[];
  /** Null: any. */
  readonly seed: number | null;
  readonly streams: boolean;
  readonly includesUsage: boolean;
  readonly usageInEveryChunk: boolean;
  /** Likeliest tokens to list with each; null: none, and no log-probabilities. */
  readonly logprobs: number | null;
  readonly promptLogprobs: boolean;
  readonly returnsTokenIds: boolean;
  readonly includesStop: boolean;
  readonly ignoresEnd: boolean;
  readonly priority: number;
  /** Texts to choose from; null: any text. */
  readonly choices: readonly string[] | null;
  /** Width of a beam search; null: sampling. */
  readonly beams: number | null;
}

type Body = Readonly<Record<string, unknown>>;

/**
 * @throws CoppiceError "not_found" for another model, "invalid_argument" saying what was expected and found.
 */
export function readCompletionAsk(
  body: unknown,
  host: { readonly model: string; readonly schedulesByPriority: boolean },
): CompletionAsk {
  const fields = bodyOf(body);
  checkModel(fields, host.model);
  const { prompt, text } = promptOf(fields["prompt"]);
  const streams = flag(fields, "stream");
  const priority = whole(fields, "priority", { min: -SEED_MAX, max: SEED_MAX }) ?? 0;
  if (priority !== 0 && !host.schedulesByPriority)
    throw wrong("priority", "0, since the server was not started with priority scheduling", priority);
  const isBeamSearch = flag(fields, "use_beam_search");
  const n = whole(fields, "n", { min: 1, max: BEAMS_MAX }) ?? 1;
  if (n > 1 && !isBeamSearch) throw wrong("n", "1: a simulated host makes one completion a request", n);
  if (isBeamSearch && streams) throw wrong("stream", "false with use_beam_search", true);
  checkSampling(fields);
  const streaming = fields["stream_options"] === undefined ? {} : bodyOf(fields["stream_options"]);
  const structure = fields["structured_outputs"] ?? null;
  return {
    prompt,
    text,
    maxTokens: whole(fields, "max_tokens", { min: 1, max: SEED_MAX }) ?? 16,
    temperature: number(fields, "temperature", { min: 0, max: 100 }) ?? 1,
    stop: stopsOf(fields["stop"]),
    seed: whole(fields, "seed", { min: -SEED_MAX, max: SEED_MAX }),
    streams,
    includesUsage: flag(streaming, "include_usage"),
    usageInEveryChunk: flag(streaming, "continuous_usage_stats"),
    logprobs: whole(fields, "logprobs", { min: 0, max: LOGPROBS_MAX }),
    promptLogprobs: whole(fields, "prompt_logprobs", { min: 0, max: LOGPROBS_MAX }) !== null,
    returnsTokenIds: flag(fields, "return_token_ids"),
    includesStop: flag(fields, "include_stop_str_in_output"),
    ignoresEnd: flag(fields, "ignore_eos"),
    priority,
    choices: structure === null ? null : choicesOf(bodyOf(structure)),
    beams: isBeamSearch ? n : null,
  };
}

/** POST /tokenize. */
export function readTokenizeAsk(body: unknown): readonly number[] {
  const fields = bodyOf(body);
  const { prompt } = fields;
  if (typeof prompt !== "string") throw wrong("prompt", "a text", prompt);
  const withBegin = tokensOf(prompt);
  return fields["add_special_tokens"] === false ? withBegin.slice(1) : withBegin;
}

/** POST /detokenize. */
export function readDetokenizeAsk(body: unknown): string {
  const { tokens } = bodyOf(body);
  if (!isIds(tokens)) throw wrong("tokens", "a list of token ids", tokens);
  return decode(tokens);
}

function bodyOf(value: unknown): Body {
  if (typeof value !== "object" || value === null || Array.isArray(value))
    throw wrong("body", "a JSON object", value);
  return Object.fromEntries(Object.entries(value));
}

function checkModel({ model }: Body, served: string): void {
  if (model === undefined || model === null || model === served) return;
  throw new CoppiceError(
    "not_found",
    `The model ${JSON.stringify(model)} does not exist; it is "${served}".`,
  );
}

/** A text or token ids, or a list of one of these. */
function promptOf(prompt: unknown): { readonly prompt: readonly number[]; readonly text: string } {
  const one: unknown = Array.isArray(prompt) && prompt.length === 1 && !isIds(prompt) ? prompt[0] : prompt;
  if (typeof one === "string") return { prompt: tokensOf(one), text: one };
  if (isIds(one) && one.length > 0) return { prompt: one, text: decode(one) };
  throw wrong("prompt", "one text, or one list of token ids", prompt);
}

/** What has no effect on a simulated text is checked all the same: a server that knows an option refuses nonsense. */
function checkSampling(fields: Body): void {
  number(fields, "top_p", { min: 0, max: 1 });
  number(fields, "min_p", { min: 0, max: 1 });
  whole(fields, "top_k", { min: -1, max: SEED_MAX });
  if (flag(fields, "echo")) throw wrong("echo", "false: a simulated host has none", true);
}

function stopsOf(stop: unknown): readonly string[] {
  if (stop === undefined || stop === null) return [];
  const list: readonly unknown[] = Array.isArray(stop) ? stop : [stop];
  const texts = list.filter((each): each is string => typeof each === "string" && each !== "");
  if (texts.length === list.length && list.length <= STOPS_MAX) return texts;
  throw wrong("stop", `at most ${STOPS_MAX} texts that are not empty`, stop);
}

function whole(
  fields: Body,
  name: string,
  range: { readonly min: number; readonly max: number },
): number | null {
  const value = number(fields, name, range);
  if (value === null || Number.isSafeInteger(value)) return value;
  throw wrong(name, "a whole number", value);
}

function number(
  fields: Body,
  name: string,
  { min, max }: { readonly min: number; readonly max: number },
): number | null {
  const value = fields[name] ?? null;
  if (value === null) return null;
  if (typeof value === "number" && value >= min && value <= max) return value;
  throw wrong(name, `a number from ${min} to ${max}`, value);
}

function flag(fields: Body, name: string): boolean {
  const value = fields[name] ?? false;
  if (typeof value === "boolean") return value;
  throw wrong(name, "true or false", value);
}

function isIds(value: unknown): value is readonly number[] {
  return Array.isArray(value) && value.every((each) => Number.isSafeInteger(each));
}

function wrong(name: string, expected: string, found: unknown): CoppiceError {
  const shown = (JSON.stringify(found) ?? "nothing").slice(0, 200);
  return new CoppiceError("invalid_argument", `${name}: expected ${expected}; found ${shown}`);
}
