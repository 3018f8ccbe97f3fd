/**
 * Kinds that judge outside of this process: so many verifications of a kind at once, the others wait their turn.
 * Calls the judges that `outside-verifier.ts` declares.
 *
 * 1. A judge keeps its time limit itself; one that does not is told to stop a while later, and no longer waited for (I7).
 *    Of a judge with a queue of its own nobody else knows when it takes up which candidate: it alone counts.
 * 2. An abort frees the caller at once, its place when the judge has stopped.
 */
import type { VerdictResult } from "../../services/queue/job.ts";
import { CoppiceError } from "../../services/runtime/errors.ts";
import type { Histogram } from "./histogram.ts";
import type { Judgement, Judges, JudgesLoad, Verification } from "./judges.ts";
import type { OutsideJudge, OutsideParts, OutsideVerifier } from "./outside-verifier.ts";
import { tooLong, undecided } from "./verifier.ts";

export interface OutsideLimits {
  /** Verifications at once of a kind that judges on another machine. */
  readonly remoteAtOnceMax: number;
  /** A judge that has not answered so long after its time limit is given up. */
  readonly overrunMs: number;
}

export interface OutsidePoolOptions {
  readonly parts: OutsideParts;
  readonly limits: OutsideLimits;
  /** Time from taking up a verification to its end, in milliseconds. */
  readonly latencyMs: Histogram;
}

/** A queue that has not come to a candidate in so long is given up, whatever it says. */
const QUEUE_MS_MAX = 24 * 3_600_000;

/** The places of one kind. */
interface Desk {
  readonly verifier: OutsideVerifier;
  readonly judge: OutsideJudge;
  readonly placesMax: number;
  readonly waiting: Set<() => void>;
  running: number;
}

export class OutsidePool implements Judges {
  readonly verifiers: readonly OutsideVerifier[];
  readonly #options: OutsidePoolOptions;
  readonly #desks: ReadonlyMap<string, Desk>;
  readonly #closed = new AbortController();
  #terminations = 0;

  constructor(verifiers: readonly OutsideVerifier[], options: OutsidePoolOptions) {
    const { parts, limits } = options;
    this.verifiers = verifiers;
    this.#options = options;
    const desks = verifiers.map((verifier): [string, Desk] => {
      const atOnceMax = verifier.isRemote === true ? limits.remoteAtOnceMax : parts.concurrency;
      const judge = verifier.open({ ...parts, concurrency: atOnceMax });
      const placesMax = verifier.queues === true ? Infinity : atOnceMax;
      return [verifier.kind, { verifier, judge, placesMax, waiting: new Set(), running: 0 }];
    });
    this.#desks = new Map(desks);
  }

  judge(verification: Verification, signal: AbortSignal | undefined): Promise<Judgement> {
    const desk = this.#desks.get(verification.spec.kind);
    if (desk === undefined) throw new Error(`no judge of kind ${verification.spec.kind}`);
    return new Promise((resolve, reject) => {
      const ended = AbortSignal.any([this.#closed.signal, ...(signal === undefined ? [] : [signal])]);
      const leave = (): void => {
        desk.waiting.delete(start);
        reject(ended.reason);
      };
      const start = (): void => {
        desk.waiting.delete(start);
        desk.running += 1;
        this.#take(desk, verification, ended)
          .then(resolve, reject)
          .finally(() => ended.removeEventListener("abort", leave));
      };
      if (ended.aborted) return reject(ended.reason);
      ended.addEventListener("abort", leave, { once: true });
      if (desk.running < desk.placesMax) start();
      else desk.waiting.add(start);
    });
  }

  /** Has a place; gives it to the next when the judge has stopped, or is given up. */
  async #take(desk: Desk, { candidate, options }: Verification, ended: AbortSignal): Promise<Judgement> {
    const { parts, limits, latencyMs } = this.#options;
    const startedMs = parts.clock.monotonicMs();
    const overrun = new AbortController();
    let giveUp: (verdict: VerdictResult) => void = () => undefined;
    const givenUp = new Promise<VerdictResult>((resolve) => (giveUp = resolve));
    const hasOwnQueue = desk.verifier.queues === true;
    const limitMs = hasOwnQueue ? QUEUE_MS_MAX : options.timeout_ms;
    const timer = parts.clock.after(
      limitMs + limits.overrunMs,
      () => {
        const reason = `took longer than ${limitMs} ms`;
        overrun.abort(new CoppiceError("deadline_exceeded", reason));
        giveUp(undecided(null, reason));
      },
      { keepAlive: true },
    );
    try {
      const refused = tooLong(candidate, options);
      if (refused !== null) return { verdict: refused, isMemorable: false };
      const judged = desk.judge.verify(candidate, options, AbortSignal.any([ended, overrun.signal]));
      const verdict = await Promise.race([givenUp, judged]);
      const isInTime = hasOwnQueue || parts.clock.monotonicMs() - startedMs < options.timeout_ms;
      if (!isInTime) this.#terminations += 1;
      const isMemorable = desk.verifier.isRepeatable && isInTime && verdict.verdict !== "undecided";
      return { verdict, isMemorable };
    } finally {
      timer.cancel();
      latencyMs.observe(parts.clock.monotonicMs() - startedMs);
      desk.running -= 1;
      this.#next(desk);
    }
  }

  #next(desk: Desk): void {
    const next = desk.waiting.values().next();
    if (next.done !== true && desk.running < desk.placesMax) next.value();
  }

  load(): JudgesLoad {
    let [waiting, running] = [0, 0];
    for (const desk of this.#desks.values()) {
      waiting += desk.waiting.size;
      running += desk.running;
    }
    return { terminations: this.#terminations, crashes: 0, waiting, running };
  }

  async close(): Promise<void> {
    this.#closed.abort(new CoppiceError("unavailable", "the verifier pool is closed"));
    await Promise.all([...this.#desks.values()].map((desk) => desk.judge.close()));
  }
}
