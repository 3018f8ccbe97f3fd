/**
 * One sandbox: a process of bubblewrap whose harness waits for a program, runs that one program, and is gone. Calls
 * bubblewrap (`confinement.ts`) and reads /proc (`process-tree.ts`).
 *
 * 1. A sandbox has at most one program in its life.
 * 2. What ends it kills the first process of its process namespace, and with it the kernel kills all others; when the process
 *    that this one started has exited, nothing of the sandbox is left.
 * 3. If this process dies, the kernel kills the sandbox (--die-with-parent).
 */
import { type ChildProcess, spawn, type SpawnOptions } from "node:child_process";
import { randomBytes } from "node:crypto";
import type { Readable, Writable } from "node:stream";
import type { Clock, Timer } from "../../../services/runtime/clock.ts";
import { CoppiceError } from "../../../services/runtime/errors.ts";
import {
  bwrapArguments,
  type Confinement,
  DESCRIPTORS,
  heldBytesMax,
  NOBODY,
  type Tools,
} from "./confinement.ts";
import { limitTime } from "../time-limit.ts";
import { holdsMoreThan, isRunning, killProcess, type ProcessId, processOf } from "./process-tree.ts";
import type { KillingLimit, Program, ProgramLimits, ProgramOutcome } from "./program.ts";
import { seccompFilter } from "./seccomp.ts";

/** Between two looks at what a program holds. */
const LOOK_MS = 20;
/** Of what bubblewrap or a harness says before it is ready; for the error. */
const COMPLAINT_BYTES_MAX = 2_048;
/** A harness that is not ready after so long is given up. */
const START_MS_MAX = 30_000;
/** Between two looks at whether the last process has ended. */
const DYING_LOOK_MS = 2;
/** From being killed to the end of the last process; then what was started itself is killed. */
const DEATH_MS = 2_000;

const SPAWN_OPTIONS: SpawnOptions = {
  // The kernel does not limit how many processes root has.
  ...(process.getuid?.() === 0 ? { uid: NOBODY, gid: NOBODY } : {}),
  cwd: "/",
  env: {},
  stdio: ["pipe", "pipe", "pipe", "pipe", "pipe", "pipe"],
};

export class Sandbox {
  readonly #clock: Clock;
  readonly #confinement: Confinement;
  readonly #process: ChildProcess;
  readonly #stdout = new BoundedOutput();
  readonly #stderr = new BoundedOutput();
  #report = "";
  #status = "";
  /** The first process of its namespace, once bubblewrap has said which it is. */
  #first: ProcessId | null = null;
  /** What decided the end before the process exited; null: nobody did. */
  #killedBy: KillingLimit | null = null;
  #onReport: () => void = () => undefined;
  #dying: Timer | null = null;
  /** Resolves when nothing of the sandbox is left. */
  readonly gone: Promise<void>;
  #exit: { readonly status: number } | null = null;
  #failure: Error | null = null;
  /** Resolves when the harness waits for its program; rejects with "unavailable" when it never will. */
  readonly ready: Promise<void>;

  constructor(confinement: Confinement, { clock, tools }: { readonly clock: Clock; readonly tools: Tools }) {
    this.#clock = clock;
    this.#confinement = confinement;
    const child = spawn(tools.bwrap, bwrapArguments(confinement, tools), SPAWN_OPTIONS);
    this.#process = child;
    this.#listen();
    this.gone = new Promise((resolve) => {
      child.on("error", (error) => {
        this.#failure = error;
        if (child.pid === undefined) resolve();
      });
      child.on("close", (code, signal) => {
        this.#dying?.cancel();
        this.#exit = { status: code ?? (signal === null ? 1 : 128) };
        this.#bury(resolve, DEATH_MS / DYING_LOOK_MS);
      });
    });
    this.ready = this.#untilReady();
    // Who started it may have left by then.
    this.ready.catch(() => undefined);
  }

  get isGone(): boolean {
    return this.#exit !== null || this.#failure !== null;
  }

  /** Kills everything in it. Safe to call at any time, and twice. */
  kill(): void {
    if (this.isGone) return;
    this.#dying ??= this.#clock.after(DEATH_MS, () => this.#process.kill("SIGKILL"));
    if (this.#first !== null) killProcess(this.#first);
  }

  /** Bubblewrap exits with its program; what the program left behind ends with the first process of the namespace. */
  #bury(done: () => void, looks: number): void {
    const first = this.#first;
    if (first === null || !isRunning(first) || looks === 0) return done();
    killProcess(first);
    this.#clock.after(DYING_LOOK_MS, () => this.#bury(done, looks - 1), { keepAlive: true });
  }

  /**
   * Runs its program to its end, within the limits. Call it once. Resolves when nothing of the program is left; rejects with
   * the signal's reason then, when it aborts first, and with "unavailable" when the sandbox does not start.
   */
  async run(
    program: Program,
    limits: Pick<ProgramLimits, "wallMs" | "outputBytesMax">,
    signal: AbortSignal,
  ): Promise<ProgramOutcome> {
    const onAbort = (): void => this.kill();
    signal.addEventListener("abort", onAbort, { once: true });
    if (signal.aborted) this.kill();
    try {
      await this.ready;
      return await this.#runReady(program, limits);
    } finally {
      signal.removeEventListener("abort", onAbort);
      this.kill();
      await this.gone;
      signal.throwIfAborted();
    }
  }

  async #runReady(
    program: Program,
    { wallMs, outputBytesMax }: Pick<ProgramLimits, "wallMs" | "outputBytesMax">,
  ): Promise<ProgramOutcome> {
    const nonce = randomBytes(16).toString("hex");
    const startedMs = this.#clock.monotonicMs();
    const killFor = (limit: KillingLimit): void => {
      if (this.isGone) return;
      this.#killedBy ??= limit;
      this.kill();
    };
    this.#stdout.limit(outputBytesMax, () => killFor("output"));
    this.#stderr.limit(outputBytesMax, () => killFor("output"));
    const wall = limitTime(this.#clock, wallMs, () => killFor("wall"));
    const watch = this.#watchMemory(() => killFor("memory"));
    this.#request(program, nonce);
    await this.gone;
    wall.cancel();
    watch.cancel();
    return {
      end:
        this.#killedBy === null
          ? { kind: "exited", status: this.#exit?.status ?? 1 }
          : { kind: "killed", limit: this.#killedBy },
      isComplete: this.#report.includes(nonce),
      stdout: this.#stdout.text(),
      stderr: this.#stderr.text(),
      wallMs: this.#clock.monotonicMs() - startedMs,
    };
  }

  #request({ source, testsLine }: Program, nonce: string): void {
    const bytes = Buffer.from(source.toWellFormed());
    const { stdin } = this.#process;
    stdin?.write(`${JSON.stringify({ bytes: bytes.length, testsLine, nonce })}\n`);
    stdin?.end(bytes);
  }

  /** The kernel limits each process; this limits what they hold together. */
  #watchMemory(onPassed: () => void): Timer {
    const bytesMax = heldBytesMax(this.#confinement);
    let timer: Timer | null = null;
    const look = (): void => {
      if (holdsMoreThan(bytesMax, this.#process.pid ?? 0)) onPassed();
      else timer = this.#clock.after(LOOK_MS, look);
    };
    look();
    return { cancel: () => timer?.cancel() };
  }

  #listen(): void {
    const { stdin, stdout, stderr } = this.#process;
    const stdio: readonly unknown[] = this.#process.stdio;
    // A harness that is gone reads nothing; its exit tells.
    const ignore = (): void => undefined;
    stdin?.on("error", ignore);
    stdout?.on("data", (chunk: Buffer) => this.#stdout.take(chunk));
    stderr?.on("data", (chunk: Buffer) => this.#stderr.take(chunk));
    // Pipes, as the options of spawn say.
    const report = stdio[DESCRIPTORS.report] as Readable;
    report.on("error", ignore).on("data", (chunk: Buffer) => {
      if (this.#report.length < REPORT_CHARS_MAX) this.#report += chunk.toString("latin1");
      this.#onReport();
    });
    const status = stdio[DESCRIPTORS.status] as Readable;
    status.on("error", ignore).on("data", (chunk: Buffer) => {
      this.#status += chunk.toString("latin1");
      const first = /"child-pid": (\d+)/.exec(this.#status)?.[1];
      if (first === undefined || this.#first !== null) return;
      this.#first = processOf(Number(first));
      if (this.#dying !== null && this.#first !== null) killProcess(this.#first);
    });
    const filter = stdio[DESCRIPTORS.filter] as Writable;
    filter.on("error", ignore).end(seccompFilter(process.arch));
  }

  async #untilReady(): Promise<void> {
    const late = this.#clock.after(START_MS_MAX, () => this.kill(), { keepAlive: true });
    const isReady = new Promise<void>((resolve) => {
      this.#onReport = () => {
        if (this.#report.startsWith("ready\n")) resolve();
      };
    });
    await Promise.race([isReady, this.gone]);
    late.cancel();
    if (this.#report.startsWith("ready\n")) return;
    const said = this.#failure?.message ?? this.#stderr.text().trim().slice(0, COMPLAINT_BYTES_MAX);
    throw new CoppiceError(
      "unavailable",
      `a sandbox does not start: ${said === "" ? "it was killed" : said}`,
    );
  }
}

/** "ready", and the nonce perhaps; a program may write more to it, and nobody reads that. */
const REPORT_CHARS_MAX = 4_096;

/** What a program writes, up to a limit; what is beyond is dropped and told. */
class BoundedOutput {
  readonly #chunks: Buffer[] = [];
  #bytes = 0;
  #bytesMax = COMPLAINT_BYTES_MAX;
  #onPassed: () => void = () => undefined;

  /** From now on. */
  limit(bytesMax: number, onPassed: () => void): void {
    this.#bytesMax = bytesMax;
    this.#onPassed = onPassed;
  }

  take(chunk: Buffer): void {
    const room = this.#bytesMax - this.#bytes;
    if (room > 0) this.#chunks.push(chunk.subarray(0, room));
    this.#bytes += Math.min(chunk.length, Math.max(0, room));
    if (chunk.length > room) this.#onPassed();
  }

  text(): string {
    return Buffer.concat(this.#chunks).toString("utf8");
  }
}
