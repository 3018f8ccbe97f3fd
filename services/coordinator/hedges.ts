/**
 * Hedging: an ask that waits much longer at its host than its like take elsewhere is sent a second time, to another host that has room
 * (Dean and Barroso, "The Tail at Scale", 2013). Decides which asks, and which of the two jobs of one a word is about; `TaskDispatch`
 * sends the copy, `Settlement` settles it. The copy has the seed of the ask, so where engines are reproducible both say the same (I4).
 *
 * A copy is an `OpenAsk` of its own (`isHedge`), in `TaskRun.copies`, with a reservation of its own (I3).
 * Invariants: (1) an ask is sent a second time at most once; (2) whichever job answers first carries the ask from then on, and the
 * other the copy, which is withdrawn and settled as spent: one answer, one `spent` entry (I1); (3) what fails before the other answered
 * is the copy: the ask is lost only with its last job; (4) copies are at most `share` of the asks that were answered (or one).
 */
import type { Clock } from "../runtime/clock.ts";
import type { OpenAsk } from "./backlog.ts";
import { type DurationSample, Durations } from "./durations.ts";
import type { HedgeRule } from "./sweep.ts";
import type { TaskRun } from "./task-run.ts";

export interface HedgeLimits {
  /** How often asks that wait too long are looked for. */
  readonly everyMs: number;
  /** None is sent again sooner, however fast its like are. */
  readonly waitMsMin: number;
  /** Answers of the same arm that another host must have given before it is compared with. */
  readonly samplesMin: number;
}

export const DEFAULT_HEDGE_LIMITS: HedgeLimits = { everyMs: 500, waitMsMin: 1_000, samplesMin: 16 };

interface Sent {
  readonly host: string;
  readonly atMs: number;
}

/** An ask that waits too long. */
interface Overdue {
  readonly task: TaskRun;
  readonly open: OpenAsk;
  readonly waitedMs: number;
}

export class Hedges {
  readonly #rule: HedgeRule;
  readonly #limits: HedgeLimits;
  readonly #clock: Clock;
  readonly #isUp: (host: string) => boolean;
  readonly #durations: Durations;
  readonly #sent = new WeakMap<OpenAsk, Sent>();
  readonly #hedged = new WeakSet<OpenAsk>();
  #answered = 0;
  #copies = 0;

  constructor(options: {
    readonly rule: HedgeRule;
    readonly limits: HedgeLimits;
    readonly clock: Clock;
    /** Whether the host answers at all; what is at one that does not is sent again as soon as any may be. */
    readonly isUp: (host: string) => boolean;
  }) {
    const { limits } = options;
    this.#rule = options.rule;
    this.#limits = limits;
    this.#clock = options.clock;
    this.#isUp = options.isUp;
    this.#durations = new Durations(limits.samplesMin);
  }

  sent(host: string, asks: readonly OpenAsk[]): void {
    const sent = { host, atMs: this.#clock.monotonicMs() };
    for (const open of asks) this.#sent.set(open, sent);
  }

  answered({ arm }: TaskRun, open: OpenAsk): void {
    const sent = this.#sent.get(open);
    if (sent === undefined || open.ask.kind !== "sample") return;
    this.#answered += 1;
    const sample: DurationSample = { host: sent.host, ms: this.#clock.monotonicMs() - sent.atMs };
    this.#durations.add(arm.id, sample);
  }

  /**
   * Sends a second time what should be now, that first which waits longest; as many as the share allows.
   * @param send Returns whether it was sent: another host had room, and the budget had.
   */
  look(tasks: Iterable<TaskRun>, send: (task: TaskRun, open: OpenAsk) => boolean): void {
    const copiesMax = Math.floor(Math.max(1, this.#answered * this.#rule.share));
    if (this.#copies >= copiesMax) return;
    for (const { task, open } of this.#overdue(tasks)) {
      if (this.#copies >= copiesMax) return;
      if (!send(task, open)) continue;
      this.#hedged.add(open);
      this.#copies += 1;
    }
  }

  #overdue(tasks: Iterable<TaskRun>): readonly Overdue[] {
    const nowMs = this.#clock.monotonicMs();
    const found: Overdue[] = [];
    for (const task of tasks) {
      for (const open of task.asks.values()) {
        const sent = this.#sent.get(open);
        if (sent === undefined || !this.#mayHedge(open)) continue;
        const waitedMs = nowMs - sent.atMs;
        if (waitedMs > this.#patienceMs(task.arm.id, sent.host)) found.push({ task, open, waitedMs });
      }
    }
    return found.toSorted((a, b) => b.waitedMs - a.waitedMs);
  }

  /** How long an ask of this arm may take at this host: for ever where no other host has answered enough. */
  #patienceMs(arm: string, host: string): number {
    if (!this.#isUp(host)) return this.#limits.waitMsMin;
    const elsewhereMs = this.#durations.fastestElsewhereMs(arm, host);
    return elsewhereMs === null
      ? Infinity
      : Math.max(this.#limits.waitMsMin, this.#rule.factor * elsewhereMs);
  }

  #mayHedge(open: OpenAsk): boolean {
    return (
      open.ask.kind === "sample" &&
      open.job !== null &&
      open.accepting === null &&
      !open.isWithdrawn &&
      !this.#hedged.has(open)
    );
  }
}

/** What is said of an ask that a job carries: that it has its answer, or that it will have none from this job. */
export interface Word {
  readonly job: string;
  readonly ask: string;
  readonly isAnswer: boolean;
}

/**
 * Whom a word is about: the ask, or its copy. Of an ask that was sent twice, jobs are exchanged so that an answer is the ask's and
 * anything else is its copy's, which nobody wants from then on; `loser` is that copy, where it must still be told.
 */
export function addressee(
  task: Pick<TaskRun, "asks" | "copies">,
  { job, ask, isAnswer }: Word,
): { readonly open: OpenAsk | undefined; readonly loser: OpenAsk | null } {
  const open = task.asks.get(ask);
  const copy = [...task.copies].find((each) => each.ask.id === ask);
  if (copy === undefined) return { open, loser: null };
  const isCopys = copy.job === job;
  const isRacing = open !== undefined && open.accepting === null && !open.isWithdrawn && !copy.isWithdrawn;
  if (!isRacing) return { open: isCopys ? copy : open, loser: null };
  if (!isCopys && open.job !== job) return { open, loser: null };
  if (isAnswer === isCopys) exchange(open, copy);
  copy.isWithdrawn = true;
  return isAnswer ? { open, loser: copy } : { open: copy, loser: null };
}

function exchange(open: OpenAsk, copy: OpenAsk): void {
  const { job, reservation, effort } = open;
  open.job = copy.job;
  open.reservation = copy.reservation;
  open.effort = copy.effort;
  copy.job = job;
  copy.reservation = reservation;
  copy.effort = effort;
}
