import { expect, test } from "vitest";
import { Slots } from "../../workers/rollout/slots.ts";

const never = new AbortController().signal;

/** Takes `count` slots; tells how many of them were given. */
function takers(slots: Slots, count: number, signal = never): { given: number } {
  const seen = { given: 0 };
  for (let n = 0; n < count; n += 1)
    slots.take(signal).then(
      () => (seen.given += 1),
      () => undefined,
    );
  return seen;
}

async function settled(): Promise<void> {
  for (let turn = 0; turn < 4; turn += 1) await Promise.resolve();
}

test("a larger number goes to who waits, at once", async () => {
  const slots = new Slots(2);
  const seen = takers(slots, 5);
  await settled();
  expect(seen.given).toBe(2);
  slots.resize(4);
  await settled();
  expect(seen.given).toBe(4);
  expect(slots.taken).toBe(4);
});

test("a smaller number waits for slots to be given back", async () => {
  const slots = new Slots(4);
  const seen = takers(slots, 6);
  slots.resize(2);
  slots.give();
  slots.give();
  await settled();
  expect([seen.given, slots.taken]).toEqual([4, 2]);
  slots.give();
  await settled();
  expect([seen.given, slots.taken]).toEqual([5, 2]);
});

test("who leaves the line takes no slot", async () => {
  const slots = new Slots(1);
  const leaving = new AbortController();
  takers(slots, 1);
  const left = takers(slots, 2, leaving.signal);
  const staying = takers(slots, 1);
  leaving.abort(new Error("withdrawn"));
  slots.give();
  await settled();
  expect([left.given, staying.given]).toEqual([0, 1]);
  await expect(slots.take(leaving.signal)).rejects.toThrow("withdrawn");
});

test("there is no host of no sequences", () => {
  expect(() => new Slots(0)).toThrow("expected a host with at least 1 sequence, found 0");
  expect(() => new Slots(2).resize(1.5)).toThrow("found 1.5");
});
