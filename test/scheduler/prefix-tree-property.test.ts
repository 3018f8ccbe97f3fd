import { describe, expect, test } from "vitest";
import {
  PrefixTree,
  type NodeRef,
  type Output,
  type PathPiece,
} from "../../services/coordinator/scheduler/prefix-tree.ts";
import { createRandom } from "../../services/runtime/random.ts";
import { NaiveTree } from "./naive-tree.ts";

const HOSTS = [
  { name: "tight", capacity: 60, block: 1 },
  { name: "blocks", capacity: 150, block: 16 },
  { name: "ample", capacity: 100_000, block: 4 },
];

interface Flight {
  readonly host: string;
  readonly path: readonly PathPiece[];
  readonly node: NodeRef;
  readonly output: number;
  readonly predicted: number;
}

/** The tree and its model, told the same by chance. */
class Run {
  readonly tree = new PrefixTree();
  readonly model = new NaiveTree();
  readonly #random: () => number;
  readonly #retained: { readonly path: readonly PathPiece[]; readonly node: NodeRef }[] = [];
  readonly #flights: Flight[] = [];

  constructor(seed: number) {
    const random = createRandom(seed);
    this.#random = () => random.next();
    for (const { name, capacity, block } of HOSTS) this.#add(name, capacity, block);
  }

  step(): void {
    const kind = this.#below(100);
    if (kind < 30) this.#retain();
    else if (kind < 45) this.#release();
    else if (kind < 70) this.#send();
    else if (kind < 95) this.#land();
    else if (kind < 98) this.#forget();
    else this.#replace();
  }

  check(): void {
    expect(this.#seen()).toEqual(this.#expected());
  }

  #seen(): unknown {
    const { tree } = this;
    return {
      size: tree.size,
      held: tree.held,
      hosts: HOSTS.map(({ name }) => [tree.pinnedTokens(name), tree.host(name)?.residentTokens]),
      paths: this.#retained.map(({ node }) => [
        tree.tokens(node),
        HOSTS.map(({ name }) => [tree.cached(name, node), tree.pinnedBy(name, node)]),
      ]),
    };
  }

  #expected(): unknown {
    const { model } = this;
    return {
      size: model.size,
      held: [...model.hosts.values()].reduce((total, { held }) => total + held.length, 0),
      hosts: HOSTS.map(({ name }) => [model.pinned(name), model.resident(name)]),
      paths: this.#retained.map(({ path }) => {
        const id = path.at(-1)?.id ?? "";
        return [
          model.tokens(id),
          HOSTS.map(({ name }) => [model.cached(name, id), model.pinnedBy(name, id)]),
        ];
      }),
    };
  }

  #add(name: string, capacity: number, block: number): void {
    this.tree.addHost(name, { kvCapacityTokens: capacity, blockTokens: block });
    this.model.addHost(name, capacity, block);
  }

  #below(n: number): number {
    return Math.floor(this.#random() * n);
  }

  #pick<T>(from: readonly T[]): T | undefined {
    return from[this.#below(from.length)];
  }

  #take<T>(from: T[]): T | undefined {
    return from.splice(this.#below(from.length), 1)[0];
  }

  #piece(parent: string): PathPiece {
    const id = `${parent}/${this.#below(3)}`;
    const isKnown = this.#random() < 0.5;
    // What is counted is the same whenever it is counted.
    const tokens = (id.length * 7 + Number(id.at(-1)) * 11) % 23;
    return { id, tokens: isKnown ? tokens : this.#below(25), isKnown };
  }

  #retain(): void {
    const path: PathPiece[] = [];
    const depth = this.#below(5);
    while (path.length < depth) path.push(this.#piece(path.at(-1)?.id ?? ""));
    this.#retained.push({ path, node: this.tree.retain(path) });
    this.model.retain(path);
  }

  #release(): void {
    const held = this.#take(this.#retained);
    if (held === undefined) return;
    this.tree.release(held.node);
    this.model.release(held.path.at(-1)?.id ?? "");
  }

  #send(): void {
    const target = this.#pick(this.#retained);
    const host = this.#pick(HOSTS)?.name ?? "";
    if (target === undefined || this.#flights.length > 6) return;
    const output = this.#below(20);
    const predicted = this.tree.cached(host, target.node);
    this.#flights.push({ ...target, host, output, predicted });
    this.tree.sent(host, target.node, output);
    this.model.sent(host, target.path.at(-1)?.id ?? "", output);
  }

  #land(): void {
    const flight = this.#take(this.#flights);
    if (flight === undefined) return;
    const { host, node, predicted } = flight;
    const id = flight.path.at(-1)?.id ?? "";
    if (this.#random() < 0.2) {
      const cached = this.#below(predicted + 1);
      const drift = this.tree.reported(host, node, { predicted, cached });
      if (drift?.kind === "less") this.model.evict(host, drift.tokens);
      if (drift?.kind === "lost") this.model.forget(host);
    }
    const kind = this.#below(3);
    const unnamed = { id: null, tokens: 1 + this.#below(10) };
    const output: Output | null = kind === 0 ? null : kind === 1 ? unnamed : this.#piece(id);
    this.tree.landed(host, node, flight.output, output);
    this.model.landed(host, id, flight.output, output);
  }

  #forget(): void {
    const host = this.#pick(HOSTS)?.name ?? "";
    this.tree.forget(host);
    this.model.forget(host);
  }

  #replace(): void {
    const host = this.#pick(HOSTS);
    if (host === undefined) return;
    for (let i = this.#flights.length - 1; i >= 0; i -= 1)
      if (this.#flights[i]?.host === host.name) this.#flights.splice(i, 1);
    this.tree.removeHost(host.name);
    this.model.removeHost(host.name);
    this.#add(host.name, host.capacity, host.block);
  }
}

describe("the prefix tree and a naive model agree", () => {
  test.each([1, 2, 3, 4, 5, 6, 7, 8])("after every one of 500 random calls, seed %i", (seed) => {
    const run = new Run(seed);
    for (let i = 0; i < 500; i += 1) {
      run.step();
      run.check();
    }
  });
});
