/** What an export makes of a problem: fine-tuning rows, preference pairs, or the rollouts themselves. */
import type { Problem } from "../coordinator/sweep.ts";
import type { StoredTask } from "../coordinator/run-rows/stored-task.ts";
import { type ExportCounts, type Picked, type PickOptions, pick, rolloutsOf } from "./pick.ts";
import { type Column, type ExportRow, filled, type Message, nullable } from "./row-writer.ts";

/** How texts stand in a row: a prompt and its completion, or a chat of two turns. */
export type TextFormat = "prompt-completion" | "messages";

export interface ExportKind {
  readonly columns: readonly Column[];
  /** The rows of one problem, at least one of whose tasks has rollouts. Adds what it left out to `counts`. */
  rows(source: ProblemSource, options: PickOptions, counts: ExportCounts): readonly ExportRow[];
}

export interface ProblemSource {
  readonly problem: Problem;
  /** The rendered prompt. */
  readonly prompt: string;
  readonly tasks: readonly StoredTask[];
}

/** Supervised fine-tuning by rejection sampling: a row per verified candidate. */
export function sftKind(format: TextFormat): ExportKind {
  const texts =
    format === "messages"
      ? [filled("messages", "messages")]
      : [filled("prompt", "text"), filled("completion", "text")];
  return {
    columns: [...texts, filled("problem", "text"), filled("task", "text"), nullable("score", "number")],
    rows({ problem, prompt, tasks }, options, counts) {
      const found = rolloutsOf(tasks, ({ verdict }) =>
        options.keep === "all" ? verdict !== null : verdict === "correct",
      );
      return pick(found, options, counts).map(({ task, rollout, text }) => {
        const place = { problem: problem.id, task: task.id, score: rollout.score };
        if (format === "prompt-completion") return { prompt, completion: text, ...place };
        return { messages: [...asked(prompt), ...answered(text)], ...place };
      });
    },
  };
}

/** Pairs of a correct and an incorrect candidate of one problem. Each candidate stands in one pair at most. */
export function preferenceKind(format: TextFormat): ExportKind {
  const type = format === "messages" ? "messages" : "text";
  return {
    columns: [
      filled("prompt", type),
      filled("chosen", type),
      filled("rejected", type),
      filled("problem", "text"),
      nullable("chosen_score", "number"),
      nullable("rejected_score", "number"),
    ],
    rows({ problem, prompt, tasks }, options, counts) {
      const correct = rolloutsOf(tasks, ({ verdict }) => verdict === "correct");
      const incorrect = rolloutsOf(tasks, ({ verdict }) => verdict === "incorrect");
      const chosen = pick(correct, { ...options, max: null }, counts);
      const rejected = pick(incorrect, { ...options, max: null, scoreMin: null }, counts);
      const pairs = Math.min(chosen.length, rejected.length);
      const kept = Math.min(pairs, options.max ?? pairs);
      counts.overMax += pairs - kept;
      return chosen.slice(0, kept).flatMap((winner, i) => {
        const loser = rejected[i];
        return loser === undefined ? [] : [pairRow(prompt, problem.id, winner, loser, format)];
      });
    },
  };
}

function pairRow(
  prompt: string,
  problem: string,
  chosen: Picked,
  rejected: Picked,
  format: TextFormat,
): ExportRow {
  const place = { problem, chosen_score: chosen.rollout.score, rejected_score: rejected.rollout.score };
  if (format === "prompt-completion")
    return { prompt, chosen: chosen.text, rejected: rejected.text, ...place };
  return {
    prompt: asked(prompt),
    chosen: answered(chosen.text),
    rejected: answered(rejected.text),
    ...place,
  };
}

function asked(content: string): readonly Message[] {
  return [{ role: "user", content }];
}

function answered(content: string): readonly Message[] {
  return [{ role: "assistant", content }];
}

/** The rollouts as they are, flat, with the prompt and, where one ended a candidate, the candidate's whole text. */
export const ROLLOUTS_KIND: ExportKind = {
  columns: [
    filled("task", "text"),
    filled("problem", "text"),
    filled("strategy", "text"),
    filled("ask", "text"),
    filled("sample", "whole"),
    nullable("parent", "text"),
    nullable("depth", "whole"),
    filled("prompt", "text"),
    filled("text", "text"),
    nullable("completion", "text"),
    filled("finish_reason", "text"),
    nullable("verdict", "text"),
    nullable("answer", "text"),
    nullable("reason", "text"),
    nullable("score", "number"),
    nullable("process_score", "number"),
    nullable("seed", "whole"),
    nullable("host", "text"),
    nullable("attempt", "whole"),
    nullable("prompt_tokens", "whole"),
    nullable("cached_tokens", "whole"),
    nullable("completion_tokens", "whole"),
    nullable("started_ms", "whole"),
    nullable("ended_ms", "whole"),
  ],
  rows({ problem, prompt, tasks }, options, counts) {
    const found = rolloutsOf(tasks, ({ verdict }) => options.keep === "all" || verdict === "correct");
    return pick(found, options, counts).map(({ task, rollout, text }) => ({
      task: task.id,
      problem: problem.id,
      strategy: task.strategy,
      ask: rollout.ask,
      sample: rollout.sample,
      parent: rollout.parent,
      depth: rollout.depth ?? null,
      prompt,
      text: rollout.text,
      completion: rollout.verdict === null ? null : text,
      finish_reason: rollout.finish_reason,
      verdict: rollout.verdict,
      answer: rollout.answer ?? null,
      reason: rollout.reason ?? null,
      score: rollout.score,
      process_score: rollout.process_score ?? null,
      seed: rollout.seed ?? null,
      host: rollout.host ?? null,
      attempt: rollout.attempt ?? null,
      prompt_tokens: rollout.usage?.prompt_tokens ?? null,
      cached_tokens: rollout.usage?.cached_tokens ?? null,
      completion_tokens: rollout.usage?.completion_tokens ?? null,
      started_ms: rollout.started_ms ?? null,
      ended_ms: rollout.ended_ms ?? null,
    }));
  },
};
