/** How many tokens a text will be, before anybody has said so: learned from prompts of which hosts told it. */

/** Of English text, where nothing was seen yet. */
const CHARS_PER_TOKEN = 4;
/** Weight of what is assumed, in characters: a few prompts outweigh it. */
const PRIOR_CHARS = 64;

export class TokenEstimate {
  #chars = PRIOR_CHARS;
  #tokens = PRIOR_CHARS / CHARS_PER_TOKEN;

  /** A host counted so many tokens in a text. */
  saw(chars: number, tokens: number): void {
    this.#chars += chars;
    this.#tokens += tokens;
  }

  /** At least 1 for a text that is not empty. */
  tokens(text: string): number {
    return Math.ceil((text.length * this.#tokens) / this.#chars);
  }
}
