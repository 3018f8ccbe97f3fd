import { mkdtemp } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { type Disk, systemDisk } from "../../services/runtime/disk.ts";
import { createRandom } from "../../services/runtime/random.ts";
import { diskConformance } from "../conformance/disk.ts";
import { type DiskTrouble, SimulatedDisk } from "./disk.ts";
import { Life, SimulatedTime } from "./time.ts";

describe("the system's disk", () => {
  diskConformance(async () => ({
    disk: systemDisk,
    directory: await mkdtemp(join(tmpdir(), "coppice-disk-")),
  }));
});

/** A disk on which time passes by itself. */
function openSimulated(seed = 1): {
  readonly disk: Disk;
  readonly simulated: SimulatedDisk;
  readonly state: { trouble: DiskTrouble | null };
} {
  const time = new SimulatedTime();
  const state: { trouble: DiskTrouble | null } = { trouble: null };
  const simulated = new SimulatedDisk({
    random: createRandom(seed),
    delayMs: () => 1,
    trouble: () => state.trouble,
  });
  const disk = simulated.of(new Life("test", time));
  const run = <T>(work: Promise<T>): Promise<T> => {
    let isOver = false;
    const end = (): void => void (isOver = true);
    work.then(end, end);
    const pass = (): void => {
      if (isOver) return;
      time.step();
      setImmediate(pass);
    };
    pass();
    return work;
  };
  const passing = <T extends object>(target: T): T =>
    new Proxy(target, {
      get(object, name) {
        const value: unknown = Reflect.get(object, name);
        if (typeof value !== "function") return value;
        return (...args: unknown[]) => {
          const result: unknown = value.apply(object, args);
          if (!(result instanceof Promise)) return pumped(result, run);
          return run(result).then((found) => (isFile(found) ? passing(found) : found));
        };
      },
    });
  return { disk: passing(disk), simulated, state };
}

function isFile(value: unknown): value is object {
  return typeof value === "object" && value !== null && "sync" in value;
}

function pumped(value: unknown, run: <T>(work: Promise<T>) => Promise<T>): unknown {
  const source = value as AsyncGenerator<Buffer>; // Only `chunks` gives what is no promise.
  return {
    [Symbol.asyncIterator]: () => ({ next: () => run(source.next()) }),
  };
}

describe("the simulator's disk", () => {
  diskConformance(async () => {
    const { disk } = openSimulated();
    await disk.makeDirectory("/run", { isDeep: true });
    return { disk, directory: "/run" };
  });

  test("keeps what was synced through a crash, and of the rest a prefix", async () => {
    const left = new Set<string>();
    for (let seed = 1; seed <= 60; seed += 1) {
      const { disk, simulated } = openSimulated(seed);
      const file = await disk.append("/f");
      await file.write([Buffer.from("synced ")]);
      await file.sync();
      await file.write([Buffer.from("abc")]);
      simulated.crash();
      left.add(simulated.peek("/f") ?? "");
    }
    expect([...left].toSorted()).toEqual(["synced ", "synced a", "synced ab", "synced abc"]);
  });

  test("fails as it is told to, with the code that the system would give", async () => {
    const { disk, state, simulated } = openSimulated();
    const file = await disk.append("/f");
    state.trouble = "ENOSPC";
    await expect(file.write([Buffer.from("0123456789")])).rejects.toMatchObject({ code: "ENOSPC" });
    expect((simulated.peek("/f") ?? "").length).toBeLessThan(10);
    state.trouble = "EIO";
    await expect(file.sync()).rejects.toMatchObject({ code: "EIO" });
  });
});
