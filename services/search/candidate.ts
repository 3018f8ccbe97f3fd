/** Finished texts and the steps that lead to them: what several strategies do alike. */
import { consider, judge, sample } from "./operations.ts";
import type { AskId, Candidate, Prefix, Program, Rollout, Verdict } from "./program.ts";
import { scoreOf } from "./selection.ts";

/** A path that is finished, before it is judged. */
export interface FinishedPath {
  readonly index: number;
  readonly prefix: Prefix;
  /** Of the rollout that ends it; null when no single rollout does. */
  readonly ask: AskId | null;
}

/**
 * Judges a finished path by the outcome verifier and considers it, ranked by what `rank` makes of the verdict. A lost
 * verdict leaves it unjudged.
 */
export function* finish(
  { index, prefix, ask }: FinishedPath,
  rank: (verdict: Verdict | null) => number | null = scoreOf,
): Program<Candidate> {
  const verdict = yield* judge({ role: "outcome", prefix, of: ask });
  const candidate: Candidate = { index, prefix, ask, verdict, score: rank(verdict) };
  yield* consider(candidate);
  return candidate;
}

/**
 * A rollout as an answer to the problem's prompt, whatever it was sampled behind (a plan, feedback, other answers): a
 * verifier sees the prompt and the answer alone.
 */
export function answerTo(
  prompt: Prefix,
  { index, text, ask }: Pick<Rollout, "index" | "text" | "ask">,
): FinishedPath {
  return { index, prefix: prompt.extend(text, ask), ask };
}

/**
 * One whole rollout of the prompt, judged as soon as it is there, whatever its siblings do. It ranks by its verdict, or by
 * what `rank` makes of the rollout.
 */
export function* sampleCandidate(
  prompt: Prefix,
  index: number,
  rank?: (rollout: Rollout) => number | null,
): Program<Candidate> {
  const rollout = yield* sample(prompt);
  const path = answerTo(prompt, { ...rollout, index });
  return yield* finish(path, rank === undefined ? scoreOf : () => rank(rollout));
}

/** What was sampled behind the prompt to make this candidate. */
export function answerText({ prefix }: Candidate, prompt: Prefix): string {
  const texts: string[] = [];
  for (let node: Prefix | null = prefix; node !== null && node !== prompt; node = node.parent)
    texts.push(node.text);
  return texts.toReversed().join("");
}

/** A judged answer, and the path on which it was sampled, itself included. */
export interface JudgedAnswer {
  readonly candidate: Candidate;
  readonly path: Prefix;
}

/** A rollout behind `from` as an answer to `prompt`, judged as soon as it is there. */
export function* sampleAnswer(
  from: Prefix,
  { prompt, index }: { readonly prompt: Prefix; readonly index: number },
): Program<JudgedAnswer> {
  const { text, ask } = yield* sample(from);
  const candidate = yield* finish(answerTo(prompt, { index, text, ask }));
  return { candidate, path: from.extend(text, ask) };
}

/** Whether a step ends its path: no stop string ended it, or it is the last one allowed. */
export function isTerminal(step: Rollout, { isLast }: { readonly isLast: boolean }): boolean {
  return isLast || step.stopString === null;
}
