/** A line of `rollouts.jsonl`: an accepted rollout with what its verifiers said. A file of them is a file of records. */
import type { VerdictResult } from "../queue/job.ts";
import type { AskId, Candidate, Prefix, SampleAsk, VerifyAsk } from "../search/program.ts";
import type { AnswerEntry } from "./journal-entry.ts";
import { addKnown } from "./usage.ts";

export interface RolloutRow {
  readonly issued: number;
  readonly entry: AnswerEntry;
  readonly ask: SampleAsk;
  /** What the outcome verifier says. */
  outcome: VerdictResult | null;
  processScore: number | null;
  /** The path that the verdict is about. */
  judged: Prefix | null;
}

/** Where the rollout stands in its sweep. */
export interface RolloutPlace {
  readonly task: string;
  readonly problem: string;
  readonly strategy: string;
  readonly seed: number;
  /** The last segment of its prefix: with `depth` and `seed`, the replay engine finds steps again by it. */
  readonly prefix: string | null;
}

export function rolloutLine(row: RolloutRow, place: RolloutPlace): Readonly<Record<string, unknown>> {
  const { entry, ask } = row;
  const { result, usage } = entry;
  if (result.kind !== "rollout") throw new Error(`ask ${ask.id}: a row of a rollout needs a rollout`);
  return {
    task: place.task,
    problem: place.problem,
    strategy: place.strategy,
    ask: ask.id,
    sample: ask.sample,
    seed: place.seed,
    parent: ask.prefix.ask,
    depth: ask.prefix.depth,
    prefix: place.prefix,
    text: result.text,
    finish_reason: result.finishReason,
    stop_string: result.stopString,
    ...(result.meanLogprob === null ? {} : { mean_logprob: result.meanLogprob }),
    host: entry.host,
    attempt: entry.attempt,
    score: row.outcome?.score ?? null,
    process_score: row.processScore,
    verdict: row.outcome?.verdict ?? null,
    answer: row.outcome?.answer ?? null,
    reason: row.outcome?.reason ?? null,
    ...candidateText(row, result.text),
    usage: {
      prompt_tokens: usage.promptTokens,
      cached_tokens: usage.cachedTokens,
      completion_tokens: usage.completionTokens,
    },
    started_ms: entry.startedMs,
    ended_ms: entry.endedMs,
  };
}

/**
 * A candidate's text is the texts of its rollouts, root first, which rows link by `parent`. Only where that is not what was
 * judged (the program wrote a part of it, or judged another path) does the row say it itself.
 */
function candidateText({ ask, judged }: RolloutRow, text: string): { readonly candidate_text?: string } {
  if (judged === null) return {};
  const pieces: Prefix[] = [];
  for (let node = judged; node.parent !== null; node = node.parent) pieces.push(node);
  const isLinked = judged === ask.prefix.extend(text, ask.id) && pieces.every((piece) => piece.ask !== null);
  return isLinked
    ? {}
    : {
        candidate_text: pieces
          .toReversed()
          .map((piece) => piece.text)
          .join(""),
      };
}

/** Completion tokens of rollouts that are on no candidate's path; null where one is not counted. */
export function prunedTokens(
  rows: ReadonlyMap<AskId, RolloutRow>,
  candidates: readonly Candidate[],
): number | null {
  const kept = new Set<AskId>();
  for (const { ask, prefix } of candidates) {
    if (ask !== null) kept.add(ask);
    for (let node: Prefix | null = prefix; node !== null; node = node.parent)
      if (node.ask !== null) kept.add(node.ask);
  }
  let pruned: number | null = 0;
  for (const [id, row] of rows)
    if (!kept.has(id)) pruned = addKnown(pruned, row.entry.usage.completionTokens);
  return pruned;
}

/** What a verifier says of the path that the row's rollout ends. */
export function judgeRow(row: RolloutRow, ask: VerifyAsk, { result }: AnswerEntry): void {
  if (result.kind !== "verdict") return;
  if (ask.role === "process") {
    row.processScore = result.score;
  } else if (ask.role === "outcome") {
    row.outcome = result;
    row.judged = ask.prefix;
  }
}
