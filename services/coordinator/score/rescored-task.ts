/** A task whose candidates have new verdicts: its rows, its answer selected again, and its tally. Pure. */
import type { VerdictResult } from "../../queue/job.ts";
import { deriveSeed } from "../../runtime/random.ts";
import type { Candidate, Outcome, Verdict } from "../../search/program.ts";
import { rootPrefix } from "../../search/search.ts";
import { type Ballot, scoreOf, selectByVote, selectHighest } from "../../search/selection.ts";
import type { StoredResult, StoredRollout } from "../run-rows/stored-row.ts";
import type { StoredTask } from "../run-rows/stored-task.ts";
import type { Arm } from "../sweep.ts";
import type { TaskTally } from "../tally.ts";
import { estimateTask } from "../task-estimates.ts";
import { NOTHING } from "../amount.ts";
import { amountOf } from "../unit-keys.ts";

/** A candidate's row, and what the new verifier said; null where it could not be asked. */
export interface Rescored {
  readonly rollout: StoredRollout;
  readonly verdict: VerdictResult | null;
}

export interface RescoredTask {
  /** Of `rollouts.jsonl`: all of the task's rows, those of its candidates with the new verdicts. */
  readonly rollouts: readonly Readonly<Record<string, unknown>>[];
  readonly result: Readonly<Record<string, unknown>>;
  readonly tally: TaskTally;
  /** Whether the answer was selected again; else it is the one from before, with its new verdict. */
  readonly isSelectedAgain: boolean;
}

/** @param candidates The rows of the task that have a verdict, in their order, which is that of their candidates' indexes. */
export function rescoreTask(
  task: StoredTask & { readonly result: StoredResult },
  candidates: readonly Rescored[],
  { arm, seed }: { readonly arm: Arm; readonly seed: number },
): RescoredTask {
  const { selection, candidate } = task.result;
  const weighsProcess = task.rollouts.some(({ process_score: score }) => typeof score === "number");
  const before = candidates.map(({ rollout }, i) =>
    ballotOf(rollout, i, { verdict: verdictBefore(rollout), weighsProcess }),
  );
  const after = candidates.map(({ rollout, verdict }, i) => ballotOf(rollout, i, { verdict, weighsProcess }));
  // The rule is the search's own where it chooses what the search chose, from what the search knew.
  const isSelectedAgain = candidate !== null && select(selection, before)?.candidate?.ask === candidate;
  const again = isSelectedAgain ? select(selection, after) : null;
  const outcome = again ?? keptOutcome(task, after);
  const verdict = outcome?.candidate?.verdict?.verdict ?? null;
  const judged = after.filter((ballot) => ballot.candidate.verdict !== null);
  const correct = judged.filter((ballot) => ballot.candidate.verdict?.verdict === "correct").length;
  const usage = { ...task.result.usage, verifier_tokens: 0 };
  const answered = {
    answer: outcome?.answer ?? null,
    score: outcome?.score ?? null,
    verdict,
    candidate: outcome?.candidate?.ask ?? null,
  };
  return {
    rollouts: rowsOf(task, candidates),
    result: { ...task.result.row, ...answered, usage },
    tally: {
      arm: arm.id,
      state: task.result.state,
      isSolved: correct > 0,
      isAccurate: verdict === "correct",
      rollouts: task.rollouts.length,
      verifications: judged.length,
      losses: 0,
      judged: judged.length,
      correct,
      estimates: estimateTask(arm.strategy, {
        judged: judged.map(rankedCandidate(selection)),
        selection: again?.selection ?? null,
        seed: deriveSeed(seed, task.id, "estimates"),
      }),
      usage,
      // What the run had paid; to verify again is paid by nobody's budget.
      charged: task.result.charged ? amountOf(task.result.charged) : NOTHING,
      // Rows do not say it: what hosts had in their caches is not known here (I8).
      uniqueTokens: null,
    },
    isSelectedAgain,
  };
}

interface Judged {
  readonly verdict: Verdict | null;
  /** Votes weigh what the process verifier said where it was asked, else what the outcome verifier says. */
  readonly weighsProcess: boolean;
}

function ballotOf(rollout: StoredRollout, index: number, { verdict, weighsProcess }: Judged): Ballot {
  const score = scoreOf(verdict);
  const weight = weighsProcess ? (rollout.process_score ?? null) : score;
  // Selection reads no text.
  const candidate = { index, prefix: rootPrefix(""), ask: rollout.ask, verdict, score };
  return { candidate, weight: Math.max(0, weight ?? 0) };
}

function verdictBefore({ verdict, score, answer = null }: StoredRollout): Verdict | null {
  return verdict === null ? null : { verdict, score, answer, reason: null };
}

/** The selection of that name; null for those that candidates and their verdicts do not determine. */
function select(selection: string | null, ballots: readonly Ballot[]): Outcome | null {
  if (ballots.length === 0) return null;
  switch (selection) {
    case "highest-score":
      return selectHighest(
        ballots.map(({ candidate }) => candidate),
        null,
      );
    case "majority":
      return selectByVote(
        ballots.map(({ candidate }) => ({ candidate, weight: 1 })),
        "majority",
      );
    case "weighted-vote":
      return selectByVote(ballots, "weighted-vote");
    default:
      return null;
  }
}

/** What was selected before, with its new verdict; its score too is new where it was the verdict's. */
function keptOutcome(
  { result, byAsk }: StoredTask,
  after: readonly Ballot[],
): Pick<Outcome, "candidate" | "answer" | "score"> | null {
  const candidate = after.find((ballot) => ballot.candidate.ask === result?.candidate)?.candidate;
  if (result === null || candidate === undefined) return null;
  const old = byAsk.get(candidate.ask ?? "");
  const isOfVerdict = old !== undefined && result.score === scoreOf(verdictBefore(old));
  const score = isOfVerdict ? candidate.score : result.score;
  return { candidate, answer: candidate.verdict?.answer ?? null, score };
}

/** As the search ranked it: by its weight where votes were weighed. */
function rankedCandidate(selection: string | null): (ballot: Ballot) => Candidate {
  return ({ candidate, weight }) =>
    selection === "weighted-vote" ? { ...candidate, score: weight } : candidate;
}

function rowsOf(
  task: StoredTask,
  candidates: readonly Rescored[],
): readonly Readonly<Record<string, unknown>>[] {
  const rescored = new Map(candidates.map(({ rollout, verdict }) => [rollout.ask, verdict]));
  return task.rollouts.map(({ ask, row }) => {
    const verdict = rescored.get(ask);
    if (verdict === undefined) return row;
    return {
      ...row,
      verdict: verdict?.verdict ?? null,
      score: verdict?.score ?? null,
      answer: verdict?.answer ?? null,
      reason: verdict?.reason ?? null,
    };
  });
}
