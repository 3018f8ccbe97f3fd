/** The `process-reward` verifier: the host's own probability that a judging word follows the path. */
import type { VerdictResult } from "../../services/queue/job.ts";
import { CoppiceError, messageOf } from "../../services/runtime/errors.ts";

export interface ProcessRewardSpec {
  /** `{prompt}` is the rendered prompt, `{text}` what was written after it. */
  readonly prompt: string;
  readonly positive: string;
  readonly negative: string;
}

/** Parses the verifier's segment; throws "invalid_argument" for another kind or a damaged one. */
export function parseProcessReward(text: string): ProcessRewardSpec {
  let parsed: unknown;
  try {
    parsed = JSON.parse(text);
  } catch (error) {
    throw new CoppiceError(
      "invalid_argument",
      `expected a verifier as JSON, found ${text.slice(0, 80)} (${messageOf(error)})`,
    );
  }
  const fields = new Map<string, unknown>(
    typeof parsed === "object" && parsed !== null ? Object.entries(parsed) : [],
  );
  if (fields.get("kind") !== "process-reward") {
    throw new CoppiceError(
      "invalid_argument",
      `expected the verifier "process-reward" on a host's lane, found ${JSON.stringify(fields.get("kind") ?? null)}`,
    );
  }
  const textField = (key: string, absent: string): string => {
    const value = fields.get(key) ?? absent;
    if (typeof value === "string" && value !== "") return value;
    throw new CoppiceError(
      "invalid_argument",
      `expected "${key}" of process-reward as a string, found ${JSON.stringify(value)}`,
    );
  };
  return {
    prompt: textField("prompt", "{prompt}{text}?"),
    positive: textField("positive", " good"),
    negative: textField("negative", " bad"),
  };
}

/** @param candidate The segments' texts of the path: the rendered prompt, then the rest. */
export function judgingPrompt(spec: ProcessRewardSpec, candidate: readonly string[]): string {
  const [prompt = "", ...rest] = candidate;
  const text = rest.join("");
  return spec.prompt.replaceAll(/\{(prompt|text)\}/g, (_, name) => (name === "prompt" ? prompt : text));
}

export function processRewardVerdict(score: number): VerdictResult {
  return { kind: "verdict", verdict: "undecided", score, answer: null, reason: "a process reward" };
}
