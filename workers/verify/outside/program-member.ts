/**
 * One program of a bench: what it was given and owes, and how long it has been silent about the oldest. Calls `program.ts`
 * only; what follows from an event is the bench's to decide.
 *
 * 1. Once dismissed it tells no event but its end; what it held is the bench's to settle or to give to another.
 * 2. A line that answers no candidate changes nothing but the count of such lines (I1).
 */
import type { Clock, Timer } from "../../../services/runtime/clock.ts";
import { CoppiceError } from "../../../services/runtime/errors.ts";
import type { Log } from "../../../services/runtime/log.ts";
import { limitTime } from "../time-limit.ts";
import { quote, undecided } from "../verifier.ts";
import {
  DEFAULT_PROGRAM_LIMITS,
  startProgram,
  type Program,
  type ProgramEnd,
  type ProgramLimits,
} from "./program.ts";
import { candidateLine, readVerdictLine, type WireVerdict } from "./verdict-wire.ts";
import type { Verification } from "./verification.ts";

export interface MemberLimits extends ProgramLimits {
  /** Lines in a row that are no verdicts, after which a program is of no use. */
  readonly strayLinesMax: number;
  /** Such lines of one program that are logged. */
  readonly strayLinesLogged: number;
  /** What a candidate may still take that nobody waits for any more, once it is the oldest in flight. */
  readonly abandonedMs: number;
}

export const DEFAULT_MEMBER_LIMITS: MemberLimits = {
  ...DEFAULT_PROGRAM_LIMITS,
  strayLinesMax: 1_000,
  strayLinesLogged: 10,
  abandonedMs: 5_000,
};

export interface MemberOptions {
  /** The program and its arguments. */
  readonly command: readonly string[];
  /** Candidates in flight. */
  readonly inFlight: number;
  /** A program that was given so many candidates is given no more; 0: it always is. */
  readonly restartAfter: number;
  readonly timeoutMs: number;
  /** What a program may take for its first answer, beyond the time limit. */
  readonly startMs: number;
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly clock: Clock;
  readonly log: Log;
  readonly limits: MemberLimits;
}

export interface MemberEvents {
  /** It has answered a candidate, whose verification is settled. */
  readonly onAnswer: () => void;
  /** Its input has room again. */
  readonly onRoom: () => void;
  /** It took too long about the oldest; `reason` is for that one's verdict. */
  readonly onOverrun: (reason: string) => void;
  /** It writes other things than verdicts. */
  readonly onRubbish: (error: CoppiceError) => void;
}

export class ProgramMember {
  readonly #options: MemberOptions;
  readonly #on: MemberEvents;
  readonly #program: Program;
  /** By id, the oldest first. */
  readonly #inFlight = new Map<string, Verification>();
  #given = 0;
  #hasAnswered = false;
  #isFull = false;
  #isDismissed = false;
  /** Lines in a row that were no verdicts, and the complaint about the last of all. */
  #strays = 0;
  #lastStray: string | null = null;
  #limit: Timer | null = null;

  constructor(options: MemberOptions, on: MemberEvents) {
    this.#options = options;
    this.#on = on;
    this.#program = startProgram({
      ...options,
      onLine: (line, isCut) => this.#heard(line, isCut),
      onRoom: () => {
        this.#isFull = false;
        if (!this.#isDismissed) on.onRoom();
      },
    });
  }

  get pid(): number | null {
    return this.#program.pid;
  }

  get ended(): Promise<ProgramEnd> {
    return this.#program.ended;
  }

  /** Candidates in flight. */
  get load(): number {
    return this.#inFlight.size;
  }

  /** What it owes, the oldest first. */
  held(): readonly Verification[] {
    return [...this.#inFlight.values()];
  }

  /** Whether it was given all that it may be. */
  isSpent(): boolean {
    const { restartAfter } = this.#options;
    return restartAfter > 0 && this.#given >= restartAfter;
  }

  hasRoomFor(verification: Verification): boolean {
    if (this.#isFull || this.isSpent()) return false;
    const oldest = this.#oldest();
    if (oldest === undefined) return true;
    return !verification.isAlone && !oldest.isAlone && this.load < this.#options.inFlight;
  }

  give(verification: Verification): void {
    this.#given += 1;
    const id = String(this.#given);
    this.#inFlight.set(id, verification);
    this.#isFull = !this.#program.write(candidateLine(id, verification.candidate));
    if (this.load === 1) this.#limitOldest();
  }

  /** Nobody waits for it any more: if it is the oldest, it is no reason to wait for long. */
  abandon(verification: Verification): void {
    if (this.#oldest() === verification) this.#limitOldest();
  }

  /** Gives it no more: ends its input, or kills it. */
  dismiss(how: "finish" | "kill"): void {
    this.#isDismissed = true;
    this.#limit?.cancel();
    this.#program[how]();
  }

  /** At once, also when it was dismissed. */
  kill(): void {
    this.#program.kill();
  }

  #oldest(): Verification | undefined {
    const [oldest] = this.#inFlight.values();
    return oldest;
  }

  #heard(line: string, isCut: boolean): void {
    if (this.#isDismissed || line.trim() === "") return;
    const read = isCut ? this.#tooLong(line) : readVerdictLine(line);
    if (read.id === null) return this.#stray(read.kind === "malformed" ? read.complaint : "");
    const verification = this.#inFlight.get(read.id);
    if (verification === undefined) return this.#stray(strangeId(read.id, this.#given));
    const wasOldest = verification === this.#oldest();
    this.#inFlight.delete(read.id);
    this.#hasAnswered = true;
    this.#strays = 0;
    verification.settle(
      read.kind === "verdict" ? read.result : undecided(null, `the verifier's answer: ${read.complaint}`),
    );
    if (wasOldest) this.#limitOldest();
    this.#on.onAnswer();
  }

  #tooLong(line: string): WireVerdict {
    const { lineBytesMax } = this.#options.limits;
    const complaint = `expected a line of at most ${lineBytesMax} bytes, found a longer one: ${quote(line)}`;
    return { kind: "malformed", id: null, complaint };
  }

  /** A line that answers no candidate: a print left in the code, an answer given twice. */
  #stray(complaint: string): void {
    const { limits, log, command } = this.#options;
    this.#strays += 1;
    this.#lastStray = complaint;
    if (this.#strays <= limits.strayLinesLogged)
      log.warn({ pid: this.pid, complaint }, "verifier_stray_line");
    if (this.#strays < limits.strayLinesMax) return;
    const where = `on the standard output of ${quote(command.join(" "))}`;
    const found = `found ${this.#strays} other lines in a row; the last: ${complaint}`;
    this.#on.onRubbish(new CoppiceError("data_loss", `expected verdicts ${where}, ${found}`));
  }

  #limitOldest(): void {
    const { clock, timeoutMs, startMs, limits } = this.#options;
    this.#limit?.cancel();
    const oldest = this.#oldest();
    if (oldest === undefined) return;
    const judgeMs = oldest.isSettled() ? Math.min(timeoutMs, limits.abandonedMs) : timeoutMs;
    const limitMs = judgeMs + (this.#hasAnswered ? 0 : startMs);
    this.#limit = limitTime(clock, limitMs, () => this.#on.onOverrun(this.#lateReason()));
  }

  #lateReason(): string {
    const { timeoutMs, startMs } = this.#options;
    const late = `took longer than ${timeoutMs} ms`;
    if (this.#lastStray !== null) return `${late}; the last other line: ${this.#lastStray}`;
    if (this.#hasAnswered) return late;
    return `${late} and ${startMs} ms to start; does the program flush its output after each line?`;
  }
}

function strangeId(id: string, given: number): string {
  const isOfOurs = /^[1-9]\d*$/.test(id) && Number(id) <= given;
  const found = isOfOurs ? `${quote(id)}, which was answered already` : quote(id);
  return `expected the id of a candidate that waits for its verdict, found ${found}`;
}
