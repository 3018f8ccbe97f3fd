/**
 * Puts the asks of a task into jobs and the jobs into lanes, as far as there is room and budget: reserve, coalesce
 * siblings, place. Owns nothing but what it has said already; the runner calls it for its open tasks, oldest first.
 *
 * Invariant I3: no rollout is dispatched without a reservation of its worst case.
 */
import type { Backlog, OpenAsk } from "./backlog.ts";
import type { Dispatcher, JobOwner } from "./scheduler/dispatcher.ts";
import { hostLane, verifierLane } from "./scheduler/dispatcher.ts";
import { jobOf, worstOf } from "./job-of.ts";
import type { Ledger } from "./ledger.ts";
import { describeRoute, type HostRoute, type VerifierRoute } from "./routes.ts";
import { canServe, isFit, place } from "./scheduler/placement.ts";
import type { TaskRun } from "./task-run.ts";

export interface TaskDispatchOptions {
  /** Of the sweep. */
  readonly id: string;
  readonly model: string;
  readonly attempt: number;
  /** Sibling asks in one job. */
  readonly siblingsMax: number;
  readonly dispatcher: Dispatcher;
  readonly ledger: Ledger;
  readonly owner: JobOwner;
  /** The budget has no room for this ask and never will have. */
  readonly outOfBudget: (task: TaskRun, open: OpenAsk) => void;
  /** Told once of each kind of host that asks wait for and nobody offers. */
  readonly onMissing: (message: string) => void;
}

export class TaskDispatch {
  readonly #options: TaskDispatchOptions;
  readonly #missing = new Set<string>();

  constructor(options: TaskDispatchOptions) {
    this.#options = options;
  }

  /** Whether hosts have more room than the asks of these tasks will fill: then another task may be opened (I6). */
  hasRoomFor(tasks: Iterable<TaskRun>, waitingVerificationsMax: number): boolean {
    const { dispatcher, model } = this.#options;
    let asks = 0;
    let verifications = 0;
    for (const task of tasks) {
      for (const [route, line] of task.waiting()) {
        if (route.kind === "host" && route.model === model) asks += line.size;
        else verifications += line.size;
      }
    }
    if (verifications > waitingVerificationsMax) return false;
    let room = 0;
    for (const host of dispatcher.hosts) {
      if (!canServe(host, { model, can: new Set() })) continue;
      room += dispatcher.room(hostLane(host.facts.id));
    }
    return asks < room;
  }

  /** Dispatches what it can of this task. What it can't now waits for a call when there is more room. */
  fill(task: TaskRun): void {
    for (const [route, line] of task.waiting()) {
      if (route.kind === "host") this.#fillHost(task, route, line);
      else this.#fillVerifier(task, route, line);
    }
  }

  #fillHost(task: TaskRun, route: HostRoute, line: Backlog): void {
    const { dispatcher, ledger, siblingsMax, outOfBudget } = this.#options;
    for (let head = line.head(); head !== null; head = line.head()) {
      const host = this.#homeOf(task, route);
      const room = host === null ? 0 : dispatcher.room(hostLane(host));
      if (host === null || room === 0) return;
      const fitting = this.#fitting(task, head, Math.min(room, siblingsMax));
      if (fitting > 0) {
        const asks = line.takeSiblings(fitting);
        for (const open of asks) open.reservation ??= ledger.reserve(worstOf(task, open));
        this.#dispatch(task, asks, hostLane(host));
      } else if (ledger.canEverFit(worstOf(task, head))) {
        return;
      } else {
        for (const open of line.takeSiblings(1)) outOfBudget(task, open);
      }
    }
  }

  #fillVerifier(task: TaskRun, { verifier }: VerifierRoute, line: Backlog): void {
    const { dispatcher, siblingsMax } = this.#options;
    const lane = verifierLane(verifier);
    while (line.size > 0) {
      const max = Math.min(dispatcher.room(lane), siblingsMax);
      if (max === 0)
        return this.#miss(dispatcher.has(lane), `a verification worker that offers "${verifier}"`);
      this.#dispatch(task, line.takeSiblings(max), lane);
    }
  }

  #dispatch(task: TaskRun, asks: readonly OpenAsk[], lane: string): void {
    const { id, attempt, dispatcher, owner } = this.#options;
    const job = jobOf(task, asks, { id, attempt });
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

  /** The home host of a task's tree for a model; a tree without one, or whose host is gone, is placed. Null: nobody can serve it. */
  #homeOf(task: TaskRun, route: HostRoute): string | null {
    const { dispatcher } = this.#options;
    const known = task.homes.get(route.model);
    if (known !== undefined && dispatcher.host(known)?.isReady === true) return known;
    const home = place(dispatcher.hosts, route);
    if (home === null) {
      const isComing = [...dispatcher.hosts].some(({ facts }) => isFit(facts, route));
      this.#miss(isComing, describeRoute(route));
      return null;
    }
    task.homes.set(route.model, home.facts.id);
    dispatcher.placed(home.facts.id, 1);
    return home.facts.id;
  }

  #miss(isThere: boolean, what: string): void {
    if (isThere || this.#missing.has(what)) return;
    this.#missing.add(what);
    this.#options.onMissing(`waiting for ${what}; there is none`);
  }
}
