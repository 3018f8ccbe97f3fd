import { describe, expect, test } from "vitest";
import { GpuMeter, type GpuRun } from "../../services/coordinator/gpu-meter.ts";
import { createRandom } from "../../services/runtime/random.ts";
import { createVirtualClock } from "../support/virtual-clock.ts";

describe("a GPU meter", () => {
  test("gives an ask that has a host to itself all of its GPUs, and shares them among those that are there together", () => {
    const clock = createVirtualClock();
    const meter = new GpuMeter(clock);
    meter.join("h", 4);
    clock.advance(1_000);
    const first = meter.began("h");
    clock.advance(100);
    const second = meter.began("h");
    clock.advance(50);
    expect(meter.ended(first)).toBe(4 * 100 + 2 * 50);
    clock.advance(10);
    expect(meter.ended(second)).toBe(2 * 50 + 4 * 10);
  });

  test("counts nothing of a host that has no GPU, or is gone", () => {
    const clock = createVirtualClock();
    const meter = new GpuMeter(clock);
    meter.join("cpu", 0);
    meter.join("gpu", 2);
    const [idle, cut] = [meter.began("cpu"), meter.began("gpu")];
    clock.advance(100);
    meter.leave("gpu");
    meter.join("gpu", 8);
    clock.advance(100);
    expect(meter.ended(idle)).toBe(0);
    expect(meter.ended(cut)).toBe(200);
  });

  test("sums up to the time in which hosts were busy, times their GPUs, however asks come and go", () => {
    for (let seed = 0; seed < 200; seed += 1) {
      const random = createRandom(seed);
      const clock = createVirtualClock();
      const meter = new GpuMeter(clock);
      const hosts = [1, 2, 8].map((gpus, i) => ({ id: `h${i}`, gpus, runs: [] as GpuRun[] }));
      for (const { id, gpus } of hosts) meter.join(id, gpus);
      let [busy, shared] = [0, 0];
      for (let step = 0; step < 100; step += 1) {
        const ms = Math.floor(random.next() * 50);
        clock.advance(ms);
        for (const { gpus, runs } of hosts) if (runs.length > 0) busy += gpus * ms;
        const host = hosts[Math.floor(random.next() * hosts.length)];
        if (host === undefined) continue;
        if (random.next() < 0.6) host.runs.push(meter.began(host.id));
        else {
          const [run] = host.runs.splice(Math.floor(random.next() * host.runs.length), 1);
          if (run !== undefined) shared += meter.ended(run);
        }
      }
      for (const { runs } of hosts) for (const run of runs) shared += meter.ended(run);
      expect(shared).toBeCloseTo(busy, 6);
    }
  });
});
