/** The programs of this machine that a sandbox is made of. */
import {
  accessSync,
  chmodSync,
  constants,
  copyFileSync,
  lstatSync,
  mkdirSync,
  renameSync,
  statSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { delimiter, dirname, join } from "node:path";
import { CoppiceError } from "../../../services/runtime/errors.ts";
import { NEEDED_INSIDE, type Tools } from "./confinement.ts";

/** Where bubblewrap is looked for when the environment names no path. */
const PATH_DEFAULT = "/usr/local/bin:/usr/bin:/bin";
const OTHERS_READ_AND_EXECUTE = 0o005;
const OTHERS_PASS = 0o001;
const OTHERS_WRITE = 0o022;

/**
 * @param execPath The Node of the sandbox.
 * @throws failed_precondition naming what is missing.
 */
export function findTools(
  env: Readonly<Record<string, string | undefined>>,
  execPath: string = process.execPath,
): Tools {
  if (process.platform !== "linux") {
    throw new CoppiceError("failed_precondition", `the sandbox needs Linux, found ${process.platform}`);
  }
  const folders = (env["PATH"] ?? PATH_DEFAULT).split(delimiter).filter((folder) => folder !== "");
  const bwrap = folders.map((folder) => join(folder, "bwrap")).find(isExecutable);
  if (bwrap === undefined) {
    throw new CoppiceError(
      "failed_precondition",
      "bubblewrap is not installed (deploy/ensure-bubblewrap.sh)",
    );
  }
  const missing = NEEDED_INSIDE.filter((path) => !isExecutable(path));
  if (missing.length > 0) {
    throw new CoppiceError(
      "failed_precondition",
      `the sandbox needs ${missing.join(", ")}, which is not here`,
    );
  }
  return { bwrap, node: nodeForNobody(execPath) };
}

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}

/** This Node, or where only root may read it, a copy of it that everyone may. */
function nodeForNobody(execPath: string): string {
  if (process.getuid?.() !== 0 || isOpenToAll(execPath)) return execPath;
  const { size } = statSync(execPath);
  const folder = join(tmpdir(), `coppice-node-${process.version}-${size}`);
  const copy = join(folder, "node");
  mkdirSync(folder, { recursive: true, mode: 0o755 });
  const { uid, mode } = lstatSync(folder);
  if (uid !== 0 || (mode & OTHERS_WRITE) !== 0) {
    throw new CoppiceError("failed_precondition", `expected ${folder} to be of root and of root alone`);
  }
  if (statSync(copy, { throwIfNoEntry: false })?.size === size) return copy;
  const part = `${copy}.${process.pid}`;
  copyFileSync(execPath, part, constants.COPYFILE_FICLONE);
  chmodSync(part, 0o755);
  renameSync(part, copy);
  return copy;
}

function isOpenToAll(path: string): boolean {
  const isReadable = (statSync(path).mode & OTHERS_READ_AND_EXECUTE) === OTHERS_READ_AND_EXECUTE;
  let folder = dirname(path);
  while (folder !== dirname(folder) && (statSync(folder).mode & OTHERS_PASS) !== 0) folder = dirname(folder);
  return isReadable && folder === dirname(folder);
}
