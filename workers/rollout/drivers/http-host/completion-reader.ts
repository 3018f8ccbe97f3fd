/** Puts the chunks of one completion together. */
import { createParser } from "eventsource-parser";
import { type AttemptUsage, type Sampling, UNKNOWN_TOKENS } from "../../../../services/queue/job.ts";
import { rubbish } from "../../../http-exchange.ts";
import type { SampleAnswer } from "../../driver.ts";
import { withStopString } from "./completion-text.ts";
import type { Chunk, Finish, Speech } from "./dialect.ts";
import { objectIn, parseJson, throwReported } from "./wire.ts";

export interface CompletionListener {
  /** Told what is known of the usage whenever a chunk says more. */
  readonly onUsage: (usage: AttemptUsage) => void;
  /** Told once, by the first chunk that has a token. */
  readonly onFirstToken: () => void;
}

export class CompletionReader {
  readonly #read: (data: string) => Chunk;
  readonly #url: string;
  readonly #listener: CompletionListener;
  readonly #parser = createParser({ onEvent: (event) => this.take(event.data) });
  readonly #pieces: string[] = [];
  readonly #tokens: number[] = [];
  /** The answer's beginning: what to show where it turns out to be no stream at all. */
  #head = "";
  #events = 0;
  #isBegun = false;
  #finish: Finish | null = null;
  #usage: AttemptUsage = UNKNOWN_TOKENS;
  #logprobs = { count: 0, sum: 0 };

  constructor(
    speech: Pick<Speech, "chunkReader" | "errorStatus">,
    url: string,
    listener: CompletionListener,
  ) {
    const read = speech.chunkReader();
    this.#read = (data) => {
      const chunk = objectIn(parseJson(data, url), "a completion chunk", url);
      throwReported(chunk, url, speech.errorStatus);
      return read(chunk, url);
    };
    this.#url = url;
    this.#listener = listener;
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
    const chunk = this.#read(data);
    if (chunk.text !== "") this.#pieces.push(chunk.text);
    for (const token of chunk.tokens) this.#tokens.push(token);
    for (const logprob of chunk.logprobs) {
      this.#logprobs.count += 1;
      this.#logprobs.sum += logprob;
    }
    this.#finish = chunk.finish ?? this.#finish;
    if (!this.#isBegun && hasToken(chunk)) {
      this.#isBegun = true;
      this.#listener.onFirstToken();
    }
    if (chunk.usage === null) return;
    this.#usage = chunk.usage;
    this.#listener.onUsage(chunk.usage);
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

function hasToken({ text, tokens, finish, usage }: Chunk): boolean {
  return text !== "" || tokens.length > 0 || finish !== null || (usage?.completionTokens ?? 0) > 0;
}
