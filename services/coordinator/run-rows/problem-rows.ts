/**
 * The rows of a run, problem by problem in the order of the run's problems, whatever the order in which tasks settled: what is
 * made of them is then the same for every run of a sweep (I4). Rows of a task stand together, tasks of a problem do not, so
 * the files are read twice: once to find where each task stands (a hundred bytes of memory per task), once to read it.
 */
import { open, type FileHandle } from "node:fs/promises";
import { join } from "node:path";
import { lineText, readLines } from "../../runtime/lines.ts";
import { exists, readRunProblems, RUN_FILES } from "../run-directory.ts";
import type { Problem } from "../sweep.ts";
import { damagedRow, parsePlace, parseResult, parseRollout } from "./stored-row.ts";
import { storedTask, type StoredTask } from "./stored-task.ts";

export interface ProblemRows {
  readonly problem: Problem;
  /** In the order of the arms; none where none has settled. */
  readonly tasks: readonly StoredTask[];
}

/** The rows of one task are held in memory together, so they may be so large. */
export const TASK_ROWS_BYTES_MAX = 1024 ** 3;
const LINE_END = 0x0a;
const CHANGED = "changed while it was read";

/** Where the rows of one task stand in a file. */
interface Span {
  readonly task: string;
  readonly strategy: string;
  readonly problem: string;
  readonly start: number;
  end: number;
  /** Of its first row, from 1. */
  readonly line: number;
}

/**
 * @param run.arms Ids of the run's arms.
 * @throws data_loss naming file and line of a row that is damaged or is of no task of the run; the signal's reason.
 */
export async function* readProblemRows(
  directory: string,
  { arms, signal }: { readonly arms: readonly string[]; readonly signal: AbortSignal },
): AsyncGenerator<ProblemRows> {
  const rollouts = join(directory, RUN_FILES.rollouts);
  const results = join(directory, RUN_FILES.results);
  const tasks = new TaskIndex(arms);
  for await (const span of spansOf(rollouts, signal)) tasks.add("rollouts", span, rollouts);
  for await (const span of spansOf(results, signal)) tasks.add("results", span, results);
  const files = { rollouts: await openIf(rollouts), results: await openIf(results) };
  try {
    for await (const problem of readRunProblems(directory)) {
      signal.throwIfAborted();
      const found = tasks.take(problem.id);
      yield { problem, tasks: await Promise.all(found.map((entry) => readTask(entry, files, directory))) };
    }
  } finally {
    await files.rollouts?.close();
    await files.results?.close();
  }
  tasks.refuseRest();
}

interface TaskEntry {
  readonly id: string;
  readonly strategy: string;
  rollouts: Span | null;
  results: Span | null;
}

/** Every task that has rows, by problem. */
class TaskIndex {
  readonly #arms: readonly string[];
  readonly #problems = new Map<string, Map<string, TaskEntry>>();

  constructor(arms: readonly string[]) {
    this.#arms = arms;
  }

  add(file: "rollouts" | "results", span: Span, path: string): void {
    const { problem, task, strategy, line } = span;
    const at = `${path}:${line}`;
    if (!this.#arms.includes(strategy))
      throw damagedRow(
        at,
        `strategy: expected an arm of this run (${this.#arms.join(", ")}), found "${strategy}"`,
      );
    const tasks = this.#problems.get(problem) ?? new Map<string, TaskEntry>();
    this.#problems.set(problem, tasks);
    const entry = tasks.get(task) ?? { id: task, strategy, rollouts: null, results: null };
    tasks.set(task, entry);
    const other = entry[file];
    if (other !== null)
      throw damagedRow(
        at,
        `expected the rows of task ${task} to stand together, found others at line ${other.line}`,
      );
    entry[file] = span;
  }

  /** The tasks of a problem in the order of the arms; they are forgotten. */
  take(problem: string): readonly TaskEntry[] {
    const tasks = [...(this.#problems.get(problem)?.values() ?? [])];
    this.#problems.delete(problem);
    return tasks.toSorted((a, b) => this.#arms.indexOf(a.strategy) - this.#arms.indexOf(b.strategy));
  }

  /** What is left is of no problem of the run. */
  refuseRest(): void {
    const [rest] = this.#problems;
    if (rest === undefined) return;
    const [problem, tasks] = rest;
    const [entry] = tasks.values();
    const [file, span] =
      entry?.rollouts == null ? [RUN_FILES.results, entry?.results] : [RUN_FILES.rollouts, entry.rollouts];
    throw damagedRow(`${file}:${span?.line}`, `problem "${problem}" does not stand in ${RUN_FILES.problems}`);
  }
}

/** Runs of rows with the same task. None where there is no file: the run has settled nothing. */
async function* spansOf(path: string, signal: AbortSignal): AsyncGenerator<Span> {
  if (!(await exists(path))) return;
  let span: Span | undefined;
  for await (const line of readLines(path, { name: path, signal })) {
    const at = `${path}:${line.number}`;
    if (!line.isEnded)
      throw damagedRow(at, "cut short, as by a run that was killed; `coppice run --resume` mends it");
    const { task, strategy, problem } = parsePlace(lineText(line), at);
    const end = line.offset + line.bytes.length + 1;
    if (span?.task === task && span.problem === problem && span.strategy === strategy) {
      span.end = end;
      continue;
    }
    if (span !== undefined) yield span;
    span = { task, strategy, problem, start: line.offset, end, line: line.number };
  }
  if (span !== undefined) yield span;
}

async function openIf(path: string): Promise<FileHandle | null> {
  return (await exists(path)) ? await open(path) : null;
}

async function readTask(
  { id, strategy, rollouts, results }: TaskEntry,
  files: { readonly rollouts: FileHandle | null; readonly results: FileHandle | null },
  directory: string,
): Promise<StoredTask> {
  const rows = await rowsOf(files.rollouts, rollouts, join(directory, RUN_FILES.rollouts));
  const [result] = await rowsOf(files.results, results, join(directory, RUN_FILES.results));
  return storedTask(
    rows.map(({ text, at }) => parseRollout(text, at)),
    { id, strategy, result: result === undefined ? null : parseResult(result.text, result.at) },
  );
}

interface RowText {
  readonly text: string;
  readonly at: string;
}

async function rowsOf(file: FileHandle | null, span: Span | null, path: string): Promise<readonly RowText[]> {
  if (file === null || span === null) return [];
  if (span.end - span.start > TASK_ROWS_BYTES_MAX) {
    const found = `expected at most ${TASK_ROWS_BYTES_MAX} bytes of one task, found ${span.end - span.start}`;
    throw damagedRow(`${path}:${span.line}`, found);
  }
  const bytes = Buffer.alloc(span.end - span.start);
  const { bytesRead } = await file.read(bytes, 0, bytes.length, span.start);
  if (bytesRead < bytes.length) throw damagedRow(`${path}:${span.line}`, CHANGED);
  const rows: RowText[] = [];
  for (let from = 0; from < bytes.length;) {
    const end = bytes.indexOf(LINE_END, from);
    if (end === -1) throw damagedRow(`${path}:${span.line}`, CHANGED);
    rows.push({ text: bytes.toString("utf8", from, end), at: `${path}:${span.line + rows.length}` });
    from = end + 1;
  }
  return rows;
}
