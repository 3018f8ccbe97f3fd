/**
 * A Redis for tests: a container where an engine answers and has or can get the image, a local `redis-server`
 * otherwise. Says once which one and why. COPPICE_TEST_REDIS=local|container forces one.
 */
import { freePort } from "../../deploy/local-cluster.ts";
import { execFile, execFileSync, spawn } from "node:child_process";
import type { ChildProcess } from "node:child_process";
import { once } from "node:events";
import { accessSync, constants, mkdtempSync, rmSync } from "node:fs";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { delimiter, join } from "node:path";
import { promisify } from "node:util";

/** The one place that names the image; `deploy/images/redis-from-debian.sh` makes a stand-in under this tag. */
export const REDIS_IMAGE = "redis:7-bookworm";

/** The container engine has this long to say whether it is there. */
const PROBE_MS = 2_500;
/** A pull of the image is given up after this time, and the local server is taken. */
const PULL_MS = 30_000;
/** A Redis that does not answer within this time after its start has failed. */
const START_MS = 20_000;

export interface TestRedis {
  readonly url: string;
  /** "local redis-server 7.0.15" or "container redis:...". */
  readonly kind: string;
  /** Ends it in good order and removes its data. */
  stop(): Promise<void>;
  /** SIGKILL: nothing is flushed. Local server only. */
  kill(): Promise<void>;
  /** Kills it if it runs, and starts it again on the same address. Local server only. */
  restart(options: { readonly keepData: boolean }): Promise<void>;
  /** Freezes (SIGSTOP) or thaws (SIGCONT) it. Local server only. */
  signal(signal: NodeJS.Signals): void;
  /** Sends one inline command, `INFO` unless told, over a connection of its own; the raw answer. */
  info(command?: string): Promise<string>;
}

export interface StartRedisOptions {
  /** Tests that kill and restart Redis need the local server. */
  readonly mustBeLocal?: boolean;
  /** Further options of redis-server, such as ["--maxmemory-policy", "allkeys-lru"]. */
  readonly serverOptions?: readonly string[];
}

const BASE_OPTIONS = ["--appendonly", "yes", "--save", "", "--maxmemory-policy", "noeviction"] as const;

export async function startRedis(options: StartRedisOptions = {}): Promise<TestRedis> {
  const choice = await choose(options);
  sayOnce(`redis for tests: ${choice.text}`);
  const serverOptions = [...BASE_OPTIONS, ...(options.serverOptions ?? [])];
  return choice.kind === "local" ? startLocal(choice.server, serverOptions) : startContainer(serverOptions);
}

interface LocalServer {
  readonly path: string;
  readonly version: string;
}

type Choice =
  | { readonly kind: "local"; readonly server: LocalServer; readonly text: string }
  | { readonly kind: "container"; readonly text: string };

async function choose(options: StartRedisOptions): Promise<Choice> {
  const forced = process.env["COPPICE_TEST_REDIS"];
  const local = findLocal();
  const takeLocal = (why: string): Choice => {
    if (local !== null)
      return { kind: "local", server: local, text: `local redis-server ${local.version} (${why})` };
    throw new Error(`a Redis for tests: ${why}, and no redis-server on PATH; \`make setup\` installs one`);
  };
  if (forced === "local") return takeLocal("COPPICE_TEST_REDIS=local");
  if (options.mustBeLocal === true && local !== null) return takeLocal("this test kills it");
  const obstacle = await containerObstacle();
  if (obstacle === null)
    return { kind: "container", text: `container ${REDIS_IMAGE} (a container engine answers)` };
  if (forced === "container") throw new Error(`COPPICE_TEST_REDIS=container, but ${obstacle}`);
  return takeLocal(obstacle);
}

const said = new Set<string>();
function sayOnce(text: string): void {
  if (said.has(text)) return;
  said.add(text);
  process.stderr.write(`${text}\n`);
}

function findLocal(): LocalServer | null {
  for (const folder of (process.env["PATH"] ?? "").split(delimiter)) {
    const path = join(folder, "redis-server");
    try {
      accessSync(path, constants.X_OK);
      const answer = execFileSync(path, ["--version"], { encoding: "utf8", timeout: PROBE_MS });
      return { path, version: /v=(\S+)/.exec(answer)?.[1] ?? "of unknown version" };
    } catch {
      continue;
    }
  }
  return null;
}

let obstacleFound: Promise<string | null> | null = null;
/** Why no container can be had; null when one can. Asked once per process. */
function containerObstacle(): Promise<string | null> {
  obstacleFound ??= probeContainers();
  return obstacleFound;
}

async function probeContainers(): Promise<string | null> {
  const docker = (args: readonly string[], timeoutMs: number): Promise<unknown> =>
    promisify(execFile)("docker", [...args], { timeout: timeoutMs, killSignal: "SIGKILL" });
  try {
    await docker(["version", "--format", "{{.Server.Version}}"], PROBE_MS);
  } catch {
    return "no container engine answers";
  }
  try {
    await docker(["image", "inspect", REDIS_IMAGE], PROBE_MS);
    return null;
  } catch {
    sayOnce(`redis for tests: pulling ${REDIS_IMAGE}`);
  }
  try {
    await docker(["pull", "--quiet", REDIS_IMAGE], PULL_MS);
    return null;
  } catch {
    return `a container engine answers, but ${REDIS_IMAGE} is neither there nor to be pulled`;
  }
}

async function startContainer(serverOptions: readonly string[]): Promise<TestRedis> {
  // The reaper is a second image; the container is stopped by `stop` and removed by the engine.
  process.env["TESTCONTAINERS_RYUK_DISABLED"] ??= "true";
  const { GenericContainer, Wait } = await import("testcontainers");
  const container = await new GenericContainer(REDIS_IMAGE)
    .withCommand(["redis-server", "--protected-mode", "no", ...serverOptions])
    .withExposedPorts(6379)
    .withWaitStrategy(Wait.forLogMessage("Ready to accept connections"))
    .withStartupTimeout(START_MS)
    .start();
  const refuse = (): never => {
    throw new Error("only a local redis-server is killed and restarted: pass mustBeLocal");
  };
  const port = container.getMappedPort(6379);
  return {
    url: `redis://${container.getHost()}:${port}`,
    kind: `container ${REDIS_IMAGE}`,
    stop: async () => void (await container.stop()),
    kill: async () => refuse(),
    restart: async () => refuse(),
    signal: refuse,
    info: (command = "INFO") => inline({ host: container.getHost(), port }, command),
  };
}

async function startLocal(server: LocalServer, serverOptions: readonly string[]): Promise<TestRedis> {
  const port = await freePort();
  let folder = mkdtempSync(join(tmpdir(), "coppice-redis-"));
  let child = await spawnServer({ server, port, folder, serverOptions });
  const end = async (signal: NodeJS.Signals): Promise<void> => {
    if (child.exitCode !== null || child.signalCode !== null) return;
    const gone = once(child, "exit");
    child.kill(signal);
    await gone;
  };
  return {
    url: `redis://127.0.0.1:${port}`,
    kind: `local redis-server ${server.version}`,
    async stop() {
      await end("SIGTERM");
      rmSync(folder, { recursive: true, force: true });
    },
    kill: () => end("SIGKILL"),
    async restart({ keepData }) {
      await end("SIGKILL");
      if (!keepData) {
        rmSync(folder, { recursive: true, force: true });
        folder = mkdtempSync(join(tmpdir(), "coppice-redis-"));
      }
      child = await spawnServer({ server, port, folder, serverOptions });
    },
    signal: (signal) => void child.kill(signal),
    info: (command = "INFO") => inline({ host: "127.0.0.1", port }, command),
  };
}

interface LocalStart {
  readonly server: LocalServer;
  readonly port: number;
  readonly folder: string;
  readonly serverOptions: readonly string[];
}

async function spawnServer(start: LocalStart): Promise<ChildProcess> {
  const args = [
    "--port",
    String(start.port),
    "--bind",
    "127.0.0.1",
    "--dir",
    start.folder,
    ...start.serverOptions,
  ];
  const child = spawn(start.server.path, args, { stdio: ["ignore", "pipe", "inherit"] });
  process.once("exit", () => child.kill("SIGKILL"));
  let printed = "";
  child.stdout.on("data", (chunk: Buffer) => {
    printed = (printed + chunk.toString()).slice(-4_000);
  });
  const deadlineMs = performance.now() + START_MS;
  while (!(await answers(start.port))) {
    if (child.exitCode !== null || performance.now() > deadlineMs) {
      child.kill("SIGKILL");
      throw new Error(`redis-server on port ${start.port} did not start; it printed:\n${printed}`);
    }
    await new Promise((resolve) => setTimeout(resolve, 10)); // polls real I/O
  }
  return child;
}

/** Whether a Redis on this port answers PING, having loaded its data. */
async function answers(port: number): Promise<boolean> {
  try {
    return (await inline({ host: "127.0.0.1", port }, "PING")).startsWith("+PONG");
  } catch {
    return false;
  }
}

/** One inline command over a connection of its own; resolves with all that Redis says before it hangs up. */
function inline(at: { readonly host: string; readonly port: number }, command: string): Promise<string> {
  return new Promise((resolve, reject) => {
    let answer = "";
    const socket = connect(at);
    socket.setTimeout(2_000, () =>
      socket.destroy(new Error(`${command}: no answer of Redis on port ${at.port}`)),
    );
    socket.on("error", reject);
    socket.once("connect", () => socket.write(`${command}\r\nQUIT\r\n`));
    socket.on("data", (chunk: Buffer) => {
      answer += chunk.toString();
    });
    socket.once("close", () => resolve(answer));
  });
}
