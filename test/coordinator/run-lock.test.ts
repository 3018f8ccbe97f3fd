import { type ChildProcess, fork } from "node:child_process";
import { once } from "node:events";
import { mkdir, mkdtemp, readdir, readFile, utimes, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { Journal } from "../../services/coordinator/journal.ts";
import { JOURNAL_FORMAT } from "../../services/coordinator/journal-entry.ts";
import { Rows } from "../../services/coordinator/run-directory.ts";
import { type Holder, holderOf, lockRunDirectory } from "../../services/coordinator/run-lock.ts";
import type { Command, Reply } from "../support/run-holder.ts";

const QUICK = { beatMs: 50, leaseMs: 400, lookMs: 20 };
const ELSEWHERE: Holder = { host: "elsewhere", place: "another machine", pid: 1, started: "1" };

let path: string;
const children: ChildProcess[] = [];
beforeEach(async () => {
  path = await mkdtemp(join(tmpdir(), "lock-"));
});
afterEach(() => {
  for (const child of children.splice(0)) child.kill("SIGKILL");
});

function startHolder(): ChildProcess {
  const child = fork(join(import.meta.dirname, "../support/run-holder.ts"), { stdio: "inherit" });
  children.push(child);
  return child;
}

async function ask(child: ChildProcess, command: Command): Promise<Reply> {
  const replied = once(child, "message");
  child.send(command);
  // The channel carries what `run-holder.ts` sends.
  const [reply] = (await replied) as [Reply];
  return reply;
}

async function leaveLock(directory: string, holder: Holder): Promise<void> {
  await mkdir(join(directory, "lock"), { recursive: true });
  await writeFile(join(directory, "lock", "000001.json"), JSON.stringify(holder));
}

/** What a process that ended on this machine leaves. */
async function deadHolder(): Promise<Holder> {
  return { ...(await holderOf(process.pid)), started: "an earlier process" };
}

describe("the lock of a run directory", () => {
  test("a second holder is refused by name until the first lets go", async () => {
    const first = await lockRunDirectory(path);
    await expect(lockRunDirectory(path)).rejects.toThrow(
      new RegExp(`another process works on this run \\(process ${process.pid} on .*\\); only one may`),
    );
    await first.release();
    const second = await lockRunDirectory(path);
    expect([first.generation, second.generation, second.isAlone]).toEqual([1, 2, true]);
    await second.release();
    expect(await readdir(join(path, "lock"))).toEqual(["000002.json"]);
  });

  test("of two processes that find a dead one's lock exactly one follows it, 200 times", async () => {
    const racers = [startHolder(), startHolder()];
    const dead = await deadHolder();
    const wins = [0, 0];
    for (let round = 0; round < 200; round += 1) {
      const directory = join(path, String(round));
      await leaveLock(directory, dead);
      const replies = await Promise.all(racers.map((racer) => ask(racer, { kind: "take", path: directory })));
      const took = replies.map(({ kind }) => kind === "took");
      expect(took.filter(Boolean)).toHaveLength(1);
      const refused = replies.find(({ kind }) => kind === "refused");
      expect(refused).toMatchObject({ message: expect.stringContaining("only one may") });
      wins[took.indexOf(true)] = (wins[took.indexOf(true)] ?? 0) + 1;
    }
    expect(wins[0]).toBeGreaterThan(0);
    expect(wins[1]).toBeGreaterThan(0);
  }, 60_000);

  test("a holder elsewhere that touches its file is left alone, whatever its clock says", async () => {
    await leaveLock(path, ELSEWHERE);
    const file = join(path, "lock", "000001.json");
    let beats = 0;
    const told: string[] = [];
    const beat = (message: string): void => {
      told.push(message);
      beats += 1;
      void utimes(file, beats, beats);
    };
    const taking = lockRunDirectory(path, { limits: QUICK, onWatching: beat });
    await expect(taking).rejects.toThrow(/another process works on this run \(process 1 on elsewhere\)/);
    expect(told).toEqual([
      `${path}: process 1 on elsewhere held this run; watching for 0.4 s whether it still does`,
    ]);
  });

  test("a holder elsewhere that is silent for its lease is followed, and may still write", async () => {
    await leaveLock(path, ELSEWHERE);
    const lock = await lockRunDirectory(path, { limits: QUICK });
    expect(lock).toMatchObject({ generation: 2, isAlone: false });
    await lock.release();
  });

  test("nor is whoever follows that one alone, until somebody made the rows its own", async () => {
    await leaveLock(path, ELSEWHERE);
    await (await lockRunDirectory(path, { limits: QUICK })).release();
    const third = await lockRunDirectory(path, { limits: QUICK });
    expect(third).toMatchObject({ generation: 3, isAlone: false });
    await third.madeOwn();
    await third.release();
    const fourth = await lockRunDirectory(path, { limits: QUICK });
    expect(fourth).toMatchObject({ generation: 4, isAlone: true });
    await fourth.release();
  });

  test("a lock that was cut short by a crash is followed after its lease", async () => {
    await leaveLock(path, ELSEWHERE);
    await writeFile(join(path, "lock", "000001.json"), "");
    const lock = await lockRunDirectory(path, { limits: QUICK });
    expect(lock.generation).toBe(2);
    await lock.release();
  });

  test("a process of this machine that is stopped is not followed: who it is and how to end it is said", async () => {
    const child = startHolder();
    expect(await ask(child, { kind: "take", path })).toMatchObject({ kind: "took" });
    child.kill("SIGSTOP");
    await expect.poll(() => stateOf(child)).toBe("T");
    await expect(lockRunDirectory(path, { limits: QUICK })).rejects.toThrow(
      `which is stopped: kill -9 ${child.pid} ends it`,
    );
    child.kill("SIGKILL");
    await once(child, "exit");
    expect(await lockRunDirectory(path)).toMatchObject({ generation: 2, isAlone: true });
  });
});

describe("the fence", () => {
  test("a holder that was stopped, followed and wakes writes nothing that counts, and says who took over", async () => {
    const header = { problems: 1, problemsSha256: "", arms: [], seed: 1, deterministic: false };
    const created = await Journal.create(join(path, "journal"), {
      kind: "sweep",
      format: JOURNAL_FORMAT,
      ...header,
    });
    await created.close();
    const child = startHolder();
    // No beat of its own comes before its write: the journal alone must hold it back.
    expect(await ask(child, { kind: "hold", path, beatMs: 60_000 })).toMatchObject({ kind: "took" });
    expect(await ask(child, { kind: "write", ask: "0/0" })).toMatchObject({ kind: "wrote" });
    child.kill("SIGSTOP");

    const lock = await lockRunDirectory(path, { limits: QUICK });
    const seen: string[] = [];
    const { journal } = await Journal.reopen(
      join(path, "journal"),
      (entry) => seen.push("ask" in entry ? entry.ask : entry.kind),
      { generation: lock.generation },
    );
    const rows = await Rows.open(path, { rolloutsEnd: 0, resultsEnd: 0 }, { isFenced: !lock.isAlone });
    const ends = await rows.append([{ ask: "0/1" }], { ask: "0/1" });

    const late = ask(child, { kind: "write", ask: "0/2" });
    child.kill("SIGCONT");
    expect(await late).toMatchObject({
      kind: "refused",
      message: expect.stringMatching(
        /another process took this run over .* nothing that this one writes counts/,
      ),
    });
    expect(await rows.append([{ ask: "0/3" }], { ask: "0/3" })).toEqual({
      rolloutsEnd: ends.rolloutsEnd * 2,
      resultsEnd: ends.resultsEnd * 2,
    });
    await Promise.all([journal.close(), rows.close(), lock.release()]);

    expect(seen).toEqual(["0/0"]);
    const again: string[] = [];
    const reopened = await Journal.reopen(join(path, "journal"), (entry) =>
      again.push("ask" in entry ? entry.ask : entry.kind),
    );
    await reopened.journal.close();
    expect(again).toEqual(["0/0", "fence"]);
    expect(await readFile(join(path, "rollouts.jsonl"), "utf8")).toBe('{"ask":"0/1"}\n{"ask":"0/3"}\n');
  });

  test("a holder that was followed learns of it at its next beat, and who followed", async () => {
    const lost = Promise.withResolvers<string>();
    await lockRunDirectory(path, {
      holder: ELSEWHERE,
      limits: { beatMs: 1_000 },
      onLost: (error) => lost.resolve(error.message),
    });
    const next = await lockRunDirectory(path, { limits: QUICK });
    expect(await lost.promise).toContain(`process ${process.pid} on `);
    expect(await lost.promise).toContain("took this run over while this process did not move");
    await next.release();
  });
});

async function stateOf({ pid }: ChildProcess): Promise<string> {
  const line = await readFile(`/proc/${pid}/stat`, "utf8");
  return line.slice(line.lastIndexOf(")") + 2).split(" ")[0] ?? "";
}
