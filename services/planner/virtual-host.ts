/**
 * A host of the virtual cluster: an engine model, and in front of it a worker that takes from the host's
 * lane, first come first served, as many requests as the host may have at once. Counts what it has been doing
 * over time.
 */
import {
  EngineModel,
  type EngineEvent,
  type EngineModelOptions,
  type EngineModelSignals,
} from "../../workers/rollout/drivers/simulated/engine-model.ts";
import type { EngineProfile } from "../../workers/rollout/drivers/simulated/engine-profile.ts";
import type { VirtualRequest } from "./synthetic-task.ts";

export interface VirtualHostOptions {
  readonly profile: EngineProfile;
  readonly engine: EngineModelOptions;
  /** Requests that the worker has in the engine at once; Infinity: the engine holds the queue itself. */
  readonly concurrency: number;
}

export interface HostPast {
  /** Sequences times milliseconds that they ran, and milliseconds in which any ran. */
  readonly sequenceMs: number;
  readonly busyMs: number;
  /** Share of the KV cache that running sequences held, times milliseconds, and the most that it was. */
  readonly kvUsageMs: number;
  readonly kvUsageMax: number;
}

interface Waiting {
  readonly request: VirtualRequest;
  readonly priority: number;
}

export class VirtualHost {
  readonly #engine: EngineModel;
  readonly #concurrency: number;
  readonly #lane = new Map<number, Waiting>();
  readonly #inEngine = new Map<number, VirtualRequest>();
  #sinceMs = 0;
  #running = 0;
  #runningMs = 0;
  #busyMs = 0;
  #kv = 0;
  #kvMs = 0;
  #kvMax = 0;

  constructor({ profile, engine, concurrency }: VirtualHostOptions) {
    this.#engine = new EngineModel(profile, engine);
    this.#concurrency = concurrency;
  }

  get signals(): EngineModelSignals {
    return this.#engine.signals;
  }

  /** When something happens next by itself; Infinity: never. */
  get nextMs(): number {
    return this.#engine.nextMs();
  }

  /** What it has been doing until it was last advanced. */
  get past(): HostPast {
    return {
      sequenceMs: this.#runningMs,
      busyMs: this.#busyMs,
      kvUsageMs: this.#kvMs,
      kvUsageMax: this.#kvMax,
    };
  }

  send(request: VirtualRequest, priority: number, nowMs: number): void {
    this.#lane.set(request.id, { request, priority });
    this.#fill(nowMs);
  }

  /** @returns Whether it was here, and is now stopped. */
  stop(request: VirtualRequest, nowMs: number): boolean {
    if (this.#lane.delete(request.id)) return true;
    if (!this.#inEngine.delete(request.id)) return false;
    this.#engine.abort(request.id, nowMs);
    this.#fill(nowMs);
    return true;
  }

  /** What has happened until now. */
  advance(nowMs: number): readonly { readonly request: VirtualRequest; readonly event: EngineEvent }[] {
    const events = this.#engine.advance(nowMs).flatMap((event) => {
      const request = this.#inEngine.get(event.id);
      if (request === undefined) return [];
      if (event.kind === "finished") this.#inEngine.delete(event.id);
      return [{ request, event }];
    });
    this.#count(nowMs);
    this.#fill(nowMs);
    return events;
  }

  #fill(nowMs: number): void {
    for (const [id, { request, priority }] of this.#lane) {
      if (this.#inEngine.size >= this.#concurrency) return;
      this.#lane.delete(id);
      this.#inEngine.set(id, request);
      const { pieces, completionTokens, output } = request;
      this.#engine.submit({ id, pieces, completionTokens, output, priority }, nowMs);
    }
  }

  /** What ran since the last time did so until now. */
  #count(nowMs: number): void {
    this.#runningMs += this.#running * (nowMs - this.#sinceMs);
    if (this.#running > 0) this.#busyMs += nowMs - this.#sinceMs;
    this.#kvMs += this.#kv * (nowMs - this.#sinceMs);
    const { running, kvUsage } = this.#engine.signals;
    this.#running = running;
    this.#kv = kvUsage;
    this.#kvMax = Math.max(this.#kvMax, kvUsage);
    this.#sinceMs = nowMs;
  }
}
