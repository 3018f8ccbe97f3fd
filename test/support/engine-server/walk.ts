/** The model of a test server: a seeded walk over a few words, equal for equal prompt and seed, that ends as an engine's would. */
import { createRandom, deriveSeed } from "../../../services/runtime/random.ts";
import { END, idOf, WORDS } from "../toy-tokenizer.ts";
import type { Asked } from "./asked.ts";

/** Chance that the model ends the text itself, at each token. */
const END_CHANCE = 0.02;

export interface Generated {
  readonly tokens: readonly string[];
  /** Text without the stop string. */
  readonly text: string;
  readonly reason: "stop" | "length";
  readonly stopString: string | null;
}

/** What a client sees of one token. */
export interface Shown {
  readonly piece: string;
  /** Null where the chunk has no token of its own. */
  readonly token: number | null;
}

export function generate({ form, prompt, seed, maxTokens, stop, ignoresEnd }: Asked): Generated {
  if (form !== null) return { tokens: [form], text: form, reason: "stop", stopString: null };
  const random = createRandom(deriveSeed(seed, prompt));
  const tokens: string[] = [];
  let text = "";
  while (tokens.length < maxTokens) {
    if (random.next() < END_CHANCE && !ignoresEnd) return { tokens, text, reason: "stop", stopString: null };
    const token = WORDS[Math.floor(random.next() * WORDS.length)] ?? "";
    tokens.push(token);
    text += token;
    const stopString = stop.find((each) => text.includes(each)) ?? null;
    if (stopString !== null)
      return { tokens, text: text.slice(0, text.indexOf(stopString)), reason: "stop", stopString };
  }
  return { tokens, text, reason: "length", stopString: null };
}

/** Each token is cut where the stop string began, or behind it. */
export function shownPieces(
  { tokens, text, stopString }: Generated,
  { includesStop }: Asked,
): readonly Shown[] {
  let left = text.length + (includesStop ? (stopString?.length ?? 0) : 0);
  return tokens.map((token) => {
    const piece = token.slice(0, left);
    left -= piece.length;
    return { piece, token: idOf(token) };
  });
}

/** The token that ends the text where the model ends it itself. */
export function endToken({ reason, stopString }: Generated): number | null {
  return reason === "stop" && stopString === null ? END : null;
}
