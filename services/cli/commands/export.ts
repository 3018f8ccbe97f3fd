/** `coppice export`: data sets from a run, by rejection sampling: keep what verified, a few per problem, none twice. */
import { basename, resolve } from "node:path";
import { type Command, InvalidArgumentError, Option } from "commander";
import type { Sweep } from "../../coordinator/sweep.ts";
import { CoppiceError } from "../../runtime/errors.ts";
import { createLifecycle } from "../../runtime/lifecycle.ts";
import { silentLog } from "../../runtime/log.ts";
import {
  type ExportKind,
  preferenceKind,
  ROLLOUTS_KIND,
  sftKind,
  type TextFormat,
} from "../../export/export-kind.ts";
import { exportRun } from "../../export/export-run.ts";
import type { ExportCounts, PickOptions } from "../../export/pick.ts";
import { EXIT } from "../exit-status.ts";
import { loadRun, shownPath } from "../load-sweep.ts";
import { wholeNumber } from "../options.ts";
import { formatCount } from "../count-text.ts";
import type { Shell } from "../shell.ts";

const TARGETS = ["sft", "preference", "parquet", "jsonl"] as const;
type Target = (typeof TARGETS)[number];

interface ExportFlags {
  readonly to: Target;
  readonly out?: string;
  readonly format?: TextFormat;
  readonly strategy?: string;
  readonly keep?: PickOptions["keep"];
  readonly maxPerProblem?: number;
  readonly minScore?: number;
  readonly dedupe?: PickOptions["dedupe"];
  readonly order?: PickOptions["order"];
  readonly seed?: number;
  readonly force: boolean;
  readonly json: boolean;
}

const DETAILS = `
What is written:
  sft          {prompt, completion, problem, task, score} for each verified candidate; equal texts once
  preference   {prompt, chosen, rejected, problem, chosen_score, rejected_score}: a correct and an incorrect
               candidate of one problem; each candidate stands in one pair at most
  parquet      every rollout with its prompt, verdict, answer, scores and usage, as Parquet
  jsonl        the same as JSON Lines
sft and preference are JSON Lines, and Parquet where --out ends in .parquet. The same run and options give the same
file, in the order of the run's problems, however its tasks settled.`;

export function exportCommand(program: Command, shell: Shell, exit: (status: number) => void): void {
  program
    .command("export")
    .description("write a data set from a run: fine-tuning rows, preference pairs, or its rollouts")
    .argument("<run>", "the run directory")
    .addOption(new Option("--to <what>", "what to write").choices(TARGETS).makeOptionMandatory())
    .option("--out <file>", "the file to write (default: <run>-<what>.jsonl or .parquet, here)")
    .addOption(
      new Option("--format <format>", "of sft and preference (default: prompt-completion)").choices([
        "prompt-completion",
        "messages",
      ]),
    )
    .option("--strategy <arm>", "rows of this arm only (default: all)")
    .addOption(
      new Option(
        "--keep <which>",
        "verified: correct candidates; all: sft takes every candidate, parquet and jsonl every rollout " +
          "(default: verified for sft, all for parquet and jsonl)",
      ).choices(["verified", "all"]),
    )
    .option("--max-per-problem <m>", "rows of a problem at most, over all arms", wholeNumber(1))
    .option("--min-score <score>", "leave out what scores less, or not at all", finiteNumber)
    .addOption(
      new Option(
        "--dedupe <by>",
        "of several equal ones of a problem, keep the first (default: text for sft and preference)",
      ).choices(["text", "answer", "none"]),
    )
    .addOption(
      new Option(
        "--order <order>",
        "of a problem's rows, and so which ones --max-per-problem keeps: highest score or shortest text first, " +
          "ties by chance; random; first as sampled (default: score for sft and preference)",
      ).choices(["score", "shortest", "random", "first"]),
    )
    .option("--seed <seed>", "of what is left to chance (default: the sweep's)", wholeNumber(0))
    .option("--force", "replace a file that exists", false)
    .option("--json", "the account as one line of JSON, for programs", false)
    .addHelpText("after", DETAILS)
    .action(async (run: string, flags: ExportFlags) => {
      await runExport(run, flags, shell);
      exit(EXIT.settled);
    });
}

async function runExport(run: string, flags: ExportFlags, shell: Shell): Promise<void> {
  const kind = kindOf(flags);
  const { sweep } = await loadRun(run, shell, []);
  const out = resolve(shell.cwd, flags.out ?? defaultName(sweep, flags.to));
  if (flags.to === "parquet" && !out.endsWith(".parquet"))
    throw new CoppiceError("invalid_argument", `--out ${flags.out}: expected a name that ends in .parquet`);
  const lifecycle = createLifecycle({ ...shell, tell: shell.say, log: silentLog });
  try {
    const counts = await exportRun(sweep, {
      kind,
      arm: flags.strategy ?? null,
      pick: pickOptions(flags, sweep),
      out,
      mayReplace: flags.force,
      signal: lifecycle.leaving,
    });
    const account = { kind: "exported", out, ...jsonCounts(counts) };
    shell.out(flags.json ? JSON.stringify(account) : line(counts, out, shell));
  } finally {
    await lifecycle.close();
  }
}

function kindOf({ to, format, keep }: ExportFlags): ExportKind {
  if (to === "sft") return sftKind(format ?? "prompt-completion");
  if (to === "preference") {
    if (keep !== undefined)
      throw new CoppiceError(
        "invalid_argument",
        "--keep: does not go with --to preference, which pairs both",
      );
    return preferenceKind(format ?? "prompt-completion");
  }
  if (format !== undefined)
    throw new CoppiceError("invalid_argument", `--format: does not go with --to ${to}`);
  return ROLLOUTS_KIND;
}

function pickOptions(flags: ExportFlags, sweep: Sweep): PickOptions {
  const isDataSet = flags.to === "sft" || flags.to === "preference";
  return {
    keep: flags.keep ?? (isDataSet ? "verified" : "all"),
    scoreMin: flags.minScore ?? null,
    max: flags.maxPerProblem ?? null,
    dedupe: flags.dedupe ?? (isDataSet ? "text" : "none"),
    order: flags.order ?? (isDataSet ? "score" : "first"),
    seed: flags.seed ?? sweep.seed,
  };
}

function defaultName({ output }: Sweep, to: Target): string {
  if (to === "parquet") return `${basename(output)}-rollouts.parquet`;
  return `${basename(output)}-${to === "jsonl" ? "rollouts" : to}.jsonl`;
}

function line(counts: ExportCounts, out: string, shell: Shell): string {
  const { rows, problemsWithRows, problems, rollouts, verified } = counts;
  const leftOut = [
    [counts.belowScore, "below --min-score"],
    [counts.duplicates, "duplicates"],
    [counts.overMax, "past --max-per-problem"],
  ] as const;
  const account = [
    `${formatCount(verified)} of ${formatCount(rollouts)} rollouts verified`,
    ...leftOut.filter(([n]) => n > 0).map(([n, why]) => `${formatCount(n)} ${why}`),
  ];
  const of = `${formatCount(problemsWithRows)} of ${formatCount(problems)} problems`;
  return `${formatCount(rows)} rows of ${of} (${account.join(", ")}): ${shownPath(out, shell)}`;
}

function jsonCounts(counts: ExportCounts): Readonly<Record<string, number>> {
  const { problems, rollouts, judged, verified, duplicates, rows } = counts;
  const { problemsWithRows, belowScore, overMax } = counts;
  return {
    rows,
    problems,
    problems_with_rows: problemsWithRows,
    rollouts,
    judged,
    verified,
    below_score: belowScore,
    duplicates,
    over_max: overMax,
  };
}

function finiteNumber(text: string): number {
  const value = Number(text);
  if (text.trim() === "" || !Number.isFinite(value)) throw new InvalidArgumentError("Expected a number.");
  return value;
}
