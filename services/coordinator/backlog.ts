/** The asks of a task that are not settled, and the lines in which those wait that are in no job yet. */
import type { Ask } from "../search/program.ts";
import type { Reservation } from "./ledger.ts";
import type { Route } from "./routes.ts";

/** An ask that is not settled. */
export interface OpenAsk {
  readonly ask: Ask;
  /** Position among the asks of the task: rows stand in this order. */
  readonly issued: number;
  /** Where it goes. */
  readonly route: Route;
  /** Nobody wants the answer; it stays until the worker says that it stopped. */
  isWithdrawn: boolean;
  /** The job that carries it; null while it waits for room or budget. */
  job: string | null;
  /** How often it was put into a job: part of the job's id. */
  dispatches: number;
  reservation: Reservation | null;
  /** While its entry is on its way to disk: what a second report of it waits for. */
  accepting: Promise<void> | null;
}

/** Asks that wait, first come first served; a withdrawn one is forgotten where it stands. */
export class Backlog {
  #line: OpenAsk[] = [];
  #head = 0;
  readonly #members = new Set<OpenAsk>();

  get size(): number {
    return this.#members.size;
  }

  push(open: OpenAsk): void {
    this.#members.add(open);
    this.#line.push(open);
  }

  forget(open: OpenAsk): void {
    this.#members.delete(open);
  }

  head(): OpenAsk | null {
    for (; this.#head < this.#line.length; this.#head += 1) {
      const open = this.#line[this.#head];
      if (open !== undefined && this.#members.has(open)) return open;
    }
    return null;
  }

  takeSiblings(max: number): readonly OpenAsk[] {
    const taken: OpenAsk[] = [];
    let group: string | null = null;
    let first: OpenAsk | null = null;
    while (taken.length < max) {
      const next = this.head();
      if (next === null) break;
      if (first !== null && !(isSamePlace(first.ask, next.ask) && groupOf(next) === group)) break;
      first ??= next;
      group ??= groupOf(next);
      taken.push(next);
      this.#members.delete(next);
      this.#head += 1;
    }
    this.#compact();
    return taken;
  }

  #compact(): void {
    if (this.#head < 1024 && this.#head < this.#line.length) return;
    this.#line = this.#line.slice(this.#head);
    this.#head = 0;
  }
}

/** Rollouts are siblings when they continue one prefix; verifications go together whatever they judge. */
function isSamePlace(a: Ask, b: Ask): boolean {
  return a.kind !== "sample" || a.prefix === b.prefix;
}

/** One that was dispatched before holds its reservation already; the others still need one. */
function groupOf({ ask, reservation }: OpenAsk): string {
  if (ask.kind === "verify") return `verify ${ask.role} ${ask.tool}`;
  return `sample ${reservation === null ? "new" : "again"} ${JSON.stringify(ask.options)}`;
}
