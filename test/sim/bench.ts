/** Judges in the simulator's own thread, with the production's verifiers: what takes time there takes simulated time here. */
import type { VerdictResult, VerifierSpec } from "../../services/queue/job.ts";
import { sleep } from "../../services/runtime/clock.ts";
import { CoppiceError } from "../../services/runtime/errors.ts";
import { VERIFIERS } from "../../workers/verify/catalogue.ts";
import { createHistogram } from "../../workers/verify/histogram.ts";
import type { VerifierPool } from "../../workers/verify/pool.ts";
import { judge } from "../../workers/verify/verifier.ts";
import type { Life } from "./time.ts";

export function createSimulatedPool(
  life: Life,
  { delayMs, refuses }: { readonly delayMs: () => number; readonly refuses: () => boolean },
): VerifierPool {
  const find = (spec: VerifierSpec): (typeof VERIFIERS)[number] => {
    const found = VERIFIERS.find(({ kind }) => kind === spec.kind);
    if (found === undefined) throw new CoppiceError("invalid_argument", `no verifier ${spec.kind}`);
    return found;
  };
  const latencyMs = createHistogram();
  return {
    kinds: VERIFIERS.map(({ kind }) => kind),
    withheld: [],
    check: (spec) => void find(spec),
    async verify(spec, candidate, signal): Promise<VerdictResult> {
      const verifier = find(spec);
      await sleep(life.clock, delayMs(), signal);
      if (refuses()) throw new CoppiceError("unavailable", "simulated: no thread starts");
      return judge(verifier, spec, candidate);
    },
    metrics: () => ({
      verifications: 0,
      memoHits: 0,
      latencyMs: latencyMs.read(),
      waiting: 0,
      running: 0,
      terminations: 0,
      crashes: 0,
    }),
    close: () => Promise.resolve(),
  };
}
