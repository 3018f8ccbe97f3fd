/**
 * The programs of one specification: hands them candidates, many at once to each, and replaces those that hang or die.
 * Calls `program.ts` only.
 *
 * 1. A verification ends once: with the program's answer, with "undecided" when it took too long or is to blame for the
 *    program's death, with the caller's abort, or with an error of the world; whichever is first.
 * 2. Time is counted for the oldest candidate in flight of a program, from the moment that it is the oldest: those behind it
 *    wait their turn. When it is over the program is killed, and the others are sent again to another. A candidate that
 *    nobody waits for any more gets little of it.
 * 3. When a program dies, what it held is sent again, one at a time to an otherwise idle program: so it is certain who is to
 *    blame. The candidate that was oldest at several deaths is undecided.
 * 4. A program that dies again and again without one answer in between fails what waits; each death waits longer (I7).
 */
import type { VerdictResult } from "../../../services/queue/job.ts";
import type { Clock, Timer } from "../../../services/runtime/clock.ts";
import { CoppiceError, unreachable } from "../../../services/runtime/errors.ts";
import type { Log } from "../../../services/runtime/log.ts";
import { limitTime } from "../time-limit.ts";
import { quote, undecided, type Candidate } from "../verifier.ts";
import type { Bench } from "./per-specification.ts";
import {
  DEFAULT_PROGRAM_LIMITS,
  startProgram,
  type Program,
  type ProgramEnd,
  type ProgramLimits,
} from "./program.ts";
import { createVerification, type Verification } from "./verification.ts";
import { candidateLine, readVerdictLine, type WireVerdict } from "./verdict-wire.ts";

export interface ProgramBenchLimits extends ProgramLimits {
  /** Verifications that wait for a program; one more is refused. */
  readonly waitingMax: number;
  /** Deaths of a program with the same candidate as the oldest in flight, after which that one is undecided. */
  readonly deathsBlamed: number;
  /** Deaths in a row without one answer in between, after which what waits fails. */
  readonly deathsMax: number;
  /** Wait after the first death; doubles with each, up to `backoffMaxMs`. */
  readonly backoffMs: number;
  readonly backoffMaxMs: number;
  /** Lines in a row that are no verdicts, after which a program is stopped. */
  readonly strayLinesMax: number;
  /** Such lines of one program that are logged. */
  readonly strayLinesLogged: number;
  /** What a candidate may still take that nobody waits for any more, once it is the oldest in flight. */
  readonly abandonedMs: number;
  /** Programs that nobody needed for so long are stopped. */
  readonly idleMs: number;
}

export const DEFAULT_PROGRAM_BENCH_LIMITS: ProgramBenchLimits = {
  ...DEFAULT_PROGRAM_LIMITS,
  waitingMax: 10_000,
  deathsBlamed: 3,
  deathsMax: 6,
  backoffMs: 100,
  backoffMaxMs: 5_000,
  strayLinesMax: 100,
  strayLinesLogged: 10,
  abandonedMs: 5_000,
  idleMs: 300_000,
};

export interface ProgramBenchOptions {
  readonly command: readonly string[];
  readonly processes: number;
  /** Candidates in flight per program. */
  readonly inFlight: number;
  /** A program that was given so many candidates is replaced; 0: never. */
  readonly restartAfter: number;
  readonly timeoutMs: number;
  /** What a program may take for its first answer, beyond the time limit. */
  readonly startMs: number;
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly clock: Clock;
  readonly log: Log;
  readonly limits: ProgramBenchLimits;
}

/** A program that takes candidates or owes answers. */
interface Member {
  readonly program: Program;
  /** By id, the oldest first. */
  readonly inFlight: Map<string, Verification>;
  given: number;
  hasAnswered: boolean;
  /** Its input is full. */
  isFull: boolean;
  /** Complaints about lines in a row that were no verdicts. */
  strays: number;
  lastStray: string | null;
  limit: Timer | null;
}

export class ProgramBench implements Bench {
  readonly #options: ProgramBenchOptions;
  readonly #members = new Set<Member>();
  /** Every program that has not ended, those that take no more included. */
  readonly #programs = new Set<Program>();
  /** In the order in which they are given, those that are sent again first. */
  #again: Verification[] = [];
  readonly #waiting = new Set<Verification>();
  /** Deaths of a program whose oldest in flight it was. */
  readonly #deaths = new WeakMap<Verification, number>();
  #deathsInARow = 0;
  #hasEverAnswered = false;
  /** Runs while no program may be started. */
  #backoff: Timer | null = null;
  #idle: Timer | null = null;
  #isClosed = false;

  constructor(options: ProgramBenchOptions) {
    this.#options = options;
  }

  /** Rejects with the signal's reason, "resource_exhausted", "unavailable", "failed_precondition" or "data_loss". */
  async verify(candidate: Candidate, signal: AbortSignal): Promise<VerdictResult> {
    signal.throwIfAborted();
    if (this.#isClosed) throw closedError();
    if (this.#waiting.size >= this.#options.limits.waitingMax) throw this.#fullError();
    const verification = createVerification(candidate, signal, () => {
      this.#waiting.delete(verification);
      this.#abandoned(verification);
    });
    this.#waiting.add(verification);
    this.#dispatch();
    return await verification.verdict;
  }

  isIdle(): boolean {
    return this.#waiting.size === 0 && this.#again.length === 0 && this.#inFlight().length === 0;
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    this.#idle?.cancel();
    this.#backoff?.cancel();
    const owed = this.#inFlight();
    this.#failWaiting(closedError());
    for (const verification of owed) verification.fail(closedError());
    for (const member of this.#members) this.#dismiss(member, member.inFlight.size === 0 ? "finish" : "kill");
    await Promise.all([...this.#programs].map((program) => program.ended));
  }

  /** At once, where this process exits without closing. */
  kill(): void {
    for (const program of this.#programs) program.kill();
  }

  #inFlight(): readonly Verification[] {
    return [...this.#members].flatMap((member) => [...member.inFlight.values()]);
  }

  #dispatch(): void {
    this.#idle?.cancel();
    for (let next = this.#next(); next !== null; next = this.#next()) {
      const member = this.#memberFor(next);
      if (member === null) return;
      this.#give(member, next);
    }
    const isAtWork = [...this.#members].some((member) => member.inFlight.size > 0);
    if (this.#members.size === 0 || isAtWork) return;
    this.#idle = this.#options.clock.after(this.#options.limits.idleMs, () => {
      for (const member of this.#members) this.#dismiss(member, "finish");
    });
  }

  #next(): Verification | null {
    this.#again = this.#again.filter((verification) => !verification.isSettled());
    const [first] = this.#again.length > 0 ? this.#again : this.#waiting;
    return first ?? null;
  }

  /** The program with the fewest candidates; a new one rather than a second candidate. Null: none has room. */
  #memberFor(verification: Verification): Member | null {
    let best: Member | null = null;
    for (const member of this.#members) {
      if (this.#hasRoom(member, verification) && member.inFlight.size < (best?.inFlight.size ?? Infinity))
        best = member;
    }
    const mayStart = this.#members.size < this.#options.processes && this.#backoff === null;
    return mayStart && best?.inFlight.size !== 0 ? this.#start() : best;
  }

  #hasRoom(member: Member, verification: Verification): boolean {
    const { inFlight, restartAfter } = this.#options;
    if (member.isFull || this.#isSpent(member)) return false;
    if (member.inFlight.size === 0) return true;
    const [oldest] = member.inFlight.values();
    const isAlone = verification.isAlone || oldest?.isAlone === true;
    return !isAlone && member.inFlight.size < inFlight && (restartAfter === 0 || member.given < restartAfter);
  }

  /** Whether it was given all that it may be. */
  #isSpent(member: Member): boolean {
    const { restartAfter } = this.#options;
    return restartAfter > 0 && member.given >= restartAfter;
  }

  #start(): Member {
    const { command, env, clock, log, limits } = this.#options;
    const program = startProgram({
      command,
      env,
      clock,
      log,
      limits,
      onLine: (line, isCut) => this.#heard(member, line, isCut),
      onRoom: () => {
        member.isFull = false;
        this.#dispatch();
      },
    });
    const member: Member = {
      program,
      inFlight: new Map(),
      given: 0,
      hasAnswered: false,
      isFull: false,
      strays: 0,
      lastStray: null,
      limit: null,
    };
    this.#members.add(member);
    this.#programs.add(program);
    void program.ended.then((end) => {
      this.#programs.delete(program);
      if (this.#members.has(member)) this.#lost(member, end);
    });
    return member;
  }

  #give(member: Member, verification: Verification): void {
    this.#waiting.delete(verification);
    if (this.#again[0] === verification) this.#again.shift();
    member.given += 1;
    const id = String(member.given);
    member.inFlight.set(id, verification);
    member.isFull = !member.program.write(candidateLine(id, verification.candidate));
    if (member.inFlight.size === 1) this.#limitOldest(member);
  }

  #heard(member: Member, line: string, isCut: boolean): void {
    if (!this.#members.has(member) || line.trim() === "") return;
    const read = isCut ? this.#tooLong(line) : readVerdictLine(line);
    if (read.id === null) return this.#stray(member, read.kind === "malformed" ? read.complaint : "");
    const verification = member.inFlight.get(read.id);
    if (verification === undefined) return this.#stray(member, strangeId(read.id, member.given));
    const [oldest] = member.inFlight.keys();
    member.inFlight.delete(read.id);
    member.hasAnswered = this.#hasEverAnswered = true;
    member.strays = this.#deathsInARow = 0;
    verification.settle(
      read.kind === "verdict" ? read.result : undecided(null, `the verifier's answer: ${read.complaint}`),
    );
    if (read.id === oldest) this.#limitOldest(member);
    if (member.inFlight.size === 0 && this.#isSpent(member)) this.#dismiss(member, "finish");
    this.#dispatch();
  }

  #tooLong(line: string): WireVerdict {
    const { lineBytesMax } = this.#options.limits;
    const complaint = `expected a line of at most ${lineBytesMax} bytes, found a longer one: ${quote(line)}`;
    return { kind: "malformed", id: null, complaint };
  }

  /** A line that answers no candidate: a print left in the code, an answer given twice. */
  #stray(member: Member, complaint: string): void {
    const { limits, log } = this.#options;
    member.strays += 1;
    member.lastStray = complaint;
    if (member.strays <= limits.strayLinesLogged)
      log.warn({ pid: member.program.pid, complaint }, "verifier_stray_line");
    if (member.strays < limits.strayLinesMax) return;
    const message = `expected verdicts on the standard output of ${this.#name()}, found ${member.strays} other lines in a row; the last: ${complaint}`;
    const error = new CoppiceError("data_loss", message);
    this.#dismiss(member, "kill");
    for (const verification of member.inFlight.values()) verification.fail(error);
    this.#dispatch();
  }

  #limitOldest(member: Member): void {
    const { clock, timeoutMs, startMs, limits } = this.#options;
    member.limit?.cancel();
    const [oldest] = member.inFlight.values();
    if (oldest === undefined) return;
    const fullMs = timeoutMs + (member.hasAnswered ? 0 : startMs);
    const limitMs = oldest.isSettled() ? Math.min(fullMs, limits.abandonedMs) : fullMs;
    member.limit = limitTime(clock, limitMs, () => this.#overrun(member));
  }

  /** Nobody waits for it any more: it is no reason to wait for long. */
  #abandoned(verification: Verification): void {
    for (const member of this.#members) {
      const [oldest] = member.inFlight.values();
      if (oldest === verification) this.#limitOldest(member);
    }
  }

  #overrun(member: Member): void {
    const [oldest, ...others] = member.inFlight.values();
    this.#options.log.warn({ pid: member.program.pid, others: others.length }, "verifier_overran");
    this.#dismiss(member, "kill");
    oldest?.settle(undecided(null, this.#lateReason(member)));
    this.#again.push(...others);
    this.#dispatch();
  }

  #lateReason({ hasAnswered, lastStray }: Member): string {
    const { timeoutMs, startMs } = this.#options;
    const late = `took longer than ${timeoutMs} ms`;
    if (lastStray !== null) return `${late}; the last other line: ${lastStray}`;
    if (hasAnswered) return late;
    return `${late} and ${startMs} ms to start; does the program flush its output after each line?`;
  }

  /** A program is gone that nobody sent away. */
  #lost(member: Member, end: ProgramEnd): void {
    const held = [...member.inFlight.values()];
    this.#dismiss(member, "kill");
    switch (end.kind) {
      case "not-started":
        return this.#unstarted(held, end.error);
      case "ended":
        this.#options.log.warn(
          { pid: member.program.pid, status: end.status, in_flight: held.length },
          "verifier_program_ended",
        );
        if (held.length > 0) this.#mourn(held, end);
        return this.#dispatch();
      default:
        return unreachable(end);
    }
  }

  /** Where others run, a machine that is full now only means fewer programs. */
  #unstarted(held: readonly Verification[], error: CoppiceError): void {
    this.#again.unshift(...held);
    if (error.isRetryable && this.#members.size > 0) this.#rest(this.#options.limits.backoffMaxMs);
    else this.#failWaiting(error);
  }

  /** 3. and 4. */
  #mourn(held: readonly Verification[], end: ProgramEnd & { readonly kind: "ended" }): void {
    const { limits } = this.#options;
    for (const verification of held) verification.isAlone = true;
    const [oldest] = held;
    if (oldest !== undefined) this.#blame(oldest, end);
    this.#again.unshift(...held);
    this.#deathsInARow += 1;
    if (this.#deathsInARow >= limits.deathsMax) this.#failWaiting(this.#deadError(end));
    this.#rest(Math.min(limits.backoffMs * 2 ** (this.#deathsInARow - 1), limits.backoffMaxMs));
  }

  #blame(oldest: Verification, end: ProgramEnd & { readonly kind: "ended" }): void {
    const deaths = (this.#deaths.get(oldest) ?? 0) + 1;
    this.#deaths.set(oldest, deaths);
    if (deaths < this.#options.limits.deathsBlamed) return;
    const times = `${deaths} times while it judged this candidate`;
    oldest.settle(undecided(null, `the program ended ${times} (${lastWords(end)})`));
  }

  /** Starts no program for so long. */
  #rest(waitMs: number): void {
    this.#backoff?.cancel();
    this.#backoff = this.#options.clock.after(
      waitMs,
      () => {
        this.#backoff = null;
        this.#dispatch();
      },
      { keepAlive: true },
    );
  }

  /** Gives it no more; its candidates are the caller's to settle or to send again. */
  #dismiss(member: Member, how: "finish" | "kill"): void {
    member.limit?.cancel();
    this.#members.delete(member);
    member.program[how]();
  }

  #failWaiting(error: CoppiceError): void {
    const failed = [...this.#again, ...this.#waiting];
    this.#again = [];
    this.#waiting.clear();
    for (const verification of failed) verification.fail(error);
  }

  #deadError(end: ProgramEnd & { readonly kind: "ended" }): CoppiceError {
    const times = `found that it ended ${this.#deathsInARow} times in a row without one`;
    const message = `expected ${this.#name()} to give a verdict, ${times} (${lastWords(end)})`;
    // One that never worked will not by itself.
    return new CoppiceError(this.#hasEverAnswered ? "unavailable" : "failed_precondition", message);
  }

  #fullError(): CoppiceError {
    const { waitingMax } = this.#options.limits;
    return new CoppiceError(
      "resource_exhausted",
      `expected at most ${waitingMax} verifications to wait for ${this.#name()}, found as many`,
    );
  }

  #name(): string {
    return quote(this.#options.command.join(" "));
  }
}

function lastWords({ status, errors }: ProgramEnd & { readonly kind: "ended" }): string {
  return errors === "" ? status : `${status}; its standard error ends: ${JSON.stringify(errors)}`;
}

function strangeId(id: string, given: number): string {
  const isOfOurs = /^[1-9]\d*$/.test(id) && Number(id) <= given;
  const found = isOfOurs ? `${quote(id)}, which was answered already` : quote(id);
  return `expected the id of a candidate that waits for its verdict, found ${found}`;
}

function closedError(): CoppiceError {
  return new CoppiceError("unavailable", "the verifier's programs are stopped");
}
