/**
 * A cluster in virtual time: tasks that are real searches with synthetic answers, hosts that are engine
 * models, and a placer between them. Nothing waits, so hours of a cluster take seconds; the same options give
 * the same run (I4).
 *
 * 1. Time goes from event to event; of events at one time the one that was scheduled first comes first.
 * 2. The placer runs once all events of one time are told, so it sees siblings together, as a coordinator
 *    does.
 * 3. An ask is answered once: by its host, by others after a constant time, or never because it is withdrawn
 *    (I1).
 */
import type { EngineModelOptions } from "../../workers/rollout/drivers/simulated/engine-model.ts";
import type { EngineProfile } from "../../workers/rollout/drivers/simulated/engine-profile.ts";
import type { Clock } from "../runtime/clock.ts";
import { type ClusterResult, ResultBook } from "./cluster-result.ts";
import { EventQueue } from "./event-queue.ts";
import type { Placer, PlacerCluster } from "./placer.ts";
import type { SyntheticTask, TaskStep, VirtualRequest } from "./synthetic-task.ts";
import { VirtualHost } from "./virtual-host.ts";

export interface VirtualClusterOptions {
  readonly hosts: number;
  readonly profile: EngineProfile;
  readonly engine: EngineModelOptions;
  /** Requests that a worker has in its engine at once; Infinity: it hands over what it is sent. */
  readonly concurrency: number;
  /** Milliseconds from the coordinator to a host, and back. */
  readonly networkMs: number;
  readonly seed: number;
  /** In the order of the sweep. Each is made when it is opened. */
  readonly tasks: Iterable<SyntheticTask>;
  readonly placer: (cluster: PlacerCluster, clock: Clock) => Placer;
}

/** Rounds of opening and placing at one time before something is taken to go in circles. */
const ROUNDS_MAX = 1_000_000;

/**
 * @throws Error when tasks are left and nothing will ever happen: the placer holds something back for good.
 */
export function runVirtualCluster(options: VirtualClusterOptions): ClusterResult {
  return new VirtualCluster(options).run();
}

class VirtualCluster implements PlacerCluster {
  readonly hosts: number;
  readonly sequencesMax: number;
  readonly seed: number;
  readonly #options: VirtualClusterOptions;
  readonly #hosts: readonly VirtualHost[];
  readonly #placer: Placer;
  readonly #tasks: Iterator<SyntheticTask>;
  readonly #book: ResultBook;
  readonly #wakes = new EventQueue<number>();
  readonly #timers = new EventQueue<() => void>();
  /** By host: for when it is woken next. */
  readonly #wakeMs: number[];
  readonly #touched = new Set<number>();
  /** Where each request that was sent is. */
  readonly #places = new Map<number, number>();
  #nowMs = 0;
  #open = 0;
  #hasMore = true;

  constructor(options: VirtualClusterOptions) {
    this.#options = options;
    this.hosts = options.hosts;
    this.sequencesMax = options.profile.sequencesMax;
    this.seed = options.seed;
    this.#hosts = Array.from({ length: options.hosts }, () => new VirtualHost(options));
    this.#wakeMs = this.#hosts.map(() => Infinity);
    this.#tasks = options.tasks[Symbol.iterator]();
    this.#book = new ResultBook(options.profile, options.hosts);
    this.#placer = options.placer(this, this.#clock());
  }

  nowMs(): number {
    return this.#nowMs;
  }

  state(host: number): VirtualHost["signals"] {
    return this.#at(host).signals;
  }

  send(request: VirtualRequest, host: number, priority: number): void {
    this.#places.set(request.id, host);
    this.#book.sent(request, this.#nowMs);
    this.#later(() => {
      // Stopped on its way.
      if (this.#places.get(request.id) !== host) return;
      this.#at(host).send(request, priority, this.#nowMs);
      this.#touched.add(host);
    });
  }

  run(): ClusterResult {
    this.#place();
    for (;;) {
      const nextMs = Math.min(this.#wakes.nextMs, this.#timers.nextMs);
      if (nextMs === Infinity) break;
      this.#nowMs = nextMs;
      this.#fire();
      this.#place();
    }
    if (this.#open > 0 || this.#hasMore) {
      throw new Error(
        `virtual cluster: nothing happens any more at ${this.#nowMs} ms, ${this.#open} tasks are open`,
      );
    }
    return this.#book.result(this.#hosts, this.#nowMs);
  }

  /** All that is due. */
  #fire(): void {
    while (this.#timers.nextMs <= this.#nowMs) this.#timers.pop()?.();
    while (this.#wakes.nextMs <= this.#nowMs) {
      const atMs = this.#wakes.nextMs;
      const host = this.#wakes.pop();
      if (host === undefined || this.#wakeMs[host] !== atMs) continue;
      this.#wakeMs[host] = Infinity;
      this.#touched.add(host);
      for (const { request, event } of this.#at(host).advance(this.#nowMs)) {
        if (event.kind === "first-token") {
          this.#later(() => this.#placer.begun(request, host));
          continue;
        }
        const { promptTokens, cachedTokens } = event;
        this.#later(() => {
          if (!this.#places.delete(request.id)) return;
          const { completionTokens } = request;
          this.#placer.settled(request, host, { promptTokens, cachedTokens, completionTokens });
          this.#answered(request);
        });
      }
    }
  }

  /** Opens tasks and sends what may be sent, until neither is possible. */
  #place(): void {
    for (let round = 0; round < ROUNDS_MAX; round++) {
      for (let n = this.#placer.wants(); n > 0 && this.#hasMore; n--) this.#openNext();
      this.#placer.run();
      if (!this.#hasMore || this.#placer.wants() === 0) break;
    }
    for (const host of this.#touched) {
      const atMs = Math.max(this.#at(host).nextMs, this.#nowMs);
      if (atMs === Infinity || atMs === this.#wakeMs[host]) continue;
      this.#wakeMs[host] = atMs;
      this.#wakes.push(atMs, host);
    }
    this.#touched.clear();
  }

  #openNext(): void {
    const next = this.#tasks.next();
    if (next.done === true) {
      this.#hasMore = false;
      this.#placer.allOpened();
      return;
    }
    const task = next.value;
    this.#open += 1;
    this.#book.opened(task);
    this.#placer.opened(task);
    this.#take(task, task.start(), 0);
  }

  #answered(request: VirtualRequest): void {
    this.#book.answered(request);
    this.#take(request.task, request.task.answered(request), request.chainMs);
  }

  /** @param afterMs Milliseconds of the shortest chain that made this step possible. */
  #take(task: SyntheticTask, { asked, withdrawn, ended }: TaskStep, afterMs: number): void {
    for (const request of withdrawn) this.#withdraw(request);
    for (const request of asked) request.chainMs = afterMs + this.#book.leastMs(request);
    const forHosts = asked.filter(({ elsewhereMs }) => elsewhereMs === null);
    for (const request of asked) {
      if (request.elsewhereMs !== null) this.#answerElsewhere(request, request.elsewhereMs);
    }
    if (forHosts.length > 0) this.#placer.asked(task, forHosts);
    if (!ended) return;
    this.#open -= 1;
    this.#book.settled(task, this.#nowMs);
    this.#placer.ended(task);
  }

  #answerElsewhere(request: VirtualRequest, ms: number): void {
    this.#places.set(request.id, ELSEWHERE);
    this.#timers.push(this.#nowMs + ms, () => {
      if (this.#places.delete(request.id)) this.#answered(request);
    });
  }

  #withdraw(request: VirtualRequest): void {
    const host = this.#places.get(request.id);
    this.#places.delete(request.id);
    if (host === ELSEWHERE) return;
    this.#placer.withdrawn(request);
    if (host === undefined) return;
    this.#later(() => {
      this.#at(host).stop(request, this.#nowMs);
      this.#touched.add(host);
      this.#later(() => this.#placer.settled(request, host, null));
    });
  }

  /** After the way through the network. */
  #later(act: () => void): void {
    if (this.#options.networkMs === 0) act();
    else this.#timers.push(this.#nowMs + this.#options.networkMs, act);
  }

  #at(host: number): VirtualHost {
    const found = this.#hosts[host];
    if (found === undefined) throw new RangeError(`expected a host below ${this.hosts}, found ${host}`);
    return found;
  }

  #clock(): Clock {
    return {
      nowMs: () => this.#nowMs,
      monotonicMs: () => this.#nowMs,
      after: (delayMs, fire) => {
        let isCancelled = false;
        this.#timers.push(this.#nowMs + delayMs, () => {
          if (!isCancelled) fire();
        });
        return { cancel: () => void (isCancelled = true) };
      },
    };
  }
}

/** The place of an ask that no host answers. */
const ELSEWHERE = -1;
