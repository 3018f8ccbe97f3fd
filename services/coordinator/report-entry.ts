/** What a worker reported, as the journal keeps it. Pure. */
import { type AttemptUsage, NO_TOKENS, type Report } from "../queue/job.ts";
import type { Ask, Loss } from "../search/program.ts";
import { NOTHING, type Amount } from "./ledger.ts";
import type { TaskEntry } from "./past.ts";
import type { OpenAsk } from "./backlog.ts";

/** The journal's entry for a report of an open ask; the charge is cut to what was reserved (I3). */
export function entryOf(report: Report, open: OpenAsk): TaskEntry {
  const { result, host, attempt, startedMs, endedMs } = report;
  const base = { task: report.task, ask: report.ask };
  const cost = costOf(open, report.usage);
  if (open.isHedge) {
    const rollouts = result.kind === "rollout" ? (open.reservation?.worst.rollouts ?? 0) : 0;
    return { kind: "spent", ...base, isHedge: true, usage: cost.usage, charge: { ...cost.charge, rollouts } };
  }
  if (result.kind === "failure") {
    const message = `${result.reason}: ${result.message}`;
    return { kind: "loss", ...base, loss: { reason: "lost", message }, ...cost };
  }
  if (result.kind === "cancelled") return { kind: "spent", ...base, ...cost };
  const charge = {
    rollouts: open.reservation?.worst.rollouts ?? 0,
    completionTokens: cost.charge.completionTokens,
  };
  if (open.isWithdrawn) return { kind: "spent", ...base, usage: cost.usage, charge };
  return { kind: "answer", ...base, result, usage: report.usage, charge, host, attempt, startedMs, endedMs };
}

/** What an ask that ended without an answer had cost. What nobody can say is charged as the worst; a verification is free. */
export function costOf(
  open: OpenAsk,
  usage: AttemptUsage,
): { readonly usage: AttemptUsage; readonly charge: Amount } {
  if (open.ask.kind === "verify") return { usage: NO_TOKENS, charge: NOTHING };
  const worst = open.reservation?.worst.completionTokens ?? 0;
  return {
    usage,
    charge: { rollouts: 0, completionTokens: Math.min(worst, usage.completionTokens ?? worst) },
  };
}

/** Whether a report's result answers this kind of ask at all; anything else is a worker that speaks nonsense. */
export function isAnswerTo(ask: Ask, result: Report["result"]): boolean {
  if (result.kind === "rollout") return ask.kind === "sample";
  if (result.kind === "verdict") return ask.kind === "verify";
  return true;
}

/** Whether the host claims more completion tokens than it was asked for: its count is then cut (I3), and worth a log line. */
export function isOverrun({ usage }: Report, { reservation }: OpenAsk): boolean {
  return reservation !== null && (usage.completionTokens ?? 0) > reservation.worst.completionTokens;
}

/** Whether a job gave up, or gave back, an ask that is with another job by now: it speaks for itself alone. */
export function isOutdated({ job, result }: Report, open: OpenAsk): boolean {
  const isLeft = result.kind === "failure" || (result.kind === "cancelled" && !open.isWithdrawn);
  return isLeft && open.job !== job;
}

/** Why the ledger will never reserve what an ask would cost. */
export function budgetLoss({ rollouts, completionTokens }: Amount): Loss {
  const spent = `${rollouts} rollouts and ${completionTokens} completion tokens are spent`;
  return { reason: "budget", message: `the sweep's budget has no room for another rollout: ${spent}` };
}
