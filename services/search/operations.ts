/** What a program may do. Each operation is a generator: `const rollout = yield* sample(prefix)`. */
import { LostError } from "./program.ts";
import type {
  AskId,
  Candidate,
  GroupKey,
  Loss,
  Prefix,
  Program,
  Rollout,
  SampleOptions,
  Settled,
  Tool,
  Verdict,
  VerifierRole,
} from "./program.ts";

/** One continuation of `prefix`. Throws LostError when it is lost. */
export function* sample(prefix: Prefix, options: SampleOptions = {}): Program<Rollout> {
  // The search resumes a single `sample` with its rollout.
  return (yield { kind: "sample", prefix, options, n: 1, minimum: 1, isBulk: false }) as Rollout;
}

export interface SampleManyOptions extends SampleOptions {
  readonly n: number;
  /** Fewest rollouts that still make sense; default 1. */
  readonly minimum?: number;
}

/**
 * `n` continuations of one prefix, in index order, once all have settled. Lost ones are left out; when fewer
 * than `minimum` arrive it throws LostError.
 */
export function* sampleMany(
  prefix: Prefix,
  { n, minimum = 1, ...options }: SampleManyOptions,
): Program<readonly Rollout[]> {
  if (!Number.isInteger(n) || n < 1)
    throw new RangeError(`sampleMany: expected n to be a whole number from 1, found ${n}`);
  // The search resumes a bulk `sample` with the rollouts that arrived.
  return (yield { kind: "sample", prefix, options, n, minimum, isBulk: true }) as readonly Rollout[];
}

export interface VerifyRequest {
  readonly role: Exclude<VerifierRole, "tool">;
  readonly prefix: Prefix;
  /** The ask of the rollout that ends the path; null when no single rollout does. */
  readonly of: AskId | null;
}

/** The verdict on a path. Throws LostError when it is lost; see `judge`. */
export function* verify({ role, prefix, of }: VerifyRequest): Program<Verdict> {
  // The search resumes `verify` with its verdict.
  return (yield { kind: "verify", role, tool: null, prefix, of }) as Verdict;
}

/**
 * Has a tool do something with the whole text of `input`, a path that `writePrompt` began. The verdict is `correct` when it
 * could; `answer` is what came out (a program's output, the value of an expression), else `reason` says what went wrong.
 * Throws LostError when it is lost.
 */
export function* useTool(tool: Tool, input: Prefix): Program<Verdict> {
  // The search resumes `verify` with its verdict.
  return (yield { kind: "verify", role: "tool", tool, prefix: input, of: null }) as Verdict;
}

/**
 * A prompt that the program itself writes: the beginning of a path that does not continue the rendered prompt. Equal texts
 * are one prompt. Where a text can be written behind the rendered prompt or a rollout, `extend` that instead: it shares
 * what hosts have computed.
 */
export function* writePrompt(text: string): Program<Prefix> {
  // The search resumes `write` with the prompt.
  return (yield { kind: "write", text }) as Prefix;
}

/** A number in [0, 1), the same on every replay: chance as the sweep's seed has it (I4). */
export function* draw(): Program<number> {
  // The search resumes `draw` with a number.
  return (yield { kind: "draw" }) as number;
}

/** What a program returns; null where what it waited for is lost. */
export function* orNull<T>(program: Program<T>): Program<T | null> {
  try {
    return yield* program;
  } catch (error) {
    if (error instanceof LostError) return null;
    throw error;
  }
}

/** `verify`, with null for a lost verdict: the rollout that it was about still counts, unjudged. */
export function judge(request: VerifyRequest): Program<Verdict | null> {
  return orNull(verify(request));
}

/** Puts a finished candidate up for selection, once, so that a search that is stopped still has its best. */
export function* consider(candidate: Candidate): Program<void> {
  yield { kind: "consider", candidate };
}

/**
 * Strands that run beside the strand that adds them, and settle in any order. Only that strand may use the
 * group; when it ends, members that still run are cancelled.
 */
export interface Group<T> {
  /** Starts a strand; returns its index in the group, from 0. It first runs when the adding strand waits. */
  add(program: Program<T>): Program<number>;
  /** The next member that settled, in the order of settlement; null when none is left in flight. */
  next(): Program<Settled<T> | null>;
  /** Withdraws the asks of a member and of the strands below it; a settled member is left alone. */
  cancel(index: number): Program<void>;
  /** Cancels every member that still runs. Settled ones that `next` has not given yet stay. */
  cancelAll(): Program<void>;
}

/** A group of the strand that calls. */
export function openGroup<T>(): Group<T> {
  const group: GroupKey = { kind: "group" };
  return {
    *add(program) {
      // The search resumes `add` with the member's index.
      return (yield { kind: "add", group, program }) as number;
    },
    *next() {
      // Members of this group are Program<T>, so what they settle with is T.
      return (yield { kind: "next", group }) as Settled<T> | null;
    },
    *cancel(index) {
      yield { kind: "cancel", group, index };
    },
    *cancelAll() {
      yield { kind: "cancel", group, index: "all" };
    },
  };
}

/** What came of programs that ran beside each other. */
export interface Gathered<T> {
  /** By position; undefined where one was lost. */
  readonly values: readonly (T | undefined)[];
  /**
   * The loss to act on, null when nothing was lost. After a `budget` loss a program should ask for no more.
   */
  readonly lost: Loss | null;
}

/** Runs programs beside each other and waits until each has settled. */
export function* gather<T>(programs: Iterable<Program<T>>): Program<Gathered<T>> {
  const group = openGroup<T>();
  for (const program of programs) yield* group.add(program);
  return yield* settleAll(group);
}

/** Waits until each member of a group has settled. Those that `next` gave before are undefined, as lost ones are. */
export function* settleAll<T>(group: Group<T>): Program<Gathered<T>> {
  const settled: Settled<T>[] = [];
  for (let member = yield* group.next(); member !== null; member = yield* group.next()) settled.push(member);
  // By position, so that the loss that is told does not depend on the order of settlement.
  settled.sort((a, b) => a.index - b.index);
  const values: (T | undefined)[] = [];
  let lost: Loss | null = null;
  for (const member of settled) {
    while (values.length < member.index) values.push(undefined);
    if (member.lost !== null) lost = graver(lost, member.lost);
    values.push(member.lost === null ? member.value : undefined);
  }
  return { values, lost };
}

/** What arrived of programs that ran beside each other. */
export interface Arrived<T> {
  /** In the order of the programs, without the lost ones; never empty. */
  readonly arrived: readonly T[];
  /** As in `Gathered`. */
  readonly lost: Loss | null;
}

/** `gather` for programs of which one is enough. Throws LostError when none arrived. */
export function* gatherArrived<T>(programs: Iterable<Program<T>>): Program<Arrived<T>> {
  const { values, lost } = yield* gather(programs);
  const arrived = values.filter((value) => value !== undefined);
  if (arrived.length === 0 && lost !== null) throw new LostError(lost);
  return { arrived, lost };
}

export interface AllOptions {
  /** Fewest values that still make sense; default 0. */
  readonly minimum?: number;
}

/** The values of `gather`; throws LostError when fewer than `minimum` arrive. */
export function* all<T>(
  programs: Iterable<Program<T>>,
  { minimum = 0 }: AllOptions = {},
): Program<readonly (T | undefined)[]> {
  const { values, lost } = yield* gather(programs);
  const arrived = values.filter((value) => value !== undefined).length;
  if (arrived < minimum) throw new LostError(tooFew({ arrived, minimum, asked: values.length, loss: lost }));
  return values;
}

/** Of two losses the one to act on: an exhausted budget outweighs the rest, else the earlier one. */
export function graver(known: Loss | null, found: Loss): Loss {
  if (known === null) return found;
  return known.reason !== "budget" && found.reason === "budget" ? found : known;
}

/** The loss of a join that fewer than its minimum survived. */
export function tooFew(join: {
  readonly arrived: number;
  readonly minimum: number;
  readonly asked: number;
  readonly loss: Loss | null;
}): Loss {
  const cause = join.loss === null ? "" : `: ${join.loss.message}`;
  return {
    reason: join.loss?.reason ?? "lost",
    message: `expected at least ${join.minimum} of ${join.asked} to arrive, found ${join.arrived}${cause}`,
  };
}
