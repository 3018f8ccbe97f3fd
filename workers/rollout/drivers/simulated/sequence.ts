/** A request inside of the engine model: where it stands, and what it holds of the KV cache. */
import type { BlockHolder, BlockPath, CachedPiece, PieceId } from "./kv-cache.ts";

export interface EnginePiece {
  readonly id: PieceId;
  readonly tokens: number;
}

export interface EngineRequest {
  readonly id: number;
  readonly pieces: readonly EnginePiece[];
  /** What it generates; 0 computes the prompt and nothing more. */
  readonly completionTokens: number;
  /**
   * What a later path calls the piece that was generated. Null: `pieces` reach to the end of what it generates, the last
   * `completionTokens` tokens of them are the completion.
   */
  readonly output: PieceId | null;
  /** Less goes first, where the engine schedules by priority. */
  readonly priority: number;
}

export type SequenceState = "pending" | "waiting" | "prefilling" | "decoding" | "ended";

/** Mutable, and owned by one EngineModel. Counts are tokens unless they say blocks. */
export class Sequence implements BlockHolder {
  readonly id: number;
  /** Order of arrival. */
  readonly number: number;
  readonly priority: number;
  readonly path: BlockPath;
  readonly promptTokens: number;
  readonly completionTokens: number;
  readonly arrivalMs: number;
  state: SequenceState = "pending";
  /** While it decodes, this is what it had when it began to; see `computedAt`. */
  generated = 0;
  computed = 0;
  /** Tokens to compute before the next one is generated. */
  target = 0;
  /** Tokens that the step under way computes of a prompt. */
  chunk = 0;
  /** Of the prompt, found at its first admission; null before. */
  cachedTokens: number | null = null;
  /** Blocks that it holds, shared and its own; while it decodes they follow from `computed`. */
  blocks = 0;
  /** Blocks of its path that it shares through the cache. */
  registered = 0;
  /** The cached pieces that it pins: the beginning of its path. */
  readonly pinned: CachedPiece[] = [];
  /** The life of the cache in which it was admitted. */
  cacheLife = 0;
  /** While it decodes: computed tokens less the model's count of decode steps, which is constant. */
  origin = 0;
  /** The count of decode steps at which it has generated everything. */
  finishAt = 0;
  /** Place in the finish queue. */
  finishIndex = -1;
  admission = 0;
  previous: Sequence | null = null;
  next: Sequence | null = null;

  constructor(request: EngineRequest, at: { number: number; arrivalMs: number; blockTokens: number }) {
    const isWhole = request.output === null;
    this.id = request.id;
    this.number = at.number;
    this.arrivalMs = at.arrivalMs;
    this.priority = request.priority;
    this.completionTokens = request.completionTokens;
    const given = tokensOf(request.pieces);
    this.promptTokens = isWhole ? given - request.completionTokens : given;
    this.path = pathOf(request, at.blockTokens);
  }

  computedAt(decodeSteps: number): number {
    return this.state === "decoding" ? this.origin + decodeSteps : this.computed;
  }

  generatedAt(decodeSteps: number): number {
    return this.state === "decoding" ? this.completionTokens - (this.finishAt - decodeSteps) : this.generated;
  }

  /** The most that it will ever hold in the KV cache: the last generated token is never computed on. */
  get tokensMax(): number {
    return this.promptTokens + Math.max(0, this.completionTokens - 1);
  }
}

/** NaN where a piece has no count of tokens. */
function tokensOf(pieces: readonly EnginePiece[]): number {
  let tokens = 0;
  for (const piece of pieces) tokens += piece.tokens >= 0 ? piece.tokens : Number.NaN;
  return tokens;
}

function pathOf(request: EngineRequest, blockTokens: number): BlockPath {
  const ids: PieceId[] = [];
  const ends: number[] = [];
  let tokens = 0;
  let blocks = 0;
  const add = (id: PieceId, more: number): void => {
    tokens += more;
    const end = Math.floor(tokens / blockTokens);
    if (end === blocks) return;
    blocks = end;
    ids.push(id);
    ends.push(end);
  };
  for (const piece of request.pieces) add(piece.id, piece.tokens);
  if (request.output !== null) add(request.output, request.completionTokens);
  return { ids, ends };
}
