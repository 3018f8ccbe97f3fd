/** What the answers of hosts are made of: JSON read with care, usage, errors. */
import type { AttemptUsage } from "../../../../services/queue/job.ts";
import { CoppiceError } from "../../../../services/runtime/errors.ts";
import { codeOf, errorText, rubbish } from "../../../http-exchange.ts";

/** Who answers. */
export type Server = "vllm" | "sglang" | "llama-server" | "other";

/** A prompt as a host takes it: text, or token ids where it takes these. */
export type Prompt = string | readonly number[];

/** Asks the host one question: GET where `body` is null, else POST. Resolves with the whole answer. */
export type AskHost = (
  path: string,
  body: unknown,
  signal: AbortSignal,
) => Promise<{ readonly url: string; readonly text: string }>;

/** Asks the host one question. Resolves with the fields of its answer; rejects with "data_loss" where that is no JSON object. */
export async function askFields(
  ask: AskHost,
  question: { readonly path: string; readonly body: unknown },
  signal: AbortSignal,
): Promise<{ readonly url: string; readonly fields: Fields }> {
  const { url, text } = await ask(question.path, question.body, signal);
  const fields = objectIn(parseJson(text, url), "a JSON object", url);
  throwReported(fields, url);
  return { url, fields };
}

/** What is found at a path; "" where nothing is. */
export async function textOr(ask: AskHost, path: string, signal: AbortSignal): Promise<string> {
  try {
    return (await ask(path, null, signal)).text;
  } catch {
    signal.throwIfAborted();
    return "";
  }
}

/** The fields of what is found at a path; null where nothing is, or no JSON object. */
export async function fieldsAt(ask: AskHost, path: string, signal: AbortSignal): Promise<Fields | null> {
  return jsonFields(await textOr(ask, path, signal));
}

function jsonFields(text: string): Fields | null {
  try {
    return fieldsOf(JSON.parse(text));
  } catch {
    return null;
  }
}

export function usageOf(value: unknown): AttemptUsage | null {
  const usage = fieldsOf(value);
  if (usage === null) return null;
  return {
    promptTokens: countOf(usage.get("prompt_tokens")),
    cachedTokens: countOf(fieldsOf(usage.get("prompt_tokens_details"))?.get("cached_tokens")),
    completionTokens: countOf(usage.get("completion_tokens")),
  };
}

export type Fields = ReadonlyMap<string, unknown>;

/** The fields of a JSON object; null when it is not one. */
export function fieldsOf(value: unknown): Fields | null {
  if (typeof value !== "object" || value === null || Array.isArray(value)) return null;
  return new Map<string, unknown>(Object.entries(value));
}

/** A whole number from 0, else null: unknown. */
export function countOf(value: unknown): number | null {
  return typeof value === "number" && Number.isSafeInteger(value) && value >= 0 ? value : null;
}

export function parseJson(text: string, url: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    throw rubbish(url, "JSON", text.trim() === "" ? "nothing" : text);
  }
}

/** Whole numbers from 0; null where one is not, or it is no list. */
export function idsOf(value: unknown): readonly number[] | null {
  if (!Array.isArray(value)) return null;
  const ids = value.map(countOf);
  return ids.every((id) => id !== null) ? ids : null;
}

/** The numbers of a list, the rest of it left out. */
export function numbersOf(value: unknown): readonly number[] {
  return Array.isArray(value) ? value.filter((each): each is number => typeof each === "number") : [];
}

export function objectIn(value: unknown, what: string, url: string): Fields {
  const fields = fieldsOf(value);
  if (fields === null) throw rubbish(url, what, JSON.stringify(value));
  return fields;
}

/**
 * An error that the host reports under status 200: inside of a stream there is no other way. @param statusElse What an error
 * without a code counts as.
 */
export function throwReported(chunk: Fields, url: string, statusElse = 500): void {
  const error = chunk.get("error") ?? (chunk.get("object") === "error" ? chunk.get("message") : null) ?? null;
  if (error === null) return;
  const status = countOf(fieldsOf(error)?.get("code")) ?? statusElse;
  throw new CoppiceError(
    codeOf(status),
    `expected a rollout, found the error ${errorText(error) ?? shown(chunk)}, from ${url}`,
  );
}

export function firstOf(value: unknown): unknown {
  return Array.isArray(value) ? value[0] : undefined;
}

export function shown(fields: Fields): string {
  return JSON.stringify(Object.fromEntries(fields));
}
