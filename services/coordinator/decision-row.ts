/** A line of `decisions.jsonl` (`DecisionLog`): what the scheduler decided about a task, and the numbers that it decided by (`scheduler/decision.ts`). */
import { z } from "zod";
import { messageOf } from "../runtime/errors.ts";
import { complaintsOf, pathText } from "./sweep-file/sweep-complaint.ts";
import type { OpenAsk } from "./backlog.ts";
import type { Decision } from "./scheduler/decision.ts";

const count = z.int().min(0);
const ms = z.int().min(0);

const candidateSchema = z.looseObject({
  host: z.string(),
  wait_ms: ms,
  prefill_ms: ms,
  cached_tokens: count,
  load: z.number(),
});

/** Kinds and reasons are open: a newer version may know others. */
const rowSchema = z.looseObject({
  /** Milliseconds since the Unix epoch. */
  at_ms: z.number(),
  /** The how-manieth attempt at the run, from 1. */
  attempt: z.int().min(1),
  task: z.string().min(1),
  /** Asks of one task for hosts of two models are two trees, each with a home of its own. */
  model: z.string(),
  kind: z.string(),
  reason: z.string(),
  host: z.string(),
  home: z.string().nullable(),
  age: count,
  prompt_tokens: count,
  cached_tokens: count,
  in_flight: count,
  room: z.int(),
  pinned_tokens: count,
  kv_capacity_tokens: count.nullable(),
  considered: z.array(candidateSchema),
  /** What was sent; empty for `placed` and `moved`. All are samples, or all are verifications. */
  asks: z.array(z.string()),
  ask_kind: z.enum(["sample", "verify"]).nullable(),
  /** Pieces of the path behind the prompt. */
  depth: count.nullable(),
  /** Groups of asks of this task that were sent since the last line of it, and left out. */
  skipped: count,
});

export type DecisionRow = z.output<typeof rowSchema>;

export interface DecidedAbout {
  readonly atMs: number;
  readonly attempt: number;
  readonly task: string;
  readonly model: string;
  readonly asks: readonly OpenAsk[];
  readonly skipped: number;
}

export function decisionRow(decision: Decision, about: DecidedAbout): DecisionRow {
  const first = about.asks[0]?.ask;
  return {
    at_ms: about.atMs,
    attempt: about.attempt,
    task: about.task,
    model: about.model,
    kind: decision.kind,
    reason: decision.reason,
    host: decision.host,
    home: decision.home,
    age: decision.age,
    prompt_tokens: Math.round(decision.promptTokens),
    cached_tokens: Math.round(decision.cachedTokens),
    in_flight: decision.inFlight,
    room: decision.room,
    pinned_tokens: Math.round(decision.pinnedTokens),
    kv_capacity_tokens: decision.kvCapacityTokens,
    considered: decision.considered.map(({ host, waitMs, prefillMs, cachedTokens, load }) => ({
      host,
      wait_ms: Math.round(waitMs),
      prefill_ms: Math.round(prefillMs),
      cached_tokens: Math.round(cachedTokens),
      load: Math.round(load * 100) / 100,
    })),
    asks: about.asks.map(({ ask }) => ask.id),
    ask_kind: first?.kind ?? null,
    depth: first?.prefix.depth ?? null,
    skipped: about.skipped,
  };
}

/** The row, or why the text is none: the file may have been edited, and its last line may have been cut short. */
export function parseDecisionRow(text: string): DecisionRow | string {
  let raw: unknown;
  try {
    raw = JSON.parse(text);
  } catch (error) {
    return `not JSON: ${messageOf(error)}`;
  }
  const parsed = rowSchema.safeParse(raw);
  if (parsed.success) return parsed.data;
  const [complaint] = complaintsOf(parsed.error.issues, raw);
  return complaint === undefined ? "no decision" : `${pathText(complaint.path)}: ${complaint.message}`;
}
