/**
 * A new session goes to the host with the fewest active sessions and stays there until the client says that
 * it is over: vllm-router's `sticky_least_loaded` with its `/finish_session` (prime-rl #3563, SkyRL #1791).
 * The session is the problem.
 */
import type { Router, RouterPlace } from "./router.ts";

export function stickyLeastLoaded({ hosts }: RouterPlace): Router {
  const homes = new Map<number, number>();
  const active = Array.from({ length: hosts }, () => 0);
  return {
    route({ session }) {
      let home = homes.get(session);
      if (home === undefined) {
        home = active.indexOf(active.reduce((least, count) => Math.min(least, count), Infinity));
        homes.set(session, home);
        active[home] = (active[home] ?? 0) + 1;
      }
      return home;
    },
    sessionEnded(session) {
      const home = homes.get(session);
      if (home !== undefined) active[home] = (active[home] ?? 0) - 1;
      homes.delete(session);
    },
  };
}
