/** One line that says how a sweep does; the same for a terminal's live line and for the heartbeat elsewhere. */
import { formatDuration } from "../runtime/duration.ts";
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

/** `12,345`, whatever the machine's locale. */
export function formatCount(n: number): string {
  return n.toLocaleString("en-US", { maximumFractionDigits: 1 });
}

export function formatShare(share: number | null): string {
  return share === null ? "unknown" : `${(share * 100).toFixed(1)}%`;
}

/** The part of the scarcest budget that is left; nothing when there is none. */
function budgetPart(status: SweepStatus): readonly string[] {
  const spent = spentShare(status);
  return spent === null ? [] : [`budget ${Math.max(0, 100 - spent * 100).toFixed(0)}% left`];
}

/** The largest share of a budget that is spent; null without budgets. */
function spentShare({ budget: { given, spent } }: SweepStatus): number | null {
  const keys = ["rollouts", "completion_tokens", "wall_ms"] as const;
  const shares = keys.flatMap((key) => (given[key] === null ? [] : [(spent[key] ?? 0) / given[key]]));
  return shares.length === 0 ? null : Math.max(...shares);
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
