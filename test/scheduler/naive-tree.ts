/** What the prefix tree should do, said with Maps and loops over everything: the model of its property test. */
import type { Output, PathPiece } from "../../services/coordinator/scheduler/prefix-tree.ts";

interface Held {
  /** Null: an output that nobody can ask for. */
  readonly id: string | null;
  tokens: number;
  used: number;
}

interface Host {
  readonly capacity: number;
  readonly block: number;
  held: Held[];
  flights: { readonly id: string; readonly output: number }[];
}

export function parentOf(id: string): string {
  return id.slice(0, id.lastIndexOf("/"));
}

/** Ids of a path, deepest first. */
function pathOf(id: string): string[] {
  return id === "" ? [] : [id, ...pathOf(parentOf(id))];
}

function sum(values: readonly number[]): number {
  return values.reduce((total, value) => total + value, 0);
}

export class NaiveTree {
  readonly hosts = new Map<string, Host>();
  readonly #nodes = new Map<string, { tokens: number; isKnown: boolean }>();
  readonly #retained = new Map<string, number>();
  #ticks = 0;

  addHost(name: string, capacity: number, block: number): void {
    this.hosts.set(name, { capacity: capacity - (capacity % block), block, held: [], flights: [] });
  }

  removeHost(name: string): void {
    this.hosts.delete(name);
    this.#forgetDead();
  }

  /** Live nodes. */
  get size(): number {
    return this.#nodes.size;
  }

  retain(path: readonly PathPiece[]): void {
    const id = path.at(-1)?.id ?? "";
    this.#retained.set(id, (this.#retained.get(id) ?? 0) + 1);
    for (const piece of path) if (!this.#nodes.has(piece.id)) this.#nodes.set(piece.id, { ...piece });
    for (const piece of path.toReversed()) this.#learn(piece);
  }

  release(id: string): void {
    this.#retained.set(id, (this.#retained.get(id) ?? 0) - 1);
    this.#forgetDead();
  }

  tokens(id: string): number {
    return sum(pathOf(id).map((each) => this.#nodes.get(each)?.tokens ?? 0));
  }

  cached(name: string, id: string): number {
    const host = this.#host(name);
    const held = sum(pathOf(id).map((each) => host.held.find((entry) => entry.id === each)?.tokens ?? 0));
    const most = Math.max(0, Math.min(held, this.tokens(id) - 1));
    return Math.floor(most / host.block) * host.block;
  }

  resident(name: string): number {
    return sum(this.#host(name).held.map((entry) => entry.tokens));
  }

  pinned(name: string): number {
    const host = this.#host(name);
    const paths = [...pinnedIds(host)].map((id) => this.#nodes.get(id)?.tokens ?? 0);
    return sum(paths) + sum(host.flights.map((flight) => flight.output));
  }

  pinnedBy(name: string, id: string): number {
    const pinned = pinnedIds(this.#host(name));
    return sum(pathOf(id).map((each) => (pinned.has(each) ? 0 : (this.#nodes.get(each)?.tokens ?? 0))));
  }

  sent(name: string, id: string, output: number): void {
    const host = this.#host(name);
    for (const each of pathOf(id)) this.#hold(host, each);
    host.flights.push({ id, output });
    this.#trim(host);
  }

  landed(name: string, id: string, tokens: number, output: Output | null): void {
    const host = this.#host(name);
    if (output?.id === null) {
      host.held.push({ id: null, tokens: output.tokens, used: this.#tick() });
    } else if (output !== null) {
      if (!this.#nodes.has(output.id)) this.#nodes.set(output.id, { ...output });
      const entry = this.#hold(host, output.id);
      if (!pinnedIds(host).has(output.id)) entry.used = this.#tick();
      this.#learn(output);
    }
    host.flights.splice(
      host.flights.findIndex((flight) => flight.id === id && flight.output === tokens),
      1,
    );
    const pinned = pinnedIds(host);
    for (const each of pathOf(id)) if (!pinned.has(each)) this.#hold(host, each).used = this.#tick();
    this.#trim(host);
  }

  forget(name: string): void {
    const host = this.#host(name);
    const pinned = pinnedIds(host);
    host.held = host.held.filter((entry) => entry.id !== null && pinned.has(entry.id));
    this.#forgetDead();
  }

  evict(name: string, tokens: number): void {
    const host = this.#host(name);
    let excess = tokens;
    while (excess > 0) {
      const pinned = pinnedIds(host);
      const free = host.held.filter((entry) => entry.id === null || !pinned.has(entry.id));
      const [oldest] = free.toSorted((a, b) => a.used - b.used);
      if (oldest === undefined) break;
      const { id, tokens: held } = oldest;
      const isLeaf = !host.held.some((entry) => id !== null && entry.id?.startsWith(`${id}/`));
      if (!isLeaf) throw new Error(`${id} is evicted before what continues it`);
      oldest.tokens -= Math.ceil(excess / host.block) * host.block;
      if (oldest.tokens <= 0) host.held = host.held.filter((entry) => entry !== oldest);
      excess -= held;
    }
    this.#forgetDead();
  }

  #host(name: string): Host {
    const host = this.hosts.get(name);
    if (host === undefined) throw new Error(`no host ${name}`);
    return host;
  }

  #tick(): number {
    this.#ticks += 1;
    return this.#ticks;
  }

  #hold(host: Host, id: string): Held {
    const tokens = this.#nodes.get(id)?.tokens ?? 0;
    let entry = host.held.find((each) => each.id === id);
    if (entry === undefined) {
      entry = { id, tokens, used: this.#tick() };
      host.held.push(entry);
    }
    entry.tokens = tokens;
    return entry;
  }

  #learn({ id, tokens, isKnown }: PathPiece): void {
    const node = this.#nodes.get(id);
    if (!isKnown || node === undefined || node.isKnown) return;
    for (const host of this.hosts.values())
      for (const entry of host.held.filter((each) => each.id === id))
        entry.tokens = entry.tokens === node.tokens ? tokens : Math.min(entry.tokens, tokens);
    node.tokens = tokens;
    node.isKnown = true;
    for (const host of this.hosts.values()) this.#trim(host);
  }

  #trim(host: Host): void {
    const [name] = [...this.hosts].find(([, each]) => each === host) ?? [""];
    this.evict(name, this.resident(name) + sum(host.flights.map(({ output }) => output)) - host.capacity);
  }

  #forgetDead(): void {
    const live = new Set<string>();
    const claims = [...this.hosts.values()].flatMap((host) => host.held.map((entry) => entry.id ?? ""));
    for (const [id, count] of this.#retained) if (count > 0) claims.push(id);
    for (const id of claims) for (const each of pathOf(id)) live.add(each);
    for (const id of this.#nodes.keys()) if (!live.has(id)) this.#nodes.delete(id);
  }
}

function pinnedIds(host: Host): Set<string> {
  return new Set(host.flights.flatMap(({ id }) => pathOf(id)));
}
