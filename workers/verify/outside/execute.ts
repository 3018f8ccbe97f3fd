/** A tool of strategies: runs a program that a model wrote, in the sandbox (I9), and answers with what it printed. */
import { defineOutsideVerifier } from "../outside-verifier.ts";
import { faultOf } from "../sandbox/explanation.ts";
import { provenTools } from "../sandbox/probe.ts";
import { LANGUAGES } from "../sandbox/program.ts";
import { correct, incorrect } from "../verifier.ts";
import { limitsOf, LIMIT_OPTIONS, openSandboxes } from "./sandboxed.ts";

export const execute = defineOutsideVerifier({
  kind: "execute",
  about: "Runs the candidate as a program in a sandbox; the answer is what it prints.",
  isTool: true,
  options: {
    ...LIMIT_OPTIONS,
    language: {
      type: "choice",
      default: "python",
      choices: LANGUAGES,
      about: "What the program is written in.",
    },
    output_chars_max: {
      type: "integer",
      default: 4_096,
      min: 1,
      max: 16_384,
      about:
        "Longest output in characters; what is beyond is cut, and four times as many bytes end the program.",
    },
  },
  isRepeatable: true,
  runsCommands: false,
  probe: async (parts) => void (await provenTools(parts)),
  open(parts) {
    const sandboxes = openSandboxes(parts);
    return {
      async verify({ prompt, text }, options, signal) {
        const { language } = options;
        const limits = limitsOf(options);
        const program = { language, source: prompt + text, testsLine: null };
        const outcome = await sandboxes.run(program, limits, signal);
        const printed = outcome.stdout.trim().slice(0, options.output_chars_max).toWellFormed();
        const answer = printed === "" ? null : printed;
        const fault = faultOf(outcome, { language, limits });
        return fault === null ? correct(answer) : incorrect(answer, fault);
      },
      close: () => sandboxes.close(),
    };
  },
});
