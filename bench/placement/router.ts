/** What the compared routers have in common: one request at a time, seen when it comes, placed at once. */
import type { PathPiece } from "../../services/planner/synthetic-task.ts";

export interface RoutedRequest {
  /**
   * The prompt. A piece of t tokens counts as t * CHARS_PER_TOKEN characters where a rule is about
   * characters.
   */
  readonly pieces: readonly PathPiece[];
  readonly promptTokens: number;
  /** The problem that it belongs to, where a client says so in a header. */
  readonly session: number;
}

/** The cluster as a router may know it: its own counts, and the hosts' metrics, here always fresh. */
export interface RouterPlace {
  readonly hosts: number;
  readonly seed: number;
  readonly nowMs: () => number;
  /** Requests that were routed there and are not answered. */
  readonly inFlight: (host: number) => number;
  /** Requests that were ever routed there. */
  readonly routed: (host: number) => number;
  /** By the host's metrics: sequences that wait in it, and the share of its KV cache in use. */
  readonly waiting: (host: number) => number;
  readonly kvUsage: (host: number) => number;
}

export interface Router {
  /** The number of the host. */
  route(request: RoutedRequest): number;
  /**
   * A host has said that it holds this path: what it has computed, and later what it has generated behind it.
   */
  computed?(pieces: readonly PathPiece[], host: number): void;
  /** The client has said that a problem is over. */
  sessionEnded?(session: number): void;
}

export type RouterFactory = (place: RouterPlace) => Router;

export const CHARS_PER_TOKEN = 4;

/**
 * The host with the fewest requests in flight; among equals the one that was routed the fewest, then the
 * lowest number.
 */
export function leastLoaded({ hosts, inFlight, routed }: RouterPlace): number {
  let best = 0;
  for (let host = 1; host < hosts; host++) {
    const difference = inFlight(host) - inFlight(best);
    if (difference < 0 || (difference === 0 && routed(host) < routed(best))) best = host;
  }
  return best;
}
