/**
 * Verifiers that are inference: their jobs go to the lanes of hosts, like rollouts, beside the prefixes that they judge.
 * Known to the coordinator, which routes them, and to the rollout worker, which answers them.
 */
import type { Ability } from "./job.ts";

/** By kind, what the host must be able to do. */
const ABILITIES = {
  "process-reward": ["score"],
  likelihood: ["likelihood"],
  "reward-model": ["reward"],
  judge: [],
} as const satisfies Readonly<Record<string, readonly Ability[]>>;

export type InferenceKind = keyof typeof ABILITIES;

export function isInferenceKind(kind: string): kind is InferenceKind {
  return Object.hasOwn(ABILITIES, kind);
}

export function abilitiesOf(kind: InferenceKind): readonly Ability[] {
  return ABILITIES[kind];
}
