/**
 * llm-d's scheduler (endpoint picker) with the weights of its sample profile: the host with the highest
 *
 *     2 * matched blocks / all blocks  +  1 * (1 - KV usage)  +  1 * (most waiting - waiting) / (most - least waiting)
 *
 * equal ones at random. Matches come from one of its two producers. `precise`: from the hosts' KV events,
 * that is, what they have computed and generated, block by block; what is sent at once with a prompt that is
 * new matches nothing yet. `approximate`: from what was sent to each host, in blocks of 64 tokens, the last
 * 31,250 of them. Metrics are fresh here, which favours it: the real ones are polled.
 */
import { createRandom } from "../../services/runtime/random.ts";
import { chunksOf } from "./chunks.ts";
import type { PathPiece } from "../../services/planner/synthetic-task.ts";
import type { Router, RouterFactory, RouterPlace } from "./router.ts";

export interface LlmdOptions {
  readonly prefixWeight: number;
  readonly kvWeight: number;
  readonly queueWeight: number;
  readonly producer: "precise" | "approximate";
  readonly blockTokens: number;
  readonly blocksPerHost: number;
}

const WEIGHTS = { prefixWeight: 2, kvWeight: 1, queueWeight: 1 } as const;
const APPROXIMATE: LlmdOptions = {
  ...WEIGHTS,
  producer: "approximate",
  blockTokens: 64,
  blocksPerHost: 31_250,
};

/** @param kvCapacityTokens What a host's events keep track of. */
export function llmdPrecise(kvCapacityTokens: number, blockTokens = 16): RouterFactory {
  const blocksPerHost = Math.floor(kvCapacityTokens / blockTokens);
  return llmd({ producer: "precise", blockTokens, blocksPerHost });
}

export function llmd(options: Partial<LlmdOptions> = {}): RouterFactory {
  const { prefixWeight, kvWeight, queueWeight, blockTokens, blocksPerHost, producer } = {
    ...APPROXIMATE,
    ...options,
  };
  return (place: RouterPlace): Router => {
    const random = createRandom(place.seed);
    const index = new BlockIndex(blocksPerHost);
    const blocksOf = (pieces: readonly PathPiece[]): readonly number[] =>
      chunksOf(pieces, { chunkTokens: blockTokens, isLastPartial: false });
    const learn = (pieces: readonly PathPiece[], host: number): void => {
      if (producer === "precise") index.insert(blocksOf(pieces), host);
    };
    return {
      computed: learn,
      route({ pieces }) {
        const blocks = blocksOf(pieces);
        const matched = index.match(blocks);
        const waiting = Array.from({ length: place.hosts }, (_, host) => place.waiting(host));
        const most = waiting.reduce((a, b) => Math.max(a, b), 0);
        const least = waiting.reduce((a, b) => Math.min(a, b), Infinity);
        let [best, bestScore, ties] = [0, -Infinity, 0];
        for (const [host, queue] of waiting.entries()) {
          const prefix = blocks.length === 0 ? 0 : (matched.get(host) ?? 0) / blocks.length;
          const ease = most === least ? 1 : (most - queue) / (most - least);
          const score = prefixWeight * prefix + kvWeight * (1 - place.kvUsage(host)) + queueWeight * ease;
          ties = score === bestScore ? ties + 1 : 1;
          // Each of n equal ones stays with a chance of 1 in n.
          if (score > bestScore || (score === bestScore && random.next() * ties < 1)) best = host;
          bestScore = Math.max(bestScore, score);
        }
        if (producer === "approximate") index.insert(blocks, best);
        return best;
      },
    };
  };
}

/** Which hosts were sent which blocks, least recently used ones forgotten, host by host. */
class BlockIndex {
  readonly #blocksPerHost: number;
  readonly #hosts = new Map<number, Set<number>>();
  readonly #recent = new Map<number, Set<number>>();

  constructor(blocksPerHost: number) {
    this.#blocksPerHost = blocksPerHost;
  }

  /** By host, how many blocks from the beginning it was sent. */
  match(blocks: readonly number[]): ReadonlyMap<number, number> {
    const matched = new Map<number, number>();
    for (const [place, block] of blocks.entries()) {
      const hosts = this.#hosts.get(block);
      if (hosts === undefined) break;
      let isAny = false;
      for (const host of hosts) {
        if ((matched.get(host) ?? 0) !== place) continue;
        matched.set(host, place + 1);
        isAny = true;
      }
      if (!isAny) break;
    }
    return matched;
  }

  insert(blocks: readonly number[], host: number): void {
    let recent = this.#recent.get(host);
    if (recent === undefined) this.#recent.set(host, (recent = new Set()));
    for (const block of blocks) {
      recent.delete(block);
      recent.add(block);
      let hosts = this.#hosts.get(block);
      if (hosts === undefined) this.#hosts.set(block, (hosts = new Set()));
      hosts.add(host);
    }
    for (const oldest of recent) {
      if (recent.size <= this.#blocksPerHost) break;
      recent.delete(oldest);
      const hosts = this.#hosts.get(oldest);
      hosts?.delete(host);
      if (hosts?.size === 0) this.#hosts.delete(oldest);
    }
  }
}
