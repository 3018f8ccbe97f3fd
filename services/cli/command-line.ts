/** The command line. Each of its words is one file in `commands/`; what they all share is `Shell` and the exit statuses. */
import { Command, CommanderError } from "commander";
import { systemClock } from "../runtime/clock.ts";
import { CoppiceError } from "../runtime/errors.ts";
import { controlCommands } from "./commands/control.ts";
import { coordinatorCommand } from "./commands/coordinator.ts";
import { doctorCommand } from "./commands/doctor.ts";
import { exportCommand } from "./commands/export.ts";
import { hostCommand } from "./commands/host.ts";
import { listCommand } from "./commands/list.ts";
import { planCommand } from "./commands/plan.ts";
import { runCommand } from "./commands/run.ts";
import { schemaCommand } from "./commands/schema.ts";
import { scoreCommand } from "./commands/score.ts";
import { strategiesCommand } from "./commands/strategies.ts";
import { submitCommand } from "./commands/submit.ts";
import { summaryCommand } from "./commands/summary.ts";
import { verifierCommand } from "./commands/verifier.ts";
import { watchCommand } from "./commands/watch.ts";
import { workerCommand } from "./commands/worker.ts";
import { EXIT, describeError } from "./exit-status.ts";
import { createShell } from "./shell.ts";
import { programVersion } from "./version.ts";

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

const commands = [
  runCommand,
  planCommand,
  submitCommand,
  watchCommand,
  listCommand,
  summaryCommand,
  exportCommand,
  scoreCommand,
  controlCommands,
  coordinatorCommand,
  workerCommand,
  verifierCommand,
  hostCommand,
  doctorCommand,
  strategiesCommand,
  schemaCommand,
];
for (const add of commands) add(program, shell, exit);

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
