/**
 * The engine model in wall time, `speed` times as fast: requests are promises. What the driver and the server have in common.
 *
 * One timer waits for the model's next event. Where the process is late, events are told late, but happened when they did in
 * the model's time; what is asked because of them comes later in that time, as at a real host with a slow client.
 */
import type { Clock, Timer } from "../../../../services/runtime/clock.ts";
import { CoppiceError } from "../../../../services/runtime/errors.ts";
import { BlockIds } from "./block-ids.ts";
import {
  type EngineEvent,
  EngineModel,
  type EngineModelOptions,
  type EngineModelSignals,
} from "./engine-model.ts";
import type { EngineProfile } from "./engine-profile.ts";

/** How often a request's progress is told, in wall time. */
const PROGRESS_MS = 20;
export const SPEED_MAX = 1_000_000;

export interface SimulatedHostOptions extends EngineModelOptions {
  readonly profile: EngineProfile;
  /** Milliseconds of the model in one of the clock. */
  readonly speed: number;
  readonly clock: Clock;
}

export interface SimulatedRequest {
  readonly prompt: readonly number[];
  /** What it will generate; none computes the prompt and nothing more. */
  readonly completion: readonly number[];
  readonly priority: number;
  readonly onFirstToken?: (cachedTokens: number) => void;
  /** Told now and then how many tokens it has generated, from the second of them on. */
  readonly onProgress?: (generated: number) => void;
}

export interface SimulatedUsage {
  readonly promptTokens: number;
  readonly cachedTokens: number;
  readonly completionTokens: number;
}

interface Open {
  readonly request: SimulatedRequest;
  readonly finish: (usage: SimulatedUsage) => void;
  readonly fail: (reason: unknown) => void;
}

export class SimulatedHost {
  readonly profile: EngineProfile;
  readonly #model: EngineModel;
  readonly #blocks: BlockIds;
  readonly #speed: number;
  readonly #clock: Clock;
  readonly #startMs: number;
  readonly #open = new Map<number, Open>();
  /** Open requests that want to hear of their progress. */
  readonly #listening = new Map<number, Open>();
  #timer: Timer | null = null;
  #progress: Timer | null = null;
  #asked = 0;
  #closed: CoppiceError | null = null;

  /** @throws CoppiceError "invalid_argument" for a profile or a speed that is none. */
  constructor(options: SimulatedHostOptions) {
    const { speed, profile } = options;
    if (!(speed > 0 && speed <= SPEED_MAX)) {
      throw new CoppiceError(
        "invalid_argument",
        `expected a speed above 0 and at most ${SPEED_MAX}, found ${speed}`,
      );
    }
    this.profile = profile;
    this.#model = new EngineModel(profile, options);
    this.#blocks = new BlockIds(profile.blockTokens);
    this.#speed = speed;
    this.#clock = options.clock;
    this.#startMs = options.clock.monotonicMs();
  }

  /** What it can hold of one request: no longer than its context, nor than its KV cache. */
  get contextTokens(): number {
    const { contextTokens, kvCapacityTokens, blockTokens } = this.profile;
    return Math.min(contextTokens, kvCapacityTokens - (kvCapacityTokens % blockTokens));
  }

  /** Rejects with the signal's reason when it aborts, and with "invalid_argument" for a request that is too long. */
  run(request: SimulatedRequest, signal: AbortSignal): Promise<SimulatedUsage> {
    return new Promise((resolve, reject) => {
      signal.throwIfAborted();
      if (this.#closed !== null) throw this.#closed;
      const id = this.#asked;
      this.#asked += 1;
      const { prompt, completion, priority } = request;
      const pieces = this.#blocks.piecesOf(prompt, completion);
      const completionTokens = completion.length;
      this.#model.submit({ id, pieces, completionTokens, output: null, priority }, this.#nowMs());
      const onAbort = (): void => this.#abort(id, signal.reason);
      const leave = (): void => signal.removeEventListener("abort", onAbort);
      signal.addEventListener("abort", onAbort, { once: true });
      const open: Open = {
        request,
        finish: (usage) => {
          leave();
          resolve(usage);
        },
        fail: (reason) => {
          leave();
          reject(reason);
        },
      };
      this.#open.set(id, open);
      if (request.onProgress !== undefined) this.#listening.set(id, open);
      this.#tick();
    });
  }

  signals(): EngineModelSignals {
    this.#tick();
    return this.#model.signals;
  }

  /** Forgets every prefix. */
  clear(): void {
    this.#model.clear(this.#nowMs());
    this.#tick();
  }

  close(reason: CoppiceError): void {
    this.#closed ??= reason;
    for (const id of this.#open.keys()) this.#abort(id, reason);
  }

  #nowMs(): number {
    return (this.#clock.monotonicMs() - this.#startMs) * this.#speed;
  }

  #tick(): void {
    for (const event of this.#model.advance(this.#nowMs())) this.#tell(event);
    this.#timer?.cancel();
    this.#timer = null;
    const nextMs = this.#model.nextMs();
    if (this.#open.size > 0 && nextMs < Infinity) {
      const delayMs = Math.max(0, nextMs - this.#nowMs()) / this.#speed;
      this.#timer = this.#clock.after(Math.ceil(delayMs), () => this.#tick(), { keepAlive: true });
    }
    this.#watchProgress();
  }

  #tell(event: EngineEvent): void {
    const open = this.#open.get(event.id);
    if (open === undefined) return;
    if (event.kind === "first-token") return open.request.onFirstToken?.(event.cachedTokens);
    this.#forget(event.id);
    const { promptTokens, cachedTokens } = event;
    open.finish({ promptTokens, cachedTokens, completionTokens: open.request.completion.length });
  }

  #abort(id: number, reason: unknown): void {
    const open = this.#open.get(id);
    if (open === undefined) return;
    this.#forget(id);
    this.#model.abort(id, this.#nowMs());
    open.fail(reason);
    this.#tick();
  }

  #forget(id: number): void {
    this.#open.delete(id);
    this.#listening.delete(id);
  }

  #watchProgress(): void {
    if (this.#listening.size === 0) {
      this.#progress?.cancel();
      this.#progress = null;
    } else this.#progress ??= this.#clock.after(PROGRESS_MS, () => this.#tellProgress());
  }

  #tellProgress(): void {
    this.#progress = null;
    this.#tick();
    for (const [id, { request }] of this.#listening) {
      const generated = this.#model.generated(id, this.#nowMs()) ?? 0;
      if (generated > 1) request.onProgress?.(generated);
    }
  }
}
