/**
 * GPU time, shared out among the asks that use it. Each host keeps the integral V(t) of gpus / asks in flight: what an ask that is there
 * all the time would have used. An ask costs V at its end less V at its beginning: O(1), and what all asks cost is the time in which
 * the host had any, times its GPUs. Shared by all sweeps of a coordinator.
 */
import type { Clock } from "../runtime/clock.ts";

/** Of a host that does not say how many it has. */
export const GPUS_DEFAULT = 1;

interface MeteredHost {
  gpus: number;
  inFlight: number;
  /** V, in GPU-milliseconds, and when it was brought up to date. */
  share: number;
  atMs: number;
}

/** An ask at a host. Only the meter looks inside. */
export interface GpuRun {
  readonly host: MeteredHost;
  readonly shareBefore: number;
}

export class GpuMeter {
  readonly #clock: Clock;
  readonly #hosts = new Map<string, MeteredHost>();
  /** Counts hosts that came, went or changed. */
  changes = 0;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** A host is there, or says anew how many GPUs it has. */
  join(id: string, gpus: number): void {
    this.changes += 1;
    const host = this.#hosts.get(id);
    if (host === undefined) {
      this.#hosts.set(id, { gpus, inFlight: 0, share: 0, atMs: this.#clock.monotonicMs() });
      return;
    }
    this.#advance(host);
    host.gpus = gpus;
  }

  /** The host is gone: asks that were there used nothing more of it. */
  leave(id: string): void {
    const host = this.#hosts.get(id);
    if (host === undefined) return;
    this.changes += 1;
    this.#advance(host);
    host.gpus = 0;
    this.#hosts.delete(id);
  }

  began(id: string): GpuRun {
    const host = this.#hosts.get(id);
    if (host === undefined) throw new Error(`no host ${id} is metered`);
    this.#advance(host);
    host.inFlight += 1;
    return { host, shareBefore: host.share };
  }

  /** Once for each that began. @returns GPU-milliseconds. */
  ended({ host, shareBefore }: GpuRun): number {
    this.#advance(host);
    host.inFlight -= 1;
    return host.share - shareBefore;
  }

  #advance(host: MeteredHost): void {
    const nowMs = this.#clock.monotonicMs();
    if (host.inFlight > 0) host.share += (host.gpus * (nowMs - host.atMs)) / host.inFlight;
    host.atMs = nowMs;
  }
}
