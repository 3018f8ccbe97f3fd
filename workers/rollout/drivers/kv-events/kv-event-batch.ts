/**
 * A message of the KV events that vLLM and SGLang publish: topic, sequence number (8 bytes, big-endian), and a batch in
 * msgpack: [time, events, data-parallel rank]. An event is an array with its name first, or, in newer releases of vLLM, a map
 * with its name under "type"; batches are read in either form too. Pure.
 */
import { decode } from "@msgpack/msgpack";

export interface KvEventBatch {
  readonly sequence: number;
  /** Blocks that came into the cache and went out of it, and how often all of it was dropped. */
  readonly stored: number;
  readonly removed: number;
  readonly cleared: number;
}

/** Null: not such a message. Events that are not known are passed over. */
export function readKvEventBatch(frames: readonly Buffer[]): KvEventBatch | null {
  const [, sequence, payload] = frames;
  if (frames.length !== 3 || sequence?.length !== 8 || payload === undefined) return null;
  const events = eventsIn(payload);
  if (events === null) return null;
  const count = (name: string, of: (event: unknown) => number): number =>
    events.reduce<number>((sum, event) => (nameOf(event) === name ? sum + of(event) : sum), 0);
  return {
    sequence: Number(sequence.readBigUInt64BE()),
    stored: count("BlockStored", blocksOf),
    removed: count("BlockRemoved", blocksOf),
    cleared: count("AllBlocksCleared", () => 1),
  };
}

function eventsIn(payload: Buffer): readonly unknown[] | null {
  try {
    const batch = decode(payload);
    const events = Array.isArray(batch) ? (batch[1] as unknown) : fieldOf(batch, "events");
    return Array.isArray(events) ? events : null;
  } catch {
    return null;
  }
}

function nameOf(event: unknown): unknown {
  return Array.isArray(event) ? event[0] : fieldOf(event, "type");
}

/** `block_hashes` is the first field of both events that have it. */
function blocksOf(event: unknown): number {
  const hashes = Array.isArray(event) ? (event[1] as unknown) : fieldOf(event, "block_hashes");
  return Array.isArray(hashes) ? hashes.length : 0;
}

function fieldOf(value: unknown, key: string): unknown {
  if (typeof value !== "object" || value === null) return undefined;
  return new Map<string, unknown>(Object.entries(value)).get(key);
}
