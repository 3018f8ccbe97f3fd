/** Puts the chunks of one completion together. */
import { createParser } from "eventsource-parser";
import { type AttemptUsage, type Sampling, UNKNOWN_TOKENS } from "../../../../services/queue/job.ts";
import { rubbish } from "../../../http-exchange.ts";
import type { SampleAnswer } from "../../driver.ts";
import { readChunk, withStopString, type Finish } from "./completion.ts";
import type { Server } from "./wire.ts";

export class CompletionReader {
  readonly #server: Server;
  readonly #url: string;
  readonly #onUsage: (usage: AttemptUsage) => void;
  readonly #parser = createParser({ onEvent: (event) => this.take(event.data) });
  readonly #pieces: string[] = [];
  readonly #tokens: number[] = [];
  /** The answer's beginning: what to show where it turns out to be no stream at all. */
  #head = "";
  #events = 0;
  #finish: Finish | null = null;
  #usage: AttemptUsage = UNKNOWN_TOKENS;
  #logprobs = { count: 0, sum: 0 };

  constructor(server: Server, url: string, onUsage: (usage: AttemptUsage) => void) {
    this.#server = server;
    this.#url = url;
    this.#onUsage = onUsage;
  }

  /** A part of a stream. */
  feed(text: string): void {
    if (this.#events === 0 && this.#head.length < 256) this.#head += text.slice(0, 256);
    this.#parser.feed(text);
  }

  /** One chunk; where nothing is streamed, all of them. */
  take(data: string): void {
    this.#events += 1;
    if (data === "[DONE]") return;
    const chunk = readChunk(this.#server, data, this.#url);
    if (chunk.text !== "") this.#pieces.push(chunk.text);
    for (const token of chunk.tokens) this.#tokens.push(token);
    for (const logprob of chunk.logprobs) {
      this.#logprobs.count += 1;
      this.#logprobs.sum += logprob;
    }
    this.#finish = chunk.finish ?? this.#finish;
    if (chunk.usage === null) return;
    this.#usage = chunk.usage;
    this.#onUsage(chunk.usage);
  }

  /** `result.tokens` are those that may spell the text: whether they do is for the host to say. */
  answer(sampling: Sampling): SampleAnswer {
    this.#parser.reset({ consume: true });
    if (this.#events === 0)
      throw rubbish(this.#url, "a stream of events", this.#head === "" ? "nothing" : this.#head);
    if (this.#finish === null) {
      throw rubbish(
        this.#url,
        "a finish_reason at the end of the stream",
        `none after ${this.#events} events`,
      );
    }
    const { text, stopString } = withStopString(this.#pieces.join(""), this.#finish, sampling.stop);
    const { count, sum } = this.#logprobs;
    const meanLogprob = sampling.logprobs === true && count > 0 ? Math.min(0, sum / count) : null;
    const { reason } = this.#finish;
    // The model's own end is a token, and none of the text.
    const tokens = reason === "stop" && stopString === null ? this.#tokens.slice(0, -1) : this.#tokens;
    const isKnown = sampling.tokens === true && this.#tokens.length > 0;
    return {
      result: {
        kind: "rollout",
        text,
        finishReason: reason,
        stopString,
        meanLogprob,
        ...(isKnown ? { tokens } : {}),
      },
      usage: this.#usage,
    };
  }
}
