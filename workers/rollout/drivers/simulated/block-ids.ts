/** Token ids as pieces of the engine model: blocks, each called by what it and everything before it says. */
import { createHash } from "node:crypto";
import { Bounded } from "../../bounded.ts";
import type { EnginePiece } from "./sequence.ts";

/** Prompts whose blocks are remembered: siblings share them. */
const PROMPTS_MAX = 128;
const ID_CHARS = 22;

export class BlockIds {
  readonly #blockTokens: number;
  readonly #remembered = new Bounded<string, readonly EnginePiece[]>(PROMPTS_MAX);

  constructor(blockTokens: number) {
    this.#blockTokens = blockTokens;
  }

  /** Pieces of the prompt with what follows it. */
  piecesOf(prompt: readonly number[], completion: readonly number[]): readonly EnginePiece[] {
    const key = createHash("sha256").update(Uint32Array.from(prompt)).digest("base64");
    const whole = prompt.length - (prompt.length % this.#blockTokens);
    const known = this.#remembered.get(key) ?? this.#blocks("", prompt.slice(0, whole));
    this.#remembered.set(key, known);
    const rest = [...prompt.slice(whole), ...completion];
    const last = rest.length % this.#blockTokens;
    const more = this.#blocks(known.at(-1)?.id ?? "", rest.slice(0, rest.length - last));
    // What fills no block is nobody's to find again.
    return [...known, ...more, ...(last === 0 ? [] : [{ id: "", tokens: last }])];
  }

  #blocks(before: string | number, tokens: readonly number[]): readonly EnginePiece[] {
    const blocks: EnginePiece[] = [];
    let id = String(before);
    for (let at = 0; at < tokens.length; at += this.#blockTokens) {
      const block = tokens.slice(at, at + this.#blockTokens);
      id = createHash("sha256")
        .update(`${id}:${block.join(",")}`)
        .digest("base64")
        .slice(0, ID_CHARS);
      blocks.push({ id, tokens: block.length });
    }
    return blocks;
  }
}
