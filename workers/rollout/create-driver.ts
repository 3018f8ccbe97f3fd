/** From the options of a host, as a sweep file or a command line gives them, to its driver. */
import type { Clock } from "../../services/runtime/clock.ts";
import { unreachable } from "../../services/runtime/errors.ts";
import type { Random } from "../../services/runtime/random.ts";
import { apiKeyOf } from "../api-key.ts";
import type { Driver } from "./driver.ts";
import { createOpenaiDriver } from "./drivers/openai.ts";
import { createReplayDriver } from "./drivers/replay.ts";

/** A host's options, validated; field names are the sweep file's. */
export type DriverSpec =
  | {
      readonly engine: "embedded";
      readonly model_path: string;
      readonly sequences: number;
      readonly context_tokens: number | null;
      readonly threads: number;
      readonly reproducible: boolean;
      readonly speculative_tokens: number;
    }
  | {
      readonly engine: "openai";
      readonly url: string;
      readonly api_key_env: string | null;
      /** The model to use of this host; null: that of `CreateDriverOptions`. */
      readonly model: string | null;
      readonly concurrency: number;
      /** Longest silence within one request. */
      readonly timeout_ms: number;
    }
  | { readonly engine: "replay"; readonly records: string; readonly concurrency: number };

export interface CreateDriverOptions {
  /** The model that the host must serve; null takes the one that it serves. */
  readonly model: string | null;
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly clock: Clock;
  readonly random: Random;
}

/**
 * Nothing is contacted or opened before the driver's `probe`. Rejects with "invalid_argument" for a wrong option or a key
 * that `api_key_env` names and the environment does not hold.
 */
export async function createDriver(spec: DriverSpec, options: CreateDriverOptions): Promise<Driver> {
  switch (spec.engine) {
    case "embedded": {
      // Loaded here only: other hosts need no llama.cpp.
      const { createEmbeddedDriver } = await import("./drivers/embedded.ts");
      return createEmbeddedDriver({
        modelPath: spec.model_path,
        sequences: spec.sequences,
        threads: spec.threads,
        reproducible: spec.reproducible,
        speculativeTokens: spec.speculative_tokens,
        ...(spec.context_tokens === null ? {} : { contextTokens: spec.context_tokens }),
      });
    }
    case "openai":
      return createOpenaiDriver({
        url: spec.url,
        model: spec.model ?? options.model,
        apiKey: apiKeyOf(spec, options.env),
        concurrency: spec.concurrency,
        clock: options.clock,
        random: options.random,
        limits: { idleMs: spec.timeout_ms },
      });
    case "replay":
      return createReplayDriver({ records: [spec.records], concurrency: spec.concurrency });
    default:
      return unreachable(spec);
  }
}
