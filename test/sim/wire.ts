/**
 * The network between one worker and whoever is the coordinator: takes time, and drops, doubles and reorders what it carries. To the
 * worker's link (the production's, in one process) it is a desk. When the coordinator is another one than before, the worker is
 * announced to it again, as `grpc-link.ts` does when its line is up again.
 */
import type {
  HostSignals,
  Registration,
  Withdrawal,
  WorkerDesk,
  WorkerFacts,
} from "../../services/link/link.ts";
import type { Report, Segment, SegmentId } from "../../services/queue/job.ts";
import { CoppiceError } from "../../services/runtime/errors.ts";
import type { Mishap } from "./faults.ts";
import type { Life } from "./time.ts";

export interface WireOptions {
  readonly life: Life;
  /** The coordinator's desk while it is up. */
  readonly desk: () => WorkerDesk | null;
  readonly happens: (mishap: Mishap) => boolean;
  readonly delayMs: () => number;
}

/** How long a message without an answer is waited for. */
const SILENCE_MS = 1_000;
/** How often a line that is down is tried again. */
const RECONNECT_MS = 150;

export class Wire implements WorkerDesk {
  readonly #options: WireOptions;
  #isCut = false;
  #attached: WorkerDesk | null = null;
  #lost: () => void = () => undefined;
  #broken = Promise.withResolvers<never>();
  #facts: WorkerFacts | null = null;
  #listener: ((withdrawal: Withdrawal) => void) | null = null;

  constructor(options: WireOptions) {
    this.#options = options;
    this.#broken.promise.catch(() => undefined);
    options.life.onDeath(() => this.#detach());
  }

  /** Nothing passes until it is mended. */
  set isCut(isCut: boolean) {
    this.#isCut = isCut;
    if (isCut) this.#detach();
  }

  /** The coordinator that it led to is gone. */
  coordinatorGone(): void {
    this.#attached = null;
    this.#lost = () => undefined;
    this.#break();
  }

  register(facts: WorkerFacts): Registration {
    this.#facts = facts;
    const desk = this.#reach();
    return desk.register(facts);
  }

  connected(workerId: string, withdraw: (withdrawal: Withdrawal) => void): () => void {
    this.#listener = withdraw;
    this.#attach(workerId);
    this.#keepUp(workerId);
    return () => {
      this.#listener = null;
      this.#detach();
    };
  }

  heard(workerId: string): void {
    this.#attached?.heard(workerId);
  }

  signalled(workerId: string, signals: HostSignals): void {
    this.#attached?.signalled(workerId, signals);
  }

  async accept(report: Report): Promise<void> {
    const { life, delayMs, happens } = this.#options;
    await life.later(delayMs(), () => undefined);
    if (happens("report dropped")) return this.#silence();
    const desk = this.#reach();
    if (this.#attached !== desk) throw unreachable();
    if (happens("report doubled"))
      life
        .later(delayMs() * 5, () => (this.#attached === desk ? desk.accept(copyOf(report)) : undefined))
        .catch(() => undefined); // Nobody waits for an answer to the second copy.
    const broken = this.#broken.promise;
    await Promise.race([desk.accept(copyOf(report)), broken]);
    if (happens("acknowledgement dropped")) return this.#silence();
    await Promise.race([life.later(delayMs(), () => undefined), broken]);
  }

  segments(ids: readonly SegmentId[]): readonly Segment[] {
    if (this.#options.happens("segments refused")) throw unreachable();
    return this.#reach().segments(ids);
  }

  left(workerId: string): void {
    this.#attached?.left(workerId);
    this.#detach();
  }

  #reach(): WorkerDesk {
    const desk = this.#options.desk();
    if (this.#isCut || desk === null || this.#options.life.isDead) throw unreachable();
    return desk;
  }

  #attach(workerId: string): void {
    const desk = this.#isCut ? null : this.#options.desk();
    if (desk === null || desk === this.#attached || this.#facts === null) return;
    desk.register(this.#facts);
    this.#attached = desk;
    const lost = desk.connected(workerId, (withdrawal) => this.#carry(desk, withdrawal));
    this.#lost = lost;
  }

  #keepUp(workerId: string): void {
    this.#options.life.clock.after(RECONNECT_MS, () => {
      if (this.#listener === null) return;
      this.#attach(workerId);
      this.#keepUp(workerId);
    });
  }

  #carry(from: WorkerDesk, withdrawal: Withdrawal): void {
    const { life, delayMs, happens } = this.#options;
    if (happens("withdrawal dropped")) return;
    void life.later(delayMs(), () => {
      if (this.#attached === from) this.#listener?.(withdrawal);
    });
  }

  #detach(): void {
    const lost = this.#lost;
    this.#lost = () => undefined;
    this.#attached = null;
    lost();
    this.#break();
  }

  #break(): void {
    const { reject } = this.#broken;
    this.#broken = Promise.withResolvers();
    this.#broken.promise.catch(() => undefined);
    reject(unreachable());
  }

  /** Nobody answers; after a while the sender takes its line for dead. */
  async #silence(): Promise<never> {
    await this.#options.life.later(SILENCE_MS, () => undefined);
    throw unreachable();
  }
}

/** Over a wire travels a copy. */
function copyOf(report: Report): Report {
  return structuredClone(report);
}

function unreachable(): CoppiceError {
  return new CoppiceError("unavailable", "simulated: the coordinator cannot be reached");
}
