/**
 * The segment cache: the pieces of prompts that a worker holds, so that a prompt travels once per worker and not once
 * per job. Bounded by bytes, least recently used out first (I6). Concurrent misses of one id are one fetch.
 * Calls the link only.
 */
import type { CoordinatorLink } from "../services/link/link.ts";
import type { Segment, SegmentId } from "../services/queue/job.ts";
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
   * The concatenation of the segments' texts, in the order of `ids`. Rejects as `textsOf` does.
   */
  textOf(ids: readonly SegmentId[], signal: AbortSignal): Promise<string>;
  /**
   * The segments' texts, in the order of `ids`. Rejects with "not_found" when the coordinator does not hold one of them
   * (its task is over), with the signal's reason when it aborts, and with what the link rejects with otherwise.
   */
  textsOf(ids: readonly SegmentId[], signal: AbortSignal): Promise<readonly string[]>;
  /** Bytes held, as estimated: two per UTF-16 unit and a fixed part per entry. */
  bytes(): number;
}

/** One request under way. It is aborted when nobody waits for it any more. */
interface Fetch {
  readonly segments: Promise<ReadonlyMap<SegmentId, string>>;
  readonly abort: AbortController;
  waiters: number;
}

/** @param options.bytesMax Ceiling of `bytes()`; a single text above it is handed out but not kept. */
export function createSegmentCache(options: {
  readonly link: Pick<CoordinatorLink, "segments">;
  readonly bytesMax?: number;
}): SegmentCache {
  const held = new HeldTexts(options.bytesMax ?? SEGMENT_CACHE_BYTES_MAX);
  const fetching = new Map<SegmentId, Fetch>();

  function start(ids: readonly SegmentId[]): Fetch {
    const abort = new AbortController();
    const segments = options.link.segments(ids, abort.signal).then((found) => textsById(ids, found));
    const fetch: Fetch = { segments, abort, waiters: 0 };
    for (const id of ids) fetching.set(id, fetch);
    const forget = (): void => {
      for (const id of ids) if (fetching.get(id) === fetch) fetching.delete(id);
    };
    segments.then((texts) => {
      forget();
      for (const [id, text] of texts) held.put(id, text);
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

  /** Adds to `texts` what is held or can be fetched of `ids`; throws when a request of its own fails. */
  async function collect(
    ids: ReadonlySet<SegmentId>,
    texts: Map<SegmentId, string>,
    { signal, join }: { readonly signal: AbortSignal; readonly join: "join" | "alone" },
  ): Promise<void> {
    const missing: SegmentId[] = [];
    for (const id of ids) {
      const text = texts.get(id) ?? held.get(id);
      if (text === undefined) missing.push(id);
      else texts.set(id, text);
    }
    if (missing.length === 0) return;
    const { mine, theirs } = requestsFor(missing, join);
    const take = async (fetch: Fetch): Promise<void> => {
      for (const [id, text] of await waitFor(fetch, signal)) if (ids.has(id)) texts.set(id, text);
    };
    // What others asked for may fail for an id that we do not want: that is seen by what is still missing.
    const joined = Promise.allSettled(theirs.map(take));
    await Promise.all([...mine.map(take), joined]);
    signal.throwIfAborted();
  }

  async function textsOf(ids: readonly SegmentId[], signal: AbortSignal): Promise<readonly string[]> {
    signal.throwIfAborted();
    const wanted = new Set(ids);
    const texts = new Map<SegmentId, string>();
    await collect(wanted, texts, { signal, join: "join" });
    if (texts.size < wanted.size) await collect(wanted, texts, { signal, join: "alone" });
    return ids.map((id) => {
      const text = texts.get(id);
      if (text === undefined)
        throw new CoppiceError("internal", `expected segment ${id} from the coordinator, found none`);
      return text;
    });
  }

  return {
    textsOf,
    textOf: async (ids, signal) => (await textsOf(ids, signal)).join(""),
    bytes: () => held.bytes,
  };
}

/** Rejects as soon as the signal aborts; the last to leave aborts the request. */
async function waitFor(fetch: Fetch, signal: AbortSignal): Promise<ReadonlyMap<SegmentId, string>> {
  fetch.waiters += 1;
  try {
    return await orAbort(fetch.segments, signal);
  } finally {
    fetch.waiters -= 1;
    if (fetch.waiters === 0)
      fetch.abort.abort(new CoppiceError("cancelled", "nobody waits for these segments"));
  }
}

function textsById(ids: readonly SegmentId[], segments: readonly Segment[]): ReadonlyMap<SegmentId, string> {
  const texts = new Map(segments.map((segment) => [segment.id, segment.text]));
  const absent = ids.find((id) => !texts.has(id));
  if (absent !== undefined) {
    throw new CoppiceError("not_found", `expected segment ${absent} from the coordinator, found none`);
  }
  return texts;
}

/** Texts by id, least recently used first (a Map keeps the order of insertion). */
class HeldTexts {
  bytes = 0;
  readonly #texts = new Map<SegmentId, string>();
  readonly #bytesMax: number;

  constructor(bytesMax: number) {
    this.#bytesMax = bytesMax;
  }

  get(id: SegmentId): string | undefined {
    const text = this.#texts.get(id);
    if (text === undefined) return undefined;
    this.#texts.delete(id);
    this.#texts.set(id, text);
    return text;
  }

  put(id: SegmentId, text: string): void {
    const bytes = cost(text);
    if (bytes > this.#bytesMax || this.#texts.has(id)) return;
    this.#texts.set(id, text);
    this.bytes += bytes;
    for (const [oldest, old] of this.#texts) {
      if (this.bytes <= this.#bytesMax) return;
      this.#texts.delete(oldest);
      this.bytes -= cost(old);
    }
  }
}

function cost(text: string): number {
  return text.length * 2 + ENTRY_OVERHEAD_BYTES;
}
