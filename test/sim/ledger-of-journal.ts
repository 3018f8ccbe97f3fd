/** What the journal says, read as it becomes durable: the checks know nothing but what is on disk. */
import type { JournalEntry, JournalHeader } from "../../services/coordinator/journal-entry.ts";
import { Violation } from "./violation.ts";

export class DurableJournal {
  /** Of each ask the kinds of its entries, in order. */
  readonly #asks = new Map<string, string[]>();
  readonly #settled = new Set<string>();
  readonly #charged = new Map<string, number>();
  readonly #ceilings: ReadonlyMap<string, number>;
  #rest = "";

  /** @param ceilings By the names that a charge gives its units. */
  constructor(ceilings: ReadonlyMap<string, number>) {
    this.#ceilings = ceilings;
  }

  /** The journal goes on from here: what a crash left of its last file was cut, and a line that was torn is gone. */
  forgetTornLine(): void {
    this.#rest = "";
  }

  /** More of it is durable. */
  add(bytes: Buffer): void {
    const lines = (this.#rest + bytes.toString("utf8")).split("\n");
    this.#rest = lines.pop() ?? "";
    for (const line of lines) this.#visit(JSON.parse(line.slice(9)) as JournalEntry | JournalHeader); // Our own.
  }

  hasEntry(task: string, ask: string): boolean {
    return this.#settled.has(task) || this.#asks.has(keyOf(task, ask));
  }

  get settled(): ReadonlySet<string> {
    return this.#settled;
  }

  #visit(entry: JournalEntry | JournalHeader): void {
    if (entry.kind === "settled") {
      if (this.#settled.has(entry.task)) throw new Violation("a task settles once", entry.task);
      this.#settled.add(entry.task);
      return;
    }
    if (entry.kind !== "answer" && entry.kind !== "loss" && entry.kind !== "spent") return;
    const key = keyOf(entry.task, entry.ask);
    const kinds = this.#asks.get(key) ?? [];
    kinds.push(entry.kind);
    this.#asks.set(key, kinds);
    if (kinds.length > 1) throw new Violation("an ask is settled once (I1)", `${key}: ${kinds.join(", ")}`);
    for (const [unit, amount] of Object.entries(entry.charge)) {
      const sum = (this.#charged.get(unit) ?? 0) + amount;
      this.#charged.set(unit, sum);
      const ceiling = this.#ceilings.get(unit);
      if (ceiling !== undefined && sum > ceiling)
        throw new Violation("charges never pass the budget (I3)", `${sum} ${unit} of ${ceiling}`);
    }
  }
}

function keyOf(task: string, ask: string): string {
  return `${task} ${ask}`;
}
