import { describe, expect, test } from "vitest";
import { Ledger } from "../../services/coordinator/ledger.ts";
import type { Prices } from "../../services/coordinator/prices.ts";
import type { Budget } from "../../services/coordinator/sweep.ts";
import { TimeSpent } from "../../services/coordinator/time-spent.ts";
import { amount, NO_ARM_BUDGET, NO_BUDGET } from "../support/budget.ts";
import { createVirtualClock, type VirtualClock } from "../support/virtual-clock.ts";

/** A dollar for a GPU-hour is a millionth of one for 3.6 ms. */
const PRICES: Prices = { prompt: 0, cached: 0, completion: 0, verifier: 0, gpuHour: 3_600_000 };
const NO_TIME = { ms: 0, gpuMs: 0 };

function spending(
  given: Partial<Budget>,
  more: { readonly prices?: Prices; readonly earlier?: typeof NO_TIME } = {},
) {
  const clock: VirtualClock = createVirtualClock();
  const budget = { ...NO_BUDGET, ...given };
  const ledger = new Ledger({ budget, arms: [{ id: "a", budget: NO_ARM_BUDGET }] });
  const hosts = { gpus: 0 };
  const reachedMs: number[] = [];
  const time: TimeSpent = new TimeSpent({
    sweep: { budget, prices: more.prices ?? null },
    clock,
    ledger,
    attempt: 1,
    earlier: more.earlier ?? NO_TIME,
    aheadMs: 5_000,
    gpus: () => hosts.gpus,
    onReached: () => void reachedMs.push(clock.monotonicMs()),
  });
  const setGpus = (gpus: number): void => {
    hosts.gpus = gpus;
    time.update();
  };
  time.update();
  return { clock, ledger, time, reachedMs, setGpus };
}

describe("the time that a run has spent", () => {
  test("reaches a ceiling of GPU time at the first moment that it can, whatever hosts come and go", () => {
    const { clock, time, reachedMs, setGpus } = spending({ gpuMs: 10_000 });
    clock.advance(1_000);
    setGpus(2);
    clock.advance(1_000);
    setGpus(8);
    clock.advance(500);
    setGpus(1);
    clock.advance(3_999);
    expect(time.gpuMs).toBe(9_999);
    expect(reachedMs).toEqual([]);
    clock.advance(10_000);
    expect(reachedMs).toEqual([6_500]);
  });

  test("is not over while no host is there, and costs no timer", () => {
    const { clock, reachedMs, time } = spending({ gpuMs: 10_000 });
    clock.advance(1e9);
    expect([reachedMs, time.gpuMs, clock.pending()]).toEqual([[], 0, 0]);
  });

  test("reaches a ceiling of wall time, and one further ahead than a timer can be", () => {
    const soon = spending({ wallMs: 150 });
    soon.clock.advance(1_000);
    expect(soon.reachedMs).toEqual([150]);
    const late = spending({ wallMs: 2 ** 32 });
    late.clock.advance(2 ** 32 - 1);
    expect(late.reachedMs).toEqual([]);
    late.clock.advance(1);
    expect(late.reachedMs).toEqual([2 ** 32]);
  });

  test("counts what earlier attempts took", () => {
    const { clock, reachedMs, setGpus, time } = spending(
      { gpuMs: 10_000 },
      { earlier: { ms: 70, gpuMs: 9_000 } },
    );
    setGpus(10);
    clock.advance(1_000);
    expect(reachedMs).toEqual([100]);
    expect(time.elapsedMs).toBe(1_070);
  });

  test("says ahead of the time what it will be, and in the end what it was", () => {
    const { clock, setGpus, time } = spending({});
    setGpus(4);
    clock.advance(250);
    expect(time.entry).toEqual({ kind: "elapsed", attempt: 1, ms: 5_250, gpuMs: 4 * 5_250 });
    time.end();
    clock.advance(9_000);
    expect(time.entry).toEqual({ kind: "elapsed", attempt: 1, ms: 250, gpuMs: 1_000 });
  });

  test("is priced by the GPU-hour, and never passes a ceiling of dollars with what asks hold", () => {
    const { clock, ledger, reachedMs, setGpus, time } = spending({ usdMicros: 1_000 }, { prices: PRICES });
    setGpus(2);
    const held = ledger.reserve(ledger.accountOf("a/p", "a"), amount({ usdMicros: 600 }));
    clock.advance(100);
    time.update();
    expect(ledger.free("usdMicros")).toBe(1_000 - 600 - 200);
    expect(ledger.fitting(ledger.accountOf("a/p", "a"), amount({ usdMicros: 201 }), 1)).toBe(0);
    if (held !== null) ledger.charge(held, amount({ usdMicros: 100 }));
    time.update();
    clock.advance(10_000);
    expect(reachedMs).toEqual([450]);
    expect(time.cost).toEqual(amount({ usdMicros: 2 * 10_100 }));
  });

  test("cuts at once where what asks hold and GPUs cost is all that there is", () => {
    const { clock, ledger, reachedMs, setGpus, time } = spending({ usdMicros: 1_000 }, { prices: PRICES });
    ledger.reserve(ledger.accountOf("a/p", "a"), amount({ usdMicros: 900 }));
    setGpus(1);
    clock.advance(99);
    time.update();
    expect(reachedMs).toEqual([]);
    clock.advance(1);
    time.update();
    expect(reachedMs).toEqual([100]);
  });
});
