/** The entries of the journal. `task` is the task's id; the order of entries is the order in which answers were told (I4). */
import type { AttemptUsage, RolloutResult, VerdictResult } from "../queue/job.ts";
import type { Answer, Loss } from "../search/program.ts";
import { CoppiceError } from "../runtime/errors.ts";
import type { Amount } from "./amount.ts";
import type { TaskTally } from "./tally.ts";

/** Raised when the meaning of an entry changes; a journal of another format is refused. */
export const JOURNAL_FORMAT = 3;

/** What must be equal for the journal to mean the same thing. */
export interface JournalHeader {
  readonly kind: "sweep";
  readonly format: number;
  readonly seed: number;
  readonly deterministic: boolean;
  readonly problems: number;
  readonly problemsSha256: string;
  readonly arms: readonly {
    readonly id: string;
    readonly strategy: string;
    readonly version: number;
    /** SHA-256 of the module of a strategy of the user's own; absent for ours, whose version says it. */
    readonly module?: string;
    readonly parameters: Readonly<Record<string, unknown>>;
  }[];
  /** What the sweep may spend (`ceilingsOf`); may change from attempt to attempt. Absent in a journal of a version that did not say. */
  readonly ceilings?: Readonly<Record<string, number>>;
}

/**
 * The run goes on with another budget, or with more samples: arms and ceilings as they are from here on. Settled tasks are taken
 * up again with all that they have: those that a budget ended, and those of arms that grew, but for tasks that had enough. What
 * was granted before, and asks that were lost to the budget, do not count any more.
 */
export interface RevisedEntry {
  readonly kind: "revised";
  readonly arms: JournalHeader["arms"];
  readonly ceilings: Readonly<Record<string, number>>;
  readonly reopens: { readonly exhausted: boolean; readonly arms: readonly string[] };
}

/** Rows of tasks that were taken up again are out of the run's files, which are good up to these byte offsets. */
export interface RowsEntry {
  readonly kind: "rows";
  readonly rolloutsEnd: number;
  readonly resultsEnd: number;
}

/** An accepted answer. */
export interface AnswerEntry {
  readonly kind: "answer";
  readonly task: string;
  readonly ask: string;
  readonly result: RolloutResult | VerdictResult;
  readonly usage: AttemptUsage;
  /** What the ledger was charged: where the engine does not count, the worst case. */
  readonly charge: Amount;
  /** Of `Effort`. */
  readonly gpuMs?: number;
  readonly retriedTokens?: number | null;
  readonly host: string | null;
  readonly attempt: number;
  readonly startedMs: number;
  readonly endedMs: number;
}

/** An ask that will have no answer. */
export interface LossEntry {
  readonly kind: "loss";
  readonly task: string;
  readonly ask: string;
  readonly loss: Loss;
  /** The class of the failure (`RETRY_RULES`); absent where none was reported. */
  readonly failure?: string;
  /** What its attempts had cost all the same. */
  readonly usage: AttemptUsage;
  readonly charge: Amount;
  readonly gpuMs?: number;
  readonly retriedTokens?: number | null;
}

/** What a withdrawn ask had cost when it was stopped; changes no search, only the ledger. */
export interface SpentEntry {
  readonly kind: "spent";
  readonly task: string;
  readonly ask: string;
  /** It was the second copy of the ask, which has an entry of its own. */
  readonly isHedge?: true;
  readonly usage: AttemptUsage;
  readonly charge: Amount;
  readonly gpuMs?: number;
  readonly retriedTokens?: number | null;
}

/** The rows of a task are written; the run directory's files are good up to these byte offsets. */
export interface SettledEntry {
  readonly kind: "settled";
  readonly task: string;
  readonly ordinal: number;
  readonly tally: TaskTally;
  readonly rolloutsEnd: number;
  readonly resultsEnd: number;
}

/**
 * The tasks [from, to) are opened, and divide their part of the budget among themselves. Each is granted what the allocator
 * gives a task of this share first, so a resumed run grants the same.
 */
export interface CohortEntry {
  readonly kind: "cohort";
  readonly from: number;
  readonly to: number;
  /** Of one task, in rollouts; null without a ceiling: JSON has no Infinity. */
  readonly share: number | null;
  /** Rollouts charged when it began. */
  readonly charged: number;
  /** Part of what could be afforded then that is kept for later cohorts. */
  readonly kept: number;
}

/** What a round granted beyond that: rollouts by task. */
export interface GrantEntry {
  readonly kind: "grant";
  readonly grants: Readonly<Record<string, number>>;
}

/** A task asks for no more rollouts: it has enough, or there is no more for it. */
export interface StopEntry {
  readonly kind: "stop";
  readonly task: string;
  readonly state: "completed" | "exhausted";
  /** For its row, where it is not simply that. */
  readonly reason: string | null;
}

/** A task was opened, and may be with hosts from now on. */
export interface OpenedEntry {
  readonly kind: "opened";
  readonly task: string;
}

/** Running time of this attempt at the run, and GPU time, until the next such entry is due: budgets count every attempt. */
export interface ElapsedEntry {
  readonly kind: "elapsed";
  readonly attempt: number;
  readonly ms: number;
  readonly gpuMs: number;
}

/** What the user ordered of the sweep while it ran; the last one holds. */
export interface OrderEntry {
  readonly kind: "order";
  readonly order: "paused" | "running" | "cancelled";
}

/** The first line of the file that an attempt at the run begins with. */
export interface FenceEntry {
  readonly kind: "fence";
  /** Of the run's lock. */
  readonly generation: number;
  /** Of each file before this one, how many bytes count: what a holder that was fenced off wrote behind them does not. */
  readonly ends: readonly number[];
}

export type JournalEntry =
  | JournalHeader
  | FenceEntry
  | RevisedEntry
  | RowsEntry
  | AnswerEntry
  | LossEntry
  | SpentEntry
  | SettledEntry
  | CohortEntry
  | GrantEntry
  | StopEntry
  | OpenedEntry
  | ElapsedEntry
  | OrderEntry;

const KINDS: ReadonlySet<string> = new Set([
  "sweep",
  "fence",
  "revised",
  "rows",
  "answer",
  "loss",
  "spent",
  "settled",
  "cohort",
  "grant",
  "stop",
  "opened",
  "elapsed",
  "order",
]);

/** The CRC already vouches that we wrote it; an unknown kind is a newer program's. */
export function decodeEntry(json: string): JournalEntry {
  // The CRC matched, so this is what `JSON.stringify` made of an entry.
  const entry = JSON.parse(json) as JournalEntry;
  if (!KINDS.has(entry.kind)) {
    throw new CoppiceError(
      "failed_precondition",
      `journal: expected one of ${[...KINDS].join(", ")}, found "${entry.kind}": written by a newer version`,
    );
  }
  return entry;
}

/** Refuses a journal that was written by a sweep that searches differently, naming each difference. */
export function checkHeader(expected: JournalHeader, found: JournalHeader, where: string): void {
  const differences: string[] = [];
  const compare = (name: string, want: unknown, have: unknown): void => {
    if (JSON.stringify(want) !== JSON.stringify(have)) {
      differences.push(
        `${name}: this program and sweep say ${JSON.stringify(want)}, the journal says ${JSON.stringify(have)}`,
      );
    }
  };
  compare("journal format", expected.format, found.format);
  compare("seed", expected.seed, found.seed);
  compare("deterministic", expected.deterministic, found.deterministic);
  compare("problems", expected.problemsSha256, found.problemsSha256);
  compare(
    "arms",
    expected.arms.map((arm) => arm.id),
    found.arms.map((arm) => arm.id),
  );
  for (const arm of expected.arms) {
    const other = found.arms.find((candidate) => candidate.id === arm.id);
    if (other === undefined) continue;
    compare(`${arm.id}: strategy`, arm.strategy, other.strategy);
    compare(`${arm.id}: version of strategy ${arm.strategy}`, arm.version, other.version);
    compare(`${arm.id}: module of strategy ${arm.strategy}`, arm.module, other.module);
    compare(`${arm.id}: parameters`, arm.parameters, other.parameters);
  }
  if (differences.length === 0) return;
  throw new CoppiceError(
    "failed_precondition",
    `${where}: cannot go on with this run:\n  ${differences.join("\n  ")}`,
  );
}

/** An accepted answer, as the search is told. */
export function answerOf(entry: AnswerEntry): Answer {
  const { result } = entry;
  if (result.kind === "verdict") return { kind: "verdict", verdict: result };
  const { text, finishReason, stopString, meanLogprob } = result;
  const { completionTokens } = entry.usage;
  return { kind: "rollout", rollout: { text, finishReason, stopString, meanLogprob, completionTokens } };
}
