import { expect, test } from "vitest";
import { SettledOrdinals } from "../../services/coordinator/settled-ordinals.ts";
import { createRandom } from "../../services/runtime/random.ts";

test("agrees with a set of all of them, in whatever order tasks settle", () => {
  const random = createRandom(3);
  const settled = new SettledOrdinals();
  const plain = new Set<number>();
  for (let n = 0; n < 2_000; n += 1) {
    // Mostly in order, some long before their turn, some twice.
    const ordinal = Math.max(0, n + Math.floor((random.next() - 0.5) * 60));
    settled.add(ordinal);
    plain.add(ordinal);
    expect(settled.size).toBe(plain.size);
  }
  for (let ordinal = 0; ordinal < 2_100; ordinal += 1) expect(settled.has(ordinal)).toBe(plain.has(ordinal));
});
