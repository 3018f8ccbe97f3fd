/** Rows of a run directory, read back. Whoever has the files may have edited them: each is checked, and named by file and line. */
import { z } from "zod";
import { CoppiceError, messageOf } from "../../runtime/errors.ts";
import { complaintsOf, pathText } from "../sweep-file/sweep-complaint.ts";

const filled = z.string().min(1);
const known = z.int().nullish();
const verdict = z.enum(["correct", "incorrect", "undecided"]).nullable();

/** What tells whose a row is. */
const placeSchema = z.looseObject({ task: filled, problem: filled, strategy: filled });

/** A line of `rollouts.jsonl`. Keys of a newer version are kept. */
const rolloutSchema = placeSchema.extend({
  ask: filled,
  sample: z.int().min(0),
  parent: z.string().nullable(),
  depth: z.int().min(0).nullish(),
  text: z.string(),
  candidate_text: z.string().optional(),
  finish_reason: z.string(),
  stop_string: z.string().nullish(),
  verdict,
  score: z.number().nullable(),
  answer: z.string().nullish(),
  reason: z.string().nullish(),
  process_score: z.number().nullish(),
  seed: known,
  host: z.string().nullish(),
  attempt: known,
  usage: z.looseObject({ prompt_tokens: known, cached_tokens: known, completion_tokens: known }).nullish(),
  started_ms: z.number().nullish(),
  ended_ms: z.number().nullish(),
});

const total = z.int().min(0).nullable();
/** A row of an older version does not say it (I8). */
const later = z.number().min(0).nullable().default(null);
const usage = z.object({
  prompt_tokens: total,
  cached_tokens: total,
  computed_tokens: later,
  completion_tokens: total,
  verifier_tokens: total,
  pruned_tokens: total,
  cancelled_tokens: total,
  retried_tokens: total,
  gpu_seconds: later,
  flops: later,
});

const charge = z.number().min(0);

/** A line of `results.jsonl`. */
const resultSchema = placeSchema.extend({
  state: z.enum(["completed", "exhausted", "failed", "cancelled"]),
  answer: z.string().nullable(),
  score: z.number().nullable(),
  verdict,
  selection: z.string().nullable(),
  candidate: z.string().nullable(),
  usage,
  charged: z
    .object({
      rollouts: charge,
      completion_tokens: charge,
      total_tokens: charge,
      verifier_tokens: charge,
      usd: charge,
    })
    .nullish(),
});

export type RowPlace = z.output<typeof placeSchema>;
/** Where a row stands (`file:line`), and the whole of it, for whoever writes it again. */
interface Stored {
  readonly at: string;
  readonly row: Readonly<Record<string, unknown>>;
}

export type StoredRollout = Stored & z.output<typeof rolloutSchema>;
export type StoredResult = Stored & z.output<typeof resultSchema>;

/** @param at `file:line`, for errors. */
export function parsePlace(text: string, at: string): RowPlace {
  return checked(placeSchema, text, at).data;
}

export function parseRollout(text: string, at: string): StoredRollout {
  const { data, row } = checked(rolloutSchema, text, at);
  return { ...data, at, row };
}

export function parseResult(text: string, at: string): StoredResult {
  const { data, row } = checked(resultSchema, text, at);
  return { ...data, at, row };
}

export function damagedRow(at: string, message: string): CoppiceError {
  return new CoppiceError("data_loss", `${at}: ${message}`);
}

function parseJson(text: string, at: string): unknown {
  try {
    return JSON.parse(text);
  } catch (error) {
    throw damagedRow(at, `not JSON: ${messageOf(error)}`);
  }
}

function checked<T>(
  schema: z.ZodType<T>,
  text: string,
  at: string,
): { readonly data: T } & Pick<Stored, "row"> {
  const raw = parseJson(text, at);
  const parsed = schema.safeParse(raw);
  // Every schema here is of an object.
  if (parsed.success) return { data: parsed.data, row: raw as Stored["row"] };
  const complaints = complaintsOf(parsed.error.issues, raw).slice(0, 3);
  const shown = complaints.map(({ path, message }) =>
    path.length === 0 ? message : `${pathText(path)}: ${message}`,
  );
  throw damagedRow(at, shown.join("; "));
}
