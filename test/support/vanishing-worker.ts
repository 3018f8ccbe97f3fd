/**
 * A worker process that takes one job, says so on its standard output and holds it until it is killed.
 * Arguments: Redis URL, prefix, lane, lockMs.
 */
import { createBullmqLanes } from "../../services/queue/bullmq-lanes.ts";
import { DEFAULT_LANE_LIMITS } from "../../services/queue/lanes.ts";
import { systemClock } from "../../services/runtime/clock.ts";

const [redisUrl = "", prefix = "", lane = "", lockMs = ""] = process.argv.slice(2);
const limits = { ...DEFAULT_LANE_LIMITS, lockMs: Number(lockMs) };
const lanes = createBullmqLanes({ redisUrl, prefix, limits, clock: systemClock });
lanes.consume(lane, {
  concurrency: 1,
  handle: ({ job }) => {
    process.stdout.write(`holds ${job.id}\n`);
    return new Promise(() => {});
  },
  onError: (error) => process.stderr.write(`${error.message}\n`),
});
