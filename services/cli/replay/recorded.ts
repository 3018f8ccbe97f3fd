/**
 * Recorded rollouts in memory, by problem: what a what-if replay samples from. Only rollouts of the rendered prompt itself; a step of
 * a search is recorded behind one path and could not be given to another.
 */
import { open } from "node:fs/promises";
import type { VerdictResult } from "../../queue/job.ts";
import { CoppiceError } from "../../runtime/errors.ts";
import { lineText, readLines } from "../../runtime/lines.ts";
import { parseRecord, type RecordLine } from "../../../workers/rollout/drivers/replay-index.ts";

/** Texts are held in memory. */
export const RECORDED_BYTES_MAX = 2 * 1024 ** 3;
/** Where records do not count their tokens. */
const CHARS_PER_TOKEN = 4;

export interface Recorded {
  readonly byProblem: ReadonlyMap<string, readonly RecordLine[]>;
  readonly count: number;
  /** The most that one problem has. */
  readonly perProblemMax: number;
  /** Whether every record counts its tokens; else they are taken from the length of its text, four characters each. */
  readonly hasTokens: boolean;
  /** Whether every record says how likely the model found it. */
  readonly hasLogprobs: boolean;
  /** Of the longest one. */
  readonly tokensMax: number;
  /** What the run's verifier said of a candidate's text; null where no row says. */
  verdictOn(problem: string, text: string): VerdictResult | null;
}

/**
 * @param steps Arms of the run whose rollouts are steps of a search: theirs are no whole answers.
 * @throws invalid_argument naming file and line of a damaged record, or a file that is too large or has none.
 */
export async function readRecorded(
  path: string,
  signal: AbortSignal,
  steps: ReadonlySet<string> = new Set(),
): Promise<Recorded> {
  const byProblem = new Map<string, RecordLine[]>();
  const verdicts = new Map<string, VerdictResult>();
  let count = 0;
  let hasTokens = true;
  let hasLogprobs = true;
  let tokensMax = 1;
  const handle = await open(path, "r");
  try {
    for await (const line of readLines(handle, { name: path, signal })) {
      if (line.offset > RECORDED_BYTES_MAX)
        throw new CoppiceError(
          "invalid_argument",
          `${path}: expected at most ${RECORDED_BYTES_MAX} bytes of records, found more`,
        );
      const text = lineText(line);
      const record = text.trim() === "" ? null : parseRecord(text, `${path}:${line.number}`);
      if (record === null || !record.isRoot || record.problem === null) continue;
      // `parseRecord` found a JSON object here.
      const row = JSON.parse(text) as Readonly<Record<string, unknown>>;
      if (steps.has(String(row["strategy"]))) continue;
      count += 1;
      hasLogprobs &&= record.meanLogprob !== null;
      hasTokens &&= record.completionTokens !== null;
      tokensMax = Math.max(tokensMax, tokensOf(record));
      const known = byProblem.get(record.problem);
      if (known === undefined) byProblem.set(record.problem, [record]);
      else known.push(record);
      noteVerdict(verdicts, record.problem, row);
    }
  } finally {
    await handle.close();
  }
  if (count === 0)
    throw new CoppiceError(
      "invalid_argument",
      `${path}: expected at least one whole rollout of a problem, found none`,
    );
  for (const records of byProblem.values()) records.sort((a, b) => (a.sample ?? 0) - (b.sample ?? 0));
  const perProblemMax = Math.max(...[...byProblem.values()].map(({ length }) => length));
  const verdictOn = (problem: string, text: string): VerdictResult | null =>
    verdicts.get(`${problem}\0${text}`) ?? null;
  return { byProblem, count, perProblemMax, hasTokens, hasLogprobs, tokensMax, verdictOn };
}

/** Completion tokens of a record, counted or guessed. */
export function tokensOf({ completionTokens, text }: RecordLine): number {
  return completionTokens ?? Math.max(1, Math.ceil(text.length / CHARS_PER_TOKEN));
}

/** A row of a run says what its verifier found. */
function noteVerdict(
  verdicts: Map<string, VerdictResult>,
  problem: string,
  row: Readonly<Record<string, unknown>>,
): void {
  const { verdict, score = null, answer = null, reason = null } = row;
  if (verdict !== "correct" && verdict !== "incorrect" && verdict !== "undecided") return;
  if (score !== null && typeof score !== "number") return;
  const text = typeof row["candidate_text"] === "string" ? row["candidate_text"] : String(row["text"]);
  verdicts.set(`${problem}\0${text}`, {
    kind: "verdict",
    verdict,
    score,
    answer: typeof answer === "string" ? answer : null,
    reason: typeof reason === "string" ? reason : null,
  });
}
