/** What the journal says, read as it becomes durable: the checks know nothing but what is on disk. */
import { type Ceilings, eachUnit, UNITS } from "../../services/coordinator/amount.ts";
import type { JournalEntry, JournalHeader } from "../../services/coordinator/journal-entry.ts";
import type { Sweep } from "../../services/coordinator/sweep.ts";
import { Violation } from "./violation.ts";

export class DurableJournal {
  /** Of each ask the kinds of its entries, in order. */
  readonly #asks = new Map<string, string[]>();
  readonly #settled = new Set<string>();
  /** By holder. */
  readonly #charged = new Map<string, Record<keyof Ceilings, number>>();
  readonly #sweep: Sweep;
  #rest = "";

  constructor(sweep: Sweep) {
    this.#sweep = sweep;
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
    const isCopy = entry.kind === "spent" && entry.isHedge === true;
    const key = keyOf(entry.task, entry.ask);
    const kinds = this.#asks.get(key) ?? [];
    if (!isCopy) this.#asks.set(key, [...kinds, entry.kind]);
    if (!isCopy && kinds.length > 0)
      throw new Violation("an ask is settled once (I1)", `${key}: ${[...kinds, entry.kind].join(", ")}`);
    const { budget, arms } = this.#sweep;
    const arm = arms.find(({ id }) => entry.task.startsWith(`${id}/`));
    this.#charge("the sweep", entry.charge, budget);
    this.#charge(`task ${entry.task}`, entry.charge, budget.perTask);
    if (arm === undefined) throw new Violation("an entry is of a task of the sweep", entry.task);
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
}

function keyOf(task: string, ask: string): string {
  return `${task} ${ask}`;
}
