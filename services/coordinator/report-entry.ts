/** What a worker reported, as the journal keeps it. Pure. */
import { type AttemptUsage, NO_TOKENS, type Report } from "../queue/job.ts";
import type { Ask, Loss } from "../search/program.ts";
import type { Amount, Unit } from "./amount.ts";
import { costOf } from "./ask-cost.ts";
import type { OpenAsk } from "./backlog.ts";
import type { Shortage } from "./ledger.ts";
import type { TaskEntry } from "./past.ts";
import { type Prices, USD_MICROS } from "./prices.ts";

/** The journal's entry for a report of an open ask; the charge is cut to what was reserved (I3). */
export function entryOf(report: Report, open: OpenAsk, prices: Prices | null): TaskEntry {
  const { result, host, attempt, startedMs, endedMs } = report;
  const base = { task: report.task, ask: report.ask };
  if (open.isHedge) {
    const end = endOf(open, report.usage, { prices, isAccepted: result.kind === "rollout" });
    return { kind: "spent", ...base, isHedge: true, ...end };
  }
  if (result.kind === "failure") {
    const message = `${result.reason}: ${result.message}`;
    const end = endOf(open, report.usage, { prices, isAccepted: false });
    return { kind: "loss", ...base, loss: { reason: "lost", message }, failure: result.reason, ...end };
  }
  if (result.kind === "cancelled" || open.isWithdrawn) {
    const isAccepted = result.kind !== "cancelled";
    return { kind: "spent", ...base, ...endOf(open, report.usage, { prices, isAccepted }) };
  }
  const charge = costOf(open, report.usage, { prices, isAccepted: true });
  return { kind: "answer", ...base, result, usage: report.usage, charge, host, attempt, startedMs, endedMs };
}

/** What an ask that ended without an answer had used and cost. A verification off the hosts used nothing. */
export function endOf(
  open: OpenAsk,
  usage: AttemptUsage,
  how: { readonly prices: Prices | null; readonly isAccepted: boolean },
): { readonly usage: AttemptUsage; readonly charge: Amount } {
  const isFree = open.ask.kind === "verify" && open.route.kind === "verifier";
  return {
    usage: isFree ? NO_TOKENS : usage,
    charge: costOf(open, usage, how),
  };
}

/** Whether a report's result answers this kind of ask at all; anything else is a worker that speaks nonsense. */
export function isAnswerTo(ask: Ask, result: Report["result"]): boolean {
  if (result.kind === "rollout") return ask.kind === "sample";
  if (result.kind === "verdict") return ask.kind === "verify";
  return true;
}

/** Whether a job gave up, or gave back, an ask that is with another job by now: it speaks for itself alone. */
export function isOutdated({ job, result }: Report, open: OpenAsk): boolean {
  const isLeft = result.kind === "failure" || (result.kind === "cancelled" && !open.isWithdrawn);
  return isLeft && open.job !== job;
}

/** Of an ask that the ledger will never have room for. */
export function budgetLoss({ holder, unit, ceiling, spent, worst }: Shortage): Loss {
  const asked = `${amountText(unit, spent)} of ${amountText(unit, ceiling)} ${UNIT_WORDS[unit]} are spent`;
  const message = `the ${holder}'s budget has no room for another ask: ${asked}, and it may need ${amountText(unit, worst)}`;
  return { reason: "budget", message };
}

const UNIT_WORDS: Readonly<Record<Unit, string>> = {
  rollouts: "rollouts",
  completionTokens: "completion tokens",
  totalTokens: "prompt and completion tokens",
  verifierTokens: "verifier tokens",
  usdMicros: "USD",
};

function amountText(unit: Unit, amount: number): string {
  return unit === "usdMicros" ? String(amount / USD_MICROS) : String(amount);
}
