/** From a run directory to a file of rows: problem by problem, so that memory holds one problem and never the run (I6). */
import { randomUUID } from "node:crypto";
import { open, rename, rm } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { CoppiceError, messageOf } from "../runtime/errors.ts";
import { systemDisk } from "../runtime/disk.ts";
import { exists } from "../coordinator/run-directory.ts";
import { readProblemRows } from "../coordinator/run-rows/problem-rows.ts";
import { renderPrompt } from "../coordinator/sweep-file/prompt-template.ts";
import type { Sweep } from "../coordinator/sweep.ts";
import type { ExportKind } from "./export-kind.ts";
import { createJsonlWriter } from "./jsonl-writer.ts";
import { createParquetWriter } from "./parquet-writer.ts";
import { type ExportCounts, newCounts, type PickOptions } from "./pick.ts";
import type { RowWriter } from "./row-writer.ts";

export interface ExportOptions {
  readonly kind: ExportKind;
  /** Arms whose rows are taken; all where null. */
  readonly arm: string | null;
  readonly pick: PickOptions;
  /** Absolute path of the file to write; ends in `.parquet` for Parquet, anything else is JSON Lines. */
  readonly out: string;
  /** Whether a file that exists is replaced. */
  readonly mayReplace: boolean;
  /** Gives up; nothing is left. */
  readonly signal: AbortSignal;
}

/**
 * The file appears whole under its name or not at all.
 * @param sweep The run's own (`resolved.yaml`), with `output` its directory.
 * @throws the signal's reason; already_exists; data_loss naming file and line of a row that is damaged; invalid_argument for an unknown arm.
 */
export async function exportRun(sweep: Sweep, options: ExportOptions): Promise<ExportCounts> {
  const { out, mayReplace } = options;
  refuseUnknownArm(sweep, options.arm);
  if (!mayReplace && (await exists(out))) {
    throw new CoppiceError(
      "already_exists",
      `${out}: expected a new file, found one that exists; --force replaces it`,
    );
  }
  const partial = join(dirname(out), `.${basename(out)}.partial-${randomUUID()}`);
  const file = await open(partial, "wx").catch((error: unknown) => {
    throw new CoppiceError("failed_precondition", `${out}: cannot be written: ${messageOf(error)}`, {
      cause: error,
    });
  });
  try {
    const { columns } = options.kind;
    const writer = out.endsWith(".parquet") ? createParquetWriter(file, columns) : createJsonlWriter(file);
    const counts = await writeRows(sweep, options, writer);
    await writer.end();
    await file.datasync();
    await file.close();
    await rename(partial, out);
    await systemDisk.syncDirectory(dirname(out));
    return counts;
  } catch (error) {
    await file.close().catch(() => undefined);
    await rm(partial, { force: true });
    throw error;
  }
}

async function writeRows(
  sweep: Sweep,
  { kind, arm, pick, signal }: ExportOptions,
  writer: RowWriter,
): Promise<ExportCounts> {
  const counts = newCounts();
  const arms = sweep.arms.map(({ id }) => id);
  for await (const { problem, tasks } of readProblemRows(sweep.output, { arms, signal })) {
    const wanted = tasks.filter(
      (task) => task.rollouts.length > 0 && (arm === null || task.strategy === arm),
    );
    if (wanted.length === 0) continue;
    counts.problems += 1;
    for (const { rollouts } of wanted) {
      counts.rollouts += rollouts.length;
      counts.judged += rollouts.filter(({ verdict }) => verdict !== null).length;
      counts.verified += rollouts.filter(({ verdict }) => verdict === "correct").length;
    }
    const prompt = renderPrompt(sweep.promptTemplate, problem);
    const rows = kind.rows({ problem, prompt, tasks: wanted }, pick, counts);
    counts.problemsWithRows += Number(rows.length > 0);
    counts.rows += rows.length;
    for (const row of rows) await writer.write(row);
  }
  return counts;
}

function refuseUnknownArm({ arms }: Sweep, arm: string | null): void {
  if (arm === null || arms.some(({ id }) => id === arm)) return;
  const known = arms.map(({ id }) => id).join(", ");
  throw new CoppiceError(
    "invalid_argument",
    `--strategy: expected an arm of this run (${known}), found "${arm}"`,
  );
}
