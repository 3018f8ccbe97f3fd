/**
 * What a run directory says of one task: what was decided about it, what came of each of its asks, and how it ended. Reads a run that
 * has ended and one that somebody else is working on: what is not whole on disk yet is not told.
 */
import { join } from "node:path";
import { CoppiceError } from "../runtime/errors.ts";
import { lineText, readLines } from "../runtime/lines.ts";
import { nearestWord } from "../runtime/nearest.ts";
import { type DecisionRow, parseDecisionRow } from "./decision-row.ts";
import { readJournal } from "./journal.ts";
import type { AnswerEntry, JournalEntry, LossEntry, SpentEntry } from "./journal-entry.ts";
import { exists, readRunProblems, RUN_FILES } from "./run-directory.ts";
import { parseResult, type StoredResult } from "./run-rows/stored-row.ts";

/** What came of one ask, in the order in which they were settled. */
export interface AskEnd {
  readonly ask: string;
  /** `copy`: a second copy of the ask was stopped; the ask has an end of its own. */
  readonly end: "answered" | "lost" | "withdrawn" | "copy";
  /** What kind of answer it had; null where it had none. */
  readonly answer: "rollout" | "verdict" | null;
  readonly verdict: "correct" | "incorrect" | "undecided" | null;
  /** Who answered; null for a verifier that needs no host, and where nobody did. */
  readonly host: string | null;
  /** The try at its job that answered, from 1; null where none did. */
  readonly attempt: number | null;
  /** Why it was lost. */
  readonly message: string | null;
  /** null is unknown (I8). */
  readonly prompt_tokens: number | null;
  readonly cached_tokens: number | null;
  readonly completion_tokens: number | null;
}

export interface TaskStory {
  readonly task: string;
  /** In the order in which they were taken; null: the run has no `decisions.jsonl`. */
  readonly decisions: readonly DecisionRow[] | null;
  /** The file had reached its limit, and says nothing of what came later. */
  readonly isFull: boolean;
  /** Lines of `decisions.jsonl` that could not be read. */
  readonly damagedLines: number;
  readonly ends: readonly AskEnd[];
  /** Null where it has not settled. */
  readonly result: StoredResult | null;
}

/** Names of a message that could be meant. */
const SHOWN_MAX = 5;
/** Tasks that are looked at for one that is spelt almost so. */
const NEAR_MAX = 20_000;

/**
 * The id of the task that `text` names: whole, by its problem where only one arm ran, or by a part that no other task has.
 * @throws not_found naming the nearest; invalid_argument naming some of those that match.
 */
export async function findTask(directory: string, text: string): Promise<string> {
  const arms = await armsOf(directory);
  const near: string[] = [];
  const byProblem: string[] = [];
  const byPart: string[] = [];
  let parts = 0;
  for await (const problem of readRunProblems(directory)) {
    for (const arm of arms) {
      const task = `${arm}/${problem.id}`;
      if (task === text) return task;
      if (problem.id === text) byProblem.push(task);
      if (task.includes(text)) {
        parts += 1;
        if (byPart.length < SHOWN_MAX) byPart.push(task);
      }
      const lengths = [task.length, problem.id.length].map((length) => Math.abs(length - text.length));
      if (near.length < NEAR_MAX && Math.min(...lengths) <= text.length / 3 + 2) near.push(task);
    }
  }
  const count = byProblem.length > 0 ? byProblem.length : parts;
  const matching = byProblem.length > 0 ? byProblem : byPart;
  const [only] = matching;
  if (count === 1 && only !== undefined) return only;
  if (count > 1) {
    const shown = matching.slice(0, SHOWN_MAX).join(", ");
    const more = count > SHOWN_MAX ? `, and ${count - SHOWN_MAX} more` : "";
    throw new CoppiceError(
      "invalid_argument",
      `task "${text}": expected one task, found ${count} that match: ${shown}${more}`,
    );
  }
  throw new CoppiceError("not_found", `task "${text}": no task of ${directory}${hint(text, near, arms)}`);
}

/** @param task Its whole id. */
export async function readTaskStory(directory: string, task: string): Promise<TaskStory> {
  const ends: AskEnd[] = [];
  const wants = naming(task);
  for await (const entry of readJournal(join(directory, RUN_FILES.journal), { wants })) {
    const end = isOfAsk(entry) && entry.task === task ? endOf(entry) : null;
    if (end !== null) ends.push(end);
  }
  return { task, ...(await decisionsOf(directory, task)), ends, result: await resultOf(directory, task) };
}

/** Spelt almost like a task, or like the problem of one. */
function hint(text: string, near: readonly string[], arms: readonly string[]): string {
  const byProblem = new Map(
    near.map((task) => [task.slice((arms.find((arm) => task.startsWith(`${arm}/`)) ?? "").length + 1), task]),
  );
  const found = nearestWord(text, near) ?? byProblem.get(nearestWord(text, [...byProblem.keys()]) ?? "");
  if (found !== undefined) return `; did you mean "${found}"?`;
  return `; a task is named ARM/PROBLEM, where ARM is one of ${arms.join(", ")}`;
}

/** The arms of the run, as its journal's header says: it needs no strategy to be loaded. */
async function armsOf(directory: string): Promise<readonly string[]> {
  for await (const entry of readJournal(join(directory, RUN_FILES.journal), { wants: () => true }))
    if (entry.kind === "sweep") return entry.arms.map(({ id }) => id);
  throw new CoppiceError(
    "not_found",
    `${directory}: expected a run directory with a journal, found none; a run that \`coppice score\` wrote placed no tasks`,
  );
}

/** Whether a line of JSON may be of this task, told without parsing it. */
function naming(task: string): (json: Buffer) => boolean {
  const needle = Buffer.from(`"task":${JSON.stringify(task)}`);
  return (json) => json.includes(needle);
}

type AskEntry = AnswerEntry | LossEntry | SpentEntry;

function isOfAsk(entry: JournalEntry): entry is AskEntry {
  return entry.kind === "answer" || entry.kind === "loss" || entry.kind === "spent";
}

function endOf(entry: AskEntry): AskEnd {
  const { ask, usage } = entry;
  const tokens = {
    prompt_tokens: usage.promptTokens,
    cached_tokens: usage.cachedTokens,
    completion_tokens: usage.completionTokens,
  };
  const none = { answer: null, verdict: null, host: null, attempt: null, message: null, ...tokens };
  if (entry.kind === "loss") return { ask, end: "lost", ...none, message: entry.loss.message };
  if (entry.kind === "spent") return { ask, end: entry.isHedge === true ? "copy" : "withdrawn", ...none };
  const { result, host, attempt } = entry;
  const verdict = result.kind === "verdict" ? result.verdict : null;
  return { ask, end: "answered", ...none, answer: result.kind, verdict, host, attempt };
}

async function decisionsOf(
  directory: string,
  task: string,
): Promise<Pick<TaskStory, "decisions" | "isFull" | "damagedLines">> {
  const path = join(directory, RUN_FILES.decisions);
  if (!(await exists(path))) return { decisions: null, isFull: false, damagedLines: 0 };
  const decisions: DecisionRow[] = [];
  const wants = naming(task);
  const full = Buffer.from('"kind":"full"');
  let [isFull, damagedLines] = [false, 0];
  for await (const line of readLines(path, { name: path })) {
    if (!line.isEnded) break;
    if (!wants(line.bytes)) {
      isFull ||= line.bytes.includes(full);
      continue;
    }
    const row = parseDecisionRow(lineText(line));
    if (typeof row === "string") damagedLines += 1;
    else if (row.task === task) decisions.push(row);
  }
  return { decisions, isFull, damagedLines };
}

async function resultOf(directory: string, task: string): Promise<StoredResult | null> {
  const path = join(directory, RUN_FILES.results);
  if (!(await exists(path))) return null;
  const wants = naming(task);
  for await (const line of readLines(path, { name: path })) {
    if (!line.isEnded || !wants(line.bytes)) continue;
    const row = parseResult(lineText(line), `${path}:${line.number}`);
    if (row.task === task) return row;
  }
  return null;
}
