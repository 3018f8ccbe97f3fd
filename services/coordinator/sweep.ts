/** A sweep as the coordinator believes it: parsed at the edge by `sweep-file.ts`, complete, every default filled in. */
import type { AllocatorSpec } from "./allocate/catalogue.ts";
import type { Sampling, VerifierSpec } from "../queue/job.ts";
import type { Strategy } from "../search/strategy.ts";
import type { Ceilings } from "./amount.ts";
import type { Prices } from "./prices.ts";

export interface Sweep {
  readonly name: string;
  readonly model: string;
  readonly hosts: readonly HostSpec[];
  /** `{prompt}` or any field of the problem (`{reference}`, `{metadata.x}`); the whole rendered text is the root prefix. */
  readonly promptTemplate: string;
  readonly sampling: Sampling;
  readonly arms: readonly Arm[];
  readonly verifier: VerifierSpec;
  readonly processVerifier: VerifierSpec | null;
  readonly budget: Budget;
  /** Null: nothing has a price. */
  readonly prices: Prices | null;
  /** Of `model`, for FLOPs; null: they are unknown. */
  readonly modelParameters: number | null;
  /** Which task gets the next part of it. */
  readonly allocate: AllocatorSpec;
  readonly seed: number;
  readonly deterministic: boolean;
  /** Null: no ask is sent a second time. Always null where `deterministic` is. */
  readonly hedge: HedgeRule | null;
  /** Absolute path of the run directory. */
  readonly output: string;
}

/** When an ask is sent to a second host, and how many may be. */
export interface HedgeRule {
  /** It waits so many times longer than nearly all of its like take at another host. */
  readonly factor: number;
  /** Of the asks that were answered, the share that may be sent a second time. */
  readonly share: number;
}

/** One strategy of a sweep: every problem runs under every arm. */
export interface Arm {
  /** Unique in the sweep; the strategy's name unless the sweep says otherwise. */
  readonly id: string;
  readonly strategy: Strategy;
  readonly parameters: Readonly<Record<string, unknown>>;
  /** The sweep's sampling with the arm's own `sampling` over it. */
  readonly sampling: Sampling;
  /** For all tasks of the arm together, and for each of them, beside what the sweep allows. */
  readonly budget: ArmBudget;
}

/** Hard ceilings; null is no ceiling. */
export interface ArmBudget extends Ceilings {
  /** For each task. */
  readonly perTask: Ceilings;
}

/** The same for the whole sweep, and for what only a sweep as a whole uses. */
export interface Budget extends ArmBudget {
  readonly wallMs: number | null;
  /** Time of the hosts that are there for the sweep, times their GPUs. */
  readonly gpuMs: number | null;
}

/** A host of `coppice run`: which driver, and its options as in the sweep file (snake_case, validated, defaults filled in). */
export type HostSpec =
  | {
      readonly engine: "embedded";
      readonly id: string;
      readonly model_path: string;
      readonly sequences: number;
      readonly context_tokens: number | null;
      readonly threads: number;
      readonly reproducible: boolean;
      readonly speculative_tokens: number;
    }
  | ServerSpec
  | SimulatedSpec
  | {
      readonly engine: "replay";
      readonly id: string;
      readonly records: string;
      readonly concurrency: number;
    };

/** A host that is spoken to over HTTP. */
export type ServerSpec = {
  readonly id: string;
  readonly url: string;
  readonly api_key_env: string | null;
  /** Null: the sweep's. */
  readonly model: string | null;
  /** Rollouts at once; auto: found while the host works. */
  readonly concurrency: number | "auto";
  readonly timeout_ms: number;
  readonly gpus: number;
} & (
  | { readonly engine: "openai" | "llama-server" }
  | {
      readonly engine: "vllm" | "sglang";
      /** Where it publishes its KV events; null: they are not followed. */
      readonly kv_events: string | null;
    }
);

/** What a GPU host would do, by the engine model, and texts that are functions of prompt and seed. */
export interface SimulatedSpec {
  readonly engine: "simulated";
  readonly id: string;
  readonly gpus: number;
  readonly profile: string;
  readonly model: string;
  /** Milliseconds of the host in one that passes. */
  readonly speed: number;
  /** Null: the profile's. */
  readonly kv_capacity_tokens: number | null;
  readonly concurrency: number | "auto";
  readonly mean_tokens: number;
  readonly line_tokens: number;
  readonly shares_cold_prefixes: boolean;
}

/** A problem as the sweep's files give it, already valid. */
export interface Problem {
  readonly id: string;
  readonly prompt: string;
  readonly reference: string | null;
  readonly tests: string | null;
  readonly metadata: Readonly<Record<string, unknown>>;
}
