/**
 * The production scheduler on the virtual cluster: it is told what the dispatcher and the runner tell it, and
 * what it sends goes to a lane. Nothing of its rules is here.
 */
import type { Leaf, LeafOutcome, Tree } from "../coordinator/scheduler/tree.ts";
import type { Decision } from "../coordinator/scheduler/decision.ts";
import type { PlacementNeeds } from "../coordinator/scheduler/placement.ts";
import type { PathPiece as SegmentPiece } from "../coordinator/scheduler/prefix-tree.ts";
import { Scheduler, type SchedulerLimits } from "../coordinator/scheduler/scheduler.ts";
import type { EngineProfile } from "../../workers/rollout/drivers/simulated/engine-profile.ts";
import type { Placer, PlacerCluster, RequestOutcome } from "./placer.ts";
import { ROOT_PIECE_ID, type PathPiece, type SyntheticTask, type VirtualRequest } from "./synthetic-task.ts";
import { WaitingLine } from "./waiting-line.ts";

export interface ScheduledPlacerOptions {
  readonly profile: EngineProfile;
  /** As the workers say it of their hosts. */
  readonly sharesColdPrefixes: boolean;
  /** The kinds of tree that there are. */
  readonly kinds: readonly string[];
  readonly limits?: Partial<SchedulerLimits>;
}

const NEEDS: PlacementNeeds = { model: "model", can: new Set() };
const OWNER = "sweep";

interface Flight {
  readonly sentMs: number;
  begunMs: number | null;
}

export class ScheduledPlacer implements Placer {
  readonly #cluster: PlacerCluster;
  readonly #scheduler: Scheduler;
  readonly #kinds: readonly string[];
  readonly #trees = new Map<SyntheticTask, VirtualTree>();
  readonly #flights = new Map<VirtualRequest, Flight>();
  readonly #numbers = new Map<string, number>();

  constructor(
    cluster: PlacerCluster,
    { profile, sharesColdPrefixes, kinds, limits = {} }: ScheduledPlacerOptions,
  ) {
    this.#cluster = cluster;
    this.#kinds = kinds;
    this.#scheduler = new Scheduler(limits);
    for (let host = 0; host < cluster.hosts; host++) {
      const id = `host-${String(host).padStart(5, "0")}`;
      this.#numbers.set(id, host);
      this.#scheduler.join({
        id,
        engine: "simulated",
        model: NEEDS.model,
        concurrency: profile.sequencesMax,
        concurrencyMax: profile.sequencesMax,
        kvCapacityTokens: profile.kvCapacityTokens,
        contextTokens: profile.contextTokens,
        reportsCachedTokens: true,
        blockTokens: profile.blockTokens,
        stepFloorMs: profile.stepBaseMs,
        sharesColdPrefixes,
        can: [],
      });
      this.#scheduler.ready(id);
    }
    this.#scheduler.hasMore(OWNER, true);
  }

  /** As the runner: one at a time, and then it looks again. */
  wants(): number {
    return this.#kinds.some((kind) => this.#scheduler.wants(NEEDS, kind)) ? 1 : 0;
  }

  opened(task: SyntheticTask): void {
    const tree = new VirtualTree(task, (request, host) => this.#send(request, host));
    this.#trees.set(task, tree);
    this.#scheduler.plant(tree);
  }

  allOpened(): void {
    this.#scheduler.hasMore(OWNER, false);
  }

  asked(task: SyntheticTask, requests: readonly VirtualRequest[]): void {
    const tree = this.#trees.get(task);
    if (tree === undefined) return;
    for (const request of requests) tree.line.push(request);
    this.#scheduler.touched(tree.id);
  }

  withdrawn(request: VirtualRequest): void {
    const tree = this.#trees.get(request.task);
    tree?.line.forget(request);
    if (tree !== undefined) this.#scheduler.touched(tree.id);
  }

  begun(request: VirtualRequest): void {
    const flight = this.#flights.get(request);
    if (flight !== undefined) flight.begunMs = this.#cluster.nowMs();
  }

  settled(request: VirtualRequest, _host: number, outcome: RequestOutcome | null): void {
    const flight = this.#flights.get(request);
    this.#flights.delete(request);
    if (outcome === null || flight === undefined) return this.#scheduler.settled(keyOf(request), null);
    const nowMs = this.#cluster.nowMs();
    const begunMs = flight.begunMs ?? nowMs;
    const told: LeafOutcome = {
      ...outcome,
      firstTokenMs: begunMs - flight.sentMs,
      decodeMs: nowMs - begunMs,
    };
    const { ask, output, completionTokens } = request;
    const made = { id: String(output), tokens: completionTokens, isKnown: true };
    this.#scheduler.settled(keyOf(request), told, ask.kind === "sample" ? made : null);
  }

  ended(task: SyntheticTask): void {
    const tree = this.#trees.get(task);
    if (tree !== undefined) this.#scheduler.fell(tree.id);
    this.#trees.delete(task);
  }

  run(): void {
    this.#scheduler.run();
  }

  #send(request: VirtualRequest, hostId: string): void {
    this.#flights.set(request, { sentMs: this.#cluster.nowMs(), begunMs: null });
    this.#cluster.send(request, this.#numbers.get(hostId) ?? 0, 0);
  }
}

/** A task as the scheduler sees it. */
class VirtualTree implements Tree {
  readonly id: string;
  readonly kind: string;
  readonly needs = NEEDS;
  readonly extendsRollouts: boolean;
  readonly revisits: boolean;
  readonly line = new WaitingLine();
  readonly #send: (request: VirtualRequest, host: string) => void;
  readonly #paths = new WeakMap<readonly PathPiece[], readonly SegmentPiece[]>();

  constructor(task: SyntheticTask, send: (request: VirtualRequest, host: string) => void) {
    this.id = String(task.ordinal);
    this.kind = task.shape.kind;
    this.extendsRollouts = task.shape.strategy.extendsRollouts;
    this.revisits = task.shape.strategy.revisits ?? false;
    this.#send = send;
  }

  waiting(): number {
    return this.line.size;
  }

  peek(): readonly SegmentPiece[] | null {
    const head = this.line.head();
    return head === null ? null : this.#pathOf(head);
  }

  peekTokensMax(): number {
    const head = this.line.head();
    return head === null ? 0 : tokensMaxOf(head);
  }

  decided(): void {}

  send({ host }: Decision, max: number): readonly Leaf[] {
    return this.line.takeSiblings(max).map((request) => {
      this.#send(request, host);
      return { key: keyOf(request), path: this.#pathOf(request), tokensMax: tokensMaxOf(request) };
    });
  }

  /** The rendered prompt is one segment, whatever of it others share: so it is for the coordinator. */
  #pathOf({ pieces }: VirtualRequest): readonly SegmentPiece[] {
    let path = this.#paths.get(pieces);
    if (path === undefined) {
      const own = pieces.findIndex(({ id }) => id !== ROOT_PIECE_ID);
      const shared = pieces.slice(0, own).reduce((sum, { tokens }) => sum + tokens, 0);
      path = pieces.slice(own).map(({ id, tokens }, i) => ({
        id: String(id),
        tokens: i === 0 ? tokens + shared : tokens,
        isKnown: true,
      }));
      this.#paths.set(pieces, path);
    }
    return path;
  }
}

function keyOf({ id }: VirtualRequest): string {
  return String(id);
}

/** What a rollout may become; a verification makes no text worth counting. */
function tokensMaxOf({ ask, completionTokens, task }: VirtualRequest): number {
  if (ask.kind === "verify") return Math.max(1, completionTokens);
  const { stop = [] } = ask.options;
  const { max, mean } = stop.length > 0 ? task.shape.step : task.shape.answer;
  return Number.isFinite(max) ? max : mean;
}
