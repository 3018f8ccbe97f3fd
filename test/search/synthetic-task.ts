/**
 * A made-up problem for strategies: every answer is a function of a seed and of what is asked, so any order
 * agrees.
 */
import { createRandom, deriveSeed } from "../../services/runtime/random.ts";
import type { Answer, Ask, SampleAsk, Verdict } from "../../services/search/program.ts";
import { textOf } from "../../services/search/search.ts";

/**
 * Steps are one of few characters, so that equal texts and equal scores (ties) are common; some are numbers, by which a judge
 * chooses.
 */
const STEPS = ["a", "b", "c", "1", "2"] as const;
const TERMINAL_SHARE = 0.25;
const CORRECT_SHARE = 0.08;
const UNKNOWN_SHARE = 0.1;

/** What the task's model and verifiers answer. */
export function syntheticAnswer(seed: number, ask: Ask): Answer {
  const text = textOf(ask.prefix);
  return ask.kind === "sample" ? rollout(seed, text, ask) : verdict(seed, text, ask.role);
}

function rollout(seed: number, text: string, { sample, options }: SampleAsk): Answer {
  const random = createRandom(deriveSeed(seed, "rollout", text, sample));
  const letter = STEPS[Math.floor(random.next() * STEPS.length)] ?? "a";
  const isTerminal = random.next() < TERMINAL_SHARE;
  const meanLogprob = random.next() < UNKNOWN_SHARE ? null : -Math.ceil(random.next() * 4) / 4;
  // Without a stop string of its own, a step ends where its tokens do.
  const isCut = !isTerminal && options.maxTokens !== undefined && options.stop === undefined;
  return {
    kind: "rollout",
    rollout: {
      text: isTerminal ? `${letter}.` : `${letter}\n`,
      finishReason: isCut ? "length" : "stop",
      stopString: isTerminal || isCut ? null : "\n",
      completionTokens: 2,
      meanLogprob,
    },
  };
}

function verdict(seed: number, text: string, role: string): Answer {
  const random = createRandom(deriveSeed(seed, role, text));
  const isCorrect = random.next() < CORRECT_SHARE;
  const score = Math.floor(random.next() * 4) / 4;
  const draw = random.next();
  if (role === "process")
    return { kind: "verdict", verdict: judged("undecided", draw < 0.1 ? null : score, null) };
  if (draw < 0.1) return { kind: "verdict", verdict: judged("undecided", null, null) };
  const answer = draw < 0.2 ? null : text.slice(-2);
  return { kind: "verdict", verdict: judged(isCorrect ? "correct" : "incorrect", null, answer) };
}

function judged(said: Verdict["verdict"], score: number | null, answer: string | null): Verdict {
  return { verdict: said, score, answer, reason: said === "correct" ? null : "synthetic" };
}
