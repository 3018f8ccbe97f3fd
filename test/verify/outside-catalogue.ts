/** Verifiers that judge "outside" as their candidate's text says, for tests of the pool. No kinds of production. */
import type { VerdictResult } from "../../services/queue/job.ts";
import { CoppiceError } from "../../services/runtime/errors.ts";
import { defineOutsideVerifier, type OutsideVerifier } from "../../workers/verify/outside-verifier.ts";
import { correct, incorrect, undecided, type Verifier } from "../../workers/verify/verifier.ts";

/** Endless verifications that go on now. */
let patience = 0;
export const endlessUnderWay = (): number => patience;

/** "endless" ends at the time limit, "random" is another answer each time, "fail" fails; else the reference is expected. */
export const patient = defineOutsideVerifier({
  kind: "patient",
  about: "Does what the text says.",
  options: {},
  isRepeatable: true,
  runsCommands: false,
  open({ clock }) {
    const closed = new AbortController();
    return {
      async verify({ text, problem }, { timeout_ms: timeoutMs }, signal) {
        signal.throwIfAborted();
        closed.signal.throwIfAborted();
        if (text === "fail") throw new CoppiceError("unavailable", "the world is away");
        if (text === "random") return correct(String(Math.random()));
        if (text !== "endless") {
          if (problem.reference === null) return undecided(text.slice(0, 80), "the problem has no reference");
          return text === problem.reference ? correct(text) : incorrect(null, "another text");
        }
        patience += 1;
        const stopped = AbortSignal.any([signal, closed.signal]);
        try {
          return await new Promise<VerdictResult>((resolve, reject) => {
            const timer = clock.after(timeoutMs, () =>
              resolve(undecided(null, `took longer than ${timeoutMs} ms`)),
            );
            stopped.addEventListener("abort", () => {
              timer.cancel();
              reject(stopped.reason);
            });
          });
        } finally {
          patience -= 1;
        }
      },
      async close() {
        closed.abort(new CoppiceError("unavailable", "closed"));
      },
    };
  },
});

const unrepeatable = { ...patient, kind: "unrepeatable", isRepeatable: false };
const remote = { ...patient, kind: "remote", isRemote: true };
const commander = { ...patient, kind: "commander", runsCommands: true };
const barred = {
  ...patient,
  kind: "barred",
  probe: () => Promise.reject(new Error("the fence has a hole")),
};
const hesitant = {
  ...patient,
  kind: "hesitant",
  probe: () => new Promise<void>(() => undefined),
};
/** Breaks the contract: it neither answers nor stops. */
const deaf = defineOutsideVerifier({
  ...patient,
  kind: "deaf",
  open: () => ({ verify: () => new Promise(() => undefined), close: () => Promise.resolve() }),
});

export const VERIFIERS: readonly Verifier[] = [];
export const OUTSIDE_VERIFIERS: readonly OutsideVerifier[] = [
  patient,
  unrepeatable,
  remote,
  commander,
  barred,
  hesitant,
  deaf,
];
