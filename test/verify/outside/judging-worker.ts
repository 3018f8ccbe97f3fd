/** Has the obedient program judge one candidate and prints its pid; then "exit" leaves without closing, "stay" stays. */
import { join } from "node:path";
import { systemClock } from "../../../services/runtime/clock.ts";
import { silentLog } from "../../../services/runtime/log.ts";
import { command, createCommandJudge } from "../../../workers/verify/outside/command.ts";
import { parseOptions } from "../../../workers/verify/verifier.ts";

const judge = createCommandJudge({ clock: systemClock, log: silentLog, env: process.env, concurrency: 1 });
const program = [process.execPath, join(import.meta.dirname, "obedient-program.ts")];
const options = parseOptions(command, { kind: "command", command: program });
const problem = { id: "p-1", prompt: "", reference: null, tests: null, metadata: {} };
const verify = (text: string) =>
  judge.verify({ prompt: "", text, problem }, options, new AbortController().signal);

const { answer } = await verify("answer");
console.log(answer);
if (process.argv[2] === "exit") {
  void verify("hang");
  process.exit(0);
}
