/** What an ask costs: at most before it is dispatched (what the ledger reserves), and in the end by what was counted. Pure. */
import type { AttemptUsage } from "../queue/job.ts";
import { verificationTokensMax } from "../queue/inference-tokens.ts";
import type { Ask, VerifyAsk } from "../search/program.ts";
import { type Amount, lesserOf, NOTHING } from "./amount.ts";
import type { OpenAsk } from "./backlog.ts";
import { samplingOf } from "./ask-sampling.ts";
import { type Prices, tokenPrice, tokenPriceMax } from "./prices.ts";
import type { TaskRun } from "./task-run.ts";

/** The most that an ask can cost. A verification that asks no model is free. */
export function worstOf(task: TaskRun, { ask }: Pick<OpenAsk, "ask">): Amount {
  if (ask.kind === "verify") return worstVerification(task, ask);
  const prompt = task.promptTokensMax(ask.prefix);
  const completion = completionTokensMax(task, ask);
  return {
    rollouts: 1,
    completionTokens: completion,
    totalTokens: prompt + completion,
    verifierTokens: 0,
    usdMicros: tokenPriceMax(task.prices, { prompt, completion, verifier: 0 }),
  };
}

/** Tokens that a rollout may make; 0 for a verification, which makes no text. */
export function completionTokensMax(task: TaskRun, ask: Ask): number {
  return ask.kind === "verify" ? 0 : samplingOf(task.arm.sampling, ask.options).maxTokens;
}

function worstVerification(task: TaskRun, ask: VerifyAsk): Amount {
  const spec = task.routes.specOf(ask);
  const { prompt, text } = task.segments.judgedTexts(ask);
  const verifier = verificationTokensMax(spec, { prompt, text, reference: task.problem.reference });
  if (verifier === 0) return NOTHING;
  const usdMicros = tokenPriceMax(task.prices, { prompt: 0, completion: 0, verifier });
  return { ...NOTHING, verifierTokens: verifier, usdMicros };
}

/**
 * What an ask did cost, never more than was reserved for it (I3). What nobody can say is charged as the worst; a verification
 * that asked no model is free. A rollout counts as one where it was accepted.
 */
export function costOf(
  { ask, reservation }: Pick<OpenAsk, "ask" | "reservation">,
  usage: AttemptUsage,
  how: { readonly prices: Prices | null; readonly isAccepted: boolean },
): Amount {
  if (reservation === null) return NOTHING;
  const { worst } = reservation;
  const { promptTokens, cachedTokens, completionTokens } = usage;
  if (ask.kind === "verify") {
    if (promptTokens === null || completionTokens === null) return worst;
    const verifier = promptTokens + completionTokens;
    const usdMicros = tokenPriceMax(how.prices, { prompt: 0, completion: 0, verifier });
    return lesserOf(worst, { ...NOTHING, verifierTokens: verifier, usdMicros });
  }
  const prompt = promptTokens ?? worst.totalTokens - worst.completionTokens;
  const completion = completionTokens ?? worst.completionTokens;
  const paid = { prompt, completion, verifier: 0 };
  const usdMicros =
    cachedTokens === null
      ? tokenPriceMax(how.prices, paid)
      : tokenPrice(how.prices, { ...paid, cached: Math.min(cachedTokens, prompt) });
  return lesserOf(worst, {
    rollouts: Number(how.isAccepted),
    completionTokens: completion,
    totalTokens: prompt + completion,
    verifierTokens: 0,
    usdMicros,
  });
}

/** Whether a host claims more tokens than could be: its count is then cut (I3), and worth a log line. */
export function isOverrun({ ask, reservation }: OpenAsk, usage: AttemptUsage): boolean {
  if (reservation === null) return false;
  const { worst } = reservation;
  const { promptTokens, completionTokens } = usage;
  const completion = completionTokens ?? 0;
  const total = (promptTokens ?? 0) + completion;
  if (ask.kind === "verify") return total > worst.verifierTokens;
  return completion > worst.completionTokens || total > worst.totalTokens;
}
