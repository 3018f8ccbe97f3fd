/**
 * The shipped model made to answer behind a long prompt, as it answers behind none. It was trained on 34 tokens, and is lost behind
 * more. So its weights are set, by no training, into a wider model of the same architecture:
 *
 * - every token has a channel of its own that says whether it is letters (the byte tokens and the lone space, which no puzzle uses),
 *   and another that is the same for all;
 * - every head has a rotary pair of its own that turns those into a score far below zero for each token of letters, and nothing
 *   for others. The rotary pairs of the shipped model keep their angles: n pairs to a head, their angles are every other of 2n.
 *
 * So what is written in letters is computed, kept in the KV cache and attended to as in any model, by a weight of zero. Positions
 * are relative, so a puzzle behind it is answered as at the beginning. It begins with the token that begins every puzzle, which the
 * prompt therefore writes out before the puzzle: `BEGIN`.
 */
import { type Gguf, number, readGguf, type Tensor, text, wholeNumber, writeGguf, yesNo } from "./gguf.ts";

/** What a prompt writes between what is in letters and the puzzle. */
export const BEGIN = "<s>";
export const LONG_PROMPT_MODEL = "game24-tiny-long-prompt";

/** Channels behind those of the shipped model: a whole number of what processors multiply at once. */
const MORE_CHANNELS = 32;
const SAME_FOR_ALL = 2 ** -8;
const LETTERS = 1;
/** Together they make the score of a token of letters about -100 or less, from the first layer to the last. */
const QUERY_WEIGHT = 2 ** 12;
const KEY_WEIGHT = -(2 ** 6);

/** @param contextTokens The longest text. @returns The bytes of a GGUF file. */
export function longPromptModel(shipped: Buffer, contextTokens: number): Buffer {
  const model = readGguf(shipped);
  const shape = shapeOf(model);
  const tensors = new Map(
    [...model.tensors].map(([name, tensor]) => [name, widened(name, tensor, shape)] as const),
  );
  const metadata = new Map(model.metadata);
  for (const [key, entry] of Object.entries({
    "general.name": text(LONG_PROMPT_MODEL),
    "llama.context_length": wholeNumber(contextTokens),
    "llama.embedding_length": wholeNumber(shape.width + MORE_CHANNELS),
    "llama.attention.key_length": wholeNumber(2 * shape.headSize),
    "llama.attention.value_length": wholeNumber(2 * shape.headSize),
    "llama.rope.dimension_count": wholeNumber(2 * shape.headSize),
    // The mean of squares is over more channels.
    "llama.attention.layer_norm_rms_epsilon": number(
      (shape.epsilon * shape.width) / (shape.width + MORE_CHANNELS),
    ),
    "tokenizer.ggml.add_bos_token": yesNo(false),
  }))
    metadata.set(key, entry);
  return writeGguf({ metadata, tensors });
}

interface Shape {
  readonly width: number;
  readonly heads: number;
  readonly headSize: number;
  readonly epsilon: number;
  readonly isLetters: readonly boolean[];
}

function shapeOf({ metadata }: Gguf): Shape {
  const of = (key: string): number => {
    const value = metadata.get(key)?.value;
    if (typeof value !== "number") throw new Error(`${key}: expected a number, found ${String(value)}`);
    return value;
  };
  const width = of("llama.embedding_length");
  const heads = of("llama.attention.head_count");
  const tokens = metadata.get("tokenizer.ggml.tokens")?.value;
  if (!Array.isArray(tokens)) throw new Error("tokenizer.ggml.tokens: expected a list, found none");
  return {
    width,
    heads,
    headSize: width / heads,
    epsilon: of("llama.attention.layer_norm_rms_epsilon"),
    isLetters: tokens.map((token: unknown) => token === " " || /^<0x[0-9A-F]{2}>$/.test(String(token))),
  };
}

function widened(name: string, tensor: Tensor, shape: Shape): Tensor {
  const { width, heads, headSize, isLetters } = shape;
  const wide = width + MORE_CHANNELS;
  const [sameForAll, letters] = [width, width + 1];
  /** Where a dimension of a head lies: rotary pair by rotary pair, those of the shipped model at every other one. */
  const inHead = (at: number): number => {
    const [head, dimension] = [Math.floor(at / headSize), at % headSize];
    return head * 2 * headSize + 4 * Math.floor(dimension / 2) + (dimension % 2);
  };
  const lastPairOf = (head: number): number => (head + 1) * 2 * headSize - 2;
  const part = name.split(".").at(-2) ?? "";
  switch (part) {
    case "token_embd": {
      const made = grown(tensor, { rows: tensor.rows, columns: wide });
      for (const [token, isIgnored] of isLetters.entries()) {
        if (isIgnored) made.values.fill(0, token * wide, (token + 1) * wide);
        made.values[token * wide + sameForAll] = SAME_FOR_ALL;
        made.values[token * wide + letters] = isIgnored ? LETTERS : 0;
      }
      return made;
    }
    case "attn_norm":
    case "ffn_norm":
    case "output_norm": {
      const made = grown(tensor, { rows: 1, columns: wide, scale: Math.sqrt(width / wide) });
      if (part === "attn_norm") made.values.fill(1, sameForAll, letters + 1);
      return made;
    }
    case "attn_q":
    case "attn_k": {
      // Scores are divided by the square root of the head's size.
      const scale = part === "attn_q" ? Math.SQRT2 : 1;
      const made = grown(tensor, { rows: 2 * width, columns: wide, row: inHead, scale });
      for (let head = 0; head < heads; head += 1) {
        const row = lastPairOf(head) * wide;
        if (part === "attn_q") made.values[row + sameForAll] = QUERY_WEIGHT;
        else made.values[row + letters] = KEY_WEIGHT;
      }
      return made;
    }
    case "attn_v":
      return grown(tensor, { rows: 2 * width, columns: wide, row: inHead });
    case "attn_output":
      return grown(tensor, { rows: wide, columns: 2 * width, column: inHead });
    case "ffn_gate":
    case "ffn_up":
      return grown(tensor, { rows: tensor.rows, columns: wide });
    case "ffn_down":
      return grown(tensor, { rows: wide, columns: tensor.columns });
    default:
      throw new Error(`${name}: expected a tensor of the shipped model, found another`);
  }
}

/** The tensor inside a larger one of zeros. */
function grown(
  { rows, columns, isMatrix, values }: Tensor,
  to: {
    readonly rows: number;
    readonly columns: number;
    readonly row?: (at: number) => number;
    readonly column?: (at: number) => number;
    readonly scale?: number;
  },
): Tensor {
  const { row = same, column = same, scale = 1 } = to;
  const made = new Float32Array(to.rows * to.columns);
  for (let i = 0; i < rows; i += 1)
    for (let j = 0; j < columns; j += 1)
      made[row(i) * to.columns + column(j)] = (values[i * columns + j] ?? 0) * scale;
  return { rows: to.rows, columns: to.columns, isMatrix, values: made };
}

function same(at: number): number {
  return at;
}
