/** What a worker reported, as the journal keeps it. Pure. */
import type { Report } from "../queue/job.ts";
import type { Ask } from "../search/program.ts";
import { NOTHING } from "./ledger.ts";
import type { TaskEntry } from "./past.ts";
import type { OpenAsk } from "./backlog.ts";

/** The journal's entry for a report of an open ask; the charge is cut to what was reserved (I3). */
export function entryOf(report: Report, open: OpenAsk): TaskEntry {
  const base = { task: report.task, ask: report.ask };
  const { result, usage } = report;
  const worst = open.reservation?.worst ?? NOTHING;
  const tokens = Math.min(worst.completionTokens, usage.completionTokens ?? worst.completionTokens);
  if (result.kind === "failure") {
    return {
      kind: "loss",
      ...base,
      loss: { reason: "lost", message: `${result.reason}: ${result.message}` },
    };
  }
  if (result.kind === "cancelled") {
    return { kind: "spent", ...base, usage, charge: { rollouts: 0, completionTokens: tokens } };
  }
  const charge = { rollouts: worst.rollouts, completionTokens: tokens };
  if (open.isWithdrawn) return { kind: "spent", ...base, usage, charge };
  const { host, attempt, startedMs, endedMs } = report;
  return { kind: "answer", ...base, result, usage, charge, host, attempt, startedMs, endedMs };
}

/** Whether a report's result answers this kind of ask at all; anything else is a worker that speaks nonsense. */
export function isAnswerTo(ask: Ask, result: Report["result"]): boolean {
  if (result.kind === "rollout") return ask.kind === "sample";
  if (result.kind === "verdict") return ask.kind === "verify";
  return true;
}
