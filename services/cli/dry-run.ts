/** `--dry-run`: what a sweep would do, and the most that it could cost, without a host being called. */
import type { ParameterValues, Parameter } from "../search/strategy.ts";
import { renderPrompt } from "../coordinator/sweep-file/prompt-template.ts";
import type { Arm, Problem, Sweep } from "../coordinator/sweep.ts";
import { formatCount } from "./progress-line.ts";
import { alignColumns } from "./summary-table.ts";

/** Characters of a prompt that are shown. */
const PROMPT_CHARS_MAX = 400;

export interface Estimate {
  readonly tasks: number;
  /** Asks, at most: rollouts and verifications. */
  readonly rollouts: number;
  readonly verifications: number;
  /** Rollouts times the longest each may be. */
  readonly completionTokensMax: number;
}

/** The ceiling of one arm over so many problems. */
export function estimateArm(arm: Arm, problems: number): Estimate {
  // The sweep file's schema checked the parameters against the strategy's declaration.
  const cost = arm.strategy.cost(arm.parameters as ParameterValues<Readonly<Record<string, Parameter>>>);
  return {
    tasks: problems,
    rollouts: problems * cost.rollouts,
    verifications: problems * cost.verifications,
    completionTokensMax: problems * cost.rollouts * arm.sampling.maxTokens,
  };
}

/** The ceiling of a whole sweep. */
export function estimateSweep(sweep: Sweep, problems: number): Estimate {
  const none: Estimate = { tasks: 0, rollouts: 0, verifications: 0, completionTokensMax: 0 };
  return sweep.arms
    .map((arm) => estimateArm(arm, problems))
    .reduce((sum, arm) => {
      return {
        tasks: sum.tasks + arm.tasks,
        rollouts: sum.rollouts + arm.rollouts,
        verifications: sum.verifications + arm.verifications,
        completionTokensMax: sum.completionTokensMax + arm.completionTokensMax,
      };
    }, none);
}

/** Lines for a person. @param resolved The resolved sweep as YAML. @param siblingsMax Asks that one job may carry. */
export function dryRunLines(
  sweep: Sweep,
  facts: {
    readonly resolved: string;
    readonly problems: number;
    readonly first: Problem | null;
    readonly siblingsMax: number;
  },
): readonly string[] {
  const { resolved, problems, first, siblingsMax } = facts;
  const rows = sweep.arms.map((arm) => ({ id: arm.id, ...estimateArm(arm, problems) }));
  const total = { id: "in all", ...estimateSweep(sweep, problems) };
  const cells = [...rows, total].map((row) => [
    row.id,
    formatCount(row.tasks),
    `<= ${formatCount(row.rollouts)}`,
    `${formatCount(Math.ceil(row.rollouts / siblingsMax))}..${formatCount(row.rollouts)}`,
    `<= ${formatCount(row.verifications)}`,
    `<= ${formatCount(row.completionTokensMax)}`,
  ]);
  const table = alignColumns([
    ["strategy", "tasks", "rollouts", "rollout jobs", "verifications", "completion tokens"],
    ...cells,
  ]);
  return [resolved.trimEnd(), "", firstPromptLine(sweep, first), "", ...table, ...budgetLines(sweep, total)];
}

/** The first prompt as the model will see it: a template that is wrong shows here, before anything is spent. */
export function firstPromptLine(sweep: Sweep, first: Problem | null): string {
  if (first === null) return "no problems";
  const prompt = renderPrompt(sweep.promptTemplate, first);
  const shown = prompt.length > PROMPT_CHARS_MAX ? `${prompt.slice(0, PROMPT_CHARS_MAX)}...` : prompt;
  return `first prompt (problem ${first.id}): ${JSON.stringify(shown)}`;
}

function budgetLines(sweep: Sweep, total: Estimate): readonly string[] {
  const { rollouts, completionTokens } = sweep.budget;
  const lines: string[] = [];
  if (rollouts !== null && rollouts < total.rollouts)
    lines.push(`the budget allows ${formatCount(rollouts)} rollouts: some tasks may end exhausted`);
  if (completionTokens !== null && completionTokens < total.completionTokensMax) {
    lines.push(
      `the budget allows ${formatCount(completionTokens)} completion tokens: some tasks may end exhausted`,
    );
  }
  return lines.length === 0 ? [] : ["", ...lines];
}
