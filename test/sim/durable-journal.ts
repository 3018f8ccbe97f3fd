/**
 * What the journal says, read as it becomes durable: the checks know nothing but what is on disk. A fence seals the files before it;
 * what stands behind the ends that it names, written by a holder that was taken for dead, does not count.
 */
import { type Ceilings, eachUnit, UNITS } from "../../services/coordinator/amount.ts";
import type { JournalEntry, JournalHeader } from "../../services/coordinator/journal-entry.ts";
import type { Sweep } from "../../services/coordinator/sweep.ts";
import { Violation } from "./violation.ts";

type Entry = JournalEntry | JournalHeader;

interface JournalFile {
  readonly entries: { readonly end: number; readonly entry: Entry }[];
  rest: string;
  end: number;
}

export class DurableJournal {
  readonly #sweep: Sweep;
  /** By path. */
  readonly #files = new Map<string, JournalFile>();
  /** Of each ask the kinds of its entries, in order. */
  readonly #asks = new Map<string, string[]>();
  readonly #settled = new Set<string>();
  /** By holder. */
  readonly #charged = new Map<string, Record<keyof Ceilings, number>>();
  readonly #acknowledged = new Set<string>();
  /** Files before this one are sealed, those too of which nothing is durable yet. */
  #sealedUntil = "";

  constructor(sweep: Sweep) {
    this.#sweep = sweep;
  }

  /** More of it is durable. The header was, at another path, before the run had its own. */
  add(path: string, bytes: Buffer, at: number): void {
    if (path < this.#sealedUntil) return;
    let file = this.#files.get(path);
    if (file === undefined) this.#files.set(path, (file = { entries: [], rest: "", end: at }));
    const lines = (file.rest + bytes.toString("utf8")).split("\n");
    file.rest = lines.pop() ?? "";
    for (const line of lines) {
      file.end += Buffer.byteLength(line) + 1;
      const entry = JSON.parse(line.slice(9)) as Entry; // Our own.
      file.entries.push({ end: file.end, entry });
      this.#visit(entry, path);
    }
  }

  /** I2: what was acknowledged is there, and stays there. */
  acknowledged(task: string, ask: string): void {
    const key = keyOf(task, ask);
    this.#acknowledged.add(key);
    this.#checkAcknowledged(key, task);
  }

  #checkAcknowledged(key: string, task: string): void {
    if (!this.#settled.has(task) && !this.#asks.has(key))
      throw new Violation("what is acknowledged is on disk (I2)", key);
  }

  #visit(entry: Entry, path: string): void {
    if (entry.kind === "fence") return this.#seal(entry.ends, path);
    if (entry.kind === "settled") {
      if (this.#settled.has(entry.task)) throw new Violation("a task settles once", entry.task);
      this.#settled.add(entry.task);
      return;
    }
    if (entry.kind !== "answer" && entry.kind !== "loss" && entry.kind !== "spent") return;
    const isCopy = entry.kind === "spent" && entry.isHedge === true;
    const key = keyOf(entry.task, entry.ask);
    const kinds = this.#asks.get(key) ?? [];
    if (!isCopy) this.#asks.set(key, [...kinds, entry.kind]);
    if (!isCopy && kinds.length > 0)
      throw new Violation("an ask is settled once (I1)", `${key}: ${[...kinds, entry.kind].join(", ")}`);
    const { budget, arms } = this.#sweep;
    const arm = arms.find(({ id }) => entry.task.startsWith(`${id}/`));
    if (arm === undefined) throw new Violation("an entry is of a task of the sweep", entry.task);
    this.#charge("the sweep", entry.charge, budget);
    this.#charge(`task ${entry.task}`, entry.charge, budget.perTask);
    this.#charge(`arm ${arm.id}`, entry.charge, arm.budget);
    this.#charge(`task ${entry.task} of its arm`, entry.charge, arm.budget.perTask);
  }

  #charge(holder: string, charge: Readonly<Record<keyof Ceilings, number>>, ceilings: Ceilings): void {
    const charged = this.#charged.get(holder) ?? eachUnit(() => 0);
    this.#charged.set(holder, charged);
    for (const unit of UNITS) {
      charged[unit] += charge[unit];
      const ceiling = ceilings[unit];
      if (ceiling !== null && charged[unit] > ceiling)
        throw new Violation(
          "charges never pass the budget (I3)",
          `${holder}: ${charged[unit]} ${unit} of ${ceiling}`,
        );
    }
  }

  /** Only so much of each file before this one counts; what counted until now is counted anew. */
  #seal(ends: readonly number[], path: string): void {
    const before = [...this.#files].filter(([each]) => each < path).toSorted(([a], [b]) => (a < b ? -1 : 1));
    this.#sealedUntil = path;
    let isLess = false;
    for (const [each, file] of before) {
      const end = ends[Number(each.slice(-"000001.jsonl".length, -".jsonl".length)) - 1] ?? 0;
      const counting = file.entries.filter((entry) => entry.end <= end);
      isLess ||= counting.length < file.entries.length;
      file.entries.splice(0, Infinity, ...counting);
    }
    if (!isLess) return;
    for (const counted of [this.#asks, this.#settled, this.#charged]) counted.clear();
    for (const [each, { entries }] of before)
      for (const { entry } of entries) if (entry.kind !== "fence") this.#visit(entry, each);
    for (const key of this.#acknowledged) this.#checkAcknowledged(key, key.slice(0, key.indexOf(" ")));
  }
}

function keyOf(task: string, ask: string): string {
  return `${task} ${ask}`;
}
