/** What the coordinator offers its clients: the CLI in one process, `sweep-service.ts` over gRPC. */
import type { WorkerDesk } from "../link/link.ts";
import type { Problem, Sweep } from "./sweep.ts";
import type { Summary, SweepEvent, SweepStatus } from "./status.ts";

/** A sweep that the coordinator holds. */
export interface SweepRun {
  readonly id: string;
  status(): SweepStatus;
  /** Calls `listener` for every event until the returned function is called; begins with a status event. */
  watch(listener: (event: SweepEvent) => void): () => void;
  /** Resolves with the summary once every task settled and the run directory is complete; rejects if the run directory fails. */
  readonly ended: Promise<Summary>;
  /** Opens no more tasks and dispatches nothing more until `resume`; what runs is finished. */
  pause(): void;
  resume(): void;
  /** Withdraws everything; tasks that have not settled become `cancelled`. */
  cancel(reason: string): Promise<void>;
  /**
   * Stops without settling what is open: the run directory stays resumable. For signals.
   * @param graceMs Nothing more is sent; what is on its way may be answered for so long (default 0), then workers are told to stop.
   */
  interrupt(graceMs?: number): Promise<void>;
}

export interface Coordinator {
  readonly desk: WorkerDesk;
  /**
   * Writes the run directory (refusing one that exists) and starts. `problems` is read once.
   * @param raw The sweep as the user gave it, and as it was resolved (both YAML).
   */
  submit(
    sweep: Sweep,
    problems: Iterable<Problem> | AsyncIterable<Problem>,
    raw: { readonly given: string; readonly resolved: string },
  ): Promise<SweepRun>;
  /**
   * Goes on with an interrupted or crashed run, or with one that is done and may spend more or take more samples now. The sweep
   * is parsed from the directory's `resolved.yaml` by the caller.
   * @param resolved The new `resolved.yaml`, where the sweep differs from the directory's.
   */
  reopen(sweep: Sweep, resolved?: string): Promise<SweepRun>;
  get(id: string): SweepRun | null;
  list(): readonly SweepRun[];
  /** Interrupts every run, with a grace. @returns How many there were. */
  drain(graceMs: number): Promise<number>;
  /** Interrupts every run, lets go of lanes. */
  close(): Promise<void>;
}
