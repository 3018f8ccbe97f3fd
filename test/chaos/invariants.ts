/** What must hold of a run directory whatever was done to the cluster: read from its files, not from the code that wrote them. */
import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { crc32 } from "node:zlib";
import { rowsOf } from "../support/in-process.ts";

/** Ceilings of the sweep, by the journal's names of what it charges. */
export type Ceilings = Readonly<Record<string, number>>;

export interface Expected {
  /** Of the undisturbed run. */
  readonly rows: Awaited<ReturnType<typeof rowsOf>>;
  readonly budget: Ceilings;
}

interface Entry {
  readonly kind: string;
  readonly task?: string;
  readonly ask?: string;
  readonly charge?: Readonly<Record<string, number>>;
}

/** Each as a sentence; none when all is well. */
export async function violations(output: string, { rows, budget }: Expected): Promise<readonly string[]> {
  const found = await rowsOf(output);
  const entries = await readJournal(output);
  return [
    ...difference("rollouts.jsonl", rows.rollouts, found.rollouts),
    ...difference("results.jsonl", rows.results, found.results),
    ...repeated(
      "task with two result rows",
      found.results.map((row) => String(JSON.parse(row).task)),
    ),
    ...repeated(
      "task that the journal settles twice",
      entries.filter(({ kind }) => kind === "settled").map(({ task }) => task ?? ""),
    ),
    ...repeated(
      "ask that the journal answers twice (I1)",
      entries.filter(({ ask }) => ask !== undefined).map(({ task, ask }) => `${task} ${ask}`),
    ),
    ...overspending(entries, budget),
  ];
}

/** Everything that the run was charged, by the journal's names. */
export async function chargesOf(output: string): Promise<Ceilings> {
  const sums: Record<string, number> = {};
  for (const { charge = {} } of await readJournal(output)) {
    for (const [unit, amount] of Object.entries(charge)) sums[unit] = (sums[unit] ?? 0) + amount;
  }
  return sums;
}

/** In the order in which they were written. @throws An error that names the damaged line. */
async function readJournal(output: string): Promise<readonly Entry[]> {
  const directory = join(output, "journal");
  const files = (await readdir(directory)).toSorted();
  const texts = await Promise.all(files.map((file) => readFile(join(directory, file), "utf8")));
  return texts.flatMap((text, n) =>
    text
      .split("\n")
      .slice(0, -1)
      .map((line, index) => {
        const json = line.slice(9);
        if (Number.parseInt(line.slice(0, 8), 16) !== crc32(json))
          throw new Error(`${files[n]}:${index + 1}: damaged line ${line.slice(0, 80)}`);
        // What the CRC vouches for; only these fields are looked at.
        return JSON.parse(json) as Entry;
      }),
  );
}

function difference(file: string, want: readonly string[], have: readonly string[]): readonly string[] {
  const [wanted, given] = [new Set(want), new Set(have)];
  const missing = want.filter((row) => !given.has(row));
  const surplus = have.filter((row) => !wanted.has(row));
  if (missing.length === 0 && surplus.length === 0 && want.length === have.length) return [];
  const counts = `${missing.length} rows missing, ${surplus.length} not expected, ${have.length} for ${want.length}`;
  return [`${file}: ${counts}; missing: ${missing[0] ?? "-"}; not expected: ${surplus[0] ?? "-"}`];
}

function repeated(what: string, keys: readonly string[]): readonly string[] {
  const seen = new Set<string>();
  const twice = keys.filter((key) => seen.size === seen.add(key).size);
  return twice.length === 0 ? [] : [`${what}: ${twice.slice(0, 5).join(", ")}`];
}

/** Charges only grow, so the last sums are the largest. */
function overspending(entries: readonly Entry[], budget: Ceilings): readonly string[] {
  return Object.entries(budget).flatMap(([unit, ceiling]) => {
    const charged = entries.reduce((sum, { charge }) => sum + (charge?.[unit] ?? 0), 0);
    return charged <= ceiling ? [] : [`${charged} ${unit} charged, more than the budget of ${ceiling} (I3)`];
  });
}
