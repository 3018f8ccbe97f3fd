/**
 * The policy `prefixaware` of vLLM's production stack: src/vllm_router/routers/routing_logic.py,
 * prefix/hashtrie.py. A trie over chunks of 128 characters, each node with the set of hosts that were sent
 * it. Walk down while some host of the set is left; take one of those at random; put the prompt into the trie
 * for it. Nothing is evicted, and load has no say.
 */
import { createRandom } from "../../services/runtime/random.ts";
import { chunksOf } from "./chunks.ts";
import { CHARS_PER_TOKEN, type Router, type RouterPlace } from "./router.ts";

const CHUNK_TOKENS = 128 / CHARS_PER_TOKEN;

interface Node {
  readonly children: Map<number, Node>;
  readonly hosts: Set<number>;
}

export function prefixAware({ hosts, seed }: RouterPlace): Router {
  const random = createRandom(seed);
  const root: Node = {
    children: new Map(),
    hosts: new Set(Array.from({ length: hosts }, (_, host) => host)),
  };
  return {
    route({ pieces }) {
      const chunks = chunksOf(pieces, { chunkTokens: CHUNK_TOKENS, isLastPartial: true });
      let node: Node | undefined = root;
      let candidates = root.hosts;
      for (const chunk of chunks) {
        node = node.children.get(chunk);
        if (node === undefined || node.hosts.size === 0) break;
        candidates = node.hosts;
      }
      const among = [...candidates];
      const host = among[Math.floor(random.next() * among.length)] ?? 0;
      insert(root, chunks, host);
      return host;
    },
  };
}

function insert(root: Node, chunks: readonly number[], host: number): void {
  let node = root;
  for (const chunk of chunks) {
    let next = node.children.get(chunk);
    if (next === undefined) node.children.set(chunk, (next = { children: new Map(), hosts: new Set() }));
    next.hosts.add(host);
    node = next;
  }
}
