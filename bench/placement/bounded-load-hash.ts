/**
 * Consistent hashing with bounded loads, KubeAI's `PrefixHash`: the hash of the prompt's first 100 characters
 * on a ring of 256 points a host; from there the first host whose load is at most 1.25 * (total + 1) / hosts.
 */
import { createHash } from "node:crypto";
import {
  CHARS_PER_TOKEN,
  type RoutedRequest,
  type Router,
  type RouterFactory,
  type RouterPlace,
} from "./router.ts";

export interface BoundedLoadOptions {
  readonly prefixChars: number;
  readonly loadFactor: number;
  readonly pointsPerHost: number;
}

const DEFAULTS: BoundedLoadOptions = { prefixChars: 100, loadFactor: 1.25, pointsPerHost: 256 };

export function boundedLoadHash(options: Partial<BoundedLoadOptions> = {}): RouterFactory {
  const { prefixChars, loadFactor, pointsPerHost } = { ...DEFAULTS, ...options };
  return (place: RouterPlace): Router => {
    const ring = ringOf(place.hosts, pointsPerHost);
    return {
      route(request) {
        let total = 0;
        for (let host = 0; host < place.hosts; host++) total += place.inFlight(host);
        const limit = (loadFactor * (total + 1)) / place.hosts;
        const start = firstFrom(ring, hashOf(headOf(request, prefixChars)));
        for (let i = 0; i < ring.length; i++) {
          const host = ring[(start + i) % ring.length]?.host ?? 0;
          if (place.inFlight(host) <= limit) return host;
        }
        return ring[start]?.host ?? 0;
      },
    };
  };
}

/** What the first characters are, by the pieces that they lie in. */
function headOf({ pieces }: RoutedRequest, chars: number): string {
  const ids: number[] = [];
  let seen = 0;
  for (const { id, tokens } of pieces) {
    if (seen >= chars) break;
    ids.push(id);
    seen += tokens * CHARS_PER_TOKEN;
  }
  return ids.join("/");
}

interface Point {
  readonly at: number;
  readonly host: number;
}

function ringOf(hosts: number, pointsPerHost: number): readonly Point[] {
  const points: Point[] = [];
  for (let host = 0; host < hosts; host++) {
    for (let i = 0; i < pointsPerHost; i++) points.push({ at: hashOf(`host ${host} point ${i}`), host });
  }
  return points.toSorted((a, b) => a.at - b.at);
}

/** The place of the first point at or behind a hash, around the ring. */
function firstFrom(ring: readonly Point[], at: number): number {
  let [low, high] = [0, ring.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if ((ring[middle]?.at ?? Infinity) < at) low = middle + 1;
    else high = middle;
  }
  return low % ring.length;
}

function hashOf(text: string): number {
  return createHash("sha256").update(text).digest().readUInt32BE(0);
}
