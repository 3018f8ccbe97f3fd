/** `coppice run`: a sweep from beginning to end in this process, with nothing else installed. */
import { availableParallelism } from "node:os";
import { join } from "node:path";
import type { Command } from "commander";
import { beginAttempt, exists } from "../../coordinator/run-directory.ts";
import type { SweepRun } from "../../coordinator/coordinator-api.ts";
import { describeRoute, Routes } from "../../coordinator/routes.ts";
import { failedTasks } from "../../coordinator/run-rows/failed-tasks.ts";
import { isFit } from "../../coordinator/scheduler/placement.ts";
import type { Sweep } from "../../coordinator/sweep.ts";
import { DEFAULT_RUN_LIMITS } from "../../coordinator/run-parts.ts";
import { CoppiceError, messageOf } from "../../runtime/errors.ts";
import { drainLimitMs, type Lifecycle, createLifecycle } from "../../runtime/lifecycle.ts";
import { createLateSink, createLog } from "../../runtime/log.ts";
import { dryRunLines, estimateSweep, firstPromptLine } from "../dry-run.ts";
import { type EmbeddedCluster, startEmbeddedCluster } from "../embedded-cluster.ts";
import { EXIT } from "../exit-status.ts";
import { FAILED_SHOWN_MAX } from "../failure-lines.ts";
import { resumeAdvice, tellEnd } from "../follow.ts";
import { type LoadedRun, type LoadedSweep, loadRun, loadSweep, shownPath } from "../load-sweep.ts";
import { formatCount, plural } from "../count-text.ts";
import { type FailLimit, stoppingText, watchFailures } from "../fail-limit.ts";
import { drainOption, failOnErrorOption, jsonOption, setOption } from "../options.ts";
import { createProgress, progressMode } from "../progress.ts";
import { type Shell, quoteArgument } from "../shell.ts";
import { programVersion } from "../version.ts";

/** After the first signal rollouts that run may finish for so long; what does not is computed again on resume. */
const DRAIN_SECONDS = 5;
const VERIFIER_THREADS_MAX = 4;

interface RunOptions {
  readonly resume?: string;
  readonly set: readonly string[];
  readonly dryRun: boolean;
  readonly json: boolean;
  readonly skipInvalid: boolean;
  readonly failOnError: FailLimit;
  readonly drainSeconds: number;
}

type Plan =
  | { readonly kind: "new"; readonly sweep: Sweep; readonly loaded: LoadedSweep }
  | ({ readonly kind: "resumed" } & LoadedRun);

export function runCommand(program: Command, shell: Shell, exit: (status: number) => void): void {
  program
    .command("run")
    .description("run a sweep from beginning to end in this process")
    .argument("[sweep]", "the sweep file (YAML or JSON)")
    .option("--resume <directory>", "go on with the run in this directory; needs no other argument")
    .addOption(setOption())
    .option("--dry-run", "print the resolved sweep and what it could cost, and stop", false)
    .addOption(jsonOption())
    .option("--skip-invalid", "leave out problems that are not valid", false)
    .addOption(failOnErrorOption())
    .addOption(drainOption(DRAIN_SECONDS))
    .action(async (path: string | undefined, options: RunOptions) => exit(await run(path, options, shell)));
}

async function run(path: string | undefined, options: RunOptions, shell: Shell): Promise<number> {
  const plan = await makePlan(path, options, shell);
  if (options.dryRun) return dryRun(plan, options, shell);
  await refuseUnfit(plan, shell);
  const sink = createLateSink();
  const log = createLog({ name: "coppice", stream: sink });
  const { process, clock, say: tell } = shell;
  const limits = { drainMs: drainLimitMs(options.drainSeconds) };
  const lifecycle = createLifecycle({ process, clock, tell, log, limits });
  try {
    const cluster = await startEmbeddedCluster({
      hosts: plan.sweep.hosts,
      model: plan.sweep.model,
      clock: shell.clock,
      env: shell.env,
      log,
      lifecycle,
      verifiers: plan.sweep.arms.flatMap((arm) => new Routes(plan.sweep, arm).outside),
      version: programVersion(),
      verifierThreads: Math.min(VERIFIER_THREADS_MAX, Math.max(1, availableParallelism() - 1)),
      warn: shell.say,
    });
    refuseUnserved(plan.sweep, cluster);
    const sweepRun = await begin(plan, cluster);
    const attempt = await beginAttempt(plan.sweep.output);
    sink.open(join(attempt.logs, "run.log"));
    return await follow(sweepRun, { plan, cluster, lifecycle, options, shell });
  } finally {
    await lifecycle.close();
  }
}

async function makePlan(path: string | undefined, options: RunOptions, shell: Shell): Promise<Plan> {
  if ((path === undefined) === (options.resume === undefined)) {
    const found = path === undefined ? "neither" : "both";
    throw new CoppiceError("invalid_argument", `expected a sweep file or --resume DIRECTORY, found ${found}`);
  }
  if (options.resume !== undefined)
    return { kind: "resumed", ...(await loadRun(options.resume, shell, options.set)) };
  const loaded = await loadSweep(path ?? "", shell, {
    overrides: options.set,
    skipInvalid: options.skipInvalid,
    destination: "here",
  });
  if (loaded.check.invalid.size > 0)
    shell.say(`left out ${loaded.check.invalid.size} problems that are not valid`);
  return { kind: "new", sweep: loaded.sweep, loaded };
}

function dryRun(plan: Plan, { json: isJson }: RunOptions, shell: Shell): number {
  if (plan.kind === "resumed")
    throw new CoppiceError(
      "invalid_argument",
      "--dry-run is for a new sweep; a run that is resumed has begun",
    );
  const { resolved, check } = plan.loaded;
  const facts = {
    resolved,
    problems: check.count,
    first: check.first,
    siblingsMax: DEFAULT_RUN_LIMITS.siblingsMax,
  };
  const { tasks, rollouts, verifications, completionTokensMax } = estimateSweep(plan.sweep, check.count);
  const most = {
    rollouts_max: rollouts,
    verifications_max: verifications,
    completion_tokens_max: completionTokensMax,
  };
  const lines = isJson
    ? [JSON.stringify({ kind: "dry_run", tasks, ...most, resolved })]
    : dryRunLines(plan.sweep, facts);
  for (const line of lines) shell.out(line);
  return EXIT.settled;
}

/** What can be refused before a host is started. */
async function refuseUnfit({ kind, sweep }: Plan, shell: Shell): Promise<void> {
  if (sweep.hosts.length === 0) {
    throw new CoppiceError(
      "invalid_argument",
      `hosts: missing; expected at least one host that serves the model "${sweep.model}"`,
    );
  }
  if (kind === "new" && (await exists(sweep.output))) {
    const path = shownPath(sweep.output, shell);
    const advice = `go on with it by: ${shell.program} run --resume ${quoteArgument(path)}; or name another with --set output=...`;
    throw new CoppiceError(
      "already_exists",
      `${path}: expected a new run directory, found one that exists; ${advice}`,
    );
  }
}

/** A sweep that asks of hosts what none of them can do would wait for ever. */
function refuseUnserved(sweep: Sweep, { hosts }: EmbeddedCluster): void {
  for (const arm of sweep.arms) {
    for (const route of new Routes(sweep, arm).hosts) {
      if (hosts.some((host) => isFit(host, route))) continue;
      const found = hosts
        .map(
          ({ id, model, can }) =>
            `${id} serves "${model}"${can.length === 0 ? "" : ` and has ${can.join(", ")}`}`,
        )
        .join("; ");
      throw new CoppiceError(
        "invalid_argument",
        `${arm.id}: expected ${describeRoute(route)}; found: ${found}`,
      );
    }
  }
}

async function begin(plan: Plan, { coordinator }: EmbeddedCluster): Promise<SweepRun> {
  if (plan.kind === "resumed") {
    const reopened = await coordinator.reopen(plan.sweep, plan.resolved);
    // It may have been paused on a coordinator; whoever resumes it here wants it to run.
    reopened.resume();
    return reopened;
  }
  const { loaded } = plan;
  return coordinator.submit(plan.sweep, loaded.problems(), {
    given: loaded.given,
    resolved: loaded.resolved,
  });
}

interface Following {
  readonly plan: Plan;
  readonly cluster: EmbeddedCluster;
  readonly lifecycle: Lifecycle;
  readonly options: RunOptions;
  readonly shell: Shell;
}

async function follow(
  sweepRun: SweepRun,
  { plan, cluster, lifecycle, options, shell }: Following,
): Promise<number> {
  const { output } = plan.sweep;
  if (options.json)
    shell.out(JSON.stringify({ kind: "started", sweep: sweepRun.id, name: plan.sweep.name, output }));
  else for (const line of openingLines(sweepRun, plan, cluster)) shell.out(line);
  const progress = createProgress(shell, progressMode(shell, options.json));
  let isStopped = false;
  const leave = (): void =>
    void interrupt(sweepRun, cluster, { shell, graceMs: options.drainSeconds * 1_000 });
  const failures = watchFailures(options.failOnError, (tasks) => {
    isStopped = true;
    shell.say(`stopping: ${stoppingText(options.failOnError, tasks)}`);
    leave();
  });
  const unwatch = sweepRun.watch((event) => {
    // That its hosts are gone is no trouble to somebody who leaves.
    const isExpected =
      event.kind === "log" && event.level === "warn" && (lifecycle.leaving.aborted || isStopped);
    if (!isExpected) progress.event(event);
    failures(event);
  });
  lifecycle.lastWords(resumeAdvice(output, shell));
  if (lifecycle.leaving.aborted) leave();
  else lifecycle.leaving.addEventListener("abort", leave, { once: true });
  try {
    const summary = await sweepRun.ended;
    progress.stop();
    return tellEnd(summary, shell, {
      isJson: options.json,
      failLimit: options.failOnError,
      isStopped,
      failed: summary.tasks.failed === 0 ? [] : await failedTasks(output, FAILED_SHOWN_MAX),
      output,
      isResumableHere: true,
    });
  } catch (error) {
    progress.stop();
    shell.say(`the run stopped short; once that is mended, ${resumeAdvice(output, shell)}`);
    throw error;
  } finally {
    progress.stop();
    unwatch();
    lifecycle.leaving.removeEventListener("abort", leave);
  }
}

function openingLines(sweepRun: SweepRun, plan: Plan, { hosts }: EmbeddedCluster): readonly string[] {
  const { tasks } = sweepRun.status();
  const settled = tasks.completed + tasks.exhausted + tasks.failed + tasks.cancelled;
  const served = hosts.map(({ id, engine, model }) => `${id} (${engine}, "${model}")`).join(", ");
  const first = `sweep ${sweepRun.id}: ${plural(tasks.total, "task")}${settled > 0 ? `, ${formatCount(settled)} settled before` : ""}; hosts: ${served}`;
  if (plan.kind === "resumed") return [...plan.changes, first];
  return [first, firstPromptLine(plan.sweep, plan.loaded.check.first)];
}

/** Finishes what runs, within the grace, and closes the journal; the run stays resumable. */
async function interrupt(
  sweepRun: SweepRun,
  cluster: EmbeddedCluster,
  { shell, graceMs }: { readonly shell: Shell; readonly graceMs: number },
): Promise<void> {
  shell.say(`leaving: what runs may finish for ${graceMs / 1_000} s; Ctrl-C again leaves at once`);
  try {
    sweepRun.pause();
    await cluster.drain(graceMs);
  } catch (error) {
    shell.say(`draining failed: ${messageOf(error)}`);
  } finally {
    // The pause was ours, not the user's: it must not hold when the run is taken up again.
    sweepRun.resume();
    await sweepRun.interrupt();
  }
}
