/** The command line. Each of its words is one file in `commands/`; what they all share is `Shell` and the exit statuses. */
import { Command, CommanderError } from "commander";
import { systemClock } from "../runtime/clock.ts";
import { CoppiceError } from "../runtime/errors.ts";
import { EXIT, describeError } from "./exit-status.ts";
import { createShell, type Shell } from "./shell.ts";
import { programVersion } from "./version.ts";

type AddCommand = (program: Command, shell: Shell, exit: (status: number) => void) => void;

/** What is still open when a command is over (an idle connection, say) keeps the process for so long at most. */
const LINGER_MS = 2_000;

const shell = createShell(process, systemClock);

function exit(status: number): void {
  process.exitCode = status;
  shell.clock.after(LINGER_MS, () => process.exit(status));
}

const program = new Command("coppice")
  .description("A distributed job queue for large-scale LLM test-time compute.")
  .version(programVersion())
  .exitOverride()
  .showHelpAfterError("(coppice COMMAND --help tells the options)");

/** In the order in which `coppice --help` lists them. Loading one costs what it is made of: only that which is asked for is. */
const commands: readonly (readonly [words: readonly string[], load: () => Promise<AddCommand>])[] = [
  [["run"], async () => (await import("./commands/run.ts")).runCommand],
  [["plan"], async () => (await import("./commands/plan.ts")).planCommand],
  [["submit"], async () => (await import("./commands/submit.ts")).submitCommand],
  [["watch"], async () => (await import("./commands/watch.ts")).watchCommand],
  [["list"], async () => (await import("./commands/list.ts")).listCommand],
  [["summary"], async () => (await import("./commands/summary.ts")).summaryCommand],
  [["explain"], async () => (await import("./commands/explain.ts")).explainCommand],
  [["export"], async () => (await import("./commands/export.ts")).exportCommand],
  [["replay"], async () => (await import("./commands/replay.ts")).replayCommand],
  [["score"], async () => (await import("./commands/score.ts")).scoreCommand],
  [["pause", "resume", "cancel"], async () => (await import("./commands/control.ts")).controlCommands],
  [["coordinator"], async () => (await import("./commands/coordinator.ts")).coordinatorCommand],
  [["worker"], async () => (await import("./commands/worker.ts")).workerCommand],
  [["verifier"], async () => (await import("./commands/verifier.ts")).verifierCommand],
  [["host"], async () => (await import("./commands/host.ts")).hostCommand],
  [["doctor"], async () => (await import("./commands/doctor.ts")).doctorCommand],
  [["strategies"], async () => (await import("./commands/strategies.ts")).strategiesCommand],
  [["schema"], async () => (await import("./commands/schema.ts")).schemaCommand],
];
const asked = commands.filter(([words]) => words.includes(process.argv[2] ?? ""));
for (const [, load] of asked.length > 0 ? asked : commands) {
  const add = await load();
  add(program, shell, exit);
}

try {
  await program.parseAsync(process.argv);
} catch (error) {
  if (error instanceof CommanderError) {
    // Commander has said what is wrong already; help and version are no errors.
    exit(error.exitCode === 0 ? EXIT.settled : EXIT.wrong);
  } else {
    shell.say(`coppice: ${describeError(error)}`);
    exit(error instanceof CoppiceError && error.code === "cancelled" ? EXIT.interrupted : EXIT.wrong);
  }
}
