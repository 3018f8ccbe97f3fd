/** Amounts of a budget, for tests that care about some units of it. */
import { type Amount, NOTHING, UNLIMITED } from "../../services/coordinator/amount.ts";
import type { BudgetAmounts, ChargedAmounts } from "../../services/coordinator/status.ts";
import type { ArmBudget, Budget } from "../../services/coordinator/sweep.ts";

export const NO_BUDGET: Budget = { ...UNLIMITED, wallMs: null, gpuMs: null, perTask: UNLIMITED };
export const NO_ARM_BUDGET: ArmBudget = { ...UNLIMITED, perTask: UNLIMITED };

export function amount(given: Partial<Amount>): Amount {
  return { ...NOTHING, ...given };
}

/** As a status has them. */
export const NO_CEILINGS: BudgetAmounts = {
  rollouts: null,
  completion_tokens: null,
  total_tokens: null,
  verifier_tokens: null,
  usd: null,
  gpu_seconds: null,
  wall_ms: null,
};
export const NOTHING_CHARGED: ChargedAmounts = {
  rollouts: 0,
  completion_tokens: 0,
  total_tokens: 0,
  verifier_tokens: 0,
  usd: 0,
};
export const NOTHING_SPENT: BudgetAmounts = { ...NOTHING_CHARGED, gpu_seconds: 0, wall_ms: 0 };
