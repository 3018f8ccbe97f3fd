/**
 * What the scheduler's prefix tree costs with 10^4, 10^5 and 10^6 live nodes over 10, 100 and 1,000 hosts: operations per
 * second of processor time (the collector's included, so that a busy machine counts little) and bytes per node. Every
 * host holds the root, every other node is held by the one host that its problem lives on; a problem is a prompt and four
 * beams of seven steps, so a path has nine pieces. Paths are taken at random from all: nothing is in the processor's caches.
 * Run: node bench/prefix-tree.ts     (about 30 s)
 * Does not measure: the scheduler that asks the tree, hashing of segments, growth (the tree is built before).
 */
import { cpus } from "node:os";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { PrefixTree, type NodeRef, type PathPiece } from "../services/coordinator/scheduler/prefix-tree.ts";
import { segmentId } from "../services/coordinator/segment-store.ts";
import { createRandom } from "../services/runtime/random.ts";

const SIZES = [
  { nodes: 10_000, hosts: 10 },
  { nodes: 100_000, hosts: 100 },
  { nodes: 1_000_000, hosts: 1_000 },
] as const;
const ROUNDS = 5;
const CALLS = 100_000;
const BEAMS = 4;
const STEPS = 7;
const ROOT_TOKENS = 1_024;
const STEP_TOKENS = 128;
const IN_FLIGHT = 64;
/** What the benchmark itself keeps for a path: an object of three fields. */
const TARGET_BYTES = 56;

setFlagsFromString("--expose-gc");
const collect: unknown = runInNewContext("gc");
const random = createRandom(1);

/** A leaf that is asked for, and where its problem lives. */
interface Target {
  readonly path: readonly PathPiece[];
  readonly node: NodeRef;
  readonly host: string;
}

interface World {
  readonly tree: PrefixTree;
  readonly targets: readonly Target[];
}

type Operation = (world: World, targets: readonly Target[]) => void;

const OPERATIONS: Readonly<Record<string, Operation>> = {
  // Each lands when so many others are in flight.
  "sent and landed": ({ tree }, targets) => {
    for (let i = 0; i < targets.length + IN_FLIGHT; i += 1) {
      const sent = targets[i];
      const landed = targets[i - IN_FLIGHT];
      if (sent !== undefined) tree.sent(sent.host, sent.node, STEP_TOKENS);
      if (landed !== undefined) tree.landed(landed.host, landed.node, STEP_TOKENS);
    }
  },
  "cached tokens": ({ tree }, targets) => {
    for (const { host, node } of targets) consume(tree.cached(host, node));
  },
  "life of a request": ({ tree }, targets) => {
    for (let i = 0; i < targets.length + IN_FLIGHT; i += 1) {
      const sent = targets[i];
      const landed = targets[i - IN_FLIGHT];
      if (sent !== undefined) decide(tree, sent);
      if (landed !== undefined) settle(tree, landed, `${turn++}`);
    }
  },
};
let turn = 0;
let consumed = 0;

/** Keeps a result from being optimised away. */
function consume(value: number): void {
  consumed += value;
}

function decide(tree: PrefixTree, { path, host }: Target): void {
  const node = tree.retain(path);
  consume(tree.cached(host, node) + tree.pinnedTokens(host) + tree.pinnedBy(host, node));
  tree.sent(host, node, STEP_TOKENS);
}

function settle(tree: PrefixTree, { node, host }: Target, id: string): void {
  const cached = tree.cached(host, node);
  consume(tree.reported(host, node, { predicted: cached, cached })?.tokens ?? 0);
  tree.landed(host, node, STEP_TOKENS, { id, tokens: STEP_TOKENS, isKnown: true });
  tree.release(node);
}

function pathsOf(problem: number, root: PathPiece): PathPiece[][] {
  const prompt = child(root, `problem ${problem}`);
  return Array.from({ length: BEAMS }, (_, beam) => {
    const path = [root, prompt];
    for (let step = 0; step < STEPS; step += 1)
      path.push(child(path.at(-1) ?? root, `beam ${beam} step ${step}`));
    return path;
  });
}

function child(parent: PathPiece, text: string): PathPiece {
  return { id: segmentId(parent.id, { text }), tokens: STEP_TOKENS, isKnown: true };
}

function build(nodes: number, hosts: number, paths: readonly (readonly PathPiece[])[]): World {
  const tree = new PrefixTree();
  // What the trees take, and a little: so the lives of requests evict.
  const capacity = ROOT_TOKENS + Math.ceil((nodes / hosts) * STEP_TOKENS * 1.1);
  for (let host = 0; host < hosts; host += 1)
    tree.addHost(`host-${host}`, { kvCapacityTokens: capacity, blockTokens: 16 });
  const targets = paths.map((path, i) => {
    const host = `host-${Math.floor(i / BEAMS) % hosts}`;
    const node = tree.retain(path);
    tree.sent(host, node, 0);
    tree.landed(host, node, 0);
    return { path, node, host };
  });
  return { tree, targets };
}

function bytesUsed(): number {
  if (typeof collect === "function") collect();
  const { heapUsed, arrayBuffers } = process.memoryUsage();
  return heapUsed + arrayBuffers;
}

const median = (values: readonly number[]): number =>
  values.toSorted((a, b) => a - b)[values.length >> 1] ?? 0;
const thousands = (value: number): string => `${Math.round(value / 1_000)}k`;

const rows: Record<string, Record<string, string>> = {};
const rates = new Map<string, number[]>(Object.keys(OPERATIONS).map((name) => [name, []]));
for (const { nodes, hosts } of SIZES) {
  const root: PathPiece = { id: segmentId(null, { text: "root" }), tokens: ROOT_TOKENS, isKnown: true };
  const problems = Math.round(nodes / (1 + BEAMS * STEPS));
  const paths = Array.from({ length: problems }, (_, problem) => pathsOf(problem, root)).flat();
  const before = bytesUsed();
  const world = build(nodes, hosts, paths);
  const { size } = world.tree;
  const perNode = (bytesUsed() - before - world.targets.length * TARGET_BYTES) / size;
  const row: Record<string, string> = { "bytes/node": perNode.toFixed(0) };
  for (const [name, operation] of Object.entries(OPERATIONS)) {
    const perSecond: number[] = [];
    for (let round = 0; round <= ROUNDS; round += 1) {
      const targets = Array.from(
        { length: CALLS },
        () => world.targets[Math.floor(random.next() * world.targets.length)],
      ).filter((target) => target !== undefined);
      const start = process.cpuUsage();
      operation(world, targets);
      const { user, system } = process.cpuUsage(start);
      if (round > 0) perSecond.push((CALLS / (user + system)) * 1e6); // the first warms up
    }
    rates.get(name)?.push(median(perSecond));
    row[`${name}/s`] =
      `${thousands(median(perSecond))} (${thousands(Math.min(...perSecond))}-${thousands(Math.max(...perSecond))})`;
  }
  rows[`${size.toLocaleString("en")} nodes, ${hosts} hosts`] = row;
}

console.log(
  `node bench/prefix-tree.ts: ${CALLS} calls at random paths, median of ${ROUNDS} rounds (min-max), calls/s`,
);
console.log(`${cpus().length} x ${cpus()[0]?.model ?? "unknown"}, node ${process.version}`);
console.table(rows);
console.log("microseconds a call; flat is linear in the number of calls, whatever the number of nodes");
const longest = Math.max(...[...rates.values()].flat().map((rate) => 1e6 / rate));
for (const [name, perSecond] of rates)
  for (const [i, rate] of perSecond.entries()) {
    const us = 1e6 / rate;
    const label = `${name}, ${SIZES[i]?.nodes.toLocaleString("en")} nodes`.padEnd(36);
    console.log(`${label}${us.toFixed(2).padStart(7)} ${"#".repeat(Math.round((us / longest) * 60))}`);
  }
if (consumed === 0) throw new Error("nothing was found");
