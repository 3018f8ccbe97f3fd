/**
 * What a simulated host is like: constants of the step-time formula and sizes, after the table of recommended values for
 * bf16 models on H100 and H200 (Llama-3 shapes, blocks of 16, 0.9 of the memory in use).
 *
 *   step = stepBase + stepPerSequence * sequences + stepPerContextToken * context tokens + prefill tokens / prefill rate
 *
 * Where the constants come from. The base is the table's step at batch 1. The time per sequence is 4.4 us everywhere. The time
 * per context token lies within what the table's steps at batch 64 and 256, context 1,024, allow: given as a range for 8b-h100 and
 * 70b-4xh100 (its middle is taken), solved for 8b-h200 and 70b-2xh200 (near the H100 value scaled by memory bandwidth), and for
 * 70b-8xh100 set by the step at batch 256, context 4,096. Prefill rates are the lower part of the table's ranges.
 */
import { CoppiceError } from "../../../../services/runtime/errors.ts";

export interface EngineProfile {
  readonly name: string;
  readonly model: string;
  readonly gpus: string;
  readonly stepBaseMs: number;
  readonly stepPerSequenceMs: number;
  /** Per token in the KV cache that a step reads. */
  readonly stepPerContextTokenMs: number;
  readonly prefillTokensPerS: number;
  /** Tokens that one step computes at most, of prompts and one of each decoded sequence. More than `sequencesMax`. */
  readonly prefillChunkTokens: number;
  /** Sequences that run at once. */
  readonly sequencesMax: number;
  readonly kvCapacityTokens: number;
  readonly blockTokens: number;
  /** Once per request, before the scheduler sees it. */
  readonly requestOverheadMs: number;
  /** Longest prompt with its completion that the model was trained for. */
  readonly contextTokens: number;
}

const COMMON = {
  stepPerSequenceMs: 0.0044,
  prefillChunkTokens: 8_192,
  sequencesMax: 256,
  blockTokens: 16,
  requestOverheadMs: 15,
  contextTokens: 131_072,
} as const;

export const ENGINE_PROFILES = {
  "8b-h100": {
    ...COMMON,
    name: "8b-h100",
    model: "8B",
    gpus: "1xH100",
    stepBaseMs: 6.8,
    stepPerContextTokenMs: 63e-6,
    prefillTokensPerS: 28_000,
    kvCapacityTokens: 414_000,
  },
  "8b-h200": {
    ...COMMON,
    name: "8b-h200",
    model: "8B",
    gpus: "1xH200",
    stepBaseMs: 5,
    stepPerContextTokenMs: 45e-6,
    prefillTokensPerS: 28_000,
    kvCapacityTokens: 862_000,
  },
  "70b-4xh100": {
    ...COMMON,
    name: "70b-4xh100",
    model: "70B",
    gpus: "4xH100",
    stepBaseMs: 16.5,
    stepPerContextTokenMs: 39e-6,
    prefillTokensPerS: 13_000,
    kvCapacityTokens: 477_000,
  },
  "70b-2xh200": {
    ...COMMON,
    name: "70b-2xh200",
    model: "70B",
    gpus: "2xH200",
    stepBaseMs: 21.9,
    stepPerContextTokenMs: 55e-6,
    prefillTokensPerS: 6_600,
    kvCapacityTokens: 372_000,
  },
  "70b-8xh100": {
    ...COMMON,
    name: "70b-8xh100",
    model: "70B",
    gpus: "8xH100",
    stepBaseMs: 9.8,
    stepPerContextTokenMs: 23e-6,
    prefillTokensPerS: 26_000,
    kvCapacityTokens: 1_400_000,
  },
} as const satisfies Readonly<Record<string, EngineProfile>>;

export type EngineProfileName = keyof typeof ENGINE_PROFILES;

export const ENGINE_PROFILE_NAMES = Object.freeze(Object.keys(ENGINE_PROFILES));

export function isEngineProfileName(name: string): name is EngineProfileName {
  return Object.hasOwn(ENGINE_PROFILES, name);
}

/**
 * The named profile with some of its values replaced.
 * @throws CoppiceError "invalid_argument" for a name that is none, or for values that no engine could run with.
 */
export function engineProfile(name: string, overrides: Partial<EngineProfile> = {}): EngineProfile {
  if (!isEngineProfileName(name)) {
    throw new CoppiceError(
      "invalid_argument",
      `expected a profile of ${ENGINE_PROFILE_NAMES.join(", ")}; found ${JSON.stringify(name)}`,
    );
  }
  const profile: EngineProfile = { ...ENGINE_PROFILES[name], ...overrides };
  checkProfile(profile);
  return profile;
}

/** @throws CoppiceError "invalid_argument" naming the first value that is wrong. */
export function checkProfile(profile: EngineProfile): void {
  const wrong = (field: keyof EngineProfile, expected: string): never => {
    throw new CoppiceError(
      "invalid_argument",
      `profile ${profile.name}: expected ${field} to be ${expected}, found ${String(profile[field])}`,
    );
  };
  for (const field of ["prefillChunkTokens", "sequencesMax", "blockTokens", "contextTokens"] as const)
    if (!Number.isSafeInteger(profile[field]) || profile[field] < 1) wrong(field, "a whole number above 0");
  for (const field of ["stepPerSequenceMs", "stepPerContextTokenMs", "requestOverheadMs"] as const)
    if (!Number.isFinite(profile[field]) || profile[field] < 0) wrong(field, "a number from 0");
  for (const field of ["stepBaseMs", "prefillTokensPerS"] as const)
    if (!Number.isFinite(profile[field]) || profile[field] <= 0) wrong(field, "a number above 0");
  if (!Number.isSafeInteger(profile.kvCapacityTokens) || profile.kvCapacityTokens < profile.blockTokens)
    wrong("kvCapacityTokens", `a whole number of at least one block (${profile.blockTokens} tokens)`);
  if (profile.prefillChunkTokens <= profile.sequencesMax)
    wrong("prefillChunkTokens", `more than sequencesMax (${profile.sequencesMax})`);
}

/** Milliseconds of one step. `contextTokens`: what stands in the KV cache of all its sequences before it. */
export function stepMs(
  profile: EngineProfile,
  step: { readonly sequences: number; readonly contextTokens: number; readonly prefillTokens: number },
): number {
  return (
    profile.stepBaseMs +
    profile.stepPerSequenceMs * step.sequences +
    profile.stepPerContextTokenMs * step.contextTokens +
    (1_000 * step.prefillTokens) / profile.prefillTokensPerS
  );
}
