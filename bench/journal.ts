/**
 * The journal against its bare parts, in one run: entries of 2 KB through `Journal.append` in groups (what bounded lanes
 * deliver at once), and the same entries encoded, written and synced by hand. Process kills are tested elsewhere; power loss is not.
 */
import { mkdtemp, open, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Journal } from "../services/coordinator/journal.ts";
import {
  JOURNAL_FORMAT,
  type JournalEntry,
  type JournalHeader,
} from "../services/coordinator/journal-entry.ts";

const ENTRIES = 20_000;
const ROUNDS = 3;
const header: JournalHeader = {
  kind: "sweep",
  format: JOURNAL_FORMAT,
  seed: 0,
  deterministic: false,
  problems: 1,
  problemsSha256: "",
  arms: [],
};

function entry(n: number): JournalEntry {
  return {
    kind: "answer",
    task: `best-of-n/p${n % 500}`,
    ask: `0/0.${n}`,
    result: {
      kind: "rollout",
      text: "x".repeat(1_800),
      finishReason: "stop",
      stopString: null,
      meanLogprob: null,
    },
    usage: { promptTokens: 100, cachedTokens: 90, completionTokens: 400 },
    charge: { rollouts: 1, completionTokens: 400, totalTokens: 500, verifierTokens: 0, usdMicros: 0 },
    host: "h1",
    attempt: 1,
    startedMs: 0,
    endedMs: 0,
  };
}

async function throughJournal(group: number): Promise<number> {
  const directory = await mkdtemp(join(tmpdir(), "bench-journal-"));
  const journal = await Journal.create(join(directory, "journal"), header);
  const startedMs = performance.now();
  for (let n = 0; n < ENTRIES; n += group) {
    await Promise.all(Array.from({ length: group }, (_, k) => journal.append(entry(n + k))));
  }
  const perSecond = ENTRIES / ((performance.now() - startedMs) / 1_000);
  await journal.close();
  await rm(directory, { recursive: true });
  return perSecond;
}

async function bare(group: number): Promise<number> {
  const directory = await mkdtemp(join(tmpdir(), "bench-bare-"));
  const file = await open(join(directory, "f"), "a");
  const startedMs = performance.now();
  for (let n = 0; n < ENTRIES; n += group) {
    await file.writev(
      Array.from({ length: group }, (_, k) => Buffer.from(`${JSON.stringify(entry(n + k))}\n`)),
    );
    await file.datasync();
  }
  const perSecond = ENTRIES / ((performance.now() - startedMs) / 1_000);
  await file.close();
  await rm(directory, { recursive: true });
  return perSecond;
}

const median = (values: readonly number[]): number =>
  values.toSorted((a, b) => a - b)[values.length >> 1] ?? 0;
console.log("group  journal/s  write+fdatasync/s  ratio (median of 3, interleaved)");
for (const group of [16, 64, 256]) {
  const ours: number[] = [];
  const theirs: number[] = [];
  for (let round = 0; round < ROUNDS; round += 1) {
    ours.push(await throughJournal(group));
    theirs.push(await bare(group));
  }
  const [a, b] = [median(ours), median(theirs)];
  console.log(
    `${String(group).padStart(5)} ${a.toFixed(0).padStart(10)} ${b.toFixed(0).padStart(18)}  ${(a / b).toFixed(2)}`,
  );
}
