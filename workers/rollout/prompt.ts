/** A prompt in pieces, as text or as token ids. */
import type { PromptPiece } from "../../services/queue/job.ts";

export function promptText(pieces: readonly PromptPiece[]): string {
  return pieces.map(({ text }) => text).join("");
}

/** The engine's own tokenizer. */
export interface Tokenizer {
  /** The ids of a text that begins a prompt, with what the model wants at the beginning. */
  beginning(text: string): Promise<readonly number[]>;
  /** The ids that a text adds behind other text. */
  continuation(text: string): Promise<readonly number[]>;
}

/**
 * The prompt as token ids: known ones as they are, the texts between them as the tokenizer has them, neighbouring texts as
 * one. A rollout is thus continued from exactly the tokens that it was sampled as. Null where no piece has token ids: the
 * text says it all, and the engine tokenizes it as it always does.
 */
export async function promptInTokens(
  pieces: readonly PromptPiece[],
  tokenizer: Tokenizer,
): Promise<readonly number[] | null> {
  if (pieces.every(({ tokens }) => tokens === undefined)) return null;
  const ids: number[] = [];
  for (const [index, { text, tokens }] of joinTexts(pieces).entries()) {
    const known =
      tokens ?? (index === 0 ? await tokenizer.beginning(text) : await tokenizer.continuation(text));
    // Not spread: a long prompt has more tokens than a call may have arguments.
    for (const token of known) ids.push(token);
  }
  return ids;
}

/** Neighbouring pieces without token ids as one piece. Empty ones are left out, but for the beginning. */
function joinTexts(pieces: readonly PromptPiece[]): readonly PromptPiece[] {
  // A prompt that begins with token ids begins with nothing before them: the tokenizer says what a model wants there.
  const joined: PromptPiece[] = [{ text: "" }];
  for (const piece of pieces) {
    const last = joined.at(-1);
    if (piece.tokens === undefined && last?.tokens === undefined)
      joined.splice(-1, 1, { text: `${last?.text ?? ""}${piece.text}` });
    else joined.push(piece);
  }
  return joined;
}
