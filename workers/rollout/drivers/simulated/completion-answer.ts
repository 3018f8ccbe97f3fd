/** What a simulated server answers to a completion: the choice as a whole, or the part of it that is new. Pure. */
import type { CompletionAsk } from "./completion-ask.ts";
import {
  generatedOf,
  JUDGING_WORDS,
  nextWordLogprobs,
  tokenLogprob,
  type WrittenText,
} from "./seeded-text.ts";
import type { SimulatedUsage } from "./simulated-host.ts";
import { textOf } from "./tokenizer.ts";

/** Tokens from one to another, and whether the text ends with them. */
export interface Part {
  readonly from: number;
  readonly to: number;
  readonly isLast: boolean;
}

export class CompletionAnswer {
  readonly ask: CompletionAsk;
  readonly written: WrittenText;
  /** The tokens that the engine generates, the model's own end among them. */
  readonly generated: readonly number[];
  /** What of the text is shown: without the stop string, unless it is wanted. */
  readonly #shown: string;
  /** Where in the text each token ends. */
  readonly #ends: readonly number[];

  constructor(ask: CompletionAsk, written: WrittenText) {
    this.ask = ask;
    this.written = written;
    this.generated = generatedOf(written);
    const cut = ask.includesStop ? 0 : (written.stopString?.length ?? 0);
    this.#shown = written.text.slice(0, written.text.length - cut);
    let end = 0;
    this.#ends = written.tokens.map((token) => (end += textOf(token).length));
  }

  get whole(): Part {
    return { from: 0, to: this.generated.length, isLast: true };
  }

  choice({ from, to, isLast }: Part, index = 0): Readonly<Record<string, unknown>> {
    const { finishReason, stopString } = this.written;
    return {
      index,
      text: this.#textOf(from, to),
      logprobs: this.ask.logprobs === null ? null : this.#logprobs(from, to, this.ask.logprobs),
      finish_reason: isLast ? finishReason : null,
      stop_reason: isLast ? stopString : null,
      ...(this.ask.returnsTokenIds ? { token_ids: this.generated.slice(from, to) } : {}),
      ...(this.ask.returnsTokenIds && from === 0 ? { prompt_token_ids: this.ask.prompt } : {}),
      ...(this.ask.promptLogprobs ? { prompt_logprobs: promptLogprobs(this.ask.prompt) } : {}),
    };
  }

  #textOf(from: number, to: number): string {
    return this.#shown.slice(this.#endOf(from), this.#endOf(to));
  }

  #endOf(tokens: number): number {
    return tokens === 0 ? 0 : (this.#ends[tokens - 1] ?? this.#shown.length);
  }

  #logprobs(from: number, to: number, top: number): Readonly<Record<string, unknown>> {
    const tokens = this.written.tokens.slice(from, to);
    const logprobs = this.written.logprobs.slice(from, to);
    return {
      tokens: tokens.map(textOf),
      token_logprobs: logprobs,
      top_logprobs: tokens.map((token, at) => {
        const own = { [textOf(token)]: logprobs[at] };
        // Only the first token is judged by, so only there the words that verifiers ask for are listed.
        if (top < 2 || from + at > 0) return own;
        return Object.fromEntries(nextWordLogprobs(this.ask.text, JUDGING_WORDS).slice(0, top));
      }),
      text_offset: tokens.map((_, at) => this.#endOf(from + at)),
    };
  }
}

/** As vLLM lists them: none of the first, of each other its own. */
function promptLogprobs(prompt: readonly number[]): readonly unknown[] {
  return prompt.map((token, at) => {
    if (at === 0) return null;
    const logprob = tokenLogprob(token, prompt[at - 1] ?? 0);
    return { [token]: { logprob, rank: 1, decoded_token: textOf(token) } };
  });
}

export function usageBody({
  promptTokens,
  completionTokens,
  cachedTokens,
}: SimulatedUsage): Readonly<Record<string, unknown>> {
  return {
    prompt_tokens: promptTokens,
    total_tokens: promptTokens + completionTokens,
    completion_tokens: completionTokens,
    prompt_tokens_details: { cached_tokens: cachedTokens },
  };
}
