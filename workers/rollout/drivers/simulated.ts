/**
 * The simulated engine: what a GPU host would do with a request, by the model of simulated/engine-model.ts, and texts that are
 * functions of prompt and seed. In process; `coppice host` serves the same over HTTP (simulated/server.ts).
 *
 * It scores, judges and likelihoods by seeded functions too; each of them is a request to the model, so that it costs what it
 * would cost. It holds no text to a structure and searches by no beams.
 */
import type { Ability } from "../../../services/queue/job.ts";
import type { Clock } from "../../../services/runtime/clock.ts";
import { CoppiceError } from "../../../services/runtime/errors.ts";
import { refuseInability } from "../ability.ts";
import type { Driver, SampleAnswer, SampleRequest } from "../driver.ts";
import { promptText } from "../prompt.ts";
import { type Concurrency, concurrencyOf } from "./http-host/concurrency.ts";
import type { EngineProfile } from "./simulated/engine-profile.ts";
import {
  DEFAULT_TEXT_SHAPE,
  meanLogprobOf,
  rewardsOf,
  generatedOf,
  scoreOf,
  type TextShape,
  writeText,
} from "./simulated/seeded-text.ts";
import { SimulatedHost, type SimulatedRequest } from "./simulated/simulated-host.ts";
import { encode, tokensOf } from "./simulated/tokenizer.ts";

export interface SimulatedOptions {
  readonly profile: EngineProfile;
  /** The name of the model that it serves. */
  readonly model: string;
  /** Milliseconds of the model in one of the clock. */
  readonly speed: number;
  readonly clock: Clock;
  /** Asks at once; absent: as many sequences as the profile runs. "auto": found while the host works, up to these. */
  readonly concurrency?: Concurrency;
  /** False: as SGLang and llama.cpp, siblings that come at once with a cold prompt compute it each. Absent: true, as vLLM. */
  readonly sharesColdPrefixes?: boolean;
  /** Absent: false. */
  readonly schedulesByPriority?: boolean;
  readonly shape?: Partial<TextShape>;
}

const CAN: readonly Ability[] = ["score", "likelihood", "reward", "logprobs", "tokens"];

/** @throws CoppiceError "invalid_argument" for options that no engine could run with. */
export function createSimulatedDriver(options: SimulatedOptions): Driver {
  const { profile, model } = options;
  const name = `the simulated host of ${model} (${profile.name})`;
  const shape: TextShape = { ...DEFAULT_TEXT_SHAPE, ...options.shape };
  const sharesColdPrefixes = options.sharesColdPrefixes ?? true;
  const host = new SimulatedHost({
    ...options,
    sharesColdPrefixes,
    schedulesByPriority: options.schedulesByPriority ?? false,
  });

  const ask = (
    request: Partial<SimulatedRequest> & { readonly prompt: readonly number[] },
    signal: AbortSignal,
  ) => {
    const tokens = request.prompt.length + (request.completion?.length ?? 0);
    if (tokens > host.contextTokens) {
      const message = `${name}: expected prompt and completion of at most ${host.contextTokens} tokens, found ${tokens}`;
      return Promise.reject(new CoppiceError("invalid_argument", message));
    }
    return host.run({ completion: [], priority: 0, ...request }, signal);
  };

  async function sample(request: SampleRequest, signal: AbortSignal): Promise<SampleAnswer> {
    signal.throwIfAborted();
    const { sampling, seed, onUsage, onFirstToken } = request;
    refuseInability(sampling, CAN, name);
    const text = promptText(request.pieces);
    const prompt = tokensOf(text);
    const written = writeText({ ...sampling, prompt: text, seed }, shape);
    let cachedTokens: number | null = null;
    const onProgress = (completionTokens: number): void =>
      onUsage?.({ promptTokens: prompt.length, cachedTokens, completionTokens });
    const asked: SimulatedRequest = {
      prompt,
      completion: generatedOf(written),
      priority: request.priority ?? 0,
      onFirstToken: (cached) => {
        cachedTokens = cached;
        onProgress(1);
        onFirstToken?.();
      },
      ...(onUsage === undefined ? {} : { onProgress }),
    };
    const usage = await ask(asked, signal);
    const { finishReason, stopString, tokens } = written;
    const meanLogprob = sampling.logprobs === true ? mean(written.logprobs) : null;
    const told = sampling.tokens === true ? { tokens } : {};
    const said = { text: written.text, finishReason, stopString, meanLogprob, ...told };
    return { result: { kind: "rollout", ...said }, usage };
  }

  return {
    engine: "simulated",
    async probe(signal) {
      signal.throwIfAborted();
      const { sequencesMax, kvCapacityTokens } = profile;
      const size = { sequencesMax, kvTokens: kvCapacityTokens, contextTokens: host.contextTokens };
      return {
        model,
        ...concurrencyOf(options.concurrency ?? sequencesMax, { ...size, hasSlots: false }),
        kvCapacityTokens,
        contextTokens: host.contextTokens,
        reportsCachedTokens: true,
        blockTokens: profile.blockTokens,
        sharesColdPrefixes,
        stepFloorMs: profile.stepBaseMs / options.speed,
        can: CAN,
      };
    },
    async signals(signal) {
      signal.throwIfAborted();
      const { completionTokens: _, ...signals } = host.signals();
      return { ...signals, refusals: 0, cacheClears: 0 };
    },
    sample,
    async score({ pieces, positive, negative }, signal) {
      const text = promptText(pieces);
      const usage = await ask({ prompt: tokensOf(text), completion: encode("+") }, signal);
      return { score: scoreOf(text, positive, negative), usage };
    },
    async likelihood({ pieces, continuation }, signal) {
      const before = promptText(pieces);
      const judged = encode(continuation.text);
      if (judged.length === 0)
        throw new CoppiceError("invalid_argument", `${name}: expected a text behind the prompt, found none`);
      const prompt = tokensOf(before);
      const usage = await ask({ prompt: [...prompt, ...judged] }, signal);
      return { meanLogprob: meanLogprobOf(prompt, judged), usage };
    },
    async reward({ input, over }, signal) {
      const usage = await ask({ prompt: tokensOf(input) }, signal);
      return { rows: rewardsOf(input, over), usage };
    },
    async close() {
      host.close(new CoppiceError("cancelled", `${name} is closed`));
    },
  };
}

function mean(values: readonly number[]): number {
  return values.length === 0 ? 0 : values.reduce((sum, value) => sum + value, 0) / values.length;
}
