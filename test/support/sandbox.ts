/** Whether programs can be run in a sandbox here, for tests that do; they skip, with the reason, where they cannot. */
import { readdirSync, readFileSync } from "node:fs";
import { systemClock } from "../../services/runtime/clock.ts";
import { messageOf } from "../../services/runtime/errors.ts";
import { provenTools } from "../../workers/verify/sandbox/probe.ts";

/** Null where the sandbox holds. */
export const NO_SANDBOX: string | null = await provenTools({ clock: systemClock, env: process.env }).then(
  () => null,
  messageOf,
);

/** Processes of this machine with this name (at most 15 characters): a program in a sandbox gives itself one. */
export function processesNamed(name: string): number {
  return readdirSync("/proc").filter((entry) => {
    if (!/^\d+$/.test(entry)) return false;
    try {
      const isZombie = / Z /.test(readFileSync(`/proc/${entry}/stat`, "latin1"));
      return !isZombie && readFileSync(`/proc/${entry}/comm`, "latin1").trim() === name;
    } catch {
      return false; // It has ended.
    }
  }).length;
}
