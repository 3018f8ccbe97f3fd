/** How one ask is sampled. Pure. */
import type { Sampling } from "../queue/job.ts";
import type { SampleOptions } from "../search/program.ts";

/** The arm's sampling with what the program said of this ask over it. */
export function samplingOf(base: Sampling, options: SampleOptions): Sampling {
  return {
    ...base,
    temperature: options.temperature ?? base.temperature,
    maxTokens: options.maxTokens ?? base.maxTokens,
    stop: options.stop ?? base.stop,
  };
}
