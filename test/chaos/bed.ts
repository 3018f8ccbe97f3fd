/**
 * The cluster that faults strike: Redis, a coordinator, two rollout workers and a verification worker, each on a machine of its
 * own where this one allows it, with the run directories on a small disk. It stays up from round to round.
 *
 * It is also the supervisor that a cluster has: a part that cannot start because Redis is away is started again. A part that
 * ends by itself for another reason is a defect, and is told.
 */
import { mkdirSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { spawnSync } from "node:child_process";
import { LocalCluster } from "../../deploy/local-cluster.ts";
import { KINDS, type Kind, type PartName, PARTS } from "./fault.ts";
import { Network } from "./network.ts";
import { SmallDisk } from "./small-disk.ts";

/** Marks the processes of a bed. */
const MARK = "COPPICE_CHAOS_BED";
const WORKER = ["--engine", "simulated", "--profile", "8b-h100", "--speed", "3"];
/** How a command says that it cannot start without Redis. */
const REDIS_IS_AWAY = /ping: expected an answer of Redis/;
const STARTS_MAX = 20;

export class Bed {
  readonly cluster: LocalCluster;
  readonly directory: string;
  readonly runs: string;
  readonly network: Network | null;
  readonly disk: SmallDisk | null;
  /** What cannot be done here, with the reason. */
  readonly obstacles: ReadonlyMap<Kind, string>;
  /** Parts that a fault holds down, and what waits for each of them. */
  readonly #turns = new Map<PartName, Promise<void>>();
  readonly #down = new Set<PartName>();

  private constructor(options: {
    readonly cluster: LocalCluster;
    readonly directory: string;
    readonly runs: string;
    readonly network: Network | null;
    readonly disk: SmallDisk | null;
    readonly obstacles: ReadonlyMap<Kind, string>;
  }) {
    this.cluster = options.cluster;
    this.directory = options.directory;
    this.runs = options.runs;
    this.network = options.network;
    this.disk = options.disk;
    this.obstacles = options.obstacles;
  }

  /** @param kinds Faults that are wanted: what none of them needs is not built. */
  static async start(directory: string, kinds: readonly Kind[] = KINDS): Promise<Bed> {
    const runs = join(directory, "runs");
    mkdirSync(runs, { recursive: true });
    const obstacles = new Map<Kind, string>();
    const isWanted = (kind: Kind, obstacle: () => string | null): boolean => {
      const found = kinds.includes(kind) ? obstacle() : "not asked for";
      if (found !== null) obstacles.set(kind, found);
      return found === null;
    };
    const hasCut = isWanted("cut", () => Network.obstacle());
    const hasNetwork = isWanted("refuse", () => Network.obstacle()) || hasCut;
    const network = hasNetwork ? Network.create(process.pid % 250, PARTS) : null;
    const disk = isWanted("disk", () => SmallDisk.obstacle()) ? SmallDisk.mount(runs) : null;
    const cluster = await LocalCluster.start({
      directory,
      runs,
      workers: [WORKER, WORKER],
      verifiers: 1,
      env: { [MARK]: directory },
      ...(network === null ? {} : { machines: network }),
    });
    return new Bed({ cluster, directory, runs, network, disk, obstacles });
  }

  /** Waits for its turn at a part, and has it alone until `act` ends. */
  async alone<T>(part: PartName, act: () => Promise<T>): Promise<T> {
    const before = this.#turns.get(part) ?? Promise.resolve();
    const turn = before.then(act);
    this.#turns.set(
      part,
      turn.then(
        () => undefined,
        () => undefined,
      ),
    );
    return await turn;
  }

  /** Ends a part by a signal; it is down until `start`. */
  async end(part: PartName, signal: NodeJS.Signals): Promise<void> {
    this.#down.add(part);
    await this.cluster.kill(part, signal);
  }

  async start(part: PartName): Promise<void> {
    for (let tries = 1; ; tries += 1) {
      if (part !== "redis") await this.#turns.get("redis");
      try {
        await this.cluster.startPart(part);
        break;
      } catch (error) {
        if (tries === STARTS_MAX || !REDIS_IS_AWAY.test(this.#lastWords(part))) throw error;
      }
    }
    this.#down.delete(part);
  }

  /** Starts what could not start, or tells of what ended by itself. */
  async supervise(): Promise<readonly string[]> {
    const told: string[] = [];
    for (const part of PARTS) {
      if (this.#down.has(part) || this.cluster.isRunning(part)) continue;
      const words = this.#lastWords(part);
      if (REDIS_IS_AWAY.test(words)) {
        this.#down.add(part);
        await this.start(part);
      } else told.push(`${part} ended by itself; its last words: ${words.slice(-600)}`);
    }
    return told;
  }

  /** Processes of the bed that are none of its parts. */
  strays(): readonly string[] {
    const ours = readdirSync("/proc").filter((name) => {
      if (!/^\d+$/.test(name)) return false;
      try {
        return readFileSync(`/proc/${name}/environ`, "latin1").includes(`${MARK}=${this.directory}\0`);
      } catch {
        return false; // gone meanwhile, or not ours to read
      }
    });
    const running = PARTS.filter((part) => this.cluster.isRunning(part)).length;
    return ours.length <= running ? [] : ours.map((pid) => `${pid}: ${commandOf(pid)}`);
  }

  async stop(): Promise<void> {
    for (const part of PARTS) this.cluster.signal(part, "SIGCONT");
    await this.cluster.stop();
    this.network?.remove();
    this.disk?.unmount();
  }

  /** What is in the run directories, where it stays when the bed is gone. @returns Where. */
  keep(): string {
    if (this.disk === null) return this.runs;
    const kept = join(this.directory, "kept");
    rmSync(kept, { recursive: true, force: true });
    spawnSync("cp", ["-a", this.runs, kept]);
    return kept;
  }

  #lastWords(part: PartName): string {
    return readFileSync(this.cluster.logOf(part), "utf8").slice(-1_200);
  }
}

function commandOf(pid: string): string {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, "utf8").replaceAll("\0", " ").slice(0, 120);
  } catch {
    return "gone";
  }
}
