/**
 * A client in front of a router: so many requests in flight, each routed and sent to its host the moment that
 * it may go. What waits goes in the order in which it came, as in a program that awaits everything at once
 * behind a semaphore (`arrival`), or the oldest problem first (`depth-first`): the order that makes a cache's
 * work easiest (RadixAttention, theorem 3.1).
 */
import { EventQueue } from "../../services/planner/event-queue.ts";
import type { Placer, PlacerCluster, RequestOutcome } from "../../services/planner/placer.ts";
import type { SyntheticTask, VirtualRequest } from "../../services/planner/synthetic-task.ts";
import type { Router, RouterFactory } from "./router.ts";

export type ClientOrder = "arrival" | "depth-first";

export class RouterClient implements Placer {
  readonly #cluster: PlacerCluster;
  readonly #router: Router;
  readonly #order: ClientOrder;
  readonly #window: number;
  readonly #waiting = new EventQueue<VirtualRequest>();
  readonly #isWaiting = new Set<VirtualRequest>();
  readonly #inFlight: number[];
  readonly #routed: number[];
  #inFlightAll = 0;

  constructor(
    cluster: PlacerCluster,
    { router, order }: { readonly router: RouterFactory; readonly order: ClientOrder },
  ) {
    this.#cluster = cluster;
    this.#order = order;
    this.#window = cluster.hosts * cluster.sequencesMax;
    this.#inFlight = Array.from({ length: cluster.hosts }, () => 0);
    this.#routed = [...this.#inFlight];
    this.#router = router({
      hosts: cluster.hosts,
      seed: cluster.seed,
      nowMs: () => cluster.nowMs(),
      inFlight: (host) => this.#inFlight[host] ?? 0,
      routed: (host) => this.#routed[host] ?? 0,
      waiting: (host) => cluster.state(host).waiting,
      kvUsage: (host) => cluster.state(host).kvUsage,
    });
  }

  /**
   * All problems run from the start; depth-first, one that is not begun asks for nothing yet, so it can begin
   * later.
   */
  wants(): number {
    if (this.#order === "arrival") return Infinity;
    return this.#isWaiting.size === 0 && this.#inFlightAll < this.#window ? 1 : 0;
  }

  opened(): void {}

  allOpened(): void {}

  asked(task: SyntheticTask, requests: readonly VirtualRequest[]): void {
    for (const request of requests) {
      this.#isWaiting.add(request);
      this.#waiting.push(this.#order === "arrival" ? 0 : task.ordinal, request);
    }
  }

  withdrawn(request: VirtualRequest): void {
    this.#isWaiting.delete(request);
  }

  begun({ pieces }: VirtualRequest, host: number): void {
    this.#router.computed?.(pieces, host);
  }

  settled(request: VirtualRequest, host: number, outcome: RequestOutcome | null): void {
    if (outcome !== null && this.#router.computed !== undefined) {
      const { pieces, output, completionTokens } = request;
      this.#router.computed([...pieces, { id: output, tokens: completionTokens, isGenerated: true }], host);
    }
    this.#inFlight[host] = (this.#inFlight[host] ?? 0) - 1;
    this.#inFlightAll -= 1;
  }

  ended(task: SyntheticTask): void {
    this.#router.sessionEnded?.(task.ordinal);
  }

  run(): void {
    while (this.#inFlightAll < this.#window) {
      const request = this.#waiting.pop();
      if (request === undefined) return;
      if (!this.#isWaiting.delete(request)) continue;
      const { pieces, promptTokens, task } = request;
      const host = this.#router.route({ pieces, promptTokens, session: task.ordinal });
      this.#inFlight[host] = (this.#inFlight[host] ?? 0) + 1;
      this.#routed[host] = (this.#routed[host] ?? 0) + 1;
      this.#inFlightAll += 1;
      this.#cluster.send(request, host, 0);
    }
  }
}
