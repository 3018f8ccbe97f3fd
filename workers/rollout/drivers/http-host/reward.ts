/** What a reward model says: POST /classify (vLLM, SGLang) of a whole text, POST /pooling (vLLM) of each of its steps. */
import { type AttemptUsage, UNKNOWN_TOKENS } from "../../../../services/queue/job.ts";
import { CoppiceError } from "../../../../services/runtime/errors.ts";
import { rubbish } from "../../../http-exchange.ts";
import type { RewardAnswer, RewardRequest } from "../../driver.ts";
import {
  countOf,
  fieldsOf,
  firstOf,
  numbersOf,
  parseJson,
  usageOf,
  type AskHost,
  type Fields,
  type Server,
} from "./wire.ts";

export async function askReward(
  ask: AskHost,
  request: RewardRequest,
  host: { readonly server: Server; readonly model: string; readonly signal: AbortSignal },
): Promise<RewardAnswer> {
  const { path, body } = questionOf(request, host);
  const { url, text } = await ask(path, body, host.signal);
  const answer = parseJson(text, url);
  // SGLang answers for one text with an object or with a list of one.
  const fields = fieldsOf(Array.isArray(answer) ? answer[0] : answer);
  const rows = fields === null ? [] : rowsOf(fields);
  if (fields === null || rows.length === 0 || rows.some((row) => row.length === 0))
    throw rubbish(url, "the values of a reward model", text);
  return { rows, usage: usageIn(fields) };
}

function questionOf(
  { input, over }: RewardRequest,
  { server, model }: { readonly server: Server; readonly model: string },
): { readonly path: string; readonly body: Readonly<Record<string, unknown>> } {
  if (server === "sglang" && over === "text") return { path: "/classify", body: { model, text: input } };
  if (server === "vllm" && over === "text") return { path: "/classify", body: { model, input } };
  if (server === "vllm") return { path: "/pooling", body: { model, task: "token_classify", input } };
  throw new CoppiceError("unimplemented", `${server} judges no ${over}: expected a reward model on vLLM`);
}

/** vLLM: {data: [{probs}]}, {data: [{data: [[...], ...]}]}; SGLang: {embedding}. A list of numbers is one value a step. */
function rowsOf(fields: Fields): readonly (readonly number[])[] {
  const embedding = fields.get("embedding");
  if (embedding !== undefined) return [numbersOf(embedding)];
  const first = fieldsOf(firstOf(fields.get("data")));
  const probs = first?.get("probs");
  if (probs !== undefined) return [numbersOf(probs)];
  const pooled = first?.get("data");
  if (!Array.isArray(pooled)) return [];
  return pooled.map((row: unknown) => (typeof row === "number" ? [row] : numbersOf(row)));
}

function usageIn(fields: Fields): AttemptUsage {
  const promptTokens = countOf(fieldsOf(fields.get("meta_info"))?.get("prompt_tokens"));
  const usage = usageOf(fields.get("usage")) ?? { ...UNKNOWN_TOKENS, promptTokens };
  // It completes nothing, and some servers do not say that.
  return { ...usage, completionTokens: 0 };
}
