/**
 * The policy `cache_aware` of the SGLang router (sgl-model-gateway, SMG):
 * model_gateway/src/policies/cache_aware.rs.
 *
 * 1. The pool is imbalanced when max - min > absolute AND max > relative * min, in requests in flight. Then
 *    the least loaded host (tie: fewest routed) takes the request, which is put into the tree for it all the
 *    same.
 * 2. Else, if more than `threshold` of the prompt's characters match the tree: the host that last used the
 *    deepest match.
 * 3. Else the least loaded host. In both cases the prompt is put into the tree for it.
 * 4. At every eviction interval each host's part of the tree is cut to its size by removing its least
 *    recently used leaves.
 */
import { HostTree } from "./host-tree.ts";
import { leastLoaded, type Router, type RouterFactory, type RouterPlace } from "./router.ts";

export interface CacheAwareOptions {
  readonly threshold: number;
  readonly absolute: number;
  readonly relative: number;
  readonly evictionIntervalMs: number;
  /** Characters of a host's part of the tree. */
  readonly treeCharsMax: number;
}

/** The defaults of its command line. */
const DEFAULTS: CacheAwareOptions = {
  threshold: 0.3,
  absolute: 64,
  relative: 1.5,
  evictionIntervalMs: 120_000,
  treeCharsMax: 67_108_864,
};

export function cacheAware(options: Partial<CacheAwareOptions> = {}): RouterFactory {
  const { threshold, absolute, relative, evictionIntervalMs, treeCharsMax } = { ...DEFAULTS, ...options };
  return (place: RouterPlace): Router => {
    const tree = new HostTree();
    let evictedMs = 0;
    const choose = ({ pieces }: Parameters<Router["route"]>[0]): number => {
      if (isImbalanced(place, { absolute, relative })) return leastLoaded(place);
      const { share, host } = tree.match(pieces);
      return share > threshold && host !== null ? host : leastLoaded(place);
    };
    return {
      route(request) {
        if (place.nowMs() - evictedMs >= evictionIntervalMs) {
          tree.evict(treeCharsMax);
          evictedMs = place.nowMs();
        }
        const host = choose(request);
        tree.insert(request.pieces, host);
        return host;
      },
    };
  };
}

function isImbalanced(
  { hosts, inFlight }: RouterPlace,
  { absolute, relative }: Pick<CacheAwareOptions, "absolute" | "relative">,
): boolean {
  let [least, most] = [Infinity, 0];
  for (let host = 0; host < hosts; host++) {
    least = Math.min(least, inFlight(host));
    most = Math.max(most, inFlight(host));
  }
  return most - least > absolute && most > relative * least;
}
