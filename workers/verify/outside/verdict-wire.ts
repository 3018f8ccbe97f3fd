/**
 * The wire between Coppice and a verifier that a user wrote: candidates out, verdicts back, as JSON objects. One a line for
 * a program (`command.ts`), in lists over HTTP (`http.ts`). Pure.
 *
 *   {"id": "7", "prompt": "...", "text": "...", "problem": {"id", "prompt", "reference", "tests", "metadata"}}
 *   {"id": "7", "verdict": "correct" | "incorrect" | "undecided", "score": 0.7, "answer": "42", "reason": "..."}
 *
 * A verdict needs its candidate's `id` and one of `verdict`, `correct` (true or false) and `score`; a score alone is
 * undecided. Absent and null are the same. Keys that are not known are ignored: they are the user's.
 */
import type { VerdictResult } from "../../../services/queue/job.ts";
import { nearestWord, suggestion } from "../../../services/runtime/nearest.ts";
import { answerKey } from "../answer-key.ts";
import { quote, type Candidate } from "../verifier.ts";

/** Longest reason that is kept, in characters. */
export const REASON_CHARS_MAX = 500;

const VERDICTS = ["correct", "incorrect", "undecided"] as const;
const KEYS = ["id", "verdict", "correct", "score", "answer", "reason"];
const NO_OBJECT = "a JSON object with id and verdict";

/** What was read where a verdict should stand. */
export type WireVerdict =
  | { readonly kind: "verdict"; readonly id: string; readonly result: VerdictResult }
  /** `id` is null where it cannot be told which candidate was meant. `complaint` reads "expected ..., found ...". */
  | { readonly kind: "malformed"; readonly id: string | null; readonly complaint: string };

/** A candidate as it travels. `id` is ours and comes back with the verdict. */
export function wireCandidate(id: string, { prompt, text, problem }: Candidate): object {
  const { reference, tests, metadata } = problem;
  return {
    id,
    prompt,
    text,
    problem: { id: problem.id, prompt: problem.prompt, reference, tests, metadata },
  };
}

/** The same as one line of ASCII with its end: a program reads it right whatever its locale. */
export function candidateLine(id: string, candidate: Candidate): string {
  const json = JSON.stringify(wireCandidate(id, candidate));
  return `${json.replaceAll(/[^\0-\x7f]/g, escapeUnit)}\n`;
}

function escapeUnit(unit: string): string {
  return `\\u${unit.charCodeAt(0).toString(16).padStart(4, "0")}`;
}

/** A line of a program. */
export function readVerdictLine(line: string): WireVerdict {
  const value = parseWire(line);
  if (value === undefined) return malformed(null, `expected ${NO_OBJECT}, found ${quote(line)}`);
  return readVerdict(value);
}

/** A verdict out of parsed JSON. */
export function readVerdict(value: unknown): WireVerdict {
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    return malformed(null, `expected ${NO_OBJECT}, found ${shown(value)}`);
  }
  // Parsed JSON that is an object: its keys are texts, its values are checked below.
  const fields = value as Readonly<Record<string, unknown>>;
  const id = fields["id"];
  if (typeof id !== "string") {
    return malformed(null, `expected id to be the text that the candidate came with, found ${shown(id)}`);
  }
  const complaint = complaintOf(fields);
  return complaint === null
    ? { kind: "verdict", id, result: resultOf(fields) } // Checked just above.
    : malformed(id, complaint);
}

/** A verdict's fields, checked. */
interface Fields {
  readonly verdict?: (typeof VERDICTS)[number] | null;
  readonly correct?: boolean | null;
  readonly score?: number | null;
  readonly answer?: string | null;
  readonly reason?: string | null;
}

/** "expected ..., found ..."; null when all is well. */
function complaintOf(fields: Readonly<Record<string, unknown>>): string | null {
  const { verdict, correct, score, answer, reason } = fields;
  if (isThere(verdict) && !VERDICTS.some((each) => each === verdict)) {
    return `expected verdict to be one of ${VERDICTS.join(", ")}, found ${shown(verdict)}`;
  }
  if (isThere(correct) && typeof correct !== "boolean") {
    return `expected correct to be true or false, found ${shown(correct)}`;
  }
  if (isThere(verdict) && isThere(correct) && (verdict === "correct") !== correct) {
    return `expected verdict and correct to agree, found ${shown(verdict)} and ${shown(correct)}`;
  }
  if (isThere(score) && !Number.isFinite(score)) {
    return `expected score to be a finite number, found ${shown(score)}`;
  }
  if (isThere(answer) && typeof answer !== "string") {
    return `expected answer to be a text, found ${shown(answer)}`;
  }
  if (isThere(reason) && typeof reason !== "string") {
    return `expected reason to be a text, found ${shown(reason)}`;
  }
  if (isThere(verdict) || isThere(correct) || isThere(score)) return null;
  const keys = Object.keys(fields);
  const meant = keys.find((key) => !KEYS.includes(key) && nearestWord(key, KEYS) !== null);
  const hint = meant === undefined ? "" : suggestion(meant, KEYS);
  return `expected verdict, correct or score, found keys ${quote(keys.join(", "))}${hint}`;
}

function resultOf(fields: Fields): VerdictResult {
  const { score, answer, reason } = fields;
  const verdict = fields.verdict ?? verdictOf(fields.correct ?? null);
  return {
    kind: "verdict",
    verdict,
    score: score ?? { correct: 1, incorrect: 0, undecided: null }[verdict],
    answer: isThere(answer) && answer !== "" ? answerKey(answer.toWellFormed()) : null,
    reason: reasonOf(verdict, { reason: reason?.trim() ?? "", hasScore: isThere(score) }),
  };
}

function verdictOf(correct: boolean | null): VerdictResult["verdict"] {
  if (correct === null) return "undecided";
  return correct ? "correct" : "incorrect";
}

function reasonOf(
  verdict: VerdictResult["verdict"],
  { reason, hasScore }: { readonly reason: string; readonly hasScore: boolean },
): string | null {
  if (reason.length > REASON_CHARS_MAX) return `${reason.slice(0, REASON_CHARS_MAX).toWellFormed()}...`;
  if (reason !== "") return reason.toWellFormed();
  if (verdict === "correct") return null;
  const isScoreAlone = verdict === "undecided" && hasScore;
  return isScoreAlone ? "the verifier gave a score and no verdict" : "the verifier gave no reason";
}

/**
 * Parsed JSON; undefined for what is not JSON. NaN and Infinity, which other languages write, are read as these words: the
 * complaint is then about the field that holds them, and the candidate is known.
 */
export function parseWire(text: string): unknown {
  return parsed(text) ?? (/NaN|Infinity/.test(text) ? parsed(quoteNumberWords(text)) : undefined);
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text) as unknown;
  } catch {
    return undefined;
  }
}

function quoteNumberWords(text: string): string {
  let quoted = "";
  for (let from = 0; from < text.length;) {
    const open = text.indexOf('"', from);
    const outside = text.slice(from, open === -1 ? text.length : open);
    quoted += outside.replaceAll(/-?\b(?:NaN|Infinity)\b/g, '"$&"');
    if (open === -1) break;
    from = endOfString(text, open);
    quoted += text.slice(open, from);
  }
  return quoted;
}

/** Behind the quotation mark that ends the string which starts at `open`. */
function endOfString(text: string, open: number): number {
  for (let at = open + 1; at < text.length; at += 1) {
    if (text[at] === "\\") at += 1;
    else if (text[at] === '"') return at + 1;
  }
  return text.length;
}

function malformed(id: string | null, complaint: string): WireVerdict {
  return { kind: "malformed", id, complaint };
}

function isThere<T>(value: T): value is NonNullable<T> {
  return value !== undefined && value !== null;
}

function shown(value: unknown): string {
  if (value === undefined) return "nothing";
  if (typeof value === "string") return quote(value);
  // A list or an object may be too deep to be written.
  if (Array.isArray(value)) return "a list";
  if (typeof value === "number") return String(value); // JSON has no word for what 1e999 is read as.
  return typeof value === "object" && value !== null ? "an object" : JSON.stringify(value);
}
