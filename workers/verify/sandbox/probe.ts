/**
 * Whether the sandbox holds on this machine: programs that try to get out, and to pass each limit (I9). Nothing is offered
 * that needs the sandbox where one of them can.
 */
import { readFileSync } from "node:fs";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { createServer, type Server } from "node:net";
import { homedir, tmpdir } from "node:os";
import { join } from "node:path";
import type { Clock } from "../../../services/runtime/clock.ts";
import { CoppiceError } from "../../../services/runtime/errors.ts";
import { ENVIRONMENT, NOBODY, type Tools } from "./confinement.ts";
import type { Language, ProgramLimits, ProgramOutcome } from "./program.ts";
import { SandboxPool } from "./sandbox-pool.ts";
import { findTools } from "./tools.ts";

const ESCAPES = readFileSync(new URL("./escapes.py", import.meta.url), "utf8");
const LIMITS: ProgramLimits = {
  wallMs: 20_000,
  memoryMib: 128,
  processesMax: 32,
  tmpMib: 4,
  outputBytesMax: 16_384,
};
/** Four processes, each within its limit, together beyond it. */
const HOARD = `
import os, time
for _ in range(3): os.fork()
hoard = bytearray(os.urandom(1 << 20)) * 60
time.sleep(60)`;
const ENDLESS_MS = 200;

export interface ProbeParts {
  readonly clock: Clock;
  readonly env: Readonly<Record<string, string | undefined>>;
}

/** What was found, for a process: a machine does not change under it, and a probe costs half a second. */
let known: Promise<Tools> | null = null;

/**
 * The tools of a sandbox that holds. Looks once in the life of a process, and again after it failed.
 * @throws failed_precondition naming what is missing, or every way out that is open.
 */
export function provenTools(parts: ProbeParts): Promise<Tools> {
  known ??= probeSandbox(parts).catch((error: unknown) => {
    known = null;
    throw error;
  });
  return known;
}

/** As `provenTools`, and looks every time. */
export async function probeSandbox({ clock, env }: ProbeParts): Promise<Tools> {
  const tools = findTools(env);
  const pool = new SandboxPool({ clock, tools, spares: 0 });
  try {
    const found = (await Promise.all([escapes(pool), ...LIMIT_CHECKS.map((check) => check(pool))])).flat();
    if (found.length === 0) return tools;
    throw new CoppiceError(
      "failed_precondition",
      `the sandbox does not hold here: a program can ${found.join("; ")}`,
    );
  } catch (error) {
    if (!(error instanceof CoppiceError) || error.code !== "unavailable") throw error;
    const advice = "bubblewrap needs user namespaces, which this machine may forbid";
    throw new CoppiceError("failed_precondition", `${error.message} (${advice})`, { cause: error });
  } finally {
    await pool.close();
  }
}

function run(
  pool: SandboxPool,
  language: Language,
  source: string,
  limits: Partial<ProgramLimits> = {},
): Promise<ProgramOutcome> {
  const program = { language, source, testsLine: null };
  return pool.run(program, { ...LIMITS, ...limits }, new AbortController().signal);
}

/** Each tells of what a program can do and may not. */
const LIMIT_CHECKS: readonly ((pool: SandboxPool) => Promise<readonly string[]>)[] = [
  async (pool) =>
    killedFor("memory", await run(pool, "python", HOARD), "hold more memory in several processes"),
  async (pool) => {
    const endless = await run(pool, "python", "while True: pass", { wallMs: ENDLESS_MS });
    return killedFor("wall", endless, "run longer than its limit");
  },
  async (pool) => {
    const loud = await run(pool, "python", "while True: print('x' * 4096)");
    return killedFor("output", loud, "write more output than its limit");
  },
  async (pool) => {
    const { end, stdout, stderr } = await run(pool, "javascript", "console.log(6 * 7)");
    if (end.kind === "exited" && end.status === 0 && stdout === "42\n") return [];
    return [`not run JavaScript (${JSON.stringify(end)}: ${stderr.trim().slice(-200)})`];
  },
];

function killedFor(limit: string, { end, stderr }: ProgramOutcome, claim: string): readonly string[] {
  if (end.kind === "killed" && end.limit === limit) return [];
  return [`${claim} (found ${JSON.stringify(end)}: ${stderr.trim().slice(-200)})`];
}

async function escapes(pool: SandboxPool): Promise<readonly string[]> {
  const folder = await mkdtemp(join(tmpdir(), "coppice-probe-"));
  const canary = join(folder, "canary");
  const name = `coppice-probe-${process.pid}-${folder.slice(-6)}`;
  const servers = [createServer(), createServer()];
  const [tcp, named] = servers;
  try {
    await writeFile(canary, "seen");
    await listen(tcp, { port: 0, host: "127.0.0.1" });
    await listen(named, { path: `\0${name}` });
    const address = tcp?.address();
    const facts = {
      ...LIMITS,
      port: typeof address === "object" && address !== null ? address.port : 0,
      name,
      uid: NOBODY,
      hidden: [
        canary,
        "/etc/passwd",
        "/etc/shadow",
        "/root",
        "/home",
        "/var",
        "/sys",
        homedir(),
        import.meta.filename,
      ],
      environment: Object.keys(ENVIRONMENT),
    };
    const outcome = await run(pool, "python", `FACTS = ${JSON.stringify(facts)}\n${ESCAPES}`);
    return claimsIn(outcome);
  } finally {
    for (const server of servers) server.close();
    await rm(folder, { recursive: true, force: true });
  }
}

function claimsIn({ stdout, stderr, end }: ProgramOutcome): readonly string[] {
  try {
    const claims: unknown = JSON.parse(stdout);
    if (Array.isArray(claims)) return claims.map(String);
  } catch {
    // Said below.
  }
  return [`not be tried (${JSON.stringify(end)}: ${(stderr + stdout).trim().slice(-400)})`];
}

function listen(
  server: Server | undefined,
  at: { readonly path: string } | { readonly port: number; readonly host: string },
): Promise<void> {
  return new Promise((resolve, reject) => {
    server?.on("error", reject).listen(at, resolve).unref();
  });
}
