/** `coppice score`: a run's candidates verified again by another verifier, into a run directory of its own. */
import { availableParallelism } from "node:os";
import { resolve } from "node:path";
import type { Command } from "commander";
import { scoreRun } from "../../coordinator/score/score-run.ts";
import type { Summary } from "../../coordinator/status.ts";
import type { Sweep } from "../../coordinator/sweep.ts";
import { parseVerifierFlag } from "../../coordinator/sweep-file/verifier-flag.ts";
import { CoppiceError } from "../../runtime/errors.ts";
import { createLifecycle, type Lifecycle } from "../../runtime/lifecycle.ts";
import { type Log, silentLog } from "../../runtime/log.ts";
import { INFERENCE_VERIFIERS } from "../../../workers/rollout/inference/catalogue.ts";
import { createVerifierPool } from "../../../workers/verify/pool.ts";
import { agreementTable } from "../agreement-table.ts";
import { EXIT } from "../exit-status.ts";
import { loadRun, loadRunToScore, shownPath } from "../load-sweep.ts";
import { jsonOption, wholeNumber } from "../options.ts";
import { formatCount } from "../count-text.ts";
import type { Shell } from "../shell.ts";
import { reconciliationLine, summaryTable } from "../summary-table.ts";
import { programVersion } from "../version.ts";

/** A line says so often how far it is. */
const HEARTBEAT_MS = 10_000;

interface ScoreFlags {
  readonly verifier: string;
  readonly out?: string;
  readonly threads: number;
  readonly json: boolean;
}

const DETAILS = `
The new run directory holds every row of the run with the new verdicts, scores and answers, and the answer of each
task selected again by the rule that chose it: highest score, majority or weighted vote. Where the rows do not tell how
it was chosen, the task keeps its candidate, with its new verdict. The run itself is not changed.
Verifiers that run on the sweep's hosts are refused: no host is started.
  coppice score runs/demo --verifier numeric
  coppice score runs/demo --verifier '{kind: math, timeout_ms: 2000}' --out runs/demo-math`;

export function scoreCommand(program: Command, shell: Shell, exit: (status: number) => void): void {
  program
    .command("score")
    .description("verify a run's candidates again with another verifier, without generating")
    .argument("<run>", "the run directory")
    .requiredOption(
      "--verifier <verifier>",
      "a kind, kind=numeric with more KEY=VALUE, or a map in YAML or JSON",
    )
    .option("--out <directory>", "the run directory to write (default: <run>-<kind>)")
    .option("--threads <n>", "threads that verify", wholeNumber(1), availableParallelism())
    .addOption(jsonOption())
    .addHelpText("after", DETAILS)
    .action(async (run: string, flags: ScoreFlags) => exit(await score(run, flags, shell)));
}

async function score(run: string, flags: ScoreFlags, shell: Shell): Promise<number> {
  const { sweep: before } = await loadRun(run, shell, []);
  const { kind } = parseVerifierFlag(flags.verifier);
  const output = flags.out === undefined ? `${before.output}-${String(kind)}` : resolve(shell.cwd, flags.out);
  const after = await loadRunToScore(run, shell, { verifier: flags.verifier, output });
  refuseInference(after);
  const lifecycle = createLifecycle({
    process: shell.process,
    clock: shell.clock,
    tell: shell.say,
    log: silentLog,
  });
  try {
    const summary = await rescore(
      { before, after },
      { lifecycle, log: silentLog, threads: flags.threads, shell },
    );
    tell(summary, after, flags, shell);
    return EXIT.settled;
  } finally {
    await lifecycle.close();
  }
}

/** A verifier that asks a model needs hosts, and their budget: that is a sweep. */
function refuseInference({ verifier }: Sweep): void {
  if (!INFERENCE_VERIFIERS.some(({ kind }) => kind === verifier.kind)) return;
  const message = `--verifier: "${verifier.kind}" runs on a sweep's hosts, and \`coppice score\` starts none`;
  throw new CoppiceError("unimplemented", message);
}

interface Workplace {
  readonly lifecycle: Lifecycle;
  readonly log: Log;
  readonly threads: number;
  readonly shell: Shell;
}

async function rescore(
  scoring: { readonly before: Sweep; readonly after: Sweep },
  { lifecycle, log, threads, shell }: Workplace,
): Promise<Summary> {
  const { clock, env } = shell;
  const { verifier } = scoring.after;
  // Whoever scores owns this machine: the verifier may run commands here.
  const outside = { env, log, allowsCommands: true, kinds: [verifier.kind] };
  const created = await createVerifierPool({ clock, threads, outside });
  const pool = lifecycle.own("verifiers", created, (part) => part.close());
  pool.check(verifier);
  let toldMs = clock.monotonicMs();
  return scoreRun(scoring, {
    verify: (candidate, signal) => pool.verify(verifier, candidate, signal),
    clock,
    version: programVersion(),
    signal: lifecycle.leaving,
    onProgress: (candidates) => {
      if (clock.monotonicMs() - toldMs < HEARTBEAT_MS) return;
      toldMs = clock.monotonicMs();
      shell.say(`${formatCount(candidates)} candidates verified`);
    },
  });
}

function tell(summary: Summary, { output }: Sweep, { json: isJson }: ScoreFlags, shell: Shell): void {
  const { agreement } = summary;
  if (isJson) {
    shell.out(JSON.stringify({ kind: "scored", output, agreement }));
    return;
  }
  const lines = [
    ...(agreement === undefined ? [] : agreementTable(agreement)),
    "",
    ...summaryTable(summary),
    "",
    reconciliationLine(summary),
    `run directory: ${shownPath(output, shell)}`,
  ];
  for (const line of lines) shell.out(line);
}
