/**
 * The programs of one specification: hands them candidates, many at once to each, and replaces those that hang or die.
 * Calls `program-member.ts` only.
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
import type { Timer } from "../../../services/runtime/clock.ts";
import { CoppiceError, unreachable } from "../../../services/runtime/errors.ts";
import { quote, undecided, type Candidate } from "../verifier.ts";
import type { Bench } from "./per-specification.ts";
import {
  DEFAULT_MEMBER_LIMITS,
  ProgramMember,
  type MemberLimits,
  type MemberOptions,
} from "./program-member.ts";
import type { ProgramEnd } from "./program.ts";
import { createVerification, type Verification } from "./verification.ts";

export interface ProgramBenchLimits extends MemberLimits {
  /** Verifications that wait for a program; one more is refused. */
  readonly waitingMax: number;
  /** Deaths of a program with the same candidate as the oldest in flight, after which that one is undecided. */
  readonly deathsBlamed: number;
  /** Deaths in a row without one answer in between, after which what waits fails. */
  readonly deathsMax: number;
  /** Wait after the first death; doubles with each, up to `backoffMaxMs`. */
  readonly backoffMs: number;
  readonly backoffMaxMs: number;
  /** Programs that nobody needed for so long are stopped. */
  readonly idleMs: number;
}

export const DEFAULT_PROGRAM_BENCH_LIMITS: ProgramBenchLimits = {
  ...DEFAULT_MEMBER_LIMITS,
  waitingMax: 10_000,
  deathsBlamed: 3,
  deathsMax: 6,
  backoffMs: 100,
  backoffMaxMs: 5_000,
  idleMs: 300_000,
};

export interface ProgramBenchOptions extends MemberOptions {
  readonly processes: number;
  readonly limits: ProgramBenchLimits;
}

export class ProgramBench implements Bench {
  readonly #options: ProgramBenchOptions;
  /** Those that take candidates or owe answers. */
  readonly #members = new Set<ProgramMember>();
  /** The same and those that were dismissed and have not ended. */
  readonly #alive = new Set<ProgramMember>();
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
      for (const member of this.#members) member.abandon(verification);
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
    for (const member of this.#members) this.#dismiss(member, member.load === 0 ? "finish" : "kill");
    await Promise.all([...this.#alive].map((member) => member.ended));
  }

  /** At once, where this process exits without closing. */
  kill(): void {
    for (const member of this.#alive) member.kill();
  }

  #inFlight(): readonly Verification[] {
    return [...this.#members].flatMap((member) => member.held());
  }

  #dispatch(): void {
    this.#idle?.cancel();
    for (let next = this.#next(); next !== null; next = this.#next()) {
      const member = this.#memberFor(next);
      if (member === null) return;
      this.#waiting.delete(next);
      if (this.#again[0] === next) this.#again.shift();
      member.give(next);
    }
    const isAtWork = [...this.#members].some((member) => member.load > 0);
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
  #memberFor(verification: Verification): ProgramMember | null {
    let best: ProgramMember | null = null;
    for (const member of this.#members) {
      if (member.hasRoomFor(verification) && member.load < (best?.load ?? Infinity)) best = member;
    }
    const mayStart = this.#members.size < this.#options.processes && this.#backoff === null;
    return mayStart && best?.load !== 0 ? this.#start() : best;
  }

  #start(): ProgramMember {
    const member = new ProgramMember(this.#options, {
      onAnswer: () => this.#answered(member),
      onRoom: () => this.#dispatch(),
      onOverrun: (reason) => this.#overran(member, reason),
      onRubbish: (error) => {
        this.#dismiss(member, "kill");
        for (const verification of member.held()) verification.fail(error);
        this.#dispatch();
      },
    });
    this.#members.add(member);
    this.#alive.add(member);
    void member.ended.then((end) => {
      this.#alive.delete(member);
      if (this.#members.has(member)) this.#lost(member, end);
    });
    return member;
  }

  #answered(member: ProgramMember): void {
    this.#hasEverAnswered = true;
    this.#deathsInARow = 0;
    if (member.load === 0 && member.isSpent()) this.#dismiss(member, "finish");
    this.#dispatch();
  }

  /** 2. */
  #overran(member: ProgramMember, reason: string): void {
    const [oldest, ...others] = member.held();
    this.#options.log.warn({ pid: member.pid, others: others.length }, "verifier_overran");
    this.#dismiss(member, "kill");
    oldest?.settle(undecided(null, reason));
    this.#again.push(...others);
    this.#dispatch();
  }

  /** A program is gone that nobody sent away. */
  #lost(member: ProgramMember, end: ProgramEnd): void {
    const held = member.held();
    this.#dismiss(member, "kill");
    switch (end.kind) {
      case "not-started":
        return this.#unstarted(held, end.error);
      case "ended":
        this.#options.log.warn(
          { pid: member.pid, status: end.status, in_flight: held.length },
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
  #dismiss(member: ProgramMember, how: "finish" | "kill"): void {
    this.#members.delete(member);
    member.dismiss(how);
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

function closedError(): CoppiceError {
  return new CoppiceError("unavailable", "the verifier's programs are stopped");
}
