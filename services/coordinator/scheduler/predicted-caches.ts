/**
 * What each host is predicted to hold of the tree: its cache as an engine keeps it. Least recently used goes first, leaves
 * before what they continue, nothing that a request in flight uses. Called by the prefix tree alone.
 *
 * Invariants: (1) a host that holds a node holds its whole path, and all the tokens of it above the node; (2) an entry is
 * pinned while a request in flight runs through it, so a pinned one has pinned ancestors; (3) unpinned entries of a host are in
 * the ring of its `recency`, oldest first, children before their parents: the oldest is always a leaf; pinned ones are in
 * the ring of its `root`, the entry of the empty path, which is always pinned; (4) after each change a host holds, with the
 * outputs in flight, no more than its KV capacity, unless pinned entries alone are more.
 */
import assert from "node:assert/strict";
import {
  CacheEntries,
  AFTER,
  COMPUTED_IN,
  FLIGHTS,
  HOST,
  NODE,
  PARENT,
  PINNED_CHILDREN,
  RESIDENT,
} from "./cache-entries.ts";
import { NONE } from "./table.ts";
import { HostDrift, type CachedReport, type Drift, type DriftLimits } from "./host-drift.ts";
import { ROOT, wholeTokens, type NodeRef, type TreeNodes } from "./tree-nodes.ts";

export interface CacheFacts {
  /** Tokens that the KV cache holds; null when unknown: then nothing is predicted to be evicted but by limits on nodes. */
  readonly kvCapacityTokens: number | null;
  /** Tokens in a block: whole blocks only are used again. Null when unknown: any number is. */
  readonly blockTokens: number | null;
}

export interface CacheLimits extends DriftLimits {
  /** Nodes that one host is predicted to hold, what is in flight not counted. */
  readonly hostNodesMax: number;
  /** The same of a host whose capacity is unknown: nothing else bounds what it is predicted to hold. */
  readonly unknownHostNodesMax: number;
  /** The same of all hosts together: the memory of the coordinator is bounded (I6). */
  readonly nodesMax: number;
}

/** A difference below so many tokens is rounding where the size of a block is unknown: engines have blocks of 16. */
const SLACK_TOKENS = 16;

/** One host. */
export interface HostCache {
  readonly name: string;
  readonly index: number;
  readonly drift: HostDrift;
  /** Entry of the empty path, and head of the ring of pinned entries. */
  readonly root: number;
  /** Head of the ring of unpinned entries: a row that is no entry. */
  readonly recency: number;
  facts: CacheFacts;
  /** Whole blocks of KV, in tokens. */
  capacityTokens: number;
  blockTokens: number;
  residentTokens: number;
  pinnedTokens: number;
  /** Outputs of requests in flight: room that is spoken for. */
  outputTokens: number;
  flights: number;
  /** Entries, but for `root`. */
  entries: number;
}

export class PredictedCaches {
  readonly #nodes: TreeNodes;
  readonly #limits: CacheLimits;
  readonly #entries = new CacheEntries();
  readonly #hosts: (HostCache | null)[] = [];
  readonly #freeHosts: number[] = [];
  /** Nodes of a path that a host does not hold yet, deepest first. */
  readonly #missing: NodeRef[] = [];
  #size = 0;

  constructor(nodes: TreeNodes, limits: CacheLimits) {
    this.#nodes = nodes;
    this.#limits = limits;
  }

  /** Nodes held, summed over hosts. */
  get size(): number {
    return this.#size;
  }

  add(name: string, facts: CacheFacts): HostCache {
    const index = this.#freeHosts.pop() ?? this.#hosts.length;
    const root = this.#entries.make(index, ROOT);
    this.#entries.set(root, PINNED_CHILDREN, 1); // its own pin, never taken off
    this.#entries.set(root, COMPUTED_IN, 1);
    this.#enter(root, ROOT);
    const host: HostCache = {
      name,
      index,
      drift: new HostDrift(this.#limits),
      root,
      recency: this.#entries.make(index, NONE),
      facts,
      capacityTokens: Infinity,
      blockTokens: 1,
      residentTokens: 0,
      pinnedTokens: 0,
      outputTokens: 0,
      flights: 0,
      entries: 0,
    };
    this.#hosts[index] = host;
    this.setFacts(host, facts);
    return host;
  }

  setFacts(host: HostCache, facts: CacheFacts): void {
    host.facts = facts;
    host.blockTokens = Math.max(1, facts.blockTokens ?? 1);
    const capacity = facts.kvCapacityTokens ?? Infinity;
    host.capacityTokens = capacity - (capacity === Infinity ? 0 : capacity % host.blockTokens);
    this.#trim(host);
  }

  remove(host: HostCache): void {
    this.#empty(host, host.recency);
    this.#empty(host, host.root);
    this.#leave(host.root, ROOT);
    this.#entries.release(host.root);
    this.#entries.release(host.recency);
    this.#hosts[host.index] = null;
    this.#freeHosts.push(host.index);
  }

  /** The host lost its cache. What requests in flight use is being computed again; so many of them will report yet. */
  forget(host: HostCache, reportsToCome: number = host.flights): void {
    this.#empty(host, host.recency);
    host.drift.forgotten(Math.max(0, reportsToCome));
  }

  /** Tokens of a path that the host would use: whole blocks, and one token at least is always computed. */
  cached(host: HostCache, node: NodeRef): number {
    let held = 0;
    let total = 0;
    let entry = NONE;
    for (let row = node; row !== ROOT; row = this.#nodes.parent(row)) {
      const tokens = this.#nodes.tokens(row);
      total += tokens;
      if (entry !== NONE) held += tokens;
      else {
        entry = this.#entries.find(host.index, row);
        if (entry !== NONE) held = this.#entries.get(entry, RESIDENT);
      }
    }
    return usable(host, held, total);
  }

  /** A request for this path is in flight: the host holds all of it, or is about to. */
  sent(host: HostCache, node: NodeRef, outputTokens: number): void {
    const entry = this.#hold(host, node);
    host.flights += 1;
    host.outputTokens += wholeTokens(outputTokens);
    this.#pin(host, entry);
    this.#trim(host);
  }

  /** @returns Whether a request for this path was in flight. If not, nothing has changed. */
  landed(host: HostCache, node: NodeRef, outputTokens: number): boolean {
    const entry = this.#entries.find(host.index, node);
    if (entry === NONE || this.#entries.get(entry, FLIGHTS) === 0) return false;
    host.flights -= 1;
    host.outputTokens = host.flights === 0 ? 0 : host.outputTokens - wholeTokens(outputTokens);
    for (let row = entry; this.#entries.get(row, COMPUTED_IN) === 0; row = this.#entries.get(row, PARENT))
      this.#entries.set(row, COMPUTED_IN, host.drift.era);
    this.#unpin(host, entry);
    this.#trim(host);
    return true;
  }

  /** The host holds the output of a request in flight for the parent of this node. Call before `landed`. */
  generated(host: HostCache, node: NodeRef): void {
    const entry = this.#hold(host, node);
    this.#entries.set(entry, COMPUTED_IN, host.drift.era);
    if (this.#entries.isPinned(entry)) return;
    this.#entries.detach(entry);
    this.#entries.append(host.recency, entry);
  }

  /** The same of an output that nobody will ask for again: it takes room until it is evicted. */
  generatedUnnamed(host: HostCache, tokens: number): void {
    const entry = this.#entries.make(host.index, NONE);
    this.#entries.set(entry, RESIDENT, tokens);
    this.#entries.append(host.recency, entry);
    host.residentTokens += tokens;
    this.#count(host, 1);
  }

  isInFlight(host: HostCache, node: NodeRef): boolean {
    const entry = this.#entries.find(host.index, node);
    return entry !== NONE && this.#entries.get(entry, FLIGHTS) > 0;
  }

  pinnedBy(host: HostCache, node: NodeRef): number {
    let tokens = 0;
    let entry = NONE;
    for (let row = node; row !== ROOT; row = this.#nodes.parent(row)) {
      entry = this.#entryAbove(host, row, entry);
      if (entry !== NONE && this.#entries.isPinned(entry)) break;
      tokens += this.#nodes.tokens(row);
    }
    return tokens;
  }

  reported(host: HostCache, node: NodeRef, tokens: ReportedTokens): Drift {
    const drift = host.drift.reported(this.#evidence(host, node, tokens));
    if (drift.kind === "less" || drift.kind === "lost") this.#recomputed(host, node, tokens.cached);
    // The cache is smaller than it seemed by what is missing: those that would have gone next are gone too.
    if (drift.kind === "less") this.#evict(host, drift.tokens);
    if (drift.kind === "lost") this.forget(host, host.flights - 1);
    return drift;
  }

  /** An estimate of a node has become a count. The node must be claimed. */
  counted(node: NodeRef, before: number): void {
    const tokens = this.#nodes.tokens(node);
    let entry = this.#nodes.firstEntry(node);
    while (entry !== NONE) {
      const host = this.#hostOf(entry);
      const held = this.#entries.get(entry, RESIDENT);
      const change = (held === before ? tokens : Math.min(held, tokens)) - held;
      const isPinned = this.#entries.isPinned(entry);
      this.#entries.add(entry, RESIDENT, change);
      entry = this.#entries.nextOfNode(entry); // trimming may drop the one before
      host.residentTokens += change;
      if (isPinned) host.pinnedTokens += change;
      this.#trim(host);
    }
  }

  /** The entry of a node, given that of the child that was looked at before it (NONE: none, or there is none). */
  #entryAbove(host: HostCache, node: NodeRef, below: number): number {
    return below === NONE ? this.#entries.find(host.index, node) : this.#entries.get(below, PARENT);
  }

  #tokensOf(node: NodeRef): number {
    let tokens = 0;
    for (let row = node; row !== ROOT; row = this.#nodes.parent(row)) tokens += this.#nodes.tokens(row);
    return tokens;
  }

  #hostOf(entry: number): HostCache {
    const host = this.#hosts[this.#entries.get(entry, HOST)];
    assert(host !== null && host !== undefined, "an entry outlived its host");
    return host;
  }

  #evidence(host: HostCache, node: NodeRef, { predicted, cached }: ReportedTokens): CachedReport {
    let predictedOld = 0;
    let cachedOld = 0;
    let wasComputed = false;
    let end = this.#tokensOf(node);
    let entry = NONE;
    for (let row = node; row !== ROOT; row = this.#nodes.parent(row)) {
      const start = end - this.#nodes.tokens(row);
      entry = this.#entryAbove(host, row, entry);
      const era = entry === NONE ? 0 : this.#entries.get(entry, COMPUTED_IN);
      if (era > 0) {
        if (start <= cached && cached < end) wasComputed = true;
        if (host.drift.isOld(era)) {
          predictedOld += Math.max(0, Math.min(end, predicted) - start);
          cachedOld += Math.max(0, Math.min(end, predicted, cached) - start);
        }
      }
      end = start;
    }
    const slack = host.facts.blockTokens ?? SLACK_TOKENS;
    return { predicted, cached, predictedOld, cachedOld, wasComputed, slack };
  }

  /** What follows so many tokens of the path had to be computed again. */
  #recomputed(host: HostCache, node: NodeRef, cached: number): void {
    let end = this.#tokensOf(node);
    for (let row = node; row !== ROOT && end > cached; row = this.#nodes.parent(row)) {
      const entry = this.#entries.find(host.index, row);
      if (entry !== NONE && this.#entries.get(entry, COMPUTED_IN) > 0)
        this.#entries.set(entry, COMPUTED_IN, host.drift.era);
      end -= this.#nodes.tokens(row);
    }
  }

  /** The entry of a node; made, with those of its path, where it is new. Whole in any case. Pinned by the caller. */
  #hold(host: HostCache, node: NodeRef): number {
    let entry = this.#entries.find(host.index, node);
    for (let row = node; entry === NONE; entry = this.#entries.find(host.index, row)) {
      this.#missing.push(row);
      row = this.#nodes.parent(row);
    }
    const lacking = this.#nodes.tokens(this.#entries.get(entry, NODE)) - this.#entries.get(entry, RESIDENT);
    this.#entries.add(entry, RESIDENT, lacking);
    host.residentTokens += lacking;
    for (let row = this.#missing.pop(); row !== undefined; row = this.#missing.pop())
      entry = this.#make(host, row, entry);
    return entry;
  }

  #make(host: HostCache, node: NodeRef, parent: number): number {
    const entry = this.#entries.make(host.index, node);
    const tokens = this.#nodes.tokens(node);
    this.#entries.set(entry, PARENT, parent);
    this.#entries.set(entry, RESIDENT, tokens);
    this.#entries.append(host.recency, entry);
    this.#enter(entry, node);
    host.residentTokens += tokens;
    this.#count(host, 1);
    return entry;
  }

  /** Puts an entry where it is found: into the index, and into the list of its node. */
  #enter(entry: number, node: NodeRef): void {
    this.#nodes.hold(node);
    this.#entries.index(entry);
    this.#nodes.setFirstEntry(node, this.#entries.prependToNode(this.#nodes.firstEntry(node), entry));
  }

  #leave(entry: number, node: NodeRef): void {
    this.#entries.unindex(entry);
    this.#nodes.setFirstEntry(node, this.#entries.removeFromNode(this.#nodes.firstEntry(node), entry));
    this.#nodes.drop(node);
  }

  #count(host: HostCache, change: 1 | -1): void {
    host.entries += change;
    this.#size += change;
  }

  /** One more request ends at this entry. Stops at the first that was pinned before: those above it are (invariant 2). */
  #pin(host: HostCache, leaf: number): void {
    let pins: number = FLIGHTS;
    for (let entry = leaf; ; entry = this.#entries.get(entry, PARENT)) {
      const wasPinned = this.#entries.isPinned(entry);
      this.#entries.add(entry, pins, 1);
      if (wasPinned) return;
      this.#entries.detach(entry);
      this.#entries.append(host.root, entry);
      host.pinnedTokens += this.#entries.get(entry, RESIDENT);
      pins = PINNED_CHILDREN;
    }
  }

  /** One request less. What is not pinned any more is the most recently used, leaf before parent (invariant 3). */
  #unpin(host: HostCache, leaf: number): void {
    let pins: number = FLIGHTS;
    for (let entry = leaf; ; entry = this.#entries.get(entry, PARENT)) {
      this.#entries.add(entry, pins, -1);
      if (this.#entries.isPinned(entry)) return;
      this.#entries.detach(entry);
      this.#entries.append(host.recency, entry);
      host.pinnedTokens -= this.#entries.get(entry, RESIDENT);
      pins = PINNED_CHILDREN;
    }
  }

  /** Restores invariant 4, and the limits on nodes. */
  #trim(host: HostCache): void {
    this.#evict(host, host.residentTokens + host.outputTokens - host.capacityTokens);
    const { hostNodesMax, unknownHostNodesMax, nodesMax } = this.#limits;
    const entriesMax = host.capacityTokens === Infinity ? unknownHostNodesMax : hostNodesMax;
    while (host.entries > entriesMax || this.#size > nodesMax) {
      const oldest = this.#entries.get(host.recency, AFTER);
      if (oldest === host.recency) return;
      this.#drop(host, oldest);
    }
  }

  /** Evicts so many tokens, oldest first, as far as they are not pinned. */
  #evict(host: HostCache, tokens: number): void {
    let excess = tokens;
    while (excess > 0) {
      const oldest = this.#entries.get(host.recency, AFTER);
      if (oldest === host.recency) return;
      const held = this.#entries.get(oldest, RESIDENT);
      const part = Math.ceil(excess / host.blockTokens) * host.blockTokens;
      if (held <= part) this.#drop(host, oldest);
      else {
        this.#entries.add(oldest, RESIDENT, -part);
        host.residentTokens -= part;
      }
      excess -= held;
    }
  }

  #empty(host: HostCache, ring: number): void {
    for (let entry = this.#entries.get(ring, AFTER); entry !== ring; entry = this.#entries.get(ring, AFTER))
      this.#drop(host, entry);
  }

  #drop(host: HostCache, entry: number): void {
    const node = this.#entries.get(entry, NODE);
    this.#entries.detach(entry);
    host.residentTokens -= this.#entries.get(entry, RESIDENT);
    this.#count(host, -1);
    if (node !== NONE) this.#leave(entry, node);
    this.#entries.release(entry);
  }
}

export interface ReportedTokens {
  /** What `cached` was when the request was sent. */
  readonly predicted: number;
  readonly cached: number;
}

function usable(host: HostCache, held: number, total: number): number {
  const most = Math.max(0, Math.min(held, total - 1));
  return most - (most % host.blockTokens);
}
