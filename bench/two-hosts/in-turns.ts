/**
 * Placement in turns: lanes that put each job into the lane of the next host, whichever the scheduler chose. All else of the
 * coordinator stays as it is, its order (oldest task first) and its number of asks at a host among it.
 */
import type { Job } from "../../services/queue/job.ts";
import type { Lane, Lanes } from "../../services/queue/lanes.ts";

/** @param names Of the hosts' lanes; others are left as they are. */
export function inTurns(lanes: Lanes, names: readonly string[]): Lanes {
  const hosts = names.map((name) => lanes.lane(name));
  let turn = 0;
  const next = (): Lane => {
    const lane = hosts[turn % hosts.length];
    turn += 1;
    if (lane === undefined) throw new Error("expected the lane of a host, found none");
    return lane;
  };
  async function add(jobs: readonly Job[]): Promise<void> {
    for (const job of jobs) await next().add([job]);
  }
  async function missing(jobIds: readonly string[]): Promise<readonly string[]> {
    let left = jobIds;
    for (const host of hosts) left = await host.missing(left);
    return left;
  }
  return {
    consume: (name, options) => lanes.consume(name, options),
    ping: () => lanes.ping(),
    close: () => lanes.close(),
    lane(name) {
      const lane = lanes.lane(name);
      if (!names.includes(name)) return lane;
      return {
        name,
        add,
        missing,
        remove: async (jobIds) => void (await Promise.all(hosts.map((host) => host.remove(jobIds)))),
        depth: () => lane.depth(),
        evacuate: () => lane.evacuate(),
      };
    },
  };
}
