/**
 * A host without a model: what it says is a function of prompt and seed, so equal asks get equal answers on any number of
 * hosts. It plays Game of 24 badly: a random valid step at a time. Passes the drivers' conformance suite.
 */
import { createHash } from "node:crypto";
import { CoppiceError } from "../../services/runtime/errors.ts";
import { createRandom } from "../../services/runtime/random.ts";
import type { Driver, EngineSignals, SampleAnswer, SampleRequest } from "../../workers/rollout/driver.ts";
import { promptText } from "../../workers/rollout/prompt.ts";

export interface SeededDriverOptions {
  readonly model?: string;
  readonly concurrency?: number;
  /** Absent: the number is fixed. */
  readonly concurrencyMax?: number;
  readonly sharesColdPrefixes?: boolean;
  /** Called with every probe; what it throws the probe rejects with. */
  readonly onProbe?: () => void;
  /** Called with every request before it is answered; a promise holds the first token back. */
  readonly onSample?: (request: SampleRequest, signal: AbortSignal) => void | Promise<void>;
  /** Called with every request once its first token was told; a promise holds the rest back. */
  readonly onDecode?: (request: SampleRequest, signal: AbortSignal) => void | Promise<void>;
  /** What the engine says of itself. */
  readonly signals?: () => EngineSignals | null;
  /** Cached tokens of a rollout. */
  readonly cachedTokens?: () => number;
}

export function createSeededDriver(options: SeededDriverOptions = {}): Driver {
  return {
    engine: "seeded",
    async probe() {
      options.onProbe?.();
      return {
        model: options.model ?? "seeded",
        concurrency: options.concurrency ?? 8,
        kvCapacityTokens: null,
        contextTokens: null,
        concurrencyMax: options.concurrencyMax ?? options.concurrency ?? 8,
        reportsCachedTokens: true,
        blockTokens: null,
        sharesColdPrefixes: options.sharesColdPrefixes ?? true,
        can: ["score", "likelihood", "reward", "logprobs", "tokens"],
      };
    },
    signals: async () => options.signals?.() ?? null,
    async sample(request, signal) {
      signal.throwIfAborted();
      await options.onSample?.(request, signal);
      signal.throwIfAborted();
      const { result, usage } = play(request);
      request.onFirstToken?.();
      await options.onDecode?.(request, signal);
      signal.throwIfAborted();
      const cachedTokens = options.cachedTokens?.() ?? usage.cachedTokens;
      return { result, usage: { ...usage, cachedTokens } };
    },
    async score(request, signal) {
      signal.throwIfAborted();
      const { pieces, positive, negative } = request;
      const score = fraction(promptText(pieces), positive, negative);
      return { score, usage: { promptTokens: 5, cachedTokens: 4, completionTokens: 1 } };
    },
    async likelihood({ pieces, continuation }, signal) {
      signal.throwIfAborted();
      const meanLogprob = Math.log(0.01 + 0.99 * fraction(promptText(pieces), continuation.text));
      return { meanLogprob, usage: { promptTokens: 5, cachedTokens: 4, completionTokens: 0 } };
    },
    async reward({ input, over }, signal) {
      signal.throwIfAborted();
      const texts = over === "text" ? [input] : input.split(/(?<=\n)/).filter((step) => step.trim() !== "");
      const rows = (texts.length === 0 ? [input] : texts).map((text) => [fraction(text, over)]);
      return { rows, usage: { promptTokens: 5, cachedTokens: 4, completionTokens: 0 } };
    },
    close: async () => undefined,
  };
}

/** In [0, 1], by the texts alone. */
function fraction(...texts: readonly string[]): number {
  const hash = createHash("sha256").update(texts.join("\0")).digest();
  return hash.readUInt32BE(0) / 0xffff_ffff;
}

function play({ pieces, seed, sampling }: SampleRequest): SampleAnswer {
  const prompt = promptText(pieces);
  const wantsTokens = sampling.tokens === true;
  const hash = createHash("sha256").update(prompt).digest().readUInt32BE(0);
  const random = createRandom((sampling.temperature === 0 ? 0 : seed) ^ hash);
  const lastLine = prompt.trimEnd().split("\n").at(-1) ?? "";
  let left = (lastLine.split("left").at(-1) ?? "").trim().split(/\s+/).map(Number).filter(Number.isFinite);
  if (prompt === "") throw new CoppiceError("invalid_argument", "seeded: expected a prompt, found none");
  let text = "";
  let tokens = 0;
  while (left.length > 1 || text === "") {
    const step = stepFrom(left, () => random.next());
    left = step.left;
    for (const [i, word] of step.line.split(/(?<= )/).entries()) {
      if (tokens === sampling.maxTokens) return answer(text, "length", null, { tokens, prompt, wantsTokens });
      text += word;
      tokens += 1;
      const stop =
        i === step.line.split(/(?<= )/).length - 1 ? sampling.stop.find((s) => text.endsWith(s)) : undefined;
      if (stop !== undefined) return answer(text, "stop", stop, { tokens, prompt, wantsTokens });
    }
  }
  return answer(text, "stop", null, { tokens, prompt, wantsTokens });
}

function stepFrom(
  left: readonly number[],
  next: () => number,
): { readonly line: string; readonly left: number[] } {
  if (left.length < 2) return { line: "0 + 0 = 0 left 0\n", left: [] };
  const i = Math.floor(next() * left.length);
  const a = left[i] ?? 0;
  const others = left.filter((_, n) => n !== i);
  const j = Math.floor(next() * others.length);
  const b = others[j] ?? 0;
  const moves = [
    `${a} + ${b} = ${a + b}`,
    `${a} * ${b} = ${a * b}`,
    ...(a >= b ? [`${a} - ${b} = ${a - b}`] : []),
  ];
  const move = moves[Math.floor(next() * moves.length)] ?? "";
  const result = Number(move.split("= ")[1]);
  const rest = [...others.filter((_, n) => n !== j), result].toSorted((x, y) => x - y);
  return { line: `${move} left ${rest.join(" ")}\n`, left: rest };
}

function answer(
  text: string,
  finishReason: "stop" | "length",
  stopString: string | null,
  {
    tokens,
    prompt,
    wantsTokens,
  }: { readonly tokens: number; readonly prompt: string; readonly wantsTokens: boolean },
): SampleAnswer {
  const promptTokens = prompt.split(/\s+/).length;
  return {
    result: {
      kind: "rollout",
      text,
      finishReason,
      stopString,
      meanLogprob: -1 / (1 + text.length),
      ...(wantsTokens ? { tokens: Array.from(text, (char) => char.codePointAt(0) ?? 0) } : {}),
    },
    usage: { promptTokens, cachedTokens: Math.min(2, promptTokens), completionTokens: tokens },
  };
}
