/** `make cluster`: runs a sweep on a cluster of real processes on this machine, and takes the cluster down again. */
import { spawn } from "node:child_process";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { LocalCluster } from "./local-cluster.ts";

const [sweep, ...options] = process.argv.slice(2);
if (sweep === undefined) {
  console.error("usage: node deploy/run-local-cluster.ts SWEEP [options of coppice submit]");
  process.exit(1);
}
const stopped = new AbortController();
for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) process.on(signal, () => stopped.abort());
const directory = await mkdtemp(join(tmpdir(), "coppice-cluster-"));
const cluster = await LocalCluster.start({
  directory,
  runs: resolve("runs"),
  workers: [
    ["--engine", "embedded"],
    ["--engine", "embedded"],
  ],
  verifiers: 1,
  // Ctrl-C would end Redis at once, and the others would wait for it to come back.
  sheltered: true,
});
console.log(
  `cluster: ${cluster.parts.join(", ")}; Redis at ${cluster.redisUrl}, coordinator at ${cluster.coordinator}`,
);
console.log(`logs, kept if it fails: ${directory}`);
const cli = resolve(import.meta.dirname, "../services/cli/main.ts");
const args = [cli, "submit", sweep, "--watch", "--coordinator", cluster.coordinator, ...options];
const status = await submit(args);
await cluster.stop();
if (status === 130)
  console.log("the cluster is down; go on by: npm run -s coppice -- run --resume (the output directory)");
// The logs stay where they can explain something.
if (status === 0) await rm(directory, { recursive: true });
process.exit(status);

/** Resolves with the exit status; 130 when it was stopped. It hears of that, and says how to go on. */
function submit(command: readonly string[]): Promise<number> {
  if (stopped.signal.aborted) return Promise.resolve(130);
  const child = spawn(process.execPath, [...command], { stdio: "inherit", detached: true });
  stopped.signal.addEventListener("abort", () => child.kill("SIGINT"));
  return new Promise((done) => child.once("exit", (code) => done(code ?? 130)));
}
