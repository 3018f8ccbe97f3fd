import { appendFile, mkdir, mkdtemp, readFile, readdir, rm, truncate, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { beforeEach, describe, expect, test } from "vitest";
import { AppendFile } from "../../services/coordinator/append-file.ts";
import { Journal } from "../../services/coordinator/journal.ts";
import {
  checkHeader,
  JOURNAL_FORMAT,
  type JournalEntry,
  type JournalHeader,
} from "../../services/coordinator/journal-entry.ts";
import { NOTHING } from "../../services/coordinator/amount.ts";

const header: JournalHeader = {
  kind: "sweep",
  format: JOURNAL_FORMAT,
  seed: 7,
  deterministic: false,
  problems: 2,
  problemsSha256: "ab",
  arms: [{ id: "a", strategy: "best-of-n", version: 1, parameters: { n: 4 } }],
};

const FREE = {
  usage: { promptTokens: 0, cachedTokens: 0, completionTokens: 0 },
  charge: NOTHING,
};

function loss(n: number): JournalEntry {
  return {
    kind: "loss",
    task: `a/p${n}`,
    ask: "0/0",
    loss: { reason: "lost", message: `Zeile ${n} \u00e4\n` },
    ...FREE,
  };
}

let directory: string;
let path: string;
beforeEach(async () => {
  directory = join(await mkdtemp(join(tmpdir(), "journal-")), "journal");
  path = join(directory, "000001.jsonl");
});

async function readAll(): Promise<{ entries: JournalEntry[]; tornBytes: number }> {
  const entries: JournalEntry[] = [];
  const { journal, tornBytes } = await Journal.reopen(directory, (entry) => {
    if (entry.kind !== "fence") entries.push(entry);
  });
  await journal.close();
  return { entries, tornBytes };
}

async function writeThree(): Promise<void> {
  const journal = await Journal.create(directory, header);
  await Promise.all([journal.append(loss(1)), journal.append(loss(2)), journal.append(loss(3))]);
  await journal.close();
}

describe("journal", () => {
  test("entries come back in the order in which they were appended", async () => {
    await writeThree();
    expect(await readAll()).toEqual({ entries: [loss(1), loss(2), loss(3)], tornBytes: 0 });
  });

  test("an entry is on disk once its append resolves", async () => {
    const journal = await Journal.create(directory, header);
    await journal.append(loss(1));
    expect(await readFile(path, "utf8")).toContain('"task":"a/p1"');
    await journal.close();
  });

  test("a line torn at any byte is cut and what stands before it is kept", async () => {
    await writeThree();
    const whole = await readFile(path);
    const lastLine = whole.lastIndexOf(10, whole.length - 2) + 1;
    for (let end = lastLine; end < whole.length; end += 7) {
      await rm(directory, { recursive: true });
      await mkdir(directory);
      await writeFile(path, whole.subarray(0, end));
      const { entries, tornBytes } = await readAll();
      expect(entries).toEqual([loss(1), loss(2)]);
      expect(tornBytes).toBe(end - lastLine);
    }
  });

  test("what is appended after a torn line was cut is read back", async () => {
    await writeThree();
    await appendFile(path, 'deadbeef {"kind":');
    const { journal } = await Journal.reopen(directory, () => undefined);
    await journal.append(loss(4));
    await journal.close();
    expect((await readAll()).entries).toEqual([loss(1), loss(2), loss(3), loss(4)]);
  });

  test("a damaged line with entries behind it is data loss and names file and byte", async () => {
    await writeThree();
    const text = await readFile(path, "utf8");
    await writeFile(path, text.replace("a/p2", "a/pX"));
    await expect(readAll()).rejects.toThrow(
      /000001\.jsonl: expected a journal entry at byte \d+, found a damaged line/,
    );
    await expect(readAll()).rejects.toMatchObject({ code: "data_loss" });
  });

  test("a missing journal, an empty one and one with a gap are told apart", async () => {
    await expect(readAll()).rejects.toMatchObject({ code: "not_found" });
    await writeThree();
    await writeFile(join(directory, "000003.jsonl"), "");
    await expect(readAll()).rejects.toThrow(/expected 000002\.jsonl, found 000003\.jsonl/);
    await truncate(path, 0);
    await writeFile(join(directory, "000002.jsonl"), "");
    await expect(readAll()).rejects.toThrow(/expected the journal's header/);
  });

  test("a large journal goes on in a new file, in order", async () => {
    const journal = await Journal.create(directory, header);
    const text = "x".repeat(8 * 1024 * 1024);
    for (let n = 0; n < 10; n += 1) {
      await journal.append({
        kind: "loss",
        task: `t${n}`,
        ask: "0/0",
        loss: { reason: "lost", message: text },
        ...FREE,
      });
    }
    await journal.close();
    expect((await readdir(directory)).length).toBe(2);
    expect((await readAll()).entries.map((entry) => ("task" in entry ? entry.task : ""))).toEqual(
      Array.from({ length: 10 }, (_, n) => `t${n}`),
    );
  });

  test("what a holder acknowledged is read by the one that follows, and nothing that it writes later is", async () => {
    await (await Journal.create(directory, header)).close();
    for (let round = 0; round < 6; round += 1) {
      const before = (await readAll()).entries.length;
      const { journal: old } = await Journal.reopen(directory, () => undefined);
      const acknowledged: string[] = [];
      const fenced = Promise.withResolvers<unknown>();
      const write = async (n: number): Promise<void> => {
        await old.append(loss(n));
        acknowledged.push(`a/p${n}`);
        if (n === round) follow();
        return write(n + 1);
      };
      let follow: () => void = () => undefined;
      const followed = new Promise<void>((resolve) => (follow = resolve));
      write(0).catch(fenced.resolve);
      await followed;
      const read: JournalEntry[] = [];
      const { journal } = await Journal.reopen(directory, (entry) => read.push(entry));
      expect(await fenced.promise).toMatchObject({ code: "aborted" });
      await expect(old.append(loss(99))).rejects.toThrow(/another process took this run over/);
      await journal.append(loss(7));
      await Promise.all([journal.close(), old.close()]);
      const losses = read.filter(({ kind }) => kind === "loss").slice(before);
      const tasks = losses.map((entry) => ("task" in entry ? entry.task : ""));
      expect(tasks.slice(0, acknowledged.length)).toEqual(acknowledged);
      expect((await readAll()).entries).toHaveLength(before + losses.length + 1);
    }
  });

  test("a file that its writer began and never wrote to is passed over, and cannot be written to later", async () => {
    await writeThree();
    // A coordinator died, or sleeps, between making its file and writing to it.
    await writeFile(join(directory, "000002.jsonl"), "");
    expect((await readAll()).entries).toEqual([loss(1), loss(2), loss(3)]);
    await appendFile(join(directory, "000002.jsonl"), await readFile(path));
    expect((await readAll()).entries).toEqual([loss(1), loss(2), loss(3)]);
  });

  test("a file that lost entries which a later one counts is data loss", async () => {
    await writeThree();
    await readAll();
    const whole = await readFile(path);
    await writeFile(path, whole.subarray(0, whole.lastIndexOf(10, whole.length - 2) + 1));
    await expect(readAll()).rejects.toThrow(/000001\.jsonl: expected \d+ bytes of entries .*, found \d+/);
  });

  test("a journal of another strategy version, seed or set of problems is refused, naming each difference", () => {
    const arm = { id: "a", strategy: "best-of-n", version: 2, parameters: { n: 4 } };
    expect(() => checkHeader(header, { ...header, seed: 8, arms: [arm] }, "runs/x")).toThrow(
      /runs\/x: cannot go on with this run:\n {2}seed: .* 7, the journal says 8\n {2}a: version of strategy best-of-n: .* 1, .* 2/,
    );
    expect(() => checkHeader(header, header, "runs/x")).not.toThrow();
  });
});

describe("append file", () => {
  test("appends resolve in order with their end offsets, across many groups", async () => {
    const file = await AppendFile.open(join(await mkdtemp(join(tmpdir(), "append-")), "f"));
    const ends: number[] = [];
    await Promise.all(
      Array.from({ length: 500 }, (_, n) => file.append(`${n}\n`).then((end) => ends.push(end))),
    );
    expect(ends).toEqual(ends.toSorted((a, b) => a - b));
    expect(ends.length).toBe(500);
    await file.close();
    await expect(file.append("late")).rejects.toMatchObject({ code: "failed_precondition" });
  });

  test("a file that is shorter than the journal says is data loss", async () => {
    const short = join(await mkdtemp(join(tmpdir(), "append-")), "f");
    await writeFile(short, "abc");
    await expect(AppendFile.open(short, { truncateTo: 9 })).rejects.toThrow(
      /expected at least 9 bytes .* found 3/,
    );
  });

  test("after a write that failed everything rejects and nothing more is written", async () => {
    const file = await AppendFile.open("/dev/full");
    const appends = await Promise.allSettled([file.append("a"), file.append("b")]);
    expect(appends.map((result) => result.status)).toEqual(["rejected", "rejected"]);
    await expect(file.append("c")).rejects.toMatchObject({ code: "data_loss" });
    await file.close();
  });
});
