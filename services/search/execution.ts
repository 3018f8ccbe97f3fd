/** Running Python programs that the model wrote, in the sandbox. */
import { lastCodeBlock } from "./code-block.ts";
import { orNull, useTool, writePrompt } from "./operations.ts";
import type { Program } from "./program.ts";
import type { ProblemFacts } from "./strategy.ts";

/** The strategies' parameter that says where the program in an answer begins. */
export const PROGRAM = {
  type: "choice",
  default: "answer",
  choices: ["answer", "prompt-and-answer"],
  about:
    "answer: its last fenced block, or all of it; prompt-and-answer: it continues the problem's prompt, which is code.",
} as const;

/** The program that an answer is. */
export function programIn(
  answer: string,
  problem: ProblemFacts,
  program: (typeof PROGRAM.choices)[number],
): string {
  return program === "prompt-and-answer" ? problem.prompt + answer : (lastCodeBlock(answer) ?? answer);
}

/** The program, reading `input` as its standard input. */
export function withStdin(program: string, input: string): string {
  // A JSON text is a Python literal too. Run from a literal, so that the program's own first lines may stay the first.
  return [
    "import io, sys",
    `sys.stdin = io.StringIO(${JSON.stringify(input)})`,
    `exec(compile(${JSON.stringify(program)}, "program.py", "exec"), {"__name__": "__main__"})`,
  ].join("\n");
}

/** The program, then printing what an expression is worth. */
export function withExpression(program: string, expression: string): string {
  return `${program}\n\nprint(repr(${expression}))\n`;
}

/** What a program prints, without white space at its end. Null when it crashes, ran out of a limit, or the run is lost. */
export function* run(program: string): Program<string | null> {
  const verdict = yield* orNull(useTool("python", yield* writePrompt(program)));
  return verdict?.verdict === "correct" ? (verdict.answer ?? "").trimEnd() : null;
}
