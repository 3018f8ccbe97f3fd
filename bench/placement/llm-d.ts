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
    const index = new PieceIndex(blocksPerHost * blockTokens);
    const learn = (pieces: readonly PathPiece[], host: number): void => {
      if (producer === "precise") index.insert(pieces, host);
    };
    return {
      computed: learn,
      route({ pieces, promptTokens }) {
        const blocks = Math.floor(promptTokens / blockTokens);
        const matched = index.match(pieces);
        const waiting = Array.from({ length: place.hosts }, (_, host) => place.waiting(host));
        const most = waiting.reduce((a, b) => Math.max(a, b), 0);
        const least = waiting.reduce((a, b) => Math.min(a, b), Infinity);
        let [best, bestScore, ties] = [0, -Infinity, 0];
        for (const [host, queue] of waiting.entries()) {
          const found = Math.floor((matched.get(host) ?? 0) / blockTokens);
          const prefix = blocks === 0 ? 0 : found / blocks;
          const ease = most === least ? 1 : (most - queue) / (most - least);
          const score = prefixWeight * prefix + kvWeight * (1 - place.kvUsage(host)) + queueWeight * ease;
          ties = score === bestScore ? ties + 1 : 1;
          // Each of n equal ones stays with a chance of 1 in n.
          if (score > bestScore || (score === bestScore && random.next() * ties < 1)) best = host;
          bestScore = Math.max(bestScore, score);
        }
        if (producer === "approximate") index.insert(pieces, best);
        return best;
      },
    };
  };
}

/**
 * Which hosts have which pieces of paths, least recently used ones forgotten, host by host. By pieces and not by blocks, which
 * come and go with the piece that they end in: a prompt of thousands of tokens is a few entries.
 */
class PieceIndex {
  readonly #tokensPerHost: number;
  readonly #hosts = new Map<number, Set<number>>();
  /** By host: tokens of each piece, the least recently used first; and of all of them. */
  readonly #recent = new Map<number, Map<number, number>>();
  readonly #sizes = new Map<number, number>();

  constructor(tokensPerHost: number) {
    this.#tokensPerHost = tokensPerHost;
  }

  /** By host, how many tokens from the beginning it has. */
  match(pieces: readonly PathPiece[]): ReadonlyMap<number, number> {
    const matched = new Map<number, number>();
    let before = 0;
    for (const { id, tokens } of pieces) {
      let isAny = false;
      for (const host of this.#hosts.get(id) ?? []) {
        if ((matched.get(host) ?? 0) !== before) continue;
        matched.set(host, before + tokens);
        isAny = true;
      }
      if (!isAny) break;
      before += tokens;
    }
    return matched;
  }

  insert(pieces: readonly PathPiece[], host: number): void {
    let recent = this.#recent.get(host);
    if (recent === undefined) this.#recent.set(host, (recent = new Map()));
    let size = this.#sizes.get(host) ?? 0;
    for (const { id, tokens } of pieces) {
      if (recent.delete(id)) size -= tokens;
      recent.set(id, tokens);
      size += tokens;
      let hosts = this.#hosts.get(id);
      if (hosts === undefined) this.#hosts.set(id, (hosts = new Set()));
      hosts.add(host);
    }
    for (const [oldest, tokens] of recent) {
      if (size <= this.#tokensPerHost) break;
      recent.delete(oldest);
      size -= tokens;
      const hosts = this.#hosts.get(oldest);
      hosts?.delete(host);
      if (hosts?.size === 0) this.#hosts.delete(oldest);
    }
    this.#sizes.set(host, size);
  }
}
