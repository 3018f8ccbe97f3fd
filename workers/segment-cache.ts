/**
 * The segment cache: the pieces of prompts that a worker holds, so that a prompt travels once per worker and not once
 * per job. Bounded by bytes, least recently used out first (I6). Concurrent misses of one id are one fetch.
 * Calls the link only.
 */
import type { CoordinatorLink } from "../services/link/link.ts";
import type { PromptPiece, Segment, SegmentId } from "../services/queue/job.ts";
import { CoppiceError } from "../services/runtime/errors.ts";
import { orAbort } from "./abortable.ts";

/** Memory that a worker keeps for segments, in bytes. */
export const SEGMENT_CACHE_BYTES_MAX = 64 * 1024 * 1024;
/** Ids in one request to the coordinator. */
export const SEGMENT_FETCH_IDS_MAX = 256;
/** What an entry costs beside its text: its id, the map's slot, the string's header. */
const ENTRY_OVERHEAD_BYTES = 160;

export interface SegmentCache {
  /**
   * The concatenation of the segments' texts, in the order of `ids`. Rejects as `piecesOf` does.
   */
  textOf(ids: readonly SegmentId[], signal: AbortSignal): Promise<string>;
  /**
   * What the segments say, in the order of `ids`. Rejects with "not_found" when the coordinator does not hold one of them
   * (its task is over), with the signal's reason when it aborts, and with what the link rejects with otherwise.
   */
  piecesOf(ids: readonly SegmentId[], signal: AbortSignal): Promise<readonly PromptPiece[]>;
  /** Bytes held, as estimated: two per UTF-16 unit, eight per token and a fixed part per entry. */
  bytes(): number;
}

/** One request under way. It is aborted when nobody waits for it any more. */
interface Fetch {
  readonly segments: Promise<ReadonlyMap<SegmentId, PromptPiece>>;
  readonly abort: AbortController;
  waiters: number;
}

/** @param options.bytesMax Ceiling of `bytes()`; a single piece above it is handed out but not kept. */
export function createSegmentCache(options: {
  readonly link: Pick<CoordinatorLink, "segments">;
  readonly bytesMax?: number;
}): SegmentCache {
  const held = new HeldPieces(options.bytesMax ?? SEGMENT_CACHE_BYTES_MAX);
  const fetching = new Map<SegmentId, Fetch>();

  function start(ids: readonly SegmentId[]): Fetch {
    const abort = new AbortController();
    const segments = options.link.segments(ids, abort.signal).then((found) => piecesById(ids, found));
    const fetch: Fetch = { segments, abort, waiters: 0 };
    for (const id of ids) fetching.set(id, fetch);
    const forget = (): void => {
      for (const id of ids) if (fetching.get(id) === fetch) fetching.delete(id);
    };
    segments.then((pieces) => {
      forget();
      for (const [id, piece] of pieces) held.put(id, piece);
    }, forget);
    return fetch;
  }

  /** Starts requests for what nobody asks for yet; `join` says whether the requests of others count. */
  function requestsFor(
    ids: readonly SegmentId[],
    join: "join" | "alone",
  ): { readonly mine: readonly Fetch[]; readonly theirs: readonly Fetch[] } {
    const theirs = new Set<Fetch>();
    const unasked: SegmentId[] = [];
    for (const id of ids) {
      const underWay = join === "join" ? fetching.get(id) : undefined;
      if (underWay === undefined) unasked.push(id);
      else theirs.add(underWay);
    }
    const mine: Fetch[] = [];
    for (let from = 0; from < unasked.length; from += SEGMENT_FETCH_IDS_MAX) {
      mine.push(start(unasked.slice(from, from + SEGMENT_FETCH_IDS_MAX)));
    }
    return { mine, theirs: [...theirs] };
  }

  /** Adds to `pieces` what is held or can be fetched of `ids`; throws when a request of its own fails. */
  async function collect(
    ids: ReadonlySet<SegmentId>,
    pieces: Map<SegmentId, PromptPiece>,
    { signal, join }: { readonly signal: AbortSignal; readonly join: "join" | "alone" },
  ): Promise<void> {
    const missing: SegmentId[] = [];
    for (const id of ids) {
      const piece = pieces.get(id) ?? held.get(id);
      if (piece === undefined) missing.push(id);
      else pieces.set(id, piece);
    }
    if (missing.length === 0) return;
    const { mine, theirs } = requestsFor(missing, join);
    const take = async (fetch: Fetch): Promise<void> => {
      for (const [id, piece] of await waitFor(fetch, signal)) if (ids.has(id)) pieces.set(id, piece);
    };
    // What others asked for may fail for an id that we do not want: that is seen by what is still missing.
    const joined = Promise.allSettled(theirs.map(take));
    await Promise.all([...mine.map(take), joined]);
    signal.throwIfAborted();
  }

  async function piecesOf(ids: readonly SegmentId[], signal: AbortSignal): Promise<readonly PromptPiece[]> {
    signal.throwIfAborted();
    const wanted = new Set(ids);
    const pieces = new Map<SegmentId, PromptPiece>();
    await collect(wanted, pieces, { signal, join: "join" });
    if (pieces.size < wanted.size) await collect(wanted, pieces, { signal, join: "alone" });
    return ids.map((id) => {
      const piece = pieces.get(id);
      if (piece === undefined)
        throw new CoppiceError("internal", `expected segment ${id} from the coordinator, found none`);
      return piece;
    });
  }

  return {
    piecesOf,
    textOf: async (ids, signal) => (await piecesOf(ids, signal)).map(({ text }) => text).join(""),
    bytes: () => held.bytes,
  };
}

/** Rejects as soon as the signal aborts; the last to leave aborts the request. */
async function waitFor(fetch: Fetch, signal: AbortSignal): Promise<ReadonlyMap<SegmentId, PromptPiece>> {
  fetch.waiters += 1;
  try {
    return await orAbort(fetch.segments, signal);
  } finally {
    fetch.waiters -= 1;
    if (fetch.waiters === 0)
      fetch.abort.abort(new CoppiceError("cancelled", "nobody waits for these segments"));
  }
}

function piecesById(
  ids: readonly SegmentId[],
  segments: readonly Segment[],
): ReadonlyMap<SegmentId, PromptPiece> {
  const pieces = new Map<SegmentId, PromptPiece>(segments.map(({ id, ...piece }) => [id, piece]));
  const absent = ids.find((id) => !pieces.has(id));
  if (absent !== undefined) {
    throw new CoppiceError("not_found", `expected segment ${absent} from the coordinator, found none`);
  }
  return pieces;
}

/** Pieces by id, least recently used first (a Map keeps the order of insertion). */
class HeldPieces {
  bytes = 0;
  readonly #pieces = new Map<SegmentId, PromptPiece>();
  readonly #bytesMax: number;

  constructor(bytesMax: number) {
    this.#bytesMax = bytesMax;
  }

  get(id: SegmentId): PromptPiece | undefined {
    const piece = this.#pieces.get(id);
    if (piece === undefined) return undefined;
    this.#pieces.delete(id);
    this.#pieces.set(id, piece);
    return piece;
  }

  put(id: SegmentId, piece: PromptPiece): void {
    const bytes = cost(piece);
    if (bytes > this.#bytesMax || this.#pieces.has(id)) return;
    this.#pieces.set(id, piece);
    this.bytes += bytes;
    for (const [oldest, old] of this.#pieces) {
      if (this.bytes <= this.#bytesMax) return;
      this.#pieces.delete(oldest);
      this.bytes -= cost(old);
    }
  }
}

function cost({ text, tokens }: PromptPiece): number {
  return text.length * 2 + (tokens?.length ?? 0) * 8 + ENTRY_OVERHEAD_BYTES;
}
