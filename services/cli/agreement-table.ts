/** How two verifiers agree, as a person reads it: verdicts before by verdicts after. */
import type { Agreement, VerdictWord } from "../coordinator/status.ts";
import { formatShare } from "./progress-line.ts";
import { formatCount } from "./count-text.ts";
import { alignColumns } from "./summary-table.ts";

const WORDS: readonly VerdictWord[] = ["correct", "incorrect", "undecided"];

/** Lines without their ends. */
export function agreementTable(agreement: Agreement): readonly string[] {
  const { before, after, verdicts, lost } = agreement;
  const rows = WORDS.map((old) => [
    `${before} ${old}`,
    ...WORDS.map((now) => formatCount(verdicts[old][now])),
  ]);
  const judged = WORDS.flatMap((old) => WORDS.map((now) => verdicts[old][now])).reduce(
    (sum, n) => sum + n,
    0,
  );
  const agreeing = WORDS.reduce((sum, word) => sum + verdicts[word][word], 0);
  const share = judged === 0 ? "" : ` (${formatShare(agreeing / judged)})`;
  return [
    ...alignColumns([["", ...WORDS.map((now) => `${after} ${now}`)], ...rows]),
    "",
    `${formatCount(agreeing)} of ${formatCount(judged)} verdicts agree${share}`,
    ...(lost === 0 ? [] : [`${formatCount(lost)} candidates could not be judged, and have no verdict`]),
    selectionLine(agreement),
  ];
}

function selectionLine({ selected_again, selection_kept }: Agreement): string {
  const again = `answers of ${formatCount(selected_again)} tasks selected again`;
  return selection_kept === 0
    ? again
    : `${again}; those of ${formatCount(selection_kept)} kept: rows do not tell how they were selected`;
}
