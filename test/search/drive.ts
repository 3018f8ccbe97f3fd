/** Answers the asks of a search, in some order, and writes down what happened. */
import type { ProblemFacts } from "../../services/search/strategy.ts";
import type { Random } from "../../services/runtime/random.ts";
import type { Answer, Ask, AskId, Candidate, Loss, Outcome } from "../../services/search/program.ts";
import type { Search, Step } from "../../services/search/search.ts";
import { textOf } from "../../services/search/search.ts";

/** One settled ask, as a journal keeps it. */
export interface Entry {
  readonly ask: AskId;
  readonly answer: Answer | null;
  readonly loss: Loss | null;
}

export interface Trace {
  readonly asks: readonly Ask[];
  readonly withdrawn: readonly AskId[];
  readonly told: readonly AskId[];
  readonly journal: readonly Entry[];
}

export interface DriveOptions {
  readonly answer: (ask: Ask) => Answer;
  /** Why an ask has no answer; null where it has. `settled` entries came before. */
  readonly lose?: (ask: Ask, settled: number) => Loss | null;
  /** Draws which open ask is answered next; the oldest without it. */
  readonly random?: Random;
  /** Leaves off after so many answers. */
  readonly answersMax?: number;
  /** Called after each answer was taken, with its entry. */
  readonly onTold?: (entry: Entry, step: Step) => void;
}

/** A problem for strategies that are driven by hand. */
export const PROBLEM: ProblemFacts = { id: "p", prompt: "problem", metadata: { inputs: ["1", "2"] } };

const ASKS_MAX = 200_000;

/** Starts a search and answers it until it ends. Throws when it breaks a rule that holds for every search. */
export function drive(search: Search, options: DriveOptions): Trace {
  const asks: Ask[] = [];
  const withdrawn: AskId[] = [];
  const told: AskId[] = [];
  const journal: Entry[] = [];
  const open = new Map<AskId, Ask>();
  const seen = new Set<AskId>();

  const take = (step: Step): void => {
    for (const ask of step.asked) {
      if (seen.has(ask.id)) throw new Error(`ask ${ask.id} was asked twice`);
      seen.add(ask.id);
      asks.push(ask);
      open.set(ask.id, ask);
    }
    for (const id of step.withdrawn) {
      if (!open.delete(id)) throw new Error(`ask ${id} was withdrawn, but is not open`);
      withdrawn.push(id);
    }
    told.push(...step.told);
    if (search.openAsks !== open.size)
      throw new Error(`expected ${open.size} open asks, found ${search.openAsks}`);
    if (search.isEnded && open.size > 0) throw new Error(`the search ended with ${open.size} asks open`);
    if (!search.isEnded && open.size === 0) throw new Error("the search waits, but no ask is open");
    if (asks.length > ASKS_MAX) throw new Error(`the search asked more than ${ASKS_MAX} times`);
  };

  take(search.start());
  while (!search.isEnded && journal.length < (options.answersMax ?? Infinity)) {
    const waiting = [...open.values()];
    const ask = waiting[Math.floor((options.random?.next() ?? 0) * waiting.length)];
    if (ask === undefined) break;
    const loss = options.lose?.(ask, journal.length) ?? null;
    const entry: Entry = { ask: ask.id, answer: loss === null ? options.answer(ask) : null, loss };
    open.delete(ask.id);
    journal.push(entry);
    const step = settle(search, entry);
    take(step);
    options.onTold?.(entry, step);
  }
  return { asks, withdrawn, told, journal };
}

/** Tells one entry to a search. */
export function settle(search: Search, { ask, answer, loss }: Entry): Step {
  if (loss !== null) return search.fail(ask, loss);
  if (answer === null) throw new Error(`entry of ask ${ask} has neither an answer nor a loss`);
  return search.tell(ask, answer);
}

/** Tells a whole journal to a search that has not started. */
export function replay(search: Search, journal: readonly Entry[]): Trace {
  const steps = [search.start(), ...journal.map((entry) => settle(search, entry))];
  return {
    asks: steps.flatMap((step) => step.asked),
    withdrawn: steps.flatMap((step) => step.withdrawn),
    told: steps.flatMap((step) => step.told),
    journal,
  };
}

/** What the program was told of, in that sequence. */
export function describeTold({ asks, told }: Trace): readonly string[] {
  const byId = new Map(asks.map((ask) => [ask.id, ask]));
  return told.map((id) => {
    const ask = byId.get(id);
    return ask === undefined ? `never asked: ${id}` : describeAsk(ask);
  });
}

/** An ask without the identity of its prefix's tree. */
export function describeAsk(ask: Ask): string {
  const { prefix, ...rest } = ask;
  return JSON.stringify({ ...rest, text: textOf(prefix), depth: prefix.depth, parent: prefix.ask });
}

export function describeCandidate(candidate: Candidate | null): string {
  if (candidate === null) return "none";
  const { prefix, ...rest } = candidate;
  return JSON.stringify({ ...rest, text: textOf(prefix) });
}

export function describeOutcome(outcome: Outcome | null): string {
  if (outcome === null) return "none";
  return JSON.stringify({ ...outcome, candidate: describeCandidate(outcome.candidate) });
}
