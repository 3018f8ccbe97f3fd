/** The tasks of a run that failed, with why: from its rows. */
import { join } from "node:path";
import { lineText, readLines } from "../../runtime/lines.ts";
import { exists, RUN_FILES } from "../run-directory.ts";

export interface FailedTask {
  readonly task: string;
  readonly error: string | null;
}

const FAILED = Buffer.from('"state":"failed"');

/** The first `max` of them. A row that cannot be read is passed over. */
export async function failedTasks(output: string, max: number): Promise<readonly FailedTask[]> {
  const path = join(output, RUN_FILES.results);
  const found: FailedTask[] = [];
  if (!(await exists(path))) return found;
  for await (const line of readLines(path, { name: path })) {
    if (!line.bytes.includes(FAILED)) continue;
    const row = failedIn(lineText(line));
    if (row !== null) found.push(row);
    if (found.length >= max) break;
  }
  return found;
}

function failedIn(text: string): FailedTask | null {
  try {
    // Written by us; what somebody changed since is told as far as it can be.
    const row = JSON.parse(text) as Readonly<Record<string, unknown>>;
    if (row["state"] !== "failed") return null;
    return { task: String(row["task"]), error: typeof row["error"] === "string" ? row["error"] : null };
  } catch {
    return null;
  }
}
