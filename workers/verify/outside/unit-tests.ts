/**
 * Unit tests: the candidate and the problem's tests are one program, which runs in the sandbox (I9). It is correct when it
 * ran to its last line, or its tests ended it, with exit status 0. A program that leaves before its tests is not.
 */
import { CoppiceError } from "../../../services/runtime/errors.ts";
import { defineOutsideVerifier } from "../outside-verifier.ts";
import { hasPlace, lastCodeBlock, renderProgram } from "../program-template.ts";
import { faultOf } from "../sandbox/explanation.ts";
import { provenTools } from "../sandbox/probe.ts";
import { LANGUAGES } from "../sandbox/program.ts";
import { correct, incorrect, undecided } from "../verifier.ts";
import { limitsOf, LIMIT_OPTIONS, openSandboxes } from "./sandboxed.ts";

/** Longest answer key, in UTF-16 units. */
const ANSWER_CHARS_MAX = 1_024;

export const unitTests = defineOutsideVerifier({
  kind: "unit-tests",
  about: "The candidate passes the problem's tests, as one program in a sandbox without network and files.",
  options: {
    ...LIMIT_OPTIONS,
    language: {
      type: "choice",
      default: "python",
      choices: LANGUAGES,
      about: "What the program is written in.",
    },
    program: {
      type: "text",
      default: "{prompt}{text}\n{tests}",
      about:
        "The program: {text} is the candidate, {prompt}, {tests}, {reference} and {id} are the problem's, any other {name} is of its metadata.",
    },
    extract: {
      type: "choice",
      default: "text",
      choices: ["text", "code-block"],
      about: "What {text} is: the candidate's whole text, or its last fenced block of code where it has one.",
    },
    answer: {
      type: "choice",
      default: "none",
      choices: ["none", "output"],
      about: "The answer key for votes: none, or what the program printed.",
    },
    output_chars_max: {
      type: "integer",
      default: 16_384,
      min: 1,
      max: 4_194_304,
      about: "Longest output in characters; a program that writes four times as many bytes is killed.",
    },
  },
  isRepeatable: true,
  runsCommands: false,
  check({ program }) {
    if (program !== null && hasPlace(program, "text")) return;
    throw new CoppiceError("invalid_argument", "verifier unit-tests: expected {text} in program, found none");
  },
  probe: async (parts) => void (await provenTools(parts)),
  open(parts) {
    const sandboxes = openSandboxes(parts);
    return {
      async verify(candidate, options, signal) {
        signal.throwIfAborted();
        const { language, extract } = options;
        const text = extract === "text" ? candidate.text : lastCodeBlock(candidate.text);
        const rendered = renderProgram(options.program ?? "", { ...candidate, text });
        if ("missing" in rendered) {
          const { missing } = rendered;
          return undecided(
            null,
            `the problem has no ${missing === "tests" ? "tests" : JSON.stringify(missing)}`,
          );
        }
        const limits = limitsOf(options);
        const outcome = await sandboxes.run({ language, ...rendered }, limits, signal);
        const printed = outcome.stdout.trim().slice(0, ANSWER_CHARS_MAX).toWellFormed();
        const answer = options.answer === "none" || printed === "" ? null : printed;
        const fault = faultOf(outcome, { language, limits });
        if (fault !== null) return incorrect(answer, fault);
        if (outcome.isComplete) return correct(answer);
        return incorrect(answer, "the program ended with exit status 0 before its tests did");
      },
      close: () => sandboxes.close(),
    };
  },
});
