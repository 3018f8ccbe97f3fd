/** One line that says how a sweep does; the same for a terminal's live line and for the heartbeat elsewhere. */
import { formatDuration } from "../runtime/duration.ts";
import { formatCount } from "./count-text.ts";
import { budgetLeft } from "./budget-text.ts";
import type { SweepStatus } from "../coordinator/status.ts";

/** What changed since an earlier look; null where nothing can be said yet. */
export interface Pace {
  readonly tokensPerSecond: number | null;
}

/** The line. Absent numbers are said to be unknown, never shown as zero (I8). */
export function progressLine(status: SweepStatus, pace: Pace): string {
  const { tasks } = status;
  const settled = tasks.completed + tasks.exhausted + tasks.failed + tasks.cancelled;
  const parts = [
    `${status.state === "running" ? "" : `${status.state} `}${formatCount(settled)}/${formatCount(tasks.total)} tasks`,
    `${formatCount(status.solved)} solved`,
    `${formatCount(status.rollouts)} rollouts`,
    `${pace.tokensPerSecond === null ? "?" : formatCount(Math.round(pace.tokensPerSecond))} tok/s`,
    `cached ${formatShare(cachedShare(status.usage))}`,
    `${formatCount(status.in_flight)} in flight`,
    ...(status.failures > 0 ? [`${formatCount(status.failures)} rollouts lost`] : []),
    ...(tasks.failed > 0 ? [`${formatCount(tasks.failed)} tasks failed`] : []),
    ...budgetPart(status),
    formatDuration(status.elapsed_ms),
    ...etaPart(status, settled),
  ];
  return parts.join(" | ");
}

/** Prompt tokens that a host took from its cache; null when one host does not say. */
export function cachedShare(usage: SweepStatus["usage"]): number | null {
  if (usage.cached_tokens === null || usage.prompt_tokens === null) return null;
  return usage.prompt_tokens === 0 ? null : usage.cached_tokens / usage.prompt_tokens;
}

export function formatShare(share: number | null): string {
  return share === null ? "unknown" : `${(share * 100).toFixed(1)}%`;
}

/** What is left of every ceiling; nothing when there is none. */
function budgetPart({ budget }: SweepStatus): readonly string[] {
  const lefts = budgetLeft(budget).map(({ unit, share }) => `${(share * 100).toFixed(0)}% of ${unit}`);
  return lefts.length === 0 ? [] : [`left ${lefts.join(", ")}`];
}

/** The largest share of a budget that is spent; null without budgets. */
function spentShare({ budget }: SweepStatus): number | null {
  const lefts = budgetLeft(budget).map(({ share }) => share);
  return lefts.length === 0 ? null : 1 - Math.min(...lefts);
}

/** By the pace so far; a budget that ends sooner counts. Nothing before the first task settled. */
function etaPart(status: SweepStatus, settled: number): readonly string[] {
  if (status.state !== "running" || settled === 0 || settled === status.tasks.total) return [];
  const byTasksMs = (status.elapsed_ms / settled) * (status.tasks.total - settled);
  const spent = spentShare(status);
  const byBudgetMs =
    spent === null || spent === 0 ? Infinity : (status.elapsed_ms / spent) * Math.max(0, 1 - spent);
  return [`ETA ${formatDuration(Math.min(byTasksMs, byBudgetMs))}`];
}
