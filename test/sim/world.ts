/**
 * A simulated world: the production's coordinator, scheduler, ledger, journal and worker loops in one thread, under simulated time, on a
 * simulated disk, store and network, with faults by the seed. Nothing in it reads a real clock or draws real chance, so a seed
 * is a world, twice the same.
 *
 * What is checked while it runs: an ask is settled once (I1); what is acknowledged is on disk (I2); charges never pass the
 * budget (I3); every task settles within `SETTLED_MS_MAX` once nothing goes wrong any more (I7).
 */
import { createCoordinator } from "../../services/coordinator/coordinator.ts";
import type { Coordinator, SweepRun } from "../../services/coordinator/coordinator-api.ts";
import type { Summary } from "../../services/coordinator/status.ts";
import type { WorkerDesk } from "../../services/link/link.ts";
import type { Job, Report } from "../../services/queue/job.ts";
import { messageOf } from "../../services/runtime/errors.ts";
import { silentLog } from "../../services/runtime/log.ts";
import { createRandom, deriveSeed, type Random } from "../../services/runtime/random.ts";
import { SimulatedDisk } from "./disk.ts";
import { type Blow, CHANGES_ROWS, type Fault, FaultCounts, type Mishap, type Plan } from "./faults.ts";
import { SimulatedHost } from "./host.ts";
import { DurableJournal } from "./durable-journal.ts";
import { SimulatedLock } from "./lock.ts";
import { SimulatedStore } from "./store.ts";
import { hasBudget, OUTPUT, type SimulatedSweep } from "./sweep.ts";
import { Life, SimulatedTime } from "./time.ts";
import { Trace, Violation } from "./violation.ts";
import { SimulatedWorkers } from "./workers.ts";

/** From the end of all faults to the end of the sweep, in simulated milliseconds. */
export const SETTLED_MS_MAX = 30 * 60_000;
/** Steps that a world takes at most: more is a loop that no time passes in. */
const STEPS_MAX = 400_000;
const UUID = /[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}/g;

export interface WorldOptions {
  readonly seed: number;
  readonly sweep: SimulatedSweep;
  readonly plan: Plan;
  readonly hosts: number;
  readonly tell?: ((line: string) => void) | undefined;
}

export interface Ended {
  readonly summary: Summary;
  readonly rollouts: string;
  readonly results: string;
  readonly trace: Trace;
  readonly faults: FaultCounts;
  readonly virtualMs: number;
  /** Whether something happened that may change what the searches saw: rows then need not be those of an undisturbed run. */
  readonly mayDiffer: boolean;
}

/** Runs the world to the end of its sweep. @throws Violation */
export async function runWorld(options: WorldOptions): Promise<Ended> {
  const world = new World(options);
  try {
    return await world.run();
  } finally {
    world.time.end();
  }
}

class World {
  readonly time = new SimulatedTime();
  readonly #options: WorldOptions;
  readonly #random: Random;
  readonly #faults = new FaultCounts();
  readonly #trace: Trace;
  readonly #disk: SimulatedDisk;
  readonly #store: SimulatedStore;
  readonly #journal: DurableJournal;
  readonly #hosts: readonly SimulatedHost[];
  readonly #workers: SimulatedWorkers;
  #coordinator: { readonly life: Life; readonly desk: WorkerDesk; readonly api: Coordinator } | null = null;
  /** Asks that the coordinator has put into lanes, and that did not come back from there. */
  #asked = new Set<string>();
  #run: SweepRun | null = null;
  #life: Life;
  #isSubmitted = false;
  readonly #lock = new SimulatedLock();
  /** Coordinators that were stopped and will wake. */
  readonly #sleeping = new Set<Life>();
  #diskTrouble: "EIO" | "ENOSPC" | null = null;
  #summary: Summary | null = null;
  #failure: unknown = null;
  #mayDiffer = false;

  constructor(options: WorldOptions) {
    const { seed, plan, sweep } = options;
    this.#options = options;
    this.#random = createRandom(deriveSeed(seed, "world"));
    this.#trace = new Trace(options.tell ?? null);
    this.#journal = new DurableJournal(sweep.sweep);
    const diskRandom = createRandom(deriveSeed(seed, "disk"));
    this.#disk = new SimulatedDisk({
      random: diskRandom,
      delayMs: (operation) => {
        if (operation !== "other" && this.#happens("disk stalled")) return 300;
        return operation === "sync" ? 0.2 + diskRandom.next() : 0.05;
      },
      trouble: () => this.#diskTrouble,
      onDurable: (path, bytes, at) => {
        if (path.includes(`${OUTPUT}/journal/`)) this.#checking(() => this.#journal.add(path, bytes, at));
      },
    });
    this.#store = new SimulatedStore({
      time: this.time,
      random: createRandom(deriveSeed(seed, "store")),
      refuses: () => this.#happens("store refused"),
      delayMs: () => 0.3 + this.#random.next(),
    });
    this.#hosts = Array.from(
      { length: options.hosts },
      (_, n) =>
        new SimulatedHost({
          random: createRandom(deriveSeed(seed, "host", n)),
          concurrency: 1 + Math.floor(this.#random.next() * 6),
          happens: (mishap) => this.#happens(mishap),
        }),
    );
    this.#life = new Life("coordinator-0", this.time);
    this.#workers = new SimulatedWorkers({
      time: this.time,
      random: this.#random,
      hosts: this.#hosts,
      store: this.#store,
      desk: () => this.#coordinator?.desk ?? null,
      happens: (mishap) => this.#happens(mishap),
      say: (what) => this.#say(what),
      onGone: () => this.#asksMayComeBack(),
    });
    for (const [blow, meanMs] of plan.blows) this.#schedule(blow, meanMs);
  }

  async run(): Promise<Ended> {
    this.#startCoordinator();
    this.#workers.start();
    this.time.after(this.#options.plan.untilMs, () => this.#heal());
    const lastMs = this.#options.plan.untilMs + SETTLED_MS_MAX;
    for (let steps = 0; this.#summary === null && this.#failure === null; steps += 1) {
      if (!this.time.step()) throw new Violation("every task settles", "nothing is left to happen");
      if (this.time.nowMs > lastMs || steps > STEPS_MAX)
        throw new Violation("every task settles", this.#stuck());
      await turn();
    }
    if (this.#failure !== null) throw this.#failure;
    return this.#ended();
  }

  get trace(): Trace {
    return this.#trace;
  }

  #ended(): Ended {
    if (this.#summary === null) throw new Error("the world has not ended");
    return {
      summary: this.#summary,
      rollouts: this.#disk.peek(`${OUTPUT}/rollouts.jsonl`) ?? "",
      results: this.#disk.peek(`${OUTPUT}/results.jsonl`) ?? "",
      trace: this.#trace,
      faults: this.#faults,
      virtualMs: this.time.nowMs,
      mayDiffer: this.#mayDiffer,
    };
  }

  #stuck(): string {
    const status = this.#run?.status();
    const tasks = JSON.stringify(status?.tasks ?? null);
    return `after ${Math.round(this.time.nowMs)} ms: ${status?.state ?? "no run"}, ${tasks}, ${status?.in_flight ?? 0} in flight`;
  }

  #say(what: string): void {
    // The names of partial files are drawn anew in each run.
    this.#trace.add(this.time.nowMs, what.replaceAll(UUID, "*"));
  }

  /** A check throws inside of production code, which may catch it: it is kept, and ends the world. */
  #checking(check: () => void): void {
    try {
      check();
    } catch (error) {
      this.#failure ??= error;
    }
  }

  #isCalm(): boolean {
    return this.time.nowMs >= this.#options.plan.untilMs;
  }

  #count(fault: Fault): void {
    this.#faults.add(fault);
    this.#say(`! ${fault}`);
  }

  #happens(mishap: Mishap): boolean {
    const chance = this.#options.plan.mishaps.get(mishap) ?? 0;
    if (chance === 0 || this.#isCalm() || this.#random.next() >= chance) return false;
    if (CHANGES_ROWS.has(mishap)) this.#mayDiffer = true;
    this.#count(mishap);
    return true;
  }

  #startCoordinator(): void {
    const life = this.#life;
    const asked = new Set<string>();
    this.#asked = asked;
    const api = createCoordinator({
      lanes: this.#store.of(life, (jobs) => noteAsks(jobs, asked)),
      clock: life.clock,
      disk: this.#disk.of(life),
      lock: async () => this.#lock.take(),
      log: silentLog,
      version: "simulated",
    });
    const desk: WorkerDesk = {
      ...api.desk,
      accept: async (report) => {
        await api.desk.accept(report);
        this.#checking(() => this.#acknowledged(report, asked));
      },
    };
    this.#coordinator = { life, desk, api };
    this.#say(`${life.name} starts`);
    void this.#openRun(api, life);
  }

  /** I2: what this coordinator asked for and acknowledged is on disk. */
  #acknowledged(report: Report, asked: Set<string>): void {
    const { task, ask, result } = report;
    this.#say(`acknowledged ${result.kind} of ${task} ${ask}`);
    const isAnswer = result.kind === "rollout" || result.kind === "verdict";
    // A sweep that failed waits for nothing: its workers are told to go on to others.
    if (this.#run?.status().state === "failed") return;
    if (!isAnswer) asked.delete(`${task} ${ask}`);
    else if (asked.has(`${task} ${ask}`)) this.#journal.acknowledged(task, ask);
  }

  async #openRun(api: Coordinator, life: Life): Promise<void> {
    const { sweep, problems } = this.#options.sweep;
    try {
      const isThere = await this.#disk.of(life).exists(OUTPUT);
      const run = isThere
        ? await api.reopen(sweep)
        : await api.submit(sweep, problems, { given: "given", resolved: "resolved" });
      if (life !== this.#life) return;
      this.#isSubmitted = true;
      this.#run = run;
      run.watch((event) => {
        if (event.kind === "task") this.#say(`settled ${event.task} ${event.state} ${event.verdict}`);
      });
      const summary = await run.ended;
      if (life === this.#life && summary.state !== "interrupted") this.#summary = summary;
    } catch (error) {
      if (life !== this.#life) return;
      this.#say(`${life.name} gives up: ${messageOf(error)}`);
      if (
        this.#isCalm() &&
        this.#diskTrouble === null &&
        this.time.nowMs > this.#options.plan.untilMs + 60_000
      )
        this.#failure ??= new Violation("a run goes on once its disk works", messageOf(error));
      this.#dieCoordinator(200 + 800 * this.#random.next());
    }
  }

  #dieCoordinator(downMs: number): void {
    this.#life.kill();
    // A process that lives on has lost nothing that it wrote: then this one died alone.
    if (this.#sleeping.size === 0) this.#disk.crash();
    this.#lock.isPriorStopped = false;
    this.#followCoordinator(downMs);
  }

  /** It is silent: another one takes the run over, and then it wakes. */
  #stopCoordinator(forMs: number): void {
    const life = this.#life;
    life.stop();
    this.#lock.isPriorStopped = true;
    this.#sleeping.add(life);
    this.time.after(forMs, () => {
      this.#sleeping.delete(life);
      this.#say(`${life.name} wakes`);
      life.wake();
    });
    this.#followCoordinator(forMs * 2 * this.#random.next());
  }

  #followCoordinator(downMs: number): void {
    this.#coordinator = null;
    this.#run = null;
    this.#workers.coordinatorGone();
    this.#life = new Life(`coordinator-${Math.round(this.time.nowMs)}`, this.time);
    const life = this.#life;
    this.time.after(downMs, () => {
      if (life === this.#life) this.#startCoordinator();
    });
  }

  /** As on SIGTERM: it closes, and is started again. */
  async #interruptCoordinator(downMs: number): Promise<void> {
    const coordinator = this.#coordinator;
    if (coordinator === null || this.#run === null) return;
    this.#run = null;
    await coordinator.api.close();
    if (coordinator.life === this.#life) this.#dieCoordinator(downMs);
  }

  /** From hosts; an answer to one that did is taken only where the budget has room. */
  #asksMayComeBack(): void {
    if (hasBudget(this.#options.sweep)) this.#asked.clear();
  }

  #schedule(blow: Blow, meanMs: number): void {
    const waitMs = -Math.log(1 - this.#random.next()) * meanMs;
    this.time.after(waitMs, () => {
      if (this.#isCalm()) return;
      this.#strike(blow, 50 + 1_500 * this.#random.next() ** 2);
      this.#schedule(blow, meanMs);
    });
  }

  /** For so long, where it is something that passes. */
  #strike(blow: Blow, forMs: number): void {
    this.#asksMayComeBack();
    const pick = <T>(of: readonly T[]): T | undefined => of[Math.floor(this.#random.next() * of.length)];
    switch (blow) {
      case "coordinator crash":
        if (this.#coordinator === null) return;
        this.#count(blow);
        return this.#dieCoordinator(forMs);
      case "coordinator stopped":
        if (this.#coordinator === null || !this.#isSubmitted) return;
        this.#count(blow);
        return this.#stopCoordinator(forMs);
      case "interrupt":
        if (this.#run === null) return;
        this.#count(blow);
        return void this.#interruptCoordinator(forMs);
      case "worker stopped": {
        const part = pick(this.#workers.all);
        if (part === undefined || part.life.isStopped) return;
        this.#count(blow);
        const { life } = part;
        life.stop();
        this.time.after(forMs * 8, () => life.wake());
        return;
      }
      case "worker crash":
      case "verifier crash": {
        const part = blow === "worker crash" ? pick(this.#workers.ofHosts) : this.#workers.verifier;
        if (part === undefined) return;
        this.#count(blow);
        return this.#workers.die(part, "killed", forMs);
      }
      case "network cut": {
        const wire = pick(this.#workers.all)?.wire ?? null;
        if (wire === null) return;
        this.#count(blow);
        wire.isCut = true;
        this.time.after(forMs * 4, () => (wire.isCut = false));
        return;
      }
      case "store down":
        this.#count(blow);
        this.#store.isDown = true;
        this.time.after(forMs, () => (this.#store.isDown = false));
        return;
      case "store emptied":
        this.#count(blow);
        return this.#store.empty();
      case "disk error":
      case "disk full":
        if (!this.#isSubmitted) return;
        this.#count(blow);
        this.#diskTrouble = blow === "disk full" ? "ENOSPC" : "EIO";
        this.time.after(forMs, () => (this.#diskTrouble = null));
        return;
      case "host down":
      case "host slow": {
        const host = pick(this.#hosts);
        if (host === undefined) return;
        this.#count(blow);
        if (CHANGES_ROWS.has(blow)) this.#mayDiffer = true;
        if (blow === "host down") {
          host.goDown();
          this.time.after(forMs, () => host.comeBack());
        } else {
          host.slowness = 10;
          this.time.after(forMs * 2, () => (host.slowness = 1));
        }
        return;
      }
      case "clock step": {
        const life = pick([this.#life, ...this.#workers.all.map((part) => part.life)]);
        if (life === undefined) return;
        this.#count(blow);
        life.skewMs += (this.#random.next() - 0.5) * 7_200_000;
        return;
      }
      case "pause": {
        if (this.#run === null) return;
        this.#count(blow);
        this.#run.pause();
        this.time.after(forMs, () => this.#run?.resume());
        return;
      }
    }
  }

  #heal(): void {
    this.#say("nothing goes wrong from here on");
    this.#diskTrouble = null;
    this.#store.isDown = false;
    this.#workers.heal();
    for (const host of this.#hosts) host.comeBack();
    // A paused sweep waits for its user; one that the coordinator lost in a crash is paused still.
    const resume = (): void => {
      this.#run?.resume();
      if (this.#summary === null) this.time.after(1_000, resume);
    };
    resume();
  }
}

function noteAsks(jobs: readonly Job[], into: Set<string>): void {
  for (const job of jobs) for (const { id } of job.asks) into.add(`${job.task} ${id}`);
}

/** Everything that follows from the last event has happened. */
function turn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}
