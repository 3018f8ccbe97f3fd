/**
 * How a task stands, as the allocator sees it: what was answered so far, whether its search was told yet or, since answers are
 * told in the order of their asks, waits for a rollout that is not granted. Pure.
 */
import type { VerdictResult } from "../queue/job.ts";
import type { Ask } from "../search/program.ts";
import { scoreOf } from "../search/selection.ts";
import type { TaskProgress } from "./allocate/allocator.ts";
import type { AnswerEntry, LossEntry } from "./journal-entry.ts";
import type { Arm, Problem } from "./sweep.ts";
import type { TaskGrant } from "./task-grant.ts";
import { addKnown } from "./usage.ts";

/** The task that stands so. */
export interface StandingTask {
  readonly ordinal: number;
  readonly problem: Problem;
  readonly arm: Arm;
  readonly isEnded: boolean;
  readonly isStopped: boolean;
  readonly selectedVerdict: TaskProgress["verdict"];
}

export class Standing {
  readonly #votes = new Map<string, number>();
  #leader: string | null = null;
  #second = 0;
  #scored = 0;
  #scores = 0;
  #judged = 0;
  #correct = 0;
  #bestScore: number | null = null;
  #made = 0;
  #tokens: number | null = 0;

  /** A rollout came or was lost, or a candidate was judged. */
  settled(ask: Ask, entry: AnswerEntry | LossEntry): void {
    if (ask.kind === "sample") {
      this.#made += 1;
      this.#tokens = addKnown(this.#tokens, entry.usage.completionTokens);
    } else if (ask.role === "outcome" && entry.kind === "answer" && entry.result.kind === "verdict") {
      this.#judge(entry.result);
    }
  }

  progress(task: StandingTask, { granted, waiting }: TaskGrant): TaskProgress {
    const { strategy, parameters } = task.arm;
    const most = strategy.cost(parameters as never).rollouts; // They were validated against the strategy's declaration.
    const isEnded = task.isEnded || task.isStopped;
    return {
      ordinal: task.ordinal,
      problem: task.problem.id,
      arm: task.arm.id,
      metadata: task.problem.metadata,
      granted,
      wanted: isEnded ? 0 : Math.max(waiting, most - granted),
      made: this.#made,
      tokens: this.#tokens,
      judged: this.#judged,
      correct: this.#correct,
      bestScore: this.#bestScore,
      meanScore: this.#scored === 0 ? null : this.#scores / this.#scored,
      votes: this.#leader === null ? [] : [this.#votes.get(this.#leader) ?? 0, this.#second],
      verdict: task.selectedVerdict,
      isEnded,
    };
  }

  #judge(verdict: VerdictResult): void {
    this.#judged += 1;
    this.#correct += Number(verdict.verdict === "correct");
    if (verdict.answer !== null) this.#vote(verdict.answer);
    const score = scoreOf(verdict);
    if (score === null) return;
    this.#scored += 1;
    this.#scores += score;
    this.#bestScore = Math.max(this.#bestScore ?? -Infinity, score);
  }

  #vote(answer: string): void {
    const before = this.#leader === null ? 0 : (this.#votes.get(this.#leader) ?? 0);
    const count = (this.#votes.get(answer) ?? 0) + 1;
    this.#votes.set(answer, count);
    if (answer === this.#leader) return;
    if (count > before) [this.#leader, this.#second] = [answer, before];
    else this.#second = Math.max(this.#second, count);
  }
}
