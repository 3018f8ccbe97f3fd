/** The workers of a simulated world: the production's loops, one for each host and one that verifies, each with lives one after the other. */
import { createLocalLink } from "../../services/link/local-link.ts";
import type { WorkerDesk } from "../../services/link/link.ts";
import { messageOf } from "../../services/runtime/errors.ts";
import type { Random } from "../../services/runtime/random.ts";
import { startRolloutWorker } from "../../workers/rollout/rollout-worker.ts";
import { startVerificationWorker } from "../../workers/verify/verification-worker.ts";
import { createSimulatedPool } from "./bench.ts";
import type { Mishap } from "./faults.ts";
import type { SimulatedHost } from "./host.ts";
import type { SimulatedStore } from "./store.ts";
import { Life, type SimulatedTime } from "./time.ts";
import { Wire } from "./wire.ts";

export interface Part {
  readonly name: string;
  life: Life;
  wire: Wire | null;
  readonly start: (part: Part) => Promise<void>;
}

export interface SimulatedWorkersOptions {
  readonly time: SimulatedTime;
  readonly random: Random;
  readonly hosts: readonly SimulatedHost[];
  readonly store: SimulatedStore;
  /** Of the coordinator that is there now. */
  readonly desk: () => WorkerDesk | null;
  readonly happens: (mishap: Mishap) => boolean;
  readonly say: (what: string) => void;
  /** What a worker had in hand comes back to the coordinator, sooner or later. */
  readonly onGone: () => void;
}

export class SimulatedWorkers {
  readonly #options: SimulatedWorkersOptions;
  readonly #parts: Part[] = [];

  constructor(options: SimulatedWorkersOptions) {
    this.#options = options;
    for (const [n, host] of options.hosts.entries()) this.#addHost(n, host);
    this.#addVerifier();
  }

  /** All of them; those that serve hosts first. */
  get all(): readonly Part[] {
    return this.#parts;
  }

  get ofHosts(): readonly Part[] {
    return this.#parts.slice(0, this.#options.hosts.length);
  }

  get verifier(): Part | undefined {
    return this.#parts.at(-1);
  }

  start(): void {
    for (const part of this.#parts) this.#start(part, 0);
  }

  die(part: Part, why: string, downMs: number): void {
    const { time, say, onGone } = this.#options;
    say(`${part.life.name} is gone: ${why}`);
    onGone();
    part.life.kill();
    part.wire = null;
    part.life = new Life(`${part.name}-${Math.round(time.nowMs)}`, time);
    this.#start(part, downMs);
  }

  coordinatorGone(): void {
    for (const { wire } of this.#parts) wire?.coordinatorGone();
  }

  /** Every line is whole again. */
  heal(): void {
    for (const { wire } of this.#parts) if (wire !== null) wire.isCut = false;
  }

  #addHost(n: number, host: SimulatedHost): void {
    const { store } = this.#options;
    this.#add(`host-${n}`, async (part) => {
      const worker = await startRolloutWorker({
        id: `w-${part.life.name}`,
        hostId: `h${n}`,
        driver: host.driver(part.life),
        lanes: store.of(part.life),
        link: this.#link(part),
        clock: part.life.clock,
        limits: { startWaitMs: 600_000 },
      });
      const why = await worker.ended;
      if (!part.life.isDead) this.die(part, `left: ${why?.message ?? "drained"}`, 500);
    });
  }

  #addVerifier(): void {
    const { random, store, happens } = this.#options;
    this.#add("verifier", async (part) => {
      await startVerificationWorker({
        id: `w-${part.life.name}`,
        lanes: store.of(part.life),
        link: this.#link(part),
        clock: part.life.clock,
        pool: createSimulatedPool(part.life, {
          delayMs: () => 1 + 10 * random.next(),
          refuses: () => happens("verifier refused"),
        }),
        concurrency: 4,
      });
    });
  }

  #add(name: string, start: (part: Part) => Promise<void>): void {
    this.#parts.push({ name, life: new Life(`${name}-0`, this.#options.time), wire: null, start });
  }

  #link(part: Part): ReturnType<typeof createLocalLink> {
    const { life } = part;
    const { random, desk, happens } = this.#options;
    const wire = new Wire({ life, desk, happens, delayMs: () => 0.2 + 3 * random.next() ** 3 });
    part.wire = wire;
    return createLocalLink(wire, { clock: life.clock, random });
  }

  #start(part: Part, afterMs: number): void {
    const { life } = part;
    this.#options.time.after(afterMs, () => {
      if (life !== part.life) return;
      this.#options.say(`${life.name} starts`);
      part.start(part).catch((error: unknown) => {
        if (!life.isDead) this.die(part, `does not start: ${messageOf(error)}`, 1_000);
      });
    });
  }
}
