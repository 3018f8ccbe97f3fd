/**
 * What the tasks of a sweep are like, as far as its file says; the rest is assumed, and the assumptions are
 * said. Pure.
 */
import { isInferenceKind } from "../queue/inference.ts";
import { needsOf, Routes } from "../coordinator/routes.ts";
import type { Arm, Sweep } from "../coordinator/sweep.ts";
import type { VerifierSpec } from "../queue/job.ts";
import { around } from "./lengths.ts";
import type { Answerer, TaskShape } from "./synthetic-task.ts";

/** What no sweep file says. */
export interface Assumptions {
  /** Mean completion tokens of a whole answer; null: half of the arm's `max_tokens`. */
  readonly tokensPerRollout: number | null;
  /**
   * After how many steps an answer ends, where a strategy samples step by step and its `max_steps` are not
   * fewer.
   */
  readonly stepsPerAnswer: number;
  /** What a verification off the hosts takes. */
  readonly verificationMs: number;
  /** Share of finished answers that are correct: what stops a search early. */
  readonly passRate: number;
}

/** How far the steps of answers vary from problem to problem. */
const DEPTH_SPREAD = 0.2;

export const DEFAULT_ASSUMPTIONS: Assumptions = {
  tokensPerRollout: null,
  stepsPerAnswer: 10,
  verificationMs: 50,
  passRate: 0,
};

/** What an arm's tasks are assumed to be like, for people. */
export interface ArmAssumption {
  readonly arm: string;
  readonly answerTokens: number;
  /** Null where whole answers are sampled. */
  readonly stepTokens: number | null;
  readonly steps: number | null;
}

export interface SweepShapes {
  /** One for each arm, in the order of the sweep. */
  readonly shapes: readonly TaskShape[];
  readonly arms: readonly ArmAssumption[];
}

export function shapesOf(
  sweep: Sweep,
  assumptions: Assumptions,
  prompts: { readonly rootTokens: number; readonly ownTokens: number },
): SweepShapes {
  const arms = sweep.arms.map((arm) => assumed(arm, assumptions));
  const shapes = sweep.arms.map((arm, i): TaskShape => {
    const { answerTokens, stepTokens, steps } = arms[i] ?? assumed(arm, assumptions);
    const max = arm.sampling.maxTokens;
    const routes = new Routes(sweep, arm);
    const { processVerifier = false } = needsOf(arm);
    const answererOf = (role: "outcome" | "process"): Answerer =>
      answerer(routes.specOf({ role, tool: null }), assumptions);
    return {
      kind: arm.id,
      strategy: arm.strategy,
      parameters: arm.parameters,
      rootTokens: prompts.rootTokens,
      problem: around(Math.max(1, prompts.ownTokens), { spread: 0 }),
      answer: around(answerTokens, { max }),
      step: around(stepTokens ?? answerTokens, { max }),
      depth: around(steps ?? 1, { spread: DEPTH_SPREAD }),
      sampling: { at: "hosts", completionTokens: 0 },
      outcome: answererOf("outcome"),
      process: processVerifier ? answererOf("process") : { at: "elsewhere", ms: assumptions.verificationMs },
      passRate: assumptions.passRate,
      // Strategies that go on from rollouts share them as pieces; others may quote them.
      hasFullTexts: !arm.strategy.extendsRollouts && !arm.strategy.isIndependentSampling,
    };
  });
  return { shapes, arms };
}

function assumed(
  { id, sampling, parameters }: Arm,
  { tokensPerRollout, stepsPerAnswer }: Assumptions,
): ArmAssumption {
  const answerTokens = Math.max(1, Math.min(tokensPerRollout ?? sampling.maxTokens / 2, sampling.maxTokens));
  const stepsMax = parameters["max_steps"];
  if (typeof stepsMax !== "number" || !("step_stop" in parameters))
    return { arm: id, answerTokens, stepTokens: null, steps: null };
  const steps = Math.min(stepsMax, stepsPerAnswer);
  return { arm: id, answerTokens, stepTokens: Math.max(1, answerTokens / steps), steps };
}

/**
 * Verifiers that are inference read on the hosts, and judges write there; all others take their time
 * elsewhere.
 */
function answerer(spec: VerifierSpec, { verificationMs }: Assumptions): Answerer {
  if (!isInferenceKind(spec.kind)) return { at: "elsewhere", ms: verificationMs };
  const { votes, max_tokens: tokensMax } = spec;
  const isWriting = spec.kind === "judge" && typeof votes === "number" && typeof tokensMax === "number";
  return { at: "hosts", completionTokens: isWriting ? Math.ceil((votes * tokensMax) / 2) : 0 };
}
