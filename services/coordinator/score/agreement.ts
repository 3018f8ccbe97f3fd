/** How two verifiers agree on the same candidates. */
import type { Agreement, VerdictWord } from "../status.ts";
import type { Rescored } from "./rescored-task.ts";

type Counts = Record<VerdictWord, Record<VerdictWord, number>>;

function noCounts(): Record<VerdictWord, number> {
  return { correct: 0, incorrect: 0, undecided: 0 };
}

/** Running counts over a run. */
export class AgreementTotals {
  readonly #verdicts: Counts = { correct: noCounts(), incorrect: noCounts(), undecided: noCounts() };
  #lost = 0;
  #selectedAgain = 0;
  #selectionKept = 0;

  /** A task with candidates. */
  add(candidates: readonly Rescored[], { isSelectedAgain }: { readonly isSelectedAgain: boolean }): void {
    for (const { rollout, verdict } of candidates) {
      if (verdict === null) this.#lost += 1;
      else if (rollout.verdict !== null) this.#verdicts[rollout.verdict][verdict.verdict] += 1;
    }
    if (isSelectedAgain) this.#selectedAgain += 1;
    else this.#selectionKept += 1;
  }

  read(names: Pick<Agreement, "run" | "before" | "after">): Agreement {
    return {
      ...names,
      verdicts: this.#verdicts,
      lost: this.#lost,
      selected_again: this.#selectedAgain,
      selection_kept: this.#selectionKept,
    };
  }
}
