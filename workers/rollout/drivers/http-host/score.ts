/** The probability of one next token against another, from the likeliest that a host lists. Pure. */
import { type AttemptUsage, UNKNOWN_TOKENS } from "../../../../services/queue/job.ts";
import { rubbish } from "../../../http-exchange.ts";
import {
  fieldsOf,
  firstOf,
  numbersOf,
  objectIn,
  parseJson,
  type Prompt,
  shown,
  throwReported,
  usageOf,
} from "./wire.ts";

/** The body that asks for the probabilities of the next token. */
export function scoreBody(model: string, prompt: Prompt, logprobs: number): Record<string, unknown> {
  return { model, prompt, max_tokens: 1, temperature: 1, top_p: 1, seed: 0, logprobs, stream: false };
}

/**
 * Log-probabilities of the next token, by its text; null where the server gives none. Both shapes that are in use.
 * `hasTokenLogprobs`: whether it lists that of what it sampled, as a stream of the same route will.
 */
export function readTopLogprobs(
  body: string,
  url: string,
): {
  readonly top: ReadonlyMap<string, number> | null;
  readonly usage: AttemptUsage;
  readonly hasTokenLogprobs: boolean;
} {
  const answer = objectIn(parseJson(body, url), "a completion", url);
  throwReported(answer, url);
  const choices = answer.get("choices");
  if (!Array.isArray(choices) || choices.length === 0)
    throw rubbish(url, 'a completion with "choices"', shown(answer));
  const logprobs = fieldsOf(fieldsOf(choices[0])?.get("logprobs"));
  const list =
    logprobs?.get("top_logprobs") ?? fieldsOf(firstOf(logprobs?.get("content")))?.get("top_logprobs");
  return {
    top: topOf(list),
    usage: usageOf(answer.get("usage")) ?? UNKNOWN_TOKENS,
    hasTokenLogprobs: numbersOf(logprobs?.get("token_logprobs")).length > 0,
  };
}

function topOf(list: unknown): ReadonlyMap<string, number> | null {
  const first = firstOf(list);
  if (first === undefined || first === null) return null;
  const top = new Map<string, number>();
  const put = (token: unknown, logprob: unknown): void => {
    if (typeof token === "string" && typeof logprob === "number")
      top.set(token, Math.max(logprob, top.get(token) ?? -Infinity));
  };
  const entries = fieldsOf(first);
  // llama-server: [{token, logprob}, ...]; OpenAI: [{"token": logprob, ...}].
  if (entries?.has("token") === true && Array.isArray(list)) {
    for (const each of list) put(fieldsOf(each)?.get("token"), fieldsOf(each)?.get("logprob"));
  } else for (const [token, logprob] of entries ?? []) put(token, logprob);
  return top.size === 0 ? null : top;
}

/**
 * P(positive) / (P(positive) + P(negative)). One that is not listed counts as the least likely listed token, which it is
 * below. Null when neither is listed.
 */
export function scoreOf(top: ReadonlyMap<string, number>, positive: string, negative: string): number | null {
  const plus = logprobOf(top, positive);
  const minus = logprobOf(top, negative);
  if (plus === null && minus === null) return null;
  const least = Math.min(...top.values());
  return 1 / (1 + Math.exp((minus ?? least) - (plus ?? least)));
}

/** As listed; else with SentencePiece's mark for a space; else without its leading space, as some servers print it. */
function logprobOf(top: ReadonlyMap<string, number>, token: string): number | null {
  return top.get(token) ?? top.get(token.replaceAll(" ", "\u2581")) ?? top.get(token.trim()) ?? null;
}
