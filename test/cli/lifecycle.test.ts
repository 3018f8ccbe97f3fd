import { EventEmitter } from "node:events";
import { describe, expect, test } from "vitest";
import { createLifecycle, type ProcessEvents } from "../../services/runtime/lifecycle.ts";
import { silentLog } from "../../services/runtime/log.ts";
import { createVirtualClock } from "../support/virtual-clock.ts";

function start() {
  const events = new EventEmitter();
  const exits: number[] = [];
  const told: string[] = [];
  const process: ProcessEvents = {
    on: (event, listener) => events.on(event, listener),
    off: (event, listener) => events.off(event, listener),
    exit: (status) => void exits.push(status),
  };
  const clock = createVirtualClock();
  const lifecycle = createLifecycle({ process, clock, tell: (line) => void told.push(line), log: silentLog });
  return { events, exits, told, clock, lifecycle };
}

describe("signals", () => {
  test.each(["SIGINT", "SIGTERM", "SIGUSR1"])("%s asks to leave, once", (signal) => {
    const { events, exits, lifecycle } = start();
    events.emit(signal);
    expect(lifecycle.leaving.aborted).toBe(true);
    expect(lifecycle.leaving.reason).toMatchObject({
      code: "cancelled",
      message: `interrupted by ${signal}`,
    });
    events.emit("SIGTERM");
    expect(exits).toEqual([]);
  });

  test("a second Ctrl-C leaves at once with 130", () => {
    const { events, exits } = start();
    events.emit("SIGTERM");
    events.emit("SIGINT");
    expect(exits).toEqual([130]);
  });

  test("a drain that passes its limit leaves, and says so", () => {
    const { events, exits, told, clock } = start();
    events.emit("SIGINT");
    clock.advance(29_999);
    expect(exits).toEqual([]);
    clock.advance(1);
    expect(exits).toEqual([130]);
    expect(told.join()).toContain("gave up after 30 s");
  });
});

test("an error that nobody caught is told with its stack, and ends the process", () => {
  const { events, exits, told } = start();
  events.emit("uncaughtException", new Error("oops"));
  expect(exits).toEqual([1]);
  expect(told[0]).toMatch(/a defect of the program.*oops\n\s+at /s);
});

describe("closing", () => {
  test("goes from the last part to the first, past those that fail, and happens once", async () => {
    const { events, lifecycle } = start();
    const closed: string[] = [];
    lifecycle.own("first", "first", (part) => void closed.push(part));
    lifecycle.own("second", "second", (part) => {
      closed.push(part);
      throw new Error("stuck");
    });
    await Promise.all([lifecycle.close(), lifecycle.close()]);
    expect(closed).toEqual(["second", "first"]);
    expect(events.eventNames()).toEqual([]);
  });

  test("a part that does not close within its limit is left", async () => {
    const { clock, lifecycle } = start();
    lifecycle.own("stuck", null, () => new Promise(() => undefined));
    const closing = lifecycle.close();
    clock.advance(10_000);
    await closing;
  });
});
