/** A completion request as a test server reads it, whichever engine's words it is written in. */
import { decode, encode } from "../toy-tokenizer.ts";

export type ServerKind = "vllm" | "sglang" | "llama-server" | "other";

export type Body = Readonly<Record<string, unknown>>;

export interface Asked {
  readonly body: Body;
  readonly prompt: string;
  /** By the server's own tokenizer where the prompt came as text. */
  readonly ids: readonly number[];
  readonly seed: number;
  readonly maxTokens: number;
  readonly stop: readonly string[];
  readonly isStream: boolean;
  readonly wantsIds: boolean;
  readonly wantsLogprobs: boolean;
  /** The stop string that ended the text is shown. */
  readonly includesStop: boolean;
  /** Goes on until it is left: the first token is shown, and no other. */
  readonly isHeld: boolean;
  /** Goes on past the model's own end, as probes alone ask. */
  readonly ignoresEnd: boolean;
  /** The one text that every structure of these tests allows, where the body asks for one. */
  readonly form: string | null;
}

/** A prompt with this mark is answered by one chunk and then silence, until the client goes away. */
export const HOLD = "[hold]";
/** So many tokens past the model's own end are answered as by a slow model: its client leaves before they are there. */
const LONG_TOKENS = 128;

export function readAsked(kind: ServerKind, path: string, body: Body): Asked {
  const isNative = kind === "sglang" && path === "/generate";
  const options = isNative ? record(body["sampling_params"]) : body;
  const given = isNative ? (body["input_ids"] ?? body["text"]) : body["prompt"];
  const isText = typeof given === "string";
  // The driver under test sends a text or token ids.
  const ids = isText ? encode(given, { begins: true }) : (given as readonly number[]);
  const prompt = isText ? given : decode(ids);
  const ignoresEnd = options["ignore_eos"] === true;
  const limit = options["max_new_tokens"] ?? options["max_tokens"] ?? options["n_predict"] ?? 16;
  return {
    body,
    prompt,
    ids,
    seed: Number(options["sampling_seed"] ?? options["seed"] ?? 0),
    maxTokens: Number(limit),
    stop: Array.isArray(options["stop"]) ? options["stop"].map(String) : [],
    isStream: body["stream"] === true && body["use_beam_search"] !== true,
    wantsIds: isNative || body["return_token_ids"] === true || body["return_tokens"] === true,
    wantsLogprobs: body["logprobs"] !== undefined || body["n_probs"] === 1 || body["return_logprob"] === true,
    includesStop: body["include_stop_str_in_output"] === true,
    isHeld: prompt.includes(HOLD) || (ignoresEnd && Number(limit) >= LONG_TOKENS),
    ignoresEnd,
    form: formIn(options),
  };
}

function formIn(options: Body): string | null {
  const structure = { ...options, ...record(options["structured_outputs"]) };
  const asks = (...keys: readonly string[]): boolean => keys.some((key) => key in structure);
  if (asks("json", "guided_json", "json_schema")) return '"yes"';
  return asks("regex", "grammar", "guided_regex", "guided_grammar", "ebnf") ? "yes" : null;
}

function record(value: unknown): Body {
  return typeof value === "object" && value !== null ? { ...value } : {};
}
