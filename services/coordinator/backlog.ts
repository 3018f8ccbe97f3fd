/** The asks of a task that are not settled, and the lines in which those wait that are in no job yet. */
import type { Ask } from "../search/program.ts";
import type { Effort } from "./effort.ts";
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
  /** Held while it is with a host, or its answer on the way to disk; one that waits would keep the budget from those that could go. */
  reservation: Reservation | null;
  /** Hosts at which it failed for good (`RETRY_RULES`). */
  failedAt?: readonly string[];
  /** Workers that were not heard of any more while it was in their lane. */
  workersLost?: number;
  /** While its entry is on its way to disk: what a second report of it waits for. */
  accepting: Promise<void> | null;
  /** What it used beside its last attempt's tokens. */
  effort: Effort;
  /** Whether it is the second copy of an ask (`Hedges`): what it cost is accounted, what it says is nobody's answer. */
  readonly isHedge: boolean;
}

/**
 * Asks that wait: those on the deepest paths first, so that a tree finishes what it has begun while its prefixes are hot; of
 * one depth first come, first served. A withdrawn one is forgotten where it stands.
 */
export class Backlog {
  readonly #lines = new Map<number, Line>();
  readonly #members = new Set<OpenAsk>();
  #deepest = -1;

  get size(): number {
    return this.#members.size;
  }

  push(open: OpenAsk): void {
    const { depth } = open.ask.prefix;
    let line = this.#lines.get(depth);
    if (line === undefined) this.#lines.set(depth, (line = { asks: [], head: 0 }));
    line.asks.push(open);
    this.#members.add(open);
    this.#deepest = Math.max(this.#deepest, depth);
  }

  forget(open: OpenAsk): void {
    this.#members.delete(open);
  }

  head(): OpenAsk | null {
    for (; this.#deepest >= 0; this.#deepest -= 1) {
      const open = this.#headAt(this.#deepest);
      if (open !== null) return open;
      this.#lines.delete(this.#deepest);
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
      this.#pass();
    }
    return taken;
  }

  #headAt(depth: number): OpenAsk | null {
    const line = this.#lines.get(depth);
    if (line === undefined) return null;
    for (; line.head < line.asks.length; line.head += 1) {
      const open = line.asks[line.head];
      if (open !== undefined && this.#members.has(open)) return open;
    }
    return null;
  }

  /** The head was taken. */
  #pass(): void {
    const line = this.#lines.get(this.#deepest);
    if (line === undefined) return;
    line.head += 1;
    if (line.head < 1024) return;
    line.asks = line.asks.slice(line.head);
    line.head = 0;
  }
}

/** Asks of one depth, from the first that was not taken. */
interface Line {
  asks: OpenAsk[];
  head: number;
}

/** Rollouts are siblings when they continue one prefix; verifications go together whatever they judge. */
function isSamePlace(a: Ask, b: Ask): boolean {
  return a.kind !== "sample" || a.prefix === b.prefix;
}

function groupOf({ ask }: OpenAsk): string {
  if (ask.kind === "verify") return `verify ${ask.role} ${ask.tool}`;
  return `sample ${JSON.stringify(ask.options)}`;
}
