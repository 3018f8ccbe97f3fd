/** The lock of a run directory: one process works on a run at a time. */
import { readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { CoppiceError, messageOf } from "../runtime/errors.ts";
import { RUN_FILES } from "./run-directory.ts";

/**
 * Takes the run directory for this process. A lock whose process is gone is taken over.
 * @returns What to call to give it back.
 */
export async function lockRunDirectory(path: string): Promise<() => Promise<void>> {
  const file = join(path, RUN_FILES.lock);
  const mine = JSON.stringify(await processIdentity(process.pid));
  for (let attempt = 0; attempt < 2; attempt += 1) {
    try {
      await writeFile(file, mine, { flag: "wx" });
      return () => rm(file, { force: true });
    } catch (error) {
      if (!isErrno(error, "EEXIST")) {
        throw new CoppiceError(
          "failed_precondition",
          `${file}: cannot lock the run directory: ${messageOf(error)}`,
        );
      }
    }
    const holder = await readFile(file, "utf8").catch(() => "");
    if (await isAlive(holder)) {
      throw new CoppiceError(
        "failed_precondition",
        `${path}: another process works on this run (${holder}); only one may`,
      );
    }
    await rm(file, { force: true });
  }
  throw new CoppiceError(
    "failed_precondition",
    `${file}: cannot lock the run directory: another process took it first`,
  );
}

interface ProcessIdentity {
  readonly pid: number;
  /** Tells a process from a later one with the same pid; empty where the system does not say. */
  readonly started: string;
}

async function processIdentity(pid: number): Promise<ProcessIdentity> {
  const line = await readFile(`/proc/${pid}/stat`, "utf8").catch(() => "");
  const boot = await readFile("/proc/sys/kernel/random/boot_id", "utf8").catch(() => "");
  // Field 22 is the start time; the command's name before it may contain spaces, and ends with ")".
  const started = line.slice(line.lastIndexOf(")") + 2).split(" ")[19] ?? "";
  return { pid, started: started === "" ? "" : `${boot.trim()}/${started}` };
}

async function isAlive(holder: string): Promise<boolean> {
  let identity: ProcessIdentity;
  try {
    // A lock file that is not ours, or was cut short by a crash, does not parse: nobody holds it.
    identity = JSON.parse(holder) as ProcessIdentity;
    process.kill(identity.pid, 0);
  } catch (error) {
    return isErrno(error, "EPERM");
  }
  const now = await processIdentity(identity.pid);
  return now.started === identity.started;
}

function isErrno(error: unknown, code: string): boolean {
  return error instanceof Error && "code" in error && error.code === code;
}
