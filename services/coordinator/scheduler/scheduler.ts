/**
 * The scheduler: which tree lives on which host, how many trees a host works on at once, and which asks go next. Pure but for
 * `Tree.send`: it reads no clock, knows no lane and owns no job; the dispatcher tells it what happens and carries out what it says.
 *
 * Rules, in this order: (1) order: of the trees at a host the oldest that has asks waiting, deepest path first, at the tail
 * the one that has asked least; (2) admission: the trees that a host works on fit into its KV cache together, unless it would stand
 * idle or its steps would; (3) placement: whole trees, to the host that can begin soonest, what it would have to compute again
 * included; (4) stealing: only a host that has run dry, and only where computing the path there costs less than waiting at home;
 * (5) evening out: at the tail, trees between two rounds go where far less is to do; what (4) and (5) save is several times what
 * they compute again.
 *
 * Invariants: (1) a leaf counts at its host from `send` to `settled`, once; (2) a tree is in its home's line exactly while it has asks
 * that wait and is not blocked; (3) nothing depends on the order of Maps of hosts: ties go by load, then by id.
 */
import type { HostFacts, HostSignals } from "../../link/link.ts";
import { Admission, type AdmissionLimits, DEFAULT_ADMISSION_LIMITS } from "./admission.ts";
import type { Decision, DecisionKind, Reason } from "./decision.ts";
import { type Flight, Flights } from "./flights.ts";
import { canTake, type HostLoad, HostState, TreeState } from "./host-state.ts";
import { Outlook } from "./outlook.ts";
import { type Candidate, isFit, type PlacementNeeds, rank } from "./placement.ts";
import { type NodeRef, type PathPiece, PrefixTree } from "./prefix-tree.ts";
import { chooseTheft, lightest } from "./stealing.ts";
import type { Leaf, LeafOutcome, Tree } from "./tree.ts";

export interface SchedulerLimits extends AdmissionLimits {
  /** A host whose trees will ask for more runs dry when it has at most this share of the asks that it may have, and none wait. */
  readonly dryShare: number;
  /** Of a tree's waiting asks, the share that is lent to a host that ran dry. */
  readonly lentShare: number;
  /** What goes elsewhere must save so many times what it takes to compute again for it. */
  readonly worthMin: number;
}

export const DEFAULT_SCHEDULER_LIMITS: SchedulerLimits = {
  ...DEFAULT_ADMISSION_LIMITS,
  dryShare: 0.5,
  lentShare: 0.5,
  worthMin: 3,
};

/** Hosts named in a decision. */
const CONSIDERED_MAX = 3;

export class Scheduler {
  readonly #limits: SchedulerLimits;
  readonly #hosts = new Map<string, HostState>();
  readonly #trees = new Map<string, TreeState>();
  readonly #homeless = new Set<TreeState>();
  readonly #flights: Flights;
  readonly #prefixes = new PrefixTree();
  readonly #outlook = new Outlook(this.#prefixes);
  readonly #admission: Admission;
  /** Hosts where something may have become possible since the last `run`. */
  readonly #stirred = new Set<HostState>();
  /** Those with room and nothing of their own to send, and those where asks wait that they have no room for. */
  readonly #dry = new Set<HostState>();
  readonly #crowded = new Set<HostState>();
  /** Owners that have tasks which are not open yet. */
  readonly #unopened = new Set<string>();
  #planted = 0;

  constructor(limits: Partial<SchedulerLimits> = {}) {
    this.#limits = { ...DEFAULT_SCHEDULER_LIMITS, ...limits };
    this.#admission = new Admission(this.#limits, this.#prefixes, this.#outlook);
    this.#flights = new Flights({
      prefixes: this.#prefixes,
      outlook: this.#outlook,
      admission: this.#admission,
    });
  }

  /** A host is there, or says anew what it is. Nothing goes to it before it is `ready`. */
  join(facts: HostFacts): void {
    const known = this.#hosts.get(facts.id);
    if (known === undefined) this.#hosts.set(facts.id, new HostState(facts));
    else known.facts = facts;
    this.#prefixes.addHost(facts.id, facts);
  }

  ready(hostId: string): void {
    const host = this.#hosts.get(hostId);
    if (host === undefined) return;
    host.isReady = true;
    this.#offer(host);
  }

  /** A host is gone. Its trees get other homes; what was on its way there is settled by whoever sent it, or not at all. */
  leave(hostId: string): void {
    const host = this.#hosts.get(hostId);
    if (host === undefined) return;
    this.#hosts.delete(hostId);
    for (const set of [this.#stirred, this.#dry, this.#crowded]) set.delete(host);
    this.#flights.forget(host);
    this.#prefixes.removeHost(hostId);
    this.#rehouse([...host.trees]);
  }

  signalled(hostId: string, { concurrency, cacheLosses, isUp }: HostSignals): void {
    const host = this.#hosts.get(hostId);
    if (host === undefined) return;
    if (cacheLosses > host.cacheLosses) this.#prefixes.forget(hostId);
    host.cacheLosses = cacheLosses;
    host.concurrency = concurrency;
    const [isBack, isLost] = [isUp && !host.isUp, !isUp && host.isUp];
    host.isUp = isUp;
    this.#stirred.add(host);
    if (isBack) this.#offer(host);
    // Those that run there stay: what they made lies there, and the host may come back.
    if (isLost) this.#rehouse([...host.trees].filter(({ inFlight }) => inFlight === 0));
  }

  /** It did not answer for long: as if it had left, but that it may be `ready` again. */
  drained(hostId: string): void {
    const host = this.#hosts.get(hostId);
    if (host === undefined) return;
    host.isReady = false;
    this.#flights.forget(host);
    this.#prefixes.forget(hostId);
    this.#rehouse([...host.trees]);
  }

  /** Whether `owner` has tasks that are not open yet: while anybody has, trees are not spread over more hosts than theirs. */
  hasMore(owner: string, isMore: boolean): void {
    if (isMore) this.#unopened.add(owner);
    else if (this.#unopened.delete(owner)) for (const host of this.#hosts.values()) this.#stirred.add(host);
  }

  /** A tree begins. Its asks are told by `touched`. */
  plant(tree: Tree): void {
    this.#trees.set(tree.id, new TreeState(tree, this.#planted));
    this.#planted += 1;
  }

  /** A tree is over; asks of it that are on their way still count until they are settled. */
  fell(treeId: string): void {
    const state = this.#trees.get(treeId);
    if (state === undefined) return;
    this.#outlook.over(state);
    this.#wait(state, 0);
    this.#unhouse(state);
    this.#homeless.delete(state);
    this.#trees.delete(treeId);
    for (const node of state.nodes) this.#prefixes.release(node);
  }

  /** The tree has other asks waiting than before, or may send again. */
  touched(treeId: string): void {
    const state = this.#trees.get(treeId);
    if (state === undefined) return;
    this.#wait(state, state.tree.waiting());
    if (state.waiting === 0) return;
    if (state.home === null) this.#place(state);
    if (state.home === null) return;
    state.home.enqueue(state);
    this.#stirred.add(state.home);
  }

  /** Whether a task that needs this should be opened: a host has nothing to send, and room for the asks of another tree. */
  wants(needs: PlacementNeeds, kind: string): boolean {
    for (const host of this.#hosts.values())
      if (canTake(host, needs) && this.#admission.isHungry(host, kind)) return true;
    return false;
  }

  /** Sends what can be sent now. */
  run(): void {
    // Serving a host stirs it again; what another one loses by stealing stirs that one.
    for (const host of this.#stirred) this.#serve(host);
    this.#stirred.clear();
    if (!this.#isTail) return;
    for (const host of [...this.#dry].toSorted(byId)) {
      if (this.#crowded.size === 0) break;
      this.#steal(host);
    }
    this.#stirred.clear();
  }

  /** What came of a leaf; the first word counts. `null`: nobody will say. */
  settled(key: string, outcome: LeafOutcome | null, output: PathPiece | null = null): void {
    const flight = this.#flights.get(key);
    if (flight === undefined) return;
    // What it reports is compared with what was held before it came: so before it counts as held itself.
    if (outcome !== null) this.#flights.learn(flight, outcome);
    this.#flights.land(key, flight, output ?? { id: null, tokens: outcome?.completionTokens ?? 0 });
    this.#stirred.add(flight.host);
  }

  /**
   * Sends a leaf that is on its way to a second host too: of those with room where nothing waits, the one that begins soonest.
   * @param send Carries it out; null: it may not be sent. @returns Whether it was sent.
   */
  hedge(key: string, send: (decision: Decision) => Leaf | null): boolean {
    const flight = this.#flights.get(key);
    if (flight === undefined) return false;
    const { state, node } = flight;
    const free = [...this.#hosts.values()].filter(
      (host) => host !== flight.host && host.waiting === 0 && this.#hasRoom(host, state, node),
    );
    return this.#sendAgain(flight, { kind: "hedged", reason: "host-slow", to: free }, send);
  }

  /** Another host for an ask that failed where it is, whatever room that has: not one of `avoided`. @returns Whether there is one. */
  retry(key: string, avoided: readonly string[], send: (decision: Decision) => Leaf | null): boolean {
    const flight = this.#flights.get(key);
    if (flight === undefined) return false;
    const { needs } = flight.state.tree;
    const to = [...this.#hosts.values()].filter((host) => canTake(host, needs) && !avoided.includes(host.id));
    return this.#sendAgain(flight, { kind: "retried", reason: "host-failed", to }, send);
  }

  /** To the best of these hosts, if there is any, an ask that has been sent before. */
  #sendAgain(
    { state, node }: Flight,
    why: Pick<Decision, "kind" | "reason"> & { readonly to: readonly HostState[] },
    send: (decision: Decision) => Leaf | null,
  ): boolean {
    const candidates = why.to.map((host) => this.#outlook.candidate(host, state, node));
    const considered = rank(candidates, CONSIDERED_MAX);
    const host = this.#hosts.get(considered[0]?.host ?? "");
    if (host === undefined) return false;
    const room = host.concurrency - host.inFlight;
    const leaf = send(this.#decision(state, { ...why, node, host, room, considered }));
    if (leaf !== null) this.#flights.launch(state, host, { leaf, node: this.#nodeOf(state, leaf.path) });
    return leaf !== null;
  }

  /** Of the prefix tree. */
  get liveNodes(): number {
    return this.#prefixes.size;
  }

  get hosts(): readonly HostLoad[] {
    return [...this.#hosts.values()];
  }

  host(hostId: string): HostLoad | null {
    return this.#hosts.get(hostId) ?? null;
  }

  /** Whether any host could serve this, be it ready or not. */
  couldServe(needs: PlacementNeeds): boolean {
    return [...this.#hosts.values()].some(({ facts }) => isFit(facts, needs));
  }

  /** Something may go to this host from now on: trees that nobody could serve as well. */
  #offer(host: HostState): void {
    this.#stirred.add(host);
    for (const state of [...this.#homeless].toSorted(byAge)) this.touched(state.tree.id);
  }

  get #isTail(): boolean {
    return this.#unopened.size === 0;
  }

  #serve(host: HostState): void {
    if (!host.isReady || this.#hosts.get(host.id) !== host) return;
    let room = this.#room(host);
    for (let isSent = true; room > 0 && isSent; room = this.#room(host)) {
      const next = this.#next(host);
      if (next === null) break;
      const { state, reason } = next;
      if (this.#evenOut(host, state)) continue;
      isSent = this.#send(state, { kind: "sent", reason, host, room, considered: [] });
    }
    mark(this.#dry, host, host.isDry(this.#limits.dryShare));
    mark(this.#crowded, host, host.waiting > 0);
  }

  /** At the tail a tree that is about to ask again goes to a host that has far less to do. @returns Whether there is one. */
  #evenOut(home: HostState, state: TreeState): boolean {
    if (!this.#isTail || !this.#admission.mayLeave(state)) return false;
    const other = lightest(this.#dry, state.tree.needs);
    if (other === null || other === home || !this.#admission.evensOut(home, state, other)) return false;
    const node = this.#nextNode(state);
    if (node === null) return false;
    const [here, there] = [other, home].map((host) => this.#outlook.candidate(host, state, node));
    if (here === undefined || there === undefined) return false;
    const againMs = this.#outlook.againMs(other, { here, there, node, asks: state.waiting });
    if (this.#outlook.leftMs(state) < this.#limits.worthMin * againMs) return false;
    this.#house(state, other, { kind: "moved", reason: "evens-out", node, considered: [here, there] });
    other.enqueue(state);
    return true;
  }

  /** The oldest tree that is at work or may begin; those behind one that may not begin must wait for it. */
  #next(host: HostState): { readonly state: TreeState; readonly reason: Reason } | null {
    const [oldest] = host.line;
    if (oldest === undefined) return null;
    const least = this.#isTail && oldest.isAdmitted ? host.leastAsked : null;
    if (least !== null && least.use.asked < oldest.use.asked) return { state: least, reason: "least-asked" };
    const node = oldest.isAdmitted ? null : this.#nextNode(oldest);
    if (node === null || this.#admission.fits(host, oldest, node))
      return { state: oldest, reason: "oldest-tree" };
    if (this.#admission.isIdle(host)) return { state: oldest, reason: "host-idle" };
    const younger = host.line.find(({ isAdmitted }) => isAdmitted);
    return younger === undefined ? null : { state: younger, reason: "oldest-tree" };
  }

  #room(host: HostState): number {
    return host.isUp ? this.#admission.depth(host, this.#isTail) - host.inFlight : 0;
  }

  /** @returns Whether there may be more to send: false where the host's KV cache has no room. */
  #send(
    state: TreeState,
    how: {
      readonly kind: DecisionKind;
      readonly reason: Reason;
      readonly host: HostState;
      readonly room: number;
      readonly considered: readonly Candidate[];
    },
  ): boolean {
    const { host } = how;
    const node = this.#nextNode(state);
    if (node === null) return this.#block(state);
    const max = Math.min(how.room, this.#admission.kvRoom(host, state, node));
    if (max === 0) return false;
    const leaves = state.tree.send(this.#decision(state, { ...how, node }), max);
    if (leaves.length === 0) return this.#block(state);
    for (const leaf of leaves)
      this.#flights.launch(state, host, { leaf, node: this.#nodeOf(state, leaf.path) });
    this.#wait(state, state.tree.waiting());
    return true;
  }

  /** A home for a tree that has none. */
  #place(state: TreeState): void {
    const node = this.#nextNode(state);
    if (node === null) return;
    const considered = rank(this.#candidates(state, node), CONSIDERED_MAX);
    const [first] = considered;
    const host = this.#hosts.get(first?.host ?? "");
    if (first === undefined || host === undefined) return void this.#homeless.add(state);
    const waitsLeast = considered.every(({ waitMs }) => waitMs >= first.waitMs);
    this.#house(state, host, {
      kind: "placed",
      reason: waitsLeast ? "least-wait" : "holds-prefix",
      node,
      considered,
    });
  }

  /** Gives a host that has run dry what would wait longer elsewhere than it takes to compute here. */
  #steal(dry: HostState): void {
    for (let room = this.#room(dry); room > 0; room = this.#room(dry)) {
      const theft = chooseTheft(dry, {
        hosts: this.#crowded,
        outlook: this.#outlook,
        nodeOf: (state) => this.#nextNode(state),
        isFit: (state) => isFit(dry.facts, state.tree.needs),
        worthMin: this.#limits.worthMin,
      });
      if (theft === null) return;
      const { state, here, there } = theft;
      const considered = [here, there];
      if (theft.kind === "moved") {
        const node = this.#nextNode(state);
        if (node === null) return;
        this.#house(state, dry, { kind: "moved", reason: "host-dry", node, considered });
        dry.enqueue(state);
        this.#serve(theft.victim);
        this.#serve(dry);
        if (dry.waiting > 0) return;
        continue;
      }
      const lent = Math.min(room, Math.max(1, Math.floor(state.waiting * this.#limits.lentShare)));
      const how = { kind: "lent", reason: "host-dry", host: dry, room: lent, considered } as const;
      if (!this.#send(state, how)) return;
    }
  }

  *#candidates(state: TreeState, node: NodeRef): Generator<Candidate, void> {
    for (const host of this.#hosts.values())
      if (canTake(host, state.tree.needs)) yield this.#outlook.candidate(host, state, node);
  }

  /** Whether it could begin with one more ask of the tree at once. */
  #hasRoom(host: HostState, state: TreeState, node: NodeRef): boolean {
    return (
      canTake(host, state.tree.needs) &&
      host.inFlight < host.concurrency &&
      this.#admission.kvRoom(host, state, node) > 0
    );
  }

  /** The tree lives here from now on. */
  #house(
    state: TreeState,
    host: HostState,
    how: {
      readonly kind: "placed" | "moved";
      readonly reason: Reason;
      readonly node: NodeRef;
      readonly considered: readonly Candidate[];
    },
  ): void {
    state.tree.decided(this.#decision(state, { ...how, host, room: this.#room(host) }));
    this.#unhouse(state);
    this.#homeless.delete(state);
    state.home = host;
    host.trees.add(state);
    host.waiting += state.waiting;
    this.#stirred.add(host);
  }

  #rehouse(trees: readonly TreeState[]): void {
    for (const state of trees.toSorted(byAge)) {
      this.#unhouse(state);
      this.touched(state.tree.id);
    }
  }

  #unhouse(state: TreeState): void {
    const { home } = state;
    if (home === null) return;
    home.dequeue(state);
    home.trees.delete(state);
    home.waiting -= state.waiting;
    this.#stirred.add(home);
    this.#admission.dismiss(state, home);
    state.home = null;
  }

  /** So many of its asks wait now. */
  #wait(state: TreeState, waiting: number): void {
    const change = waiting - state.waiting;
    state.waiting = waiting;
    if (change > 0 && state.use.isAnswered) this.#outlook.habits.goingOn(state.tree.kind);
    if (state.home === null) return;
    state.home.waiting += change;
    if (change !== 0) this.#admission.count(state);
    if (waiting === 0) state.home.dequeue(state);
  }

  /** It could not send what it has: it is left alone until it is touched. @returns Others may send. */
  #block(state: TreeState): true {
    this.#wait(state, 0);
    return true;
  }

  #nextNode(state: TreeState): NodeRef | null {
    const path = state.tree.peek();
    return path === null ? null : this.#nodeOf(state, path);
  }

  /** The tree keeps what it asked about until it falls. */
  #nodeOf(state: TreeState, path: readonly PathPiece[]): NodeRef {
    const node = this.#prefixes.retain(path);
    if (state.nodes.has(node)) this.#prefixes.release(node);
    else state.nodes.add(node);
    return node;
  }

  #decision(
    state: TreeState,
    {
      host,
      node,
      ...how
    }: {
      readonly kind: DecisionKind;
      readonly reason: Reason;
      readonly host: HostState;
      readonly room: number;
      readonly node: NodeRef;
      readonly considered: readonly Candidate[];
    },
  ): Decision {
    return {
      ...how,
      host: host.id,
      home: state.home?.id ?? null,
      age: state.age,
      promptTokens: this.#prefixes.tokens(node),
      cachedTokens: this.#prefixes.cached(host.id, node),
      inFlight: host.inFlight,
      pinnedTokens: this.#prefixes.pinnedTokens(host.id),
      kvCapacityTokens: host.facts.kvCapacityTokens,
    };
  }
}

function mark<T>(set: Set<T>, each: T, isIn: boolean): void {
  if (isIn) set.add(each);
  else set.delete(each);
}

function byId(a: HostState, b: HostState): number {
  return a.id < b.id ? -1 : 1;
}

function byAge(a: TreeState, b: TreeState): number {
  return a.age - b.age;
}
