import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import {
  DEFAULT_DISPATCH_LIMITS,
  Dispatcher,
  hostLane,
  type JobOwner,
  verifierLane,
} from "../../services/coordinator/scheduler/dispatcher.ts";
import type { HostFacts } from "../../services/link/link.ts";
import type { Job } from "../../services/queue/job.ts";
import type { Lanes } from "../../services/queue/lanes.ts";
import { createMemoryLanes } from "../../services/queue/memory-lanes.ts";
import { CoppiceError } from "../../services/runtime/errors.ts";
import { silentLog } from "../../services/runtime/log.ts";
import { createRandom } from "../../services/runtime/random.ts";
import { rolloutJob } from "../support/jobs.ts";
import { createVirtualClock, type VirtualClock } from "../support/virtual-clock.ts";

function host(id: string, concurrency = 4): HostFacts {
  const unknown = { kvCapacityTokens: null, contextTokens: null, blockTokens: null };
  const fixed = {
    concurrency,
    concurrencyMax: concurrency,
    reportsCachedTokens: false,
    sharesColdPrefixes: true,
  };
  return { id, engine: "seeded", model: "m", can: ["score"], ...fixed, ...unknown };
}

function joinHost(id: string): void {
  dispatcher.join({ id: `worker-${id}`, offers: { kind: "rollout", host: host(id) } });
}

async function readyHost(id: string): Promise<void> {
  await vi.waitFor(() => expect(dispatcher.scheduler.host(id)).toMatchObject({ isReady: true }));
}

function joinVerifier(kind: string, concurrency: number): void {
  dispatcher.join({ id: "verifier", offers: { kind: "verification", verifiers: [kind], concurrency } });
}

class Owner implements JobOwner {
  readonly back: string[] = [];
  readonly lost: string[] = [];
  returned(_job: Job, asks: readonly string[]): void {
    this.back.push(...asks);
  }
  givenUp(_job: Job, asks: readonly string[]): void {
    this.lost.push(...asks);
  }
}

let clock: VirtualClock;
let lanes: Lanes;
let dispatcher: Dispatcher;
let owner: Owner;
let trouble: string[];
beforeEach(() => {
  clock = createVirtualClock();
  lanes = createMemoryLanes({ clock, random: createRandom(1) });
  trouble = [];
  owner = new Owner();
  const onTrouble = (message: string): void => void trouble.push(message);
  dispatcher = new Dispatcher({ lanes, clock, log: silentLog, limits: DEFAULT_DISPATCH_LIMITS, onTrouble });
});
afterEach(async () => {
  await dispatcher.close();
  await lanes.close();
});

const waiting = async (lane: string): Promise<number> => (await lanes.lane(lane).depth()).waiting;

describe("the dispatcher", () => {
  test("has no room on a lane until what an earlier life left in it is gone", async () => {
    await lanes.lane(verifierLane("exact")).add([rolloutJob("left-over")]);
    joinVerifier("exact", 1);
    expect(dispatcher.room(verifierLane("exact"))).toBe(0);
    await vi.waitFor(() => expect(dispatcher.room(verifierLane("exact"))).toBe(8));
    expect(await waiting(verifierLane("exact"))).toBe(0);
  });

  test("holds nothing ready for the scheduler on a host whose lane is not empty yet", async () => {
    await lanes.lane(hostLane("a")).add([rolloutJob("left-over")]);
    joinHost("a");
    expect(dispatcher.scheduler.host("a")).toMatchObject({ isReady: false });
    await readyHost("a");
    expect(await waiting(hostLane("a"))).toBe(0);
  });

  test("counts an ask against the lane's depth until it is settled, and forgets the job with its last (I6)", async () => {
    joinVerifier("exact", 1);
    await vi.waitFor(() => expect(dispatcher.room(verifierLane("exact"))).toBe(8));
    for (let n = 0; n < 8; n += 1) dispatcher.dispatch(verifierLane("exact"), rolloutJob(`job-${n}`), owner);
    expect(dispatcher.room(verifierLane("exact"))).toBe(0);
    dispatcher.settled("job-3", "job-3/0");
    dispatcher.settled("job-3", "job-3/0");
    expect(dispatcher.room(verifierLane("exact"))).toBe(1);
    expect(dispatcher.depths()).toEqual([{ lane: verifierLane("exact"), host: null, jobs: 7, asks: 7 }]);
  });

  test("gives the jobs of a host that is gone back to their owner, and empties its lane", async () => {
    joinHost("a");
    await readyHost("a");
    dispatcher.dispatch(hostLane("a"), rolloutJob("job-0"), owner);
    dispatcher.dispatch(hostLane("a"), rolloutJob("job-1"), owner);
    dispatcher.settled("job-0", "job-0/0");
    await vi.waitFor(async () => expect(await waiting(hostLane("a"))).toBe(2));
    dispatcher.leave("worker-a", false);
    expect(owner.back).toEqual(["job-1/0"]);
    expect(dispatcher.scheduler.host("a")).toBeNull();
    await vi.waitFor(async () => expect(await waiting(hostLane("a"))).toBe(0));
    expect(trouble).toEqual(["host a is gone; 1 job goes elsewhere"]);
  });

  test("adds a job again that its lane has lost, and gives it up when that happens too often", async () => {
    joinHost("a");
    await readyHost("a");
    dispatcher.dispatch(hostLane("a"), rolloutJob("job-0"), owner);
    const { rescueMs, rescuesMax } = DEFAULT_DISPATCH_LIMITS;
    for (let rescues = 0; rescues <= rescuesMax; rescues += 1) {
      await vi.waitFor(async () => expect(await waiting(hostLane("a"))).toBe(1));
      await lanes.lane(hostLane("a")).evacuate();
      await vi.waitFor(async () => {
        clock.advance(rescueMs);
        expect((await waiting(hostLane("a"))) + owner.lost.length).toBeGreaterThan(0);
      });
    }
    expect(owner.lost).toEqual(["job-0/0"]);
    expect(dispatcher.depths()).toEqual([{ lane: hostLane("a"), host: "a", jobs: 0, asks: 0 }]);
  });

  test("goes on adding while the store is away, and says so", async () => {
    let isAway = false;
    const shaky: Lanes = {
      ...lanes,
      lane: (name) => {
        const lane = lanes.lane(name);
        const away = new CoppiceError("unavailable", "the store is away");
        return {
          ...lane,
          evacuate: () => lane.evacuate(),
          add: (jobs) => (isAway ? Promise.reject(away) : lane.add(jobs)),
        };
      },
    };
    const onTrouble = (message: string): void => void trouble.push(message);
    const limits = DEFAULT_DISPATCH_LIMITS;
    await dispatcher.close();
    dispatcher = new Dispatcher({ lanes: shaky, clock, log: silentLog, limits, onTrouble });
    joinHost("a");
    await readyHost("a");
    isAway = true;
    dispatcher.dispatch(hostLane("a"), rolloutJob("job-0"), owner);
    await vi.waitFor(() => {
      clock.advance(limits.feedBackoffMaxMs);
      expect(trouble.length).toBeGreaterThan(3);
    });
    expect(trouble[0]).toBe("lane host-a: cannot add 1 jobs, will try again: the store is away");
    isAway = false;
    await vi.waitFor(async () => {
      clock.advance(limits.feedBackoffMaxMs);
      expect(await waiting(hostLane("a"))).toBe(1);
    });
  });
});
