/** How a program is shut in: the command line of bubblewrap, and the limits that the kernel keeps for each process. */
import { lstatSync, readFileSync, readlinkSync } from "node:fs";
import type { Language, ProgramLimits } from "./program.ts";

/** Nobody, inside; and outside too where this process is root: the kernel counts no processes of root. */
export const NOBODY = 65_534;
const OPEN_FILES_MAX = 256;
/** Shared memory that is a file, as the locks of Python's multiprocessing are. */
const SHARED_MIB = 16;
const MIB = 1024 * 1024;
/** Writable memory that V8 maps and does not use: 512 MiB for code, and its own. */
const V8_MAPPED_MIB = 640;
/** What Node itself holds. */
const NODE_HELD_MIB = 64;
/** Where Node stands inside. */
const NODE_PATH = "/opt/node";
const PYTHON_PATH = "/usr/bin/python3";
const SHELL_PATH = "/usr/bin/bash";
const PRLIMIT_PATH = "/usr/bin/prlimit";
/** What must stand under /usr, which is all that a sandbox sees of the machine's files. */
export const NEEDED_INSIDE: readonly string[] = [PYTHON_PATH, SHELL_PATH, PRLIMIT_PATH];

const HARNESS: Readonly<Record<Language, string>> = {
  python: readFileSync(new URL("./python-harness.py", import.meta.url), "utf8"),
  javascript: readFileSync(new URL("./javascript-harness.js", import.meta.url), "utf8"),
};

/** What is decided when a sandbox starts, before its program is known. */
export type Confinement = Pick<ProgramLimits, "memoryMib" | "processesMax" | "tmpMib"> & {
  readonly language: Language;
  /** Processor time of one process. */
  readonly cpuSeconds: number;
};

/** The programs that a sandbox is made of, on this machine. */
export interface Tools {
  readonly bwrap: string;
  /** The Node binary, where nobody may read it. */
  readonly node: string;
}

/** Descriptors beyond standard output: the harness's reports, bubblewrap's status, the filter of system calls. */
export const DESCRIPTORS = { report: 3, status: 4, filter: 5 } as const;

/** What all processes together may hold before they are killed, in bytes. */
export function heldBytesMax({ language, memoryMib }: Confinement): number {
  return (memoryMib + (language === "javascript" ? NODE_HELD_MIB : 0)) * MIB;
}

/** The arguments of bubblewrap for a sandbox in which the harness waits for its program. */
export function bwrapArguments(confinement: Confinement, tools: Tools): readonly string[] {
  const { tmpMib } = confinement;
  return [
    ["--unshare-all", "--die-with-parent", "--new-session", "--clearenv", "--cap-drop", "ALL"],
    ["--uid", String(NOBODY), "--gid", String(NOBODY), "--hostname", "sandbox"],
    ["--ro-bind", "/usr", "/usr", ...["/lib", "/lib32", "/lib64", "/bin"].flatMap(systemFolder)],
    ["--ro-bind", tools.node, NODE_PATH],
    ["--proc", "/proc", "--dev", "/dev"],
    ["--size", String(SHARED_MIB * MIB), "--perms", "1777", "--tmpfs", "/dev/shm", "--remount-ro", "/dev"],
    ["--size", String(tmpMib * MIB), "--perms", "1777", "--tmpfs", "/tmp", "--chdir", "/tmp"],
    ["--remount-ro", "/"],
    Object.entries(ENVIRONMENT).flatMap(([name, value]) => ["--setenv", name, value]),
    ["--json-status-fd", String(DESCRIPTORS.status), "--seccomp", String(DESCRIPTORS.filter)],
    ["--", SHELL_PATH, "--norc", "-c", CLOSE_INHERITED, "bash"],
    [PRLIMIT_PATH, ...kernelLimits(confinement), "--", ...interpreter(confinement)],
  ].flat();
}

/** What this process was started with open, and does not know of, must not be open inside. */
const CLOSE_INHERITED = `
  for path in /proc/self/fd/*; do
    number=\${path##*/}
    if [ "$number" -gt ${DESCRIPTORS.report} ]; then eval "exec $number>&-"; fi
  done
  exec "$@"`;

/** All that a program sees of an environment. The hash seed makes the order of sets the same on every run. */
export const ENVIRONMENT = {
  PATH: "/usr/local/bin:/usr/bin:/bin",
  HOME: "/tmp",
  LANG: "C.UTF-8",
  PYTHONHASHSEED: "0",
  PYTHONDONTWRITEBYTECODE: "1",
  OPENBLAS_NUM_THREADS: "1",
  NO_COLOR: "1",
};

/** `/lib` and its kin are links into /usr on most systems, and folders on others. */
function systemFolder(path: string): readonly string[] {
  const found = lstatSync(path, { throwIfNoEntry: false });
  if (found === undefined) return [];
  return found.isSymbolicLink() ? ["--symlink", readlinkSync(path), path] : ["--ro-bind", path, path];
}

function kernelLimits(confinement: Confinement): readonly string[] {
  const { language, memoryMib, processesMax, tmpMib, cpuSeconds } = confinement;
  // V8 reserves far more address space than it uses: of JavaScript what may be written to is counted instead.
  const [memory, mib] = language === "python" ? ["as", memoryMib] : ["data", memoryMib + V8_MAPPED_MIB];
  return [
    `--${memory}=${mib * MIB}`,
    `--nproc=${processesMax}`,
    `--fsize=${tmpMib * MIB}`,
    `--nofile=${OPEN_FILES_MAX}`,
    `--cpu=${cpuSeconds}`,
    // Not even to a program that the host gives its core dumps to: 0 would not forbid that, see core(5).
    "--core=1",
    "--msgqueue=0",
  ];
}

function interpreter({ language, memoryMib }: Confinement): readonly string[] {
  const harness = HARNESS[language];
  if (language === "python") return [PYTHON_PATH, "-s", "-B", "-c", harness];
  return [NODE_PATH, `--max-old-space-size=${memoryMib}`, "--no-warnings", "-e", harness];
}
