/** The tokenizer of a host, over its own routes. */
import { rubbish } from "../../../http-exchange.ts";
import { Bounded } from "../../bounded.ts";
import type { Tokenizer } from "../../prompt.ts";
import type { TokenizerRoutes } from "./dialect.ts";
import { askFields, idsOf, type AskHost, shown } from "./wire.ts";

/** Texts whose tokens are remembered: those of the prompts and steps that are being continued. */
const TOKENIZED_TEXTS_MAX = 512;
/** Precedes text when its tokens are asked for, so that the tokenizer does not take it for a beginning. */
const ANCHOR = "\n";

export interface HostTokenizer {
  of(signal: AbortSignal): Tokenizer;
  /** Whether the tokens spell the text; false also where that cannot be told for sure. */
  spells(tokens: readonly number[], text: string, signal: AbortSignal): Promise<boolean>;
}

export function createHostTokenizer(ask: AskHost, routes: TokenizerRoutes): HostTokenizer {
  const remembered = new Bounded<string, readonly number[]>(TOKENIZED_TEXTS_MAX);

  async function tokensOf(
    text: string,
    isBeginning: boolean,
    signal: AbortSignal,
  ): Promise<readonly number[]> {
    const key = `${isBeginning ? "^" : "+"}${text}`;
    const known = remembered.get(key);
    if (known !== undefined) return known;
    const body = routes.tokenizeBody(text, { begins: isBeginning });
    const { url, fields } = await askFields(ask, { path: "/tokenize", body }, signal);
    const tokens = idsOf(fields.get("tokens"));
    if (tokens === null) throw rubbish(url, '"tokens" as ids', shown(fields));
    remembered.set(key, tokens);
    return tokens;
  }

  async function continuation(text: string, signal: AbortSignal): Promise<readonly number[]> {
    if (text === "") return [];
    const anchor = await tokensOf(ANCHOR, false, signal);
    const anchored = await tokensOf(ANCHOR + text, false, signal);
    const isKept = anchor.every((token, index) => anchored[index] === token);
    return isKept ? anchored.slice(anchor.length) : tokensOf(text, false, signal);
  }

  return {
    of: (signal) => ({
      beginning: (text) => tokensOf(text, true, signal),
      continuation: (text) => continuation(text, signal),
    }),
    async spells(tokens, text, signal) {
      // A character that came in pieces is not in the text.
      if (text.includes("\ufffd")) return false;
      if (tokens.length === 0) return text === "";
      const body = routes.detokenizeBody(tokens);
      const { fields } = await askFields(ask, { path: "/detokenize", body }, signal);
      const spelled = fields.get(routes.spelledIn);
      // SentencePiece leaves out the space that a text begins with.
      return spelled === text || ` ${String(spelled)}` === text;
    },
  };
}
