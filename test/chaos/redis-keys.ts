/** What is left in Redis: a lane keeps a few keys of its own, whatever went through it; a job that is over keeps none (I6). */
import { Redis } from "ioredis";

/** What BullMQ keeps of a queue in which nothing waits and nothing runs. */
const OF_A_LANE = new Set(["meta", "id", "events", "stalled-check", "marker"]);

/** Keys that belong to jobs. */
export async function jobKeys(url: string, prefix: string): Promise<readonly string[]> {
  const redis = new Redis(url, { maxRetriesPerRequest: 1, connectTimeout: 2_000 });
  redis.on("error", () => undefined); // the command's own rejection tells it
  try {
    const keys = await redis.keys(`${prefix}:*`);
    return keys.filter((key) => !OF_A_LANE.has(key.split(":").at(-1) ?? ""));
  } finally {
    redis.disconnect();
  }
}
