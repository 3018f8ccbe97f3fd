/** From the options of a host, as a sweep file or a command line gives them, to its driver. */
import type { Clock } from "../../services/runtime/clock.ts";
import { unreachable } from "../../services/runtime/errors.ts";
import type { Log } from "../../services/runtime/log.ts";
import type { Random } from "../../services/runtime/random.ts";
import { apiKeyOf } from "../api-key.ts";
import type { Driver } from "./driver.ts";
import type { HttpHostDriver, HttpHostOptions } from "./drivers/http-host/http-host.ts";
import { createLlamaServerDriver } from "./drivers/llama-server.ts";
import { createOpenaiDriver } from "./drivers/openai.ts";
import { createReplayDriver } from "./drivers/replay.ts";
import { engineProfile } from "./drivers/simulated/engine-profile.ts";
import { createSimulatedDriver } from "./drivers/simulated.ts";
import { createSglangDriver } from "./drivers/sglang.ts";
import { createVllmDriver } from "./drivers/vllm.ts";

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
  | HttpHostSpec
  | { readonly engine: "replay"; readonly records: string; readonly concurrency: number }
  | {
      readonly engine: "simulated";
      readonly profile: string;
      readonly model: string;
      readonly speed: number;
      /** Null: the profile's. */
      readonly kv_capacity_tokens: number | null;
      readonly concurrency: number | "auto";
      readonly mean_tokens: number;
      readonly line_tokens: number;
      readonly shares_cold_prefixes: boolean;
    };

/** A host that is spoken to over HTTP. */
export type HttpHostSpec = ServerSpec &
  (
    | { readonly engine: "openai" | "llama-server" }
    | {
        readonly engine: "vllm" | "sglang";
        /** Where it publishes its KV events; null: they are not followed. */
        readonly kv_events: string | null;
      }
  );

interface ServerSpec {
  readonly url: string;
  readonly api_key_env: string | null;
  /** The model to use of this host; null: that of `CreateDriverOptions`. */
  readonly model: string | null;
  readonly concurrency: number | "auto";
  /** Longest silence within one request. */
  readonly timeout_ms: number;
}

export interface CreateDriverOptions {
  /** The model that the host must serve; null takes the one that it serves. */
  readonly model: string | null;
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly clock: Clock;
  readonly random: Random;
  readonly log?: Log;
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
    case "vllm":
    case "sglang":
    case "llama-server":
      return createHttpHostDriver(spec, options);
    case "replay":
      return createReplayDriver({ records: [spec.records], concurrency: spec.concurrency });
    case "simulated":
      return createSimulatedDriver({
        profile: engineProfile(
          spec.profile,
          spec.kv_capacity_tokens === null ? {} : { kvCapacityTokens: spec.kv_capacity_tokens },
        ),
        model: spec.model,
        speed: spec.speed,
        clock: options.clock,
        concurrency: spec.concurrency,
        sharesColdPrefixes: spec.shares_cold_prefixes,
        shape: { meanTokens: spec.mean_tokens, lineTokens: spec.line_tokens },
      });
    default:
      return unreachable(spec);
  }
}

const HTTP_HOST_DRIVERS = {
  openai: createOpenaiDriver,
  vllm: createVllmDriver,
  sglang: createSglangDriver,
  "llama-server": createLlamaServerDriver,
};

/** As `createDriver`. Throws where that rejects. */
export function createHttpHostDriver(spec: HttpHostSpec, options: CreateDriverOptions): HttpHostDriver {
  const host: HttpHostOptions = {
    url: spec.url,
    model: spec.model ?? options.model,
    apiKey: apiKeyOf(spec, options.env),
    concurrency: spec.concurrency,
    clock: options.clock,
    random: options.random,
    kvEvents: "kv_events" in spec ? spec.kv_events : null,
    limits: { idleMs: spec.timeout_ms },
    ...(options.log === undefined ? {} : { log: options.log }),
  };
  return HTTP_HOST_DRIVERS[spec.engine](host);
}
