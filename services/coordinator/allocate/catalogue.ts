/** Every allocator, by the name that a sweep gives it. */
import type { ParameterValues } from "../../search/strategy.ts";
import { agreement } from "./agreement.ts";
import type { AllocatedSweep, Allocator, AllocatorKind } from "./allocator.ts";
import { computeOptimal } from "./compute-optimal.ts";
import { halving } from "./halving.ts";
import { marginal } from "./marginal.ts";
import { stopOnVerified } from "./stop-on-verified.ts";
import { uniform } from "./uniform.ts";

export const ALLOCATORS: readonly AllocatorKind[] = [
  uniform,
  stopOnVerified,
  agreement,
  marginal,
  halving,
  computeOptimal,
];

/** As a sweep has it: the kind, and its parameters, complete and valid. */
export interface AllocatorSpec {
  readonly kind: string;
  readonly parameters: Readonly<Record<string, unknown>>;
}

/** What a sweep has that does not say. */
export const UNIFORM: AllocatorSpec = { kind: "uniform", parameters: {} };

export function findAllocator(kind: string): AllocatorKind | null {
  return ALLOCATORS.find((allocator) => allocator.kind === kind) ?? null;
}

export function createAllocator({ kind, parameters }: AllocatorSpec, sweep: AllocatedSweep): Allocator {
  const found = findAllocator(kind);
  if (found === null) throw new Error(`a checked sweep names an unknown allocator: ${kind}`);
  // The parameters were validated against the allocator's own declaration when the sweep was parsed.
  return found.create(parameters as ParameterValues<AllocatorKind["parameters"]>, sweep);
}
