import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { createCoordinator } from "../../services/coordinator/coordinator.ts";
import type { Coordinator } from "../../services/coordinator/coordinator-api.ts";
import { createMemoryLanes } from "../../services/queue/memory-lanes.ts";
import { silentLog } from "../../services/runtime/log.ts";
import { createRandom } from "../../services/runtime/random.ts";
import { ROLLOUT_WORKER } from "../conformance/link.ts";
import { createVirtualClock, type VirtualClock } from "../support/virtual-clock.ts";

const LEASE_MS = 15_000;

let clock: VirtualClock;
/** For how long the process stood still, in milliseconds: its clock went on, its timers did not. */
let stalledMs: number;
let lost: unknown[];
let coordinator: Coordinator;
beforeEach(() => {
  clock = createVirtualClock();
  stalledMs = 0;
  lost = [];
  const warn = (fields: { readonly worker?: unknown }, event: string): void => {
    if (event === "worker_lost") lost.push(fields.worker);
  };
  coordinator = createCoordinator({
    lanes: createMemoryLanes({ clock, random: createRandom(1) }),
    clock: { ...clock, monotonicMs: () => clock.monotonicMs() + stalledMs },
    log: { ...silentLog, warn },
    version: "test",
    dispatch: { leaseMs: LEASE_MS },
  });
});
afterEach(() => coordinator.close());

function join(): () => void {
  coordinator.desk.register(ROLLOUT_WORKER);
  const disconnected = coordinator.desk.connected(ROLLOUT_WORKER.id, () => undefined);
  coordinator.desk.heard(ROLLOUT_WORKER.id);
  return disconnected;
}

describe("the lease of a worker", () => {
  test("ends when its line is gone and it does not come back", () => {
    const disconnected = join();
    disconnected();
    clock.advance(LEASE_MS);
    expect(lost).toEqual([]);
    clock.advance(LEASE_MS / 3);
    expect(lost).toEqual([ROLLOUT_WORKER.id]);
  });

  test("ends while its line is open only after the link would have ended the line", () => {
    join();
    clock.advance(2 * LEASE_MS);
    expect(lost).toEqual([]);
    clock.advance(LEASE_MS / 3);
    expect(lost).toEqual([ROLLOUT_WORKER.id]);
  });

  test("does not end because this process stood still: the worker, still connected, would never register again", () => {
    join();
    stalledMs = 10 * LEASE_MS;
    clock.advance(LEASE_MS);
    expect(lost).toEqual([]);
  });
});
