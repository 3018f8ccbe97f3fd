/** One sweep on a cluster of processes, with the memory of the coordinator and of Redis on its way. */
import { createWriteStream } from "node:fs";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { once } from "node:events";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { LocalCluster } from "../../deploy/local-cluster.ts";
import { connectSweeps } from "../../services/cli/sweep-client.ts";
import { systemClock } from "../../services/runtime/clock.ts";
import { createRandom } from "../../services/runtime/random.ts";
import { coppice } from "../../test/support/coppice.ts";
import { type HeapSample, Inspected } from "./inspected.ts";

/** Rollouts of a task. */
export const SAMPLES = 2;
/** How often the coordinator is asked how far it is. */
const POLL_MS = 100;

export interface Sample extends HeapSample {
  /** Tasks settled. */
  readonly settled: number;
  readonly redisBytes: number;
  readonly redisKeys: number;
}

export interface Measured {
  readonly tasks: number;
  /** The first is of before the sweep, the last of after its end. */
  readonly samples: readonly Sample[];
  readonly seconds: number;
  /** Of the journal and the rows, for scale. */
  readonly runDirectoryBytes: number;
}

/** @param shares Of the tasks settled, in (0, 1), ascending: where samples are taken. */
export async function measureSweep(tasks: number, shares: readonly number[]): Promise<Measured> {
  const directory = await mkdtemp(join(tmpdir(), "coppice-memory-"));
  const records = join(directory, "records.jsonl");
  await writeTasks(directory, records, tasks);
  const worker = ["--engine", "replay", "--records", records];
  const runs = join(directory, "runs");
  const cluster = await LocalCluster.start({
    directory,
    runs,
    workers: [worker, worker],
    verifiers: 1,
    env: { NODE_OPTIONS: "--inspect=127.0.0.1:0 --cpu-prof --cpu-prof-dir=/tmp/ch/prof" },
  });
  const inspected = await Inspected.connect(cluster.logOf("coordinator"));
  const sweeps = connectSweeps(cluster.coordinator, { clock: systemClock, random: createRandom(1) });
  try {
    const take = async (settled: number): Promise<Sample> => ({
      settled,
      ...(await inspected.heap()),
      ...(await redisMemory(cluster.redisUrl)),
    });
    const samples = [await take(0)];
    const args = ["submit", join(directory, "sweep.yaml"), "--coordinator", cluster.coordinator];
    const { status, err } = await coppice(args);
    if (status !== 0) throw new Error(`submit ended with ${status}: ${err}`);
    const startedMs = performance.now();
    const left = [...shares];
    for (;;) {
      const now = await sweeps.get("sweep");
      const settled = now.tasks.total - now.tasks.queued - now.tasks.running;
      if (now.state !== "running") break;
      if (settled >= (left[0] ?? Infinity) * tasks) {
        while (settled >= (left[0] ?? Infinity) * tasks) left.shift();
        samples.push(await take(settled));
      }
      await new Promise((done) => setTimeout(done, POLL_MS));
    }
    const seconds = (performance.now() - startedMs) / 1_000;
    samples.push(await take(tasks));
    const sizes = await Promise.all(
      ["rollouts.jsonl", "results.jsonl"].map(
        async (file) => (await readFile(join(runs, "sweep", file))).length,
      ),
    );
    return { tasks, samples, seconds, runDirectoryBytes: sizes.reduce((sum, size) => sum + size, 0) };
  } finally {
    sweeps.close();
    inspected.close();
    await cluster.stop();
    await rm(directory, { recursive: true });
  }
}

/** Problems that differ, each with its records. */
async function writeTasks(directory: string, records: string, tasks: number): Promise<void> {
  const problemsFile = createWriteStream(join(directory, "problems.jsonl"));
  const recordsFile = createWriteStream(records);
  for (let n = 0; n < tasks; n += 1) {
    const prompt = `Problem ${n}: what is ${n} plus ${n % 97}? Think step by step, and end with the answer.`;
    const problem = { id: `p${n}`, prompt, reference: String(n + (n % 97)) };
    if (!problemsFile.write(`${JSON.stringify(problem)}\n`)) await once(problemsFile, "drain");
    for (let sample = 0; sample < SAMPLES; sample += 1) {
      const text = `We add ${n % 97} to ${n}. The answer is ${n + (n % 97) + sample}.`;
      const row = { problem: problem.id, prompt, sample, text, finish_reason: "stop", completion_tokens: 16 };
      if (!recordsFile.write(`${JSON.stringify(row)}\n`)) await once(recordsFile, "drain");
    }
  }
  await Promise.all([problemsFile, recordsFile].map((file) => once(file.end(), "close")));
  const sweep = {
    name: "memory",
    problems: join(directory, "problems.jsonl"),
    model: "recorded",
    hosts: [{ engine: "replay", records }],
    sampling: { max_tokens: 64 },
    strategies: [{ strategy: "best-of-n", n: SAMPLES }],
    verifier: { kind: "numeric" },
    output: join(directory, "sweep"),
  };
  await writeFile(join(directory, "sweep.yaml"), JSON.stringify(sweep));
}

async function redisMemory(
  url: string,
): Promise<{ readonly redisBytes: number; readonly redisKeys: number }> {
  const text = await ask(url, "INFO");
  return {
    redisBytes: Number(/^used_memory:(\d+)/m.exec(text)?.[1] ?? Number.NaN),
    redisKeys: Number(/^db0:keys=(\d+)/m.exec(text)?.[1] ?? 0),
  };
}

function ask(url: string, command: string): Promise<string> {
  const { hostname, port } = new URL(url);
  return new Promise((done, fail) => {
    let text = "";
    const socket = connect(Number(port), hostname);
    socket.on("error", fail);
    socket.on("data", (chunk: Buffer) => (text += chunk.toString()));
    socket.once("connect", () => socket.write(`${command}\r\nQUIT\r\n`));
    socket.once("close", () => done(text));
  });
}
