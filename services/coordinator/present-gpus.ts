/** How many GPUs are there for a sweep: those of every host that could serve one of its routes. */
import { GPUS_DEFAULT } from "./gpu-meter.ts";
import type { Routes } from "./routes.ts";
import type { Dispatcher } from "./scheduler/dispatcher.ts";
import { isFit } from "./scheduler/placement.ts";

/** To be asked often: hosts are looked at only after some came or went. */
export function presentGpus(dispatcher: Dispatcher, routes: Iterable<Routes>): () => number {
  const needs = [...routes].flatMap((each) => [...each.hosts]);
  let seen = -1;
  let gpus = 0;
  return () => {
    const { changes } = dispatcher.gpus;
    if (changes === seen) return gpus;
    seen = changes;
    gpus = 0;
    for (const { facts } of dispatcher.scheduler.hosts)
      if (needs.some((need) => isFit(facts, need))) gpus += facts.gpus ?? GPUS_DEFAULT;
    return gpus;
  };
}
