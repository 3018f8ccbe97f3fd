/**
 * Each request to the host with the fewest in flight: what most load balancers do without knowing of caches.
 */
import { leastLoaded, type Router, type RouterPlace } from "./router.ts";

export function leastLoad(place: RouterPlace): Router {
  return { route: () => leastLoaded(place) };
}
