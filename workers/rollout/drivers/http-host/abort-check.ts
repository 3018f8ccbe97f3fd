/**
 * Whether a host stops a rollout whose connection was closed: a long one is begun and left at its first token, then the
 * host is asked how many it runs until none is left. Told only of a host that runs nothing else, so it is unknown elsewhere.
 */
import { sleep, type Clock } from "../../../../services/runtime/clock.ts";
import type { EngineReading } from "./dialect.ts";
import type { HttpHostLimits } from "./limits.ts";

/** `unknown`: it does not say what it runs, or runs something else. */
export type AbortFinding = "stops" | "goes-on" | "unknown";

/**
 * Tokens of the rollout that is left: more than a model of a useful size makes within the limit of the check, and all that it
 * costs where the host goes on.
 */
const LEFT_TOKENS_MAX = 2_048;

export interface AbortCheck {
  readonly read: (signal: AbortSignal) => Promise<EngineReading>;
  /** Begins a rollout of so many tokens and closes its connection at the first. Resolves once it is closed. */
  readonly leave: (maxTokens: number, whileOpen: () => Promise<void>) => Promise<void>;
  readonly contextTokens: number | null;
  readonly clock: Clock;
  readonly limits: HttpHostLimits;
}

/** Never rejects but with the signal's reason. */
export async function checkAbort(check: AbortCheck, signal: AbortSignal): Promise<AbortFinding> {
  try {
    return await watch(check, signal);
  } catch {
    signal.throwIfAborted();
    return "unknown";
  }
}

async function watch(check: AbortCheck, signal: AbortSignal): Promise<AbortFinding> {
  const { clock, limits } = check;
  const before = await check.read(signal);
  if (before.running !== 0 || (before.waiting ?? 0) > 0) return "unknown";
  // Half of the context: the prompt has room whatever the tokenizer makes of it.
  const tokens = Math.min(LEFT_TOKENS_MAX, Math.floor((check.contextTokens ?? LEFT_TOKENS_MAX) / 2));
  let wasSeen = false;
  await check.leave(tokens, async () => {
    wasSeen = ((await check.read(signal)).running ?? 0) > 0;
  });
  if (!wasSeen) return "unknown";
  const untilMs = clock.monotonicMs() + limits.abortMs;
  for (;;) {
    const now = await check.read(signal);
    if (now.running === 0) return cameToItsEnd(before, now, tokens) ? "goes-on" : "stops";
    if (clock.monotonicMs() >= untilMs) return "goes-on";
    await sleep(clock, limits.abortPollMs, signal);
  }
}

/** A small model may make them all before it is asked. */
function cameToItsEnd(before: EngineReading, now: EngineReading, tokens: number): boolean {
  if (before.generatedTokens === null || now.generatedTokens === null) return false;
  return now.generatedTokens - before.generatedTokens >= tokens;
}
