/**
 * Chains: programs that go on from what the model said before, turn by turn. A chain is a generator, so that it reads like
 * the loop of its paper; `inStep` runs several beside each other.
 *
 * 1. All chains take a turn, then all take the next. So chains that came to the same text number their samples of it by
 *    chain, never by arrival (I4).
 * 2. Once the budget refused one of them something, none is given another turn.
 */
import { finish } from "./candidate.ts";
import type { FinishedPath } from "./candidate.ts";
import { gather, graver, openGroup } from "./operations.ts";
import { LostError } from "./program.ts";
import type { Candidate, Loss, Program } from "./program.ts";

/** What a chain wants: a turn, or that something is done while it goes on. */
type Wish =
  | { readonly kind: "turn"; readonly program: Program<unknown> }
  | { readonly kind: "aside"; readonly program: Program<void> };

/** A generator of wishes, opaque to chains: they `yield*` `turn` and `propose`. */
export type Chain<T = void> = Generator<Wish, T, unknown>;

/**
 * What a program returns. It must ask for its rollouts at its start, all at once; it may ask verifiers and
 * tools whenever. Throws LostError where what the program waited for is lost, and where the budget refused
 * another chain something.
 */
export function* turn<T>(program: Program<T>): Chain<T> {
  // `inStep` resumes a turn with what its program returned.
  return (yield { kind: "turn", program }) as T;
}

/** Puts an answer up for selection. The chain does not wait for its verdict: it joins `candidates` before `inStep` ends. */
export function* propose(path: FinishedPath, candidates: Candidate[]): Chain {
  yield { kind: "aside", program: join(path, candidates) };
}

function* join(path: FinishedPath, candidates: Candidate[]): Program<void> {
  candidates.push(yield* finish(path));
}

/** `n` chains, numbered from 0. */
export function repeat(n: number, chain: (index: number) => Chain): readonly Chain[] {
  return Array.from({ length: n }, (_, index) => chain(index));
}

interface Turn {
  readonly chain: Chain;
  readonly program: Program<unknown>;
}

type Taken = { readonly value: unknown; readonly lost: null } | { readonly value: null; readonly lost: Loss };

/** Runs chains beside each other, in step. Returns the loss to act on; null when no chain was cut short by one. */
export function* inStep(chains: Iterable<Chain>): Program<Loss | null> {
  const aside = openGroup<void>();
  let lost: Loss | null = null;
  let turns: Turn[] = [];

  const note = (loss: Loss): void => {
    lost = lost === null ? loss : graver(lost, loss);
  };

  /** Runs a chain to its next turn, if it has one. */
  function* resume(chain: Chain, taken: Taken | null): Program<void> {
    if (taken?.lost) note(taken.lost);
    try {
      let wish = taken?.lost ? chain.throw(new LostError(taken.lost)) : chain.next(taken?.value);
      for (; wish.done !== true; wish = chain.next()) {
        if (wish.value.kind === "turn") return void turns.push({ chain, program: wish.value.program });
        yield* aside.add(wish.value.program);
      }
    } catch (error) {
      if (!(error instanceof LostError)) throw error;
      note(error.loss);
    }
  }

  for (const chain of chains) yield* resume(chain, null);
  while (turns.length > 0) {
    const taking = turns;
    turns = [];
    const refused = refusalIn(lost);
    const taken = refused === null ? yield* take(taking) : taking.map(() => ({ value: null, lost: refused }));
    for (const [i, { chain }] of taking.entries()) yield* resume(chain, taken[i] ?? null);
  }
  while ((yield* aside.next()) !== null);
  return lost;
}

function refusalIn(lost: Loss | null): Loss | null {
  return lost?.reason === "budget" ? lost : null;
}

/** What came of every turn, in the order of the chains. */
function* take(turns: readonly Turn[]): Program<readonly (Taken | undefined)[]> {
  return (yield* gather(turns.map(({ program }) => takeOne(program)))).values;
}

function* takeOne(program: Program<unknown>): Program<Taken> {
  try {
    return { value: yield* program, lost: null };
  } catch (error) {
    if (!(error instanceof LostError)) throw error;
    return { value: null, lost: error.loss };
  }
}
