/**
 * A cluster of real processes on this machine: Redis, a coordinator, rollout workers, verification workers. For
 * `make cluster`, and for the tests that kill its parts. Everything listens on loopback, on free ports.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { mkdirSync, openSync } from "node:fs";
import { connect, createServer } from "node:net";
import { join, resolve } from "node:path";

const CLI = resolve(import.meta.dirname, "../services/cli/main.ts");
/** How long a part may take until it listens (a model is loaded, a journal replayed), in milliseconds. */
const START_MS_MAX = 60_000;
/** How long a part may take to stop when asked, before it is killed. */
const STOP_MS_MAX = 15_000;

export interface LocalClusterOptions {
  /** Logs of the processes and the data of Redis. */
  readonly directory: string;
  /** Where the coordinator keeps run directories. */
  readonly runs: string;
  /** Options of `coppice worker` for each rollout worker, without addresses and id. */
  readonly workers: readonly (readonly string[])[];
  /** Number of verification workers. */
  readonly verifiers: number;
  /** An address of a Redis that runs already; else one is started. */
  readonly redisUrl?: string;
  readonly env?: Readonly<Record<string, string>>;
  /** Where each part runs, if not on loopback. */
  readonly machines?: Machines;
  /** Ctrl-C in the terminal does not reach the processes: the caller takes them down, in order. Default: false. */
  readonly sheltered?: boolean;
}

/** Something like a machine for each part: a network namespace. */
export interface Machines {
  addressOf(part: string): string;
  /** What a command is begun with to run there. The process that is started becomes the command: signals reach it. */
  enter(part: string): readonly string[];
}

const LOOPBACK: Machines = { addressOf: () => "127.0.0.1", enter: () => [] };

interface Part {
  readonly command: string;
  readonly args: readonly string[];
  readonly port: number | null;
  process: ChildProcess | null;
}

export class LocalCluster {
  readonly coordinator: string;
  readonly redisUrl: string;
  readonly #directory: string;
  readonly #env: Readonly<Record<string, string>>;
  readonly #sheltered: boolean;
  readonly #machines: Machines;
  readonly #parts: ReadonlyMap<string, Part>;

  private constructor(
    options: LocalClusterOptions,
    ports: { readonly redis: number; readonly coordinator: number },
  ) {
    this.#directory = options.directory;
    this.#env = options.env ?? {};
    this.#sheltered = options.sheltered ?? false;
    this.#machines = options.machines ?? LOOPBACK;
    this.coordinator = `${this.#machines.addressOf("coordinator")}:${ports.coordinator}`;
    const redisHost = this.#machines.addressOf("redis");
    this.redisUrl = options.redisUrl ?? `redis://${redisHost}:${ports.redis}`;
    const parts = new Map<string, Part>();
    const add = (name: string, command: string, args: readonly string[], port: number | null): void => {
      parts.set(name, { command, args, port, process: null });
    };
    const coppice = (name: string, args: readonly string[], port: number | null): void => {
      add(name, process.execPath, [CLI, ...args], port);
    };
    if (options.redisUrl === undefined)
      add("redis", "redis-server", redisArgs(options.directory, redisHost, ports.redis), ports.redis);
    const common = ["--redis", this.redisUrl];
    const listen = ["--listen", this.coordinator, "--runs", options.runs];
    coppice("coordinator", ["coordinator", ...listen, ...common], ports.coordinator);
    const member = ["--coordinator", this.coordinator, ...common];
    options.workers.forEach((args, n) => {
      coppice(`worker-${n + 1}`, ["worker", ...member, "--id", `worker-${n + 1}`, ...args], null);
    });
    for (let n = 1; n <= options.verifiers; n += 1) {
      coppice(`verifier-${n}`, ["verifier", ...member, "--id", `verifier-${n}`], null);
    }
    this.#parts = parts;
  }

  /** Starts every part; resolves when Redis and the coordinator listen. Workers join when they are ready. */
  static async start(options: LocalClusterOptions): Promise<LocalCluster> {
    mkdirSync(options.directory, { recursive: true });
    const cluster = new LocalCluster(options, { redis: await freePort(), coordinator: await freePort() });
    try {
      for (const name of cluster.#parts.keys()) await cluster.startPart(name);
    } catch (error) {
      await cluster.stop();
      throw error;
    }
    return cluster;
  }

  get parts(): readonly string[] {
    return [...this.#parts.keys()];
  }

  /** Starts a part that does not run; resolves when it listens, where it does. */
  async startPart(name: string): Promise<void> {
    const part = this.#part(name);
    if (part.process !== null) throw new Error(`${name} runs already`);
    const log = openSync(join(this.#directory, `${name}.log`), "a");
    const [command = part.command, ...args] = [...this.#machines.enter(name), part.command, ...part.args];
    const child = spawn(command, args, {
      stdio: ["ignore", log, log],
      env: { ...process.env, ...this.#env },
      detached: this.#sheltered,
    });
    part.process = child;
    child.on("exit", () => {
      if (part.process === child) part.process = null;
    });
    child.on("error", () => {
      if (part.process === child) part.process = null;
    });
    if (part.port !== null) await this.#listening(name, part.port);
  }

  /** Sends a signal; resolves when the process is gone. One that does not run is left alone. */
  async kill(name: string, signal: NodeJS.Signals = "SIGKILL"): Promise<void> {
    const child = this.#part(name).process;
    if (child === null || child.exitCode !== null || child.signalCode !== null) return;
    const gone = new Promise<void>((done) => child.once("exit", () => done()));
    child.kill(signal);
    const last = setTimeout(() => child.kill("SIGKILL"), STOP_MS_MAX);
    await gone;
    clearTimeout(last);
  }

  /** Sends a signal and does not wait: SIGSTOP, SIGCONT. One that does not run is left alone. */
  signal(name: string, signal: NodeJS.Signals): void {
    this.#part(name).process?.kill(signal);
  }

  isRunning(name: string): boolean {
    return this.#part(name).process !== null;
  }

  /** Where a part's output goes. */
  logOf(name: string): string {
    return join(this.#directory, `${name}.log`);
  }

  /** Workers first, so that they say goodbye; Redis last. */
  async stop(): Promise<void> {
    const names = this.parts.toReversed();
    const last = ["coordinator", "redis"];
    await Promise.all(names.filter((name) => !last.includes(name)).map((name) => this.kill(name, "SIGTERM")));
    for (const name of last) if (this.#parts.has(name)) await this.kill(name, "SIGTERM");
  }

  async #listening(name: string, port: number): Promise<void> {
    const deadline = performance.now() + START_MS_MAX;
    while (!(await accepts(this.#machines.addressOf(name), port))) {
      if (!this.isRunning(name)) throw new Error(`${name} ended before it listened; see ${this.logOf(name)}`);
      if (performance.now() > deadline)
        throw new Error(`${name} did not listen within ${START_MS_MAX} ms; see ${this.logOf(name)}`);
      await new Promise((done) => setTimeout(done, 50));
    }
  }

  #part(name: string): Part {
    const part = this.#parts.get(name);
    if (part === undefined) throw new Error(`no part ${name}; there are ${this.parts.join(", ")}`);
    return part;
  }
}

function redisArgs(directory: string, host: string, port: number): readonly string[] {
  const persistence = ["--appendonly", "yes", "--save", "", "--maxmemory-policy", "noeviction"];
  // Whom it trusts is said by the address that it listens on: loopback, or a network of this machine's own.
  return [
    "--port",
    String(port),
    "--bind",
    host,
    "--protected-mode",
    "no",
    "--dir",
    directory,
    ...persistence,
  ];
}

/** A port that nobody listens on now. */
export function freePort(): Promise<number> {
  return new Promise((done, fail) => {
    const server = createServer();
    server.once("error", fail);
    server.listen(0, "127.0.0.1", () => {
      const address = server.address();
      server.close(() => {
        if (address === null || typeof address === "string") fail(new Error("no port"));
        else done(address.port);
      });
    });
  });
}

function accepts(host: string, port: number): Promise<boolean> {
  return new Promise((done) => {
    const socket = connect(port, host);
    socket.once("connect", () => {
      socket.destroy();
      done(true);
    });
    socket.once("error", () => done(false));
  });
}
