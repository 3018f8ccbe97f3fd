import { expect, test } from "vitest";
import { toldOnce } from "../../workers/verify/told-once.ts";

test("a message is told once, and of many different ones only the first twenty", () => {
  const told: string[] = [];
  const tell = toldOnce((message) => void told.push(message));
  for (let n = 0; n < 100; n += 1) {
    tell("no server");
    tell(`no server for candidate ${n}`);
  }
  expect(told.slice(0, 2)).toEqual(["no server", "no server for candidate 0"]);
  expect(told).toHaveLength(20);
  expect(new Set(told).size).toBe(20);
});
