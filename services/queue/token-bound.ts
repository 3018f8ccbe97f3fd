/**
 * How many tokens a text can be, before any host has said so: an upper bound that holds for every tokenizer in use. Byte-level
 * BPE (GPT-2, Llama 3, Qwen, DeepSeek, Mistral's Tekken) and SentencePiece with byte fallback (Llama 2, Gemma, Phi-3) split a
 * text into pieces of at least one UTF-8 byte each, after they have normalized it: not at all, by NFC (Qwen) or by NFKC (T5's
 * family), which can make a text longer.
 */

/** What an engine puts before and behind a text: BOS, EOS, SentencePiece's space before the first word; doubled, to be safe. */
export const SPECIAL_TOKENS_MAX = 8;
/**
 * Where a text goes on, its last word may be split anew. So many tokens more than the parts had can come of that: words that
 * are one token are seldom longer than so many bytes.
 */
export const JOINT_TOKENS_MAX = 16;

/** At least the tokens of the text, without what an engine adds (`SPECIAL_TOKENS_MAX`). */
export function textTokensMax(text: string): number {
  const bytes = Buffer.byteLength(text);
  if (bytes === text.length) return bytes;
  const forms = ["NFC", "NFKC"].map((form) => Buffer.byteLength(text.normalize(form)));
  return Math.max(bytes, ...forms);
}
