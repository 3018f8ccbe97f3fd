/**
 * Runs a program as a synchronous ask/tell state machine: `start`, `tell` and `fail` return what is asked and
 * what is withdrawn. It owns its strands and their asks; it calls the program and nothing else.
 *
 * 1. An ask is settled at most once: unknown, late, double and withdrawn ids change nothing (I1).
 * 2. The same answers in the same order give the same asks with the same ids (I4); with `inOrder`, the order
 *    in which answers arrive does not matter at all.
 * 3. A strand that ends or is cancelled leaves no strand below it running and no ask of theirs open.
 * 4. Work per ask is constant: no scan over siblings, no recursion. Replaying n answers is O(n).
 */
import { writtenPrefix } from "./prefix.ts";
import { LostError } from "./program.ts";
import type { Answer, Ask, AskId, Candidate, Effect, Loss, Outcome, Prefix, Program } from "./program.ts";
import { Join, Strand } from "./strand.ts";
import type { Pending, Resume } from "./strand.ts";

/** What one call changed. */
export interface Step {
  /** To be answered; siblings asked together stand together. */
  readonly asked: readonly Ask[];
  /** Asked by an earlier step, not answered, and no longer wanted. */
  readonly withdrawn: readonly AskId[];
  /**
   * Asks whose answer or loss the program was told in this step: the one just given, or with `inOrder` those
   * that it was due for. An answer that is never told has no part in the search; with `inOrder` which ones
   * are told, and in which sequence, does not depend on arrival, so rows are made of these (I4).
   */
  readonly told: readonly AskId[];
  /** True in the one step in which the search ended. */
  readonly ended: boolean;
}

export interface SearchOptions {
  /** Tell answers to the program in the order of their asks (`deterministic: true`); default false. */
  readonly inOrder?: boolean;
  /** A number in [0, 1) for a name within the search, the same whenever it is asked (I4). Default: programs may not draw. */
  readonly draw?: (name: string) => number;
}

/** How a search ended. `error` is a bug of the strategy, not an operating error. */
export type SearchEnd<T> =
  | { readonly kind: "outcome"; readonly outcome: T }
  | { readonly kind: "lost"; readonly loss: Loss }
  | { readonly kind: "cancelled" }
  | { readonly kind: "error"; readonly error: Error };

const NOTHING: Step = { asked: [], withdrawn: [], told: [], ended: false };

export { rootPrefix, textOf } from "./prefix.ts";

function noDraw(name: string): never {
  throw new Error(`Search: expected a source of chance for draw ${name}, found none`);
}

/** One search: the state of one running program. */
export class Search<T = Outcome> {
  readonly #root: Strand;
  readonly #isInOrder: boolean;
  /** Asks that the program waits for, answered or not. */
  readonly #open = new Map<AskId, Pending>();
  /** With `inOrder`: every ask, in the order of asking, from the first that is not told. */
  readonly #order: Pending[] = [];
  #orderHead = 0;
  /** Answered, but not told yet because an earlier ask is open (`inOrder`). */
  #buffered = 0;
  readonly #samples = new Map<Prefix, number>();
  /** Prompts that the program wrote, by their text. */
  readonly #written = new Map<string, Prefix>();
  readonly #draw: (name: string) => number;
  readonly #candidates: Candidate[] = [];
  #best: Candidate | null = null;
  #end: SearchEnd<T> | null = null;
  #step = 0;
  #ready: Resume[] = [];
  #asked: Ask[] = [];
  #withdrawn: AskId[] = [];
  #told: AskId[] = [];
  /** Something was asked and withdrawn within this step, so nobody needs to hear of it. */
  #hasUnasked = false;

  /** @param program Called once, at once; runs no line of it before `start`. */
  constructor(program: () => Program<T>, { inOrder = false, draw = noDraw }: SearchOptions = {}) {
    this.#root = new Strand("0", program(), null);
    this.#isInOrder = inOrder;
    this.#draw = draw;
  }

  /** How it ended; null while it runs. */
  get end(): SearchEnd<T> | null {
    return this.#end;
  }

  get isEnded(): boolean {
    return this.#end !== null;
  }

  /** What the program returned; null while it runs and where it ended otherwise. */
  get outcome(): T | null {
    return this.#end?.kind === "outcome" ? this.#end.outcome : null;
  }

  /** The loss that ended it, else null. */
  get loss(): Loss | null {
    return this.#end?.kind === "lost" ? this.#end.loss : null;
  }

  /** What the program threw, were it a bug of the strategy; else null. */
  get error(): Error | null {
    return this.#end?.kind === "error" ? this.#end.error : null;
  }

  /** The best candidate considered so far: correct first, then the highest score, then the lowest index. */
  get best(): Candidate | null {
    return this.#best;
  }

  /** Every candidate considered so far, in that order. */
  get candidates(): readonly Candidate[] {
    return this.#candidates;
  }

  /** Asks that have no answer yet. */
  get openAsks(): number {
    return this.#open.size - this.#buffered;
  }

  /** Runs the program to its first asks. Called once, before all else. */
  start(): Step {
    if (this.#step !== 0) throw new Error("Search.start: expected to be called once, found a second call");
    this.#ready.push({ strand: this.#root, value: undefined, loss: null });
    return this.#run(() => this.#settle());
  }

  /** Answers an ask. An id that is not open changes nothing (I1); an answer of the wrong kind throws. */
  tell(id: AskId, answer: Answer): Step {
    const pending = this.#receivable(id);
    if (pending === null) return NOTHING;
    const expected = pending.ask.kind === "sample" ? "rollout" : "verdict";
    if (answer.kind !== expected) {
      throw new TypeError(
        `Search.tell: expected a ${expected} for ${pending.ask.kind} ask ${id}, found a ${answer.kind}`,
      );
    }
    pending.arrived = answer;
    return this.#receive(pending);
  }

  /** Says that an ask will have no answer. An id that is not open changes nothing (I1). */
  fail(id: AskId, loss: Loss): Step {
    const pending = this.#receivable(id);
    if (pending === null) return NOTHING;
    pending.arrived = { kind: "loss", loss };
    return this.#receive(pending);
  }

  /** Withdraws everything and ends; a search that has ended stays as it is. `best` remains. */
  cancel(): Step {
    if (this.#end !== null) return NOTHING;
    return this.#run(() => this.#finish({ kind: "cancelled" }));
  }

  #receivable(id: AskId): Pending | null {
    if (this.#step === 0) throw new Error(`Search: expected start() before the answer to ask ${id}`);
    const pending = this.#open.get(id);
    return pending === undefined || pending.arrived !== null ? null : pending;
  }

  #receive(pending: Pending): Step {
    if (!this.#isInOrder) return this.#run(() => this.#deliver(pending));
    this.#buffered++;
    return this.#run(() => this.#deliverInOrder());
  }

  #deliverInOrder(): void {
    for (let head = this.#order[this.#orderHead]; head !== undefined; head = this.#order[this.#orderHead]) {
      if (!head.isWithdrawn) {
        if (head.arrived === null) break;
        this.#buffered--;
        this.#deliver(head);
      }
      this.#orderHead++;
    }
    // Amortised: what is cut off was passed once each.
    if (this.#orderHead * 2 > this.#order.length) {
      this.#order.splice(0, this.#orderHead);
      this.#orderHead = 0;
    }
  }

  /** Tells one arrived answer to its join, then runs whatever can run. */
  #deliver(pending: Pending): void {
    this.#open.delete(pending.ask.id);
    this.#told.push(pending.ask.id);
    const resume = pending.join.settle(pending);
    if (resume === null) return;
    this.#ready.push(resume);
    this.#settle();
  }

  #run(change: () => void): Step {
    this.#step++;
    const wasEnded = this.#end !== null;
    change();
    const asked = this.#hasUnasked ? this.#asked.filter((ask) => this.#open.has(ask.id)) : this.#asked;
    const step: Step = {
      asked,
      withdrawn: this.#withdrawn,
      told: this.#told,
      ended: !wasEnded && this.#end !== null,
    };
    this.#asked = [];
    this.#withdrawn = [];
    this.#told = [];
    this.#hasUnasked = false;
    return step;
  }

  /** Advances strands in the order in which they became ready until all of them wait. */
  #settle(): void {
    for (let i = 0; i < this.#ready.length && this.#end === null; i++) {
      // In range by the loop's condition.
      const resume = this.#ready[i] as Resume;
      if (!resume.strand.isOver) this.#advance(resume);
    }
    this.#ready.length = 0;
  }

  #advance(first: Resume): void {
    const { strand } = first;
    for (let resume: Resume | null = first; resume !== null;) {
      let turn: IteratorResult<Effect, unknown>;
      try {
        turn =
          resume.loss === null
            ? strand.program.next(resume.value)
            : strand.program.throw(new LostError(resume.loss));
        if (turn.done !== true) {
          resume = this.#perform(strand, turn.value);
          continue;
        }
      } catch (error) {
        return this.#strandThrew(strand, error);
      }
      return this.#strandReturned(strand, turn.value);
    }
  }

  /** Carries out an effect; null when the strand has to wait for it. */
  #perform(strand: Strand, effect: Effect): Resume | null {
    switch (effect.kind) {
      case "sample":
        return this.#sample(strand, effect);
      case "verify": {
        const { role, tool, prefix, of } = effect;
        const join = new Join(strand, { size: 1, minimum: 1, isBulk: false });
        this.#ask(join, { kind: "verify", id: `${strand.path}/${strand.steps++}`, role, tool, prefix, of });
        return null;
      }
      case "write": {
        let written = this.#written.get(effect.text);
        if (written === undefined) this.#written.set(effect.text, (written = writtenPrefix(effect.text)));
        return { strand, value: written, loss: null };
      }
      case "draw":
        return { strand, value: this.#draw(`${strand.path}/${strand.steps++}`), loss: null };
      case "add": {
        const group = strand.group(effect.group);
        const index = group.added++;
        const child = new Strand(`${strand.path}.${strand.spawned++}`, effect.program, { group, index });
        group.running.set(index, child);
        this.#ready.push({ strand: child, value: undefined, loss: null });
        return { strand, value: index, loss: null };
      }
      case "next":
        return strand.group(effect.group).take();
      case "cancel": {
        const { running } = strand.group(effect.group);
        const indexes = effect.index === "all" ? [...running.keys()] : [effect.index];
        for (const index of indexes) {
          const member = running.get(index);
          running.delete(index);
          if (member !== undefined) this.#cancel(member);
        }
        return { strand, value: undefined, loss: null };
      }
      case "consider":
        this.#candidates.push(effect.candidate);
        if (this.#best === null || isBetter(effect.candidate, this.#best)) this.#best = effect.candidate;
        return { strand, value: undefined, loss: null };
    }
  }

  #sample(strand: Strand, effect: Effect & { readonly kind: "sample" }): null {
    const { prefix, options, n, minimum, isBulk } = effect;
    const join = new Join(strand, { size: n, minimum, isBulk });
    const id = `${strand.path}/${strand.steps++}`;
    const first = this.#samples.get(prefix) ?? 0;
    this.#samples.set(prefix, first + n);
    for (let i = 0; i < n; i++) {
      this.#ask(join, { kind: "sample", id: isBulk ? `${id}.${i}` : id, prefix, options, sample: first + i });
    }
    return null;
  }

  #ask(join: Join, ask: Ask): void {
    const pending: Pending = {
      ask,
      join,
      index: join.asks.length,
      step: this.#step,
      arrived: null,
      isWithdrawn: false,
    };
    join.asks.push(pending);
    this.#open.set(ask.id, pending);
    if (this.#isInOrder) this.#order.push(pending);
    this.#asked.push(ask);
  }

  #strandReturned(strand: Strand, value: unknown): void {
    // The root strand runs the Program<T> that the constructor took.
    if (strand.home === null) return this.#finish({ kind: "outcome", outcome: value as T });
    this.#leave(strand);
    this.#wake(strand.home.group.put({ index: strand.home.index, value, lost: null }));
  }

  #strandThrew(strand: Strand, error: unknown): void {
    if (!(error instanceof LostError)) {
      return this.#finish({
        kind: "error",
        error: error instanceof Error ? error : new Error(String(error)),
      });
    }
    if (strand.home === null) return this.#finish({ kind: "lost", loss: error.loss });
    this.#leave(strand);
    this.#wake(strand.home.group.put({ index: strand.home.index, value: null, lost: error.loss }));
  }

  #leave(strand: Strand): void {
    strand.home?.group.running.delete(strand.home.index);
    this.#cancel(strand);
  }

  #wake(resume: Resume | null): void {
    if (resume !== null) this.#ready.push(resume);
  }

  #finish(end: SearchEnd<T>): void {
    this.#end = end;
    this.#cancel(this.#root);
  }

  /** Ends a strand and all below it, and withdraws their asks. A program needs no clean-up: it is dropped. */
  #cancel(strand: Strand): void {
    const doomed = [strand];
    for (const one of doomed) {
      one.isOver = true;
      for (const pending of one.join?.asks ?? []) this.#withdraw(pending);
      for (const member of one.members()) doomed.push(member);
    }
  }

  #withdraw(pending: Pending): void {
    if (!this.#open.delete(pending.ask.id)) return;
    pending.isWithdrawn = true;
    if (pending.arrived !== null) this.#buffered--;
    else if (pending.step === this.#step) this.#hasUnasked = true;
    else this.#withdrawn.push(pending.ask.id);
  }
}

function isBetter(a: Candidate, b: Candidate): boolean {
  const isCorrect = a.verdict?.verdict === "correct";
  if (isCorrect !== (b.verdict?.verdict === "correct")) return isCorrect;
  const difference = (a.score ?? -Infinity) - (b.score ?? -Infinity);
  return difference > 0 || (!(difference < 0) && a.index < b.index);
}
