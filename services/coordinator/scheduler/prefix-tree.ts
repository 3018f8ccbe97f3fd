/**
 * The prefix tree over everything that is asked, and what each host is predicted to hold of it: what the scheduler asks to
 * know where a request costs least. Pure: a function of the calls made. Equal paths are one node, whichever tasks they come
 * from; a node lives as long as somebody retains it, continues it or is predicted to hold it.
 *
 * It calls the tree's nodes and the predicted caches of the hosts, and nobody else.
 */
import assert from "node:assert/strict";
import { DEFAULT_DRIFT_LIMITS, type Drift, type DriftSummary } from "./host-drift.ts";
import {
  PredictedCaches,
  type CacheFacts,
  type CacheLimits,
  type HostCache,
  type ReportedTokens,
} from "./predicted-caches.ts";
import { ROOT, TreeNodes, wholeTokens, type NodeRef, type PathPiece } from "./tree-nodes.ts";

export type { Drift, DriftSummary } from "./host-drift.ts";
export type { CacheFacts, ReportedTokens } from "./predicted-caches.ts";
export type { NodeRef, PathPiece } from "./tree-nodes.ts";

export type PrefixTreeLimits = CacheLimits;

export const DEFAULT_PREFIX_TREE_LIMITS: PrefixTreeLimits = {
  ...DEFAULT_DRIFT_LIMITS,
  hostNodesMax: 65_536,
  unknownHostNodesMax: 16_384,
  nodesMax: 4_000_000,
};

/** What a request generated, to continue its path. `id` is null where nobody will ask for it again. */
export type Output = PathPiece | { readonly id: null; readonly tokens: number };

/** A host as it is predicted. */
export interface PredictedHost {
  /** Nodes that it holds. Outputs that nobody can ask for count. */
  readonly nodes: number;
  readonly residentTokens: number;
  /** As `PrefixTree.pinnedTokens`. */
  readonly pinnedTokens: number;
  readonly drift: DriftSummary;
}

export class PrefixTree {
  readonly #nodes = new TreeNodes();
  readonly #caches: PredictedCaches;
  readonly #hosts = new Map<string, HostCache>();

  constructor(limits: Partial<PrefixTreeLimits> = {}) {
    this.#caches = new PredictedCaches(this.#nodes, { ...DEFAULT_PREFIX_TREE_LIMITS, ...limits });
  }

  /** Live nodes. */
  get size(): number {
    return this.#nodes.size;
  }

  /** (host, node) pairs: nodes that hosts are predicted to hold. */
  get held(): number {
    return this.#caches.size;
  }

  /** A host, empty. Again: its facts may have changed. */
  addHost(name: string, facts: CacheFacts): void {
    const host = this.#hosts.get(name);
    if (host === undefined) this.#hosts.set(name, this.#caches.add(name, facts));
    else this.#caches.setFacts(host, facts);
  }

  /** The host is gone, with all it held and all that was in flight there. Again is safe. */
  removeHost(name: string): void {
    const host = this.#hosts.get(name);
    if (host === undefined) return;
    this.#caches.remove(host);
    this.#hosts.delete(name);
  }

  /** Null where there is no such host. */
  host(name: string): PredictedHost | null {
    const host = this.#hosts.get(name);
    if (host === undefined) return null;
    const { entries, residentTokens, pinnedTokens, outputTokens, drift } = host;
    return {
      nodes: entries,
      residentTokens,
      pinnedTokens: pinnedTokens + outputTokens,
      drift: drift.summary,
    };
  }

  /**
   * The node of a path, root first; made where it is new. The first known count of a piece replaces its estimate, in
   * every path through it. Retained once more until `release`.
   */
  retain(path: readonly PathPiece[]): NodeRef {
    const node = this.#nodes.reach(path);
    this.#nodes.retain(node);
    let row = node;
    for (let depth = path.length - 1; depth >= 0; depth -= 1) {
      const piece = path[depth];
      if (piece === undefined) continue;
      this.#nodes.requireIs(row, piece);
      this.#learn(row, piece);
      row = this.#nodes.parent(row);
    }
    assert(row === ROOT, `path of ${path.length} pieces does not begin at the root`);
    return node;
  }

  /** Retained once less. Programmer error where it is not retained. */
  release(node: NodeRef): void {
    this.#nodes.release(node);
  }

  /** Tokens of the whole path. O(depth). */
  tokens(node: NodeRef): number {
    let tokens = 0;
    for (let row = node; row !== ROOT; row = this.#nodes.parent(row)) tokens += this.#nodes.tokens(row);
    return tokens;
  }

  /** Tokens of the last piece of the path. */
  lastTokens(node: NodeRef): number {
    return this.#nodes.tokens(node);
  }

  /**
   * Tokens of the path that the host is predicted to hold and would use: whole blocks, never all of the prompt. What is
   * in flight there counts as held. 0 where there is no such host.
   */
  cached(hostName: string, node: NodeRef): number {
    const host = this.#hosts.get(hostName);
    return host === undefined ? 0 : this.#caches.cached(host, node);
  }

  /**
   * A request for this path is in flight at the host, expected to generate so many tokens: its blocks are pinned, and
   * room for its output is spoken for, until `landed`. `node` must be retained. Programmer error where there is no such host.
   */
  sent(hostName: string, node: NodeRef, outputTokens: number): void {
    const host = this.#hosts.get(hostName);
    assert(host !== undefined, `expected a host that was added, found ${hostName}`);
    this.#caches.sent(host, node, outputTokens);
  }

  /**
   * A request ended, however it ended. `outputTokens` are those that it was sent with. Its path is the most recently used
   * now, and the host holds `output` too (null: it generated nothing). Changes nothing where no such request is in flight:
   * its host is gone, or this is a duplicate.
   */
  landed(hostName: string, node: NodeRef, outputTokens: number, output: Output | null = null): void {
    const host = this.#hosts.get(hostName);
    if (host === undefined || !this.#caches.isInFlight(host, node)) return;
    if (output?.id === null) {
      if (output.tokens > 0) this.#caches.generatedUnnamed(host, wholeTokens(output.tokens));
    } else if (output !== null) {
      const child = this.#nodes.child(node, output);
      this.#caches.generated(host, child);
      this.#learn(child, output);
    }
    this.#caches.landed(host, node, outputTokens);
  }

  /** Tokens that requests in flight pin at the host: the union of their paths, and their outputs. */
  pinnedTokens(hostName: string): number {
    const host = this.#hosts.get(hostName);
    return host === undefined ? 0 : host.pinnedTokens + host.outputTokens;
  }

  /** What this path (without its output) would add to `pinnedTokens` if it were sent. */
  pinnedBy(hostName: string, node: NodeRef): number {
    const host = this.#hosts.get(hostName);
    return host === undefined ? this.tokens(node) : this.#caches.pinnedBy(host, node);
  }

  /**
   * What the host reported of a request for this path. Call it before `landed`, so that what only this request
   * computed is not taken for held. Nothing reported (null) is no report. Corrects the prediction, and says what it saw.
   * Null where there is no such host.
   */
  reported(hostName: string, node: NodeRef, tokens: ReportedTokens): Drift | null {
    const host = this.#hosts.get(hostName);
    return host === undefined ? null : this.#caches.reported(host, node, tokens);
  }

  /** The host lost its cache. What is in flight there counts as held still: it is being computed again. */
  forget(hostName: string): void {
    const host = this.#hosts.get(hostName);
    if (host !== undefined) this.#caches.forget(host);
  }

  /** The node must be claimed. */
  #learn(node: NodeRef, { tokens, isKnown }: PathPiece): void {
    if (!isKnown || this.#nodes.isKnown(node)) return;
    const before = this.#nodes.tokens(node);
    this.#nodes.know(node, tokens);
    if (this.#nodes.tokens(node) !== before) this.#caches.counted(node, before);
  }
}
