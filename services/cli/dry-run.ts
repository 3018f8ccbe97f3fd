/** `--dry-run`: what a sweep would do, and the most that it could cost, without a host being called. */
import type { ParameterValues, Parameter } from "../search/strategy.ts";
import { renderPrompt } from "../coordinator/sweep-file/prompt-template.ts";
import type { Arm, Problem, Sweep } from "../coordinator/sweep.ts";
import { formatCount } from "./count-text.ts";
import { ceilingLines } from "./budget-text.ts";
import type { Ceilings } from "../coordinator/amount.ts";
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
  const budgets = [...ceilingLines(sweep), ...scarcityLines(sweep, rows, total)];
  const shown = budgets.length === 0 ? [] : ["", ...budgets];
  return [resolved.trimEnd(), "", firstPromptLine(sweep, first), "", ...table, ...shown];
}

/** The first prompt as the model will see it: a template that is wrong shows here, before anything is spent. */
export function firstPromptLine(sweep: Sweep, first: Problem | null): string {
  if (first === null) return "no problems";
  const prompt = renderPrompt(sweep.promptTemplate, first);
  const shown = prompt.length > PROMPT_CHARS_MAX ? `${prompt.slice(0, PROMPT_CHARS_MAX)}...` : prompt;
  return `first prompt (problem ${first.id}): ${JSON.stringify(shown)}`;
}

/** Where the most that searches could use is more than a budget allows. */
function scarcityLines(
  { budget, arms }: Sweep,
  rows: readonly Estimate[],
  total: Estimate,
): readonly string[] {
  const line = (whose: string, ceilings: Ceilings, { rollouts, completionTokensMax }: Estimate) => {
    const lines: string[] = [];
    const tell = (ceiling: number | null, most: number, unit: string): void => {
      if (ceiling !== null && ceiling < most)
        lines.push(
          `the budget of ${whose} allows ${formatCount(ceiling)} ${unit}: some tasks may end exhausted`,
        );
    };
    tell(ceilings.rollouts, rollouts, "rollouts");
    tell(ceilings.completionTokens, completionTokensMax, "completion tokens");
    return lines;
  };
  return [
    ...line("the sweep", budget, total),
    ...arms.flatMap(({ id, budget: own }, i) => {
      const row = rows[i];
      return row === undefined ? [] : line(id, own, row);
    }),
  ];
}
