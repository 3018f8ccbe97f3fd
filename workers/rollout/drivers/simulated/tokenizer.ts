/**
 * The tokenizer of simulated hosts: any text to ids and back, about three characters to a token. A token is up to three letters
 * or digits with a space before them, up to four without, or one other character. A text that begins with a space or with anything
 * but a letter or digit adds the same tokens behind every other text, and what the simulated model says begins so.
 */
import { CoppiceError } from "../../../../services/runtime/errors.ts";

/** Begins every prompt. */
export const BEGIN = 1;
/** The model ends a text by it. */
export const END = 2;

const TOKEN = / [A-Za-z0-9]{1,3}|[A-Za-z0-9]{1,4}|[\s\S]/gu;
/** Words are packed seven bits a character, below this; other characters follow it. */
const FIRST_CHARACTER = 2 ** 28;
const LAST_CHARACTER = FIRST_CHARACTER + 0x10_ffff;

/** Without `BEGIN`. */
export function encode(text: string): number[] {
  return (text.match(TOKEN) ?? []).map(idOf);
}

/** Of a prompt: with what begins every one. */
export function tokensOf(prompt: string): number[] {
  return [BEGIN, ...encode(prompt)];
}

/** @throws CoppiceError "invalid_argument" for a number that is no token of this tokenizer. */
export function decode(ids: readonly number[]): string {
  return ids.map(textOf).join("");
}

/** What a token spells; "" for `BEGIN` and `END`. */
export function textOf(id: number): string {
  if (id === BEGIN || id === END) return "";
  const text =
    id >= FIRST_CHARACTER && id <= LAST_CHARACTER ? String.fromCodePoint(id - FIRST_CHARACTER) : wordOf(id);
  if (text === "" || idOf(text) !== id)
    throw new CoppiceError("invalid_argument", `expected a token id of this model, found ${id}`);
  return text;
}

function idOf(token: string): number {
  const isWord = /^(?: [A-Za-z0-9]{1,3}|[A-Za-z0-9]{1,4})$/.test(token);
  if (!isWord) return FIRST_CHARACTER + (token.codePointAt(0) ?? 0);
  let id = 0;
  for (let at = 0; at < token.length; at += 1) id = id * 128 + token.charCodeAt(at);
  return id;
}

function wordOf(id: number): string {
  let text = "";
  for (let rest = id; Number.isSafeInteger(rest) && rest >= 1; rest = Math.floor(rest / 128))
    text = String.fromCharCode(rest % 128) + text;
  return text;
}
