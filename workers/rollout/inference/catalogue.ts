/** Every verifier that is inference. The rollout worker and the sweep file's schema both read it here. */
import type { InferenceVerifier } from "./inference-verifier.ts";
import { judge } from "./judge.ts";
import { likelihood } from "./likelihood.ts";
import { processReward } from "./process-reward.ts";
import { rewardModel } from "./reward-model.ts";

export const INFERENCE_VERIFIERS: readonly InferenceVerifier[] = [
  processReward,
  rewardModel,
  judge,
  likelihood,
];
