/**
 * The index of a records file: where each record stands, not what it says. A file of any size costs a few dozen bytes a
 * record; texts are read from the file when they are asked for.
 */
import { createHash } from "node:crypto";
import { open, type FileHandle } from "node:fs/promises";
import { CoppiceError, messageOf } from "../../../services/runtime/errors.ts";
import { lineText, readLines } from "../../../services/runtime/lines.ts";

/** Bytes of one line of a records file. */
export const RECORD_LINE_BYTES_MAX = 64 * 1024 * 1024;

/** A record as the file has it, checked. */
export interface RecordLine {
  readonly problem: string | null;
  readonly prompt: string | null;
  /** Content address of the prompt, where the row carries it. */
  readonly prefix: string | null;
  /** Whether the row continues the rendered prompt itself, not a later piece of it. */
  readonly isRoot: boolean;
  readonly sample: number | null;
  readonly task: string | null;
  readonly seed: number | null;
  readonly text: string;
  readonly finishReason: "stop" | "length";
  /** Undefined where the row does not say; null: the model ended it itself. */
  readonly stopString: string | null | undefined;
  readonly completionTokens: number | null;
  /** Of its sampled tokens; null where the row does not say. */
  readonly meanLogprob: number | null;
}

/** Where a record stands in which file. */
export interface RecordPlace {
  readonly file: number;
  readonly line: number;
  readonly offset: number;
  readonly bytes: number;
}

/** Records of one prompt. */
export interface RecordGroup {
  readonly size: number;
  /**
   * The record number `sample`. Where tasks of one run share a number, the one with this seed; else the first in the file.
   * The others stand behind the last number, in file order.
   */
  find(sample: number, seed: number): RecordPlace | null;
}

/** By what a group is found. */
export type RecordKey = { readonly by: "problem" | "prompt" | "prefix"; readonly value: string };

export class RecordIndex {
  readonly #groups = new Map<string, Group>();
  #count = 0;
  #withoutLogprob = 0;

  /** Whether every record says its mean log-probability. */
  get hasLogprobs(): boolean {
    return this.#count > 0 && this.#withoutLogprob === 0;
  }

  get count(): number {
    return this.#count;
  }

  group(key: RecordKey): RecordGroup | null {
    return this.#groups.get(groupName(key)) ?? null;
  }

  /** Throws "invalid_argument" for a second record with the same number that no task tells apart. */
  add(record: RecordLine, place: RecordPlace, where: string): void {
    this.#count += 1;
    if (record.meanLogprob === null) this.#withoutLogprob += 1;
    for (const key of keysOf(record)) {
      const name = groupName(key);
      let group = this.#groups.get(name);
      if (group === undefined) this.#groups.set(name, (group = new Group()));
      group.add(record, place, `${where}: ${key.by} ${JSON.stringify(key.value.slice(0, 80))}`);
    }
  }
}

class Group implements RecordGroup {
  readonly #bySample = new Map<number, RecordPlace>();
  /** Records whose number was taken by another task, in file order; and the same by number and seed. */
  readonly #displaced: RecordPlace[] = [];
  readonly #bySeed = new Map<string, RecordPlace>();
  #next = 0;

  get size(): number {
    return this.#bySample.size + this.#displaced.length;
  }

  add(record: RecordLine, place: RecordPlace, where: string): void {
    const sample = record.sample ?? this.#next;
    if (!this.#bySample.has(sample)) {
      this.#bySample.set(sample, place);
      this.#next = Math.max(this.#next, sample + 1);
      return;
    }
    if (record.task === null) {
      throw new CoppiceError(
        "invalid_argument",
        `${where}: expected one record with "sample" ${sample}, found a second`,
      );
    }
    this.#displaced.push(place);
    if (record.seed !== null) this.#bySeed.set(`${sample} ${record.seed}`, place);
  }

  find(sample: number, seed: number): RecordPlace | null {
    const twin = this.#bySeed.get(`${sample} ${seed}`);
    return twin ?? this.#bySample.get(sample) ?? this.#displaced[sample - this.#next] ?? null;
  }
}

function keysOf(record: RecordLine): readonly RecordKey[] {
  const keys: RecordKey[] = [];
  if (record.problem !== null && record.isRoot) keys.push({ by: "problem", value: record.problem });
  if (record.prompt !== null) keys.push({ by: "prompt", value: record.prompt });
  if (record.prefix !== null) keys.push({ by: "prefix", value: record.prefix });
  return keys;
}

function groupName(key: RecordKey): string {
  // A long prompt is held as its hash; a short key as it stands.
  const value = key.value.length <= 40 ? key.value : createHash("sha256").update(key.value).digest("base64");
  return `${key.by}:${value}`;
}

/** Reads the files through once. Rejects with "invalid_argument" naming file and line of the first bad record. */
export async function indexRecords(
  files: readonly { readonly path: string; readonly handle: FileHandle }[],
  signal: AbortSignal,
): Promise<RecordIndex> {
  const index = new RecordIndex();
  for (const [number, file] of files.entries()) {
    const options = { name: file.path, bytesMax: RECORD_LINE_BYTES_MAX, signal };
    for await (const line of readLines(file.handle, options)) {
      const text = lineText(line);
      if (text.trim() === "") continue;
      const where = `${file.path}:${line.number}`;
      const record = parseRecord(text, where);
      const place = { file: number, line: line.number, offset: line.offset, bytes: line.bytes.length };
      if (record !== null) index.add(record, place, where);
    }
  }
  return index;
}

/** One line as a record; null for a row of a run that is no rollout with an end (withdrawn, failed). */
export function parseRecord(text: string, where: string): RecordLine | null {
  let row: unknown;
  try {
    row = JSON.parse(text);
  } catch (error) {
    throw new CoppiceError(
      "invalid_argument",
      `${where}: expected a record as JSON, found ${excerpt(text)} (${messageOf(error)})`,
    );
  }
  if (typeof row !== "object" || row === null || Array.isArray(row)) {
    throw new CoppiceError(
      "invalid_argument",
      `${where}: expected a record as a JSON object, found ${excerpt(text)}`,
    );
  }
  const fields = new Map<string, unknown>(Object.entries(row));
  const reason = fields.get("finish_reason") ?? "stop";
  if (reason === "cancelled" || reason === "failed") return null;
  if (reason !== "stop" && reason !== "length")
    throw expected(where, '"finish_reason" stop or length', reason);
  const body = fields.get("text");
  if (typeof body !== "string") throw expected(where, '"text" as a string', body);
  const problem = optional(fields, "problem", TEXT, where);
  const prompt = optional(fields, "prompt", TEXT, where);
  const prefix = optional(fields, "prefix", TEXT, where);
  if (problem === null && prompt === null && prefix === null)
    throw expected(where, '"prompt" or "problem"', undefined);
  const depth = optional(fields, "depth", COUNT, where);
  return {
    problem,
    prompt,
    prefix,
    isRoot: depth === null ? (fields.get("parent") ?? null) === null : depth === 0,
    sample: optional(fields, "sample", COUNT, where),
    task: optional(fields, "task", TEXT, where),
    seed: optional(fields, "seed", COUNT, where),
    text: body,
    finishReason: reason,
    stopString: fields.has("stop_string") ? optional(fields, "stop_string", TEXT, where) : undefined,
    completionTokens: completionTokensOf(fields, where),
    meanLogprob: optional(fields, "mean_logprob", LOGPROB, where),
  };
}

function completionTokensOf(fields: ReadonlyMap<string, unknown>, where: string): number | null {
  const own = optional(fields, "completion_tokens", COUNT, where);
  const usage = fields.get("usage");
  if (own !== null || typeof usage !== "object" || usage === null) return own;
  return optional(new Map<string, unknown>(Object.entries(usage)), "completion_tokens", COUNT, where);
}

interface FieldType<T> {
  readonly name: string;
  is(value: unknown): value is T;
}

const TEXT: FieldType<string> = { name: "a string", is: (value) => typeof value === "string" };
const COUNT: FieldType<number> = {
  name: "a whole number from 0",
  is: (value): value is number => typeof value === "number" && Number.isSafeInteger(value) && value >= 0,
};

const LOGPROB: FieldType<number> = {
  name: "a number of at most 0",
  is: (value): value is number => typeof value === "number" && Number.isFinite(value) && value <= 0,
};

function optional<T>(
  fields: ReadonlyMap<string, unknown>,
  key: string,
  type: FieldType<T>,
  where: string,
): T | null {
  const value = fields.get(key) ?? null;
  if (value === null || type.is(value)) return value;
  throw expected(where, `"${key}" as ${type.name}`, value);
}

function expected(where: string, what: string, found: unknown): CoppiceError {
  const shown = found === undefined ? "none" : excerpt(JSON.stringify(found));
  return new CoppiceError("invalid_argument", `${where}: expected a record with ${what}, found ${shown}`);
}

function excerpt(text: string): string {
  return text.length <= 80 ? text : `${text.slice(0, 80)}...`;
}

/** Opens a records file for `indexRecords`. */
export async function openRecords(
  path: string,
): Promise<{ readonly path: string; readonly handle: FileHandle }> {
  try {
    return { path, handle: await open(path, "r") };
  } catch (error) {
    throw new CoppiceError(
      "invalid_argument",
      `${path}: expected a records file, cannot read it: ${messageOf(error)}`,
    );
  }
}
