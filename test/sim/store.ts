/**
 * Redis in the simulator: the lanes of one process under simulated time, shared by all. It is away at times, it forgets everything at
 * times, and a worker that died keeps its jobs until its lock is over, as BullMQ does it.
 */
import type { Lane, LaneConsumer, Lanes } from "../../services/queue/lanes.ts";
import { DEFAULT_LANE_LIMITS } from "../../services/queue/lanes.ts";
import type { Job } from "../../services/queue/job.ts";
import { createMemoryLanes } from "../../services/queue/memory-lanes.ts";
import { CoppiceError } from "../../services/runtime/errors.ts";
import type { Random } from "../../services/runtime/random.ts";
import { Life, type SimulatedTime } from "./time.ts";

export interface StoreOptions {
  readonly time: SimulatedTime;
  readonly random: Random;
  /** Whether one command that just arrived is refused. */
  readonly refuses: () => boolean;
  readonly delayMs: () => number;
}

export class SimulatedStore {
  readonly #options: StoreOptions;
  readonly #lanes: Lanes;
  readonly #names = new Set<string>();
  isDown = false;

  constructor(options: StoreOptions) {
    this.#options = options;
    const { clock } = new Life("redis", options.time);
    this.#lanes = createMemoryLanes({ clock, random: options.random });
  }

  /** Everything in it is gone. */
  empty(): void {
    for (const name of this.#names) void this.#lanes.lane(name).evacuate();
  }

  /** The store as one process sees it. `onAdd` is told of jobs that it puts in. */
  of(life: Life, onAdd: (jobs: readonly Job[]) => void = () => undefined): Lanes {
    const lanes = this.#lanes;
    const command = <T>(work: () => Promise<T>): Promise<T> =>
      life.later(this.#options.delayMs(), () => {
        if (this.isDown || this.#options.refuses())
          throw new CoppiceError("unavailable", "simulated: Redis does not answer");
        return work();
      });
    const laneOf = (name: string): Lane => {
      this.#names.add(name);
      const lane = lanes.lane(name);
      return {
        name,
        add: (jobs) =>
          command(() => {
            onAdd(jobs);
            return lane.add(jobs);
          }),
        remove: (ids) => command(() => lane.remove(ids)),
        missing: (ids) => command(() => lane.missing(ids)),
        depth: () => command(() => lane.depth()),
        evacuate: () => command(() => lane.evacuate()),
      };
    };
    return {
      lane: laneOf,
      consume: (name, options): LaneConsumer => {
        this.#names.add(name);
        let { concurrency } = options;
        const begin = (): LaneConsumer =>
          lanes.consume(name, {
            ...options,
            concurrency,
            handle: (delivery) => (life.isDead ? new Promise(() => undefined) : options.handle(delivery)),
          });
        let consumer: LaneConsumer | null = begin();
        // Nobody renews the locks of one that is dead or stopped: after a while its jobs are others'.
        const giveUp = (): void => {
          const left = consumer;
          if (left === null) return;
          this.#options.time.after(DEFAULT_LANE_LIMITS.lockMs, () => {
            const isLost = life.isDead || life.isStopped;
            if (!isLost || left !== consumer) return;
            consumer = null;
            void left.drain(0);
            life.onWake(() => (consumer = begin()));
          });
        };
        life.onDeath(giveUp);
        life.onStop(giveUp);
        return {
          setConcurrency: (next) => {
            concurrency = next;
            consumer?.setConcurrency(next);
          },
          drain: async (graceMs) => consumer?.drain(graceMs),
        };
      },
      ping: () => command(() => lanes.ping()),
      close: () => Promise.resolve(),
    };
  }
}
