/** The GPUs of a host of a sweep. */
import type { HostSpec } from "../coordinator/sweep.ts";

/** None where a model runs on the processor, or none runs at all. */
export function gpusOf(spec: HostSpec): number {
  return "gpus" in spec ? spec.gpus : 0;
}
