/** Every verifier that is inference. The rollout worker and the sweep file's schema both read it here. */
import type { InferenceVerifier } from "./inference-verifier.ts";
import { likelihood } from "./likelihood.ts";
import { processReward } from "./process-reward.ts";

export const INFERENCE_VERIFIERS: readonly InferenceVerifier[] = [processReward, likelihood];
