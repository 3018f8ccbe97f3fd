/**
 * Placement as the virtual cluster sees it: asks come in, and are sent to hosts when and where the placer
 * says so. A router with its client (bench/placement) and the production scheduler are both placers, so they
 * are compared on one cluster.
 */
import type { SyntheticTask, VirtualRequest } from "./synthetic-task.ts";

/** How a host is doing, as its own counters say, without delay. */
export interface VirtualHostState {
  readonly running: number;
  /** Sequences that wait in the engine. */
  readonly waiting: number;
  /** From 0 to 1. */
  readonly kvUsage: number;
  readonly preemptions: number;
}

/** What a placer may do and see. */
export interface PlacerCluster {
  /** Hosts are numbered from 0. */
  readonly hosts: number;
  /** Sequences that a host decodes at once at most. */
  readonly sequencesMax: number;
  readonly seed: number;
  nowMs(): number;
  state(host: number): VirtualHostState;
  /** Puts a request into a host's lane. @param priority Lower is earlier, in engines that heed it. */
  send(request: VirtualRequest, host: number, priority: number): void;
}

/** What a host said of a request that it answered. */
export interface RequestOutcome {
  readonly promptTokens: number;
  readonly cachedTokens: number;
  readonly completionTokens: number;
}

export interface Placer {
  /** How many more tasks should be opened now; they are opened in the order of the sweep. */
  wants(): number;
  opened(task: SyntheticTask): void;
  /** No task is left to open: told once, when one more was wanted. */
  allOpened(): void;
  /** Asks of a task that hosts are to answer. They wait here until they are sent. */
  asked(task: SyntheticTask, requests: readonly VirtualRequest[]): void;
  /** An ask is no longer wanted. If it was sent, the cluster stops it, and `settled` follows with null. */
  withdrawn(request: VirtualRequest): void;
  /** A host has begun to answer. */
  begun(request: VirtualRequest, host: number): void;
  /** A request has left its host: answered, or, with null, stopped. */
  settled(request: VirtualRequest, host: number, outcome: RequestOutcome | null): void;
  ended(task: SyntheticTask): void;
  /** Called when something has changed: sends whatever may be sent now. */
  run(): void;
}
