/** How likely a host finds a text behind a prompt: over its token ids at vLLM, by an echo of the text elsewhere. */
import type { AttemptUsage } from "../../../../services/queue/job.ts";
import { UNKNOWN_TOKENS } from "../../../../services/queue/job.ts";
import { CoppiceError } from "../../../../services/runtime/errors.ts";
import { rubbish } from "../../../http-exchange.ts";
import type { LikelihoodAnswer, LikelihoodRequest } from "../../driver.ts";
import { promptInTokens, promptText, type Tokenizer } from "../../prompt.ts";
import { askFields, fieldsOf, firstOf, type AskHost, type Fields, shown, usageOf } from "./wire.ts";

/** Nothing is completed: but for the one token that every engine makes at least. */
const JUST_READ = { max_tokens: 1, temperature: 1, top_p: 1, seed: 0, stream: false };

/** By `prompt_logprobs` of vLLM: exactly the tokens that were sampled, where they are known. */
export async function likelihoodByTokens(
  ask: AskHost,
  { pieces, continuation }: LikelihoodRequest,
  host: { readonly model: string; readonly tokenizer: Tokenizer; readonly signal: AbortSignal },
): Promise<LikelihoodAnswer> {
  const { tokenizer } = host;
  const before = (await promptInTokens(pieces, tokenizer)) ?? (await tokenizer.beginning(promptText(pieces)));
  const judged = continuation.tokens ?? (await tokenizer.continuation(continuation.text));
  const body = { ...JUST_READ, model: host.model, prompt: [...before, ...judged], prompt_logprobs: 1 };
  const { url, choice, usage } = await complete(ask, body, host.signal);
  const listed = choice.get("prompt_logprobs");
  if (!Array.isArray(listed) || listed.length !== before.length + judged.length)
    throw rubbish(url, `"prompt_logprobs" of ${before.length + judged.length} tokens`, shown(choice));
  const logprobs = judged.map((token, n) =>
    fieldsOf(fieldsOf(listed[before.length + n])?.get(String(token)))?.get("logprob"),
  );
  return { meanLogprob: meanOf(logprobs, url), usage };
}

/**
 * By `echo` with `logprobs`: of the tokens that the text was read as, those that reach into the continuation. Where a token
 * reaches across its beginning, the model never saw that boundary, and the token counts whole.
 */
export async function likelihoodByEcho(
  ask: AskHost,
  { pieces, continuation }: LikelihoodRequest,
  host: { readonly model: string; readonly signal: AbortSignal },
): Promise<LikelihoodAnswer> {
  const before = promptText(pieces);
  const whole = before + continuation.text;
  const body = { ...JUST_READ, model: host.model, prompt: whole, echo: true, logprobs: 1 };
  const { url, choice, usage } = await complete(ask, body, host.signal);
  const logprobs = fieldsOf(choice.get("logprobs"));
  const tokens = logprobs?.get("tokens");
  const values = logprobs?.get("token_logprobs");
  if (!Array.isArray(tokens) || !Array.isArray(values))
    throw rubbish(url, 'an echo with "logprobs"', shown(choice));
  const texts = tokens.map(String);
  // What a model wants at the beginning (<s>) is a token, and not in the text: so it is aligned by its beginning in them.
  const spelled = texts.join("");
  let at = -spelled.indexOf(whole);
  if (at > 0) throw rubbish(url, "an echo whose tokens spell the text", spelled);
  const inside = texts.flatMap((text, n) => {
    const start = at;
    at += text.length;
    return start < whole.length && at > before.length ? [values[n] as unknown] : [];
  });
  return { meanLogprob: meanOf(inside, url), usage };
}

async function complete(
  ask: AskHost,
  body: unknown,
  signal: AbortSignal,
): Promise<{ readonly url: string; readonly choice: Fields; readonly usage: AttemptUsage }> {
  const { url, fields } = await askFields(ask, { path: "/v1/completions", body }, signal);
  const choice = fieldsOf(firstOf(fields.get("choices")));
  if (choice === null) throw rubbish(url, 'a completion with "choices"', shown(fields));
  return { url, choice, usage: usageOf(fields.get("usage")) ?? UNKNOWN_TOKENS };
}

function meanOf(logprobs: readonly unknown[], url: string): number {
  const known = logprobs.filter((each): each is number => typeof each === "number");
  if (logprobs.length === 0)
    throw new CoppiceError("invalid_argument", `expected a text behind the prompt, found none, for ${url}`);
  if (known.length < logprobs.length)
    throw rubbish(url, `log-probabilities of ${logprobs.length} tokens`, `${known.length} of them`);
  return Math.min(0, known.reduce((sum, each) => sum + each, 0) / known.length);
}
