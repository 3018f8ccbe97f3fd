/** Strategies on a script: what the model writes is listed, what verifiers say follows from it. */
import type { Answer, Ask, Outcome, Prefix, Program } from "../../services/search/program.ts";
import { rootPrefix, Search, textOf } from "../../services/search/search.ts";
import type { ParameterValues, ProblemFacts, Strategy } from "../../services/search/strategy.ts";
import { withDefaults } from "../../services/search/strategy.ts";
import { drive, PROBLEM } from "./drive.ts";
import type { DriveOptions, Trace } from "./drive.ts";

/** Scores of a text by its last step's first letter; "!" is correct. */
const SCORES: Readonly<Record<string, number>> = { "!": 1, a: 0.9, b: 0.5, c: 0.3, d: 0.1 };

/** What an ask is answered by; null leaves it to `scripted`. */
export type Reply = (ask: Ask) => Answer | null;

/**
 * Samples are answered by `texts` in the order of asking (the last one over and over); one without "\n" is
 * terminal.
 */
export function scripted(texts: readonly string[], reply: Reply = () => null): (ask: Ask) => Answer {
  let turn = 0;
  return (ask) => {
    const own = reply(ask);
    if (own !== null) return own;
    if (ask.kind === "sample") return rolloutOf(texts[Math.min(turn++, texts.length - 1)] ?? "");
    const letter = ask.prefix.text.charAt(0);
    const verdict = letter === "!" ? "correct" : "incorrect";
    return {
      kind: "verdict",
      verdict: { verdict, score: SCORES[letter] ?? 0, answer: letter, reason: null },
    };
  };
}

export function rolloutOf(
  text: string,
  given: Partial<Extract<Answer, { kind: "rollout" }>["rollout"]> = {},
): Answer {
  const stopString = text.endsWith("\n") ? "\n" : null;
  return {
    kind: "rollout",
    rollout: { text, finishReason: "stop", stopString, completionTokens: 1, meanLogprob: null, ...given },
  };
}

/** A program on the prompt "p", driven to its outcome. */
export function solve(
  program: (prompt: Prefix) => Program<Outcome>,
  answer: (ask: Ask) => Answer,
  options: Omit<DriveOptions, "answer"> = {},
): { readonly trace: Trace; readonly outcome: Outcome } {
  const search = new Search(() => program(rootPrefix("p")));
  const trace = drive(search, { answer, ...options });
  if (search.error !== null) throw search.error;
  if (search.outcome === null) throw new Error(`expected an outcome, found ${JSON.stringify(search.end)}`);
  return { trace, outcome: search.outcome };
}

/** A strategy's program, with defaults where `given` says nothing. */
export function programOf<S extends Pick<Strategy, "parameters" | "search">>(
  strategy: S,
  given: Partial<ParameterValues<S["parameters"]>> = {},
  problem: ProblemFacts = PROBLEM,
): (prompt: Prefix) => Program<Outcome> {
  return (prompt) => strategy.search(prompt, withDefaults(strategy.parameters, given), problem);
}

/** The texts that rollouts continued, in the order of asking. */
export function sampledFrom({ asks }: Trace): readonly string[] {
  return asks.filter((ask) => ask.kind === "sample").map((ask) => textOf(ask.prefix));
}
