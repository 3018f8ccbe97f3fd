/** Each request to the next host. */
import type { Router, RouterPlace } from "./router.ts";

export function roundRobin({ hosts }: RouterPlace): Router {
  let next = 0;
  return { route: () => next++ % hosts };
}
