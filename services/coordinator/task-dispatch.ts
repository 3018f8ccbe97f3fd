/**
 * Puts the asks of a task into jobs and the jobs into lanes, as far as there is room and budget: reserve, coalesce
 * siblings, place. Owns nothing; the runner calls it for its open tasks, oldest first.
 *
 * Invariant I3: no rollout is dispatched without a reservation of its worst case.
 */
import type { OpenAsk } from "./backlog.ts";
import type { Dispatcher, JobOwner } from "./scheduler/dispatcher.ts";
import { hostLane, verifierLane } from "./scheduler/dispatcher.ts";
import { jobOf, worstOf } from "./job-of.ts";
import type { Ledger } from "./ledger.ts";
import { canServe, place } from "./scheduler/placement.ts";
import type { Sweep } from "./sweep.ts";
import type { TaskRun } from "./task-run.ts";

export interface TaskDispatchOptions {
  /** Of the sweep. */
  readonly id: string;
  readonly sweep: Sweep;
  readonly attempt: number;
  /** Sibling asks in one job. */
  readonly siblingsMax: number;
  readonly dispatcher: Dispatcher;
  readonly ledger: Ledger;
  readonly owner: JobOwner;
  /** The budget has no room for this ask and never will have. */
  readonly outOfBudget: (task: TaskRun, open: OpenAsk) => void;
}

export class TaskDispatch {
  readonly #options: TaskDispatchOptions;

  constructor(options: TaskDispatchOptions) {
    this.#options = options;
  }

  /** Whether hosts have more room than the asks of these tasks will fill: then another task may be opened (I6). */
  hasRoomFor(tasks: Iterable<TaskRun>, waitingVerificationsMax: number): boolean {
    const { dispatcher, sweep } = this.#options;
    let asks = 0;
    let verifications = 0;
    for (const task of tasks) {
      asks += task.waiting("host");
      verifications += task.waiting("verifier");
    }
    if (verifications > waitingVerificationsMax) return false;
    let room = 0;
    for (const host of dispatcher.hosts) {
      if (!canServe(host, { model: sweep.model, needsScore: false })) continue;
      room += dispatcher.room(hostLane(host.facts.id));
    }
    return asks < room;
  }

  /** Dispatches what it can of this task. What it can't now waits for a call when there is more room. */
  fill(task: TaskRun): void {
    this.#fillHost(task);
    this.#fillVerifier(task);
  }

  #fillHost(task: TaskRun): void {
    const { dispatcher, ledger, siblingsMax, outOfBudget } = this.#options;
    for (let head = task.head("host"); head !== null; head = task.head("host")) {
      const host = this.#homeOf(task);
      const room = host === null ? 0 : dispatcher.room(hostLane(host));
      if (host === null || room === 0) return;
      const fitting = this.#fitting(task, head, Math.min(room, siblingsMax));
      if (fitting > 0) {
        const asks = task.takeSiblings("host", fitting);
        for (const open of asks) open.reservation ??= ledger.reserve(worstOf(task, open));
        this.#dispatch(task, asks, hostLane(host));
      } else if (ledger.canEverFit(worstOf(task, head))) {
        return;
      } else {
        for (const open of task.takeSiblings("host", 1)) outOfBudget(task, open);
      }
    }
  }

  #fillVerifier(task: TaskRun): void {
    const { dispatcher, siblingsMax, sweep } = this.#options;
    const lane = verifierLane(sweep.verifier.kind);
    while (task.waiting("verifier") > 0) {
      const max = Math.min(dispatcher.room(lane), siblingsMax);
      if (max === 0) return;
      this.#dispatch(task, task.takeSiblings("verifier", max), lane);
    }
  }

  #dispatch(task: TaskRun, asks: readonly OpenAsk[], lane: string): void {
    const { id, sweep, attempt, dispatcher, owner } = this.#options;
    const job = jobOf(task, asks, { id, sweep, attempt });
    for (const open of asks) {
      open.job = job.id;
      open.dispatches += 1;
    }
    dispatcher.dispatch(lane, job, owner);
  }

  /** How many asks like `head` the budget has room for; one that was dispatched before holds its reservation already. */
  #fitting(task: TaskRun, head: OpenAsk, max: number): number {
    if (head.ask.kind === "verify") return max;
    return head.reservation === null ? this.#options.ledger.fitting(worstOf(task, head), max) : max;
  }

  /** The task's home host; a task without one, or whose host is gone, is placed. Null while no host can serve it. */
  #homeOf(task: TaskRun): string | null {
    const { dispatcher, sweep } = this.#options;
    if (task.host !== null && dispatcher.host(task.host)?.isReady === true) return task.host;
    // The parameters were validated against the strategy's own declaration when the sweep was parsed.
    const needsScore = task.arm.strategy.needs(task.arm.parameters as never).processVerifier === true;
    const home = place(dispatcher.hosts, { model: sweep.model, needsScore });
    if (home === null) return null;
    task.host = home.facts.id;
    dispatcher.placed(task.host, 1);
    return task.host;
  }
}
