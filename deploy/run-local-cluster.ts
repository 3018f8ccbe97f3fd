/** `make cluster`: runs a sweep on a cluster of real processes on this machine, and takes the cluster down again. */
import { spawn } from "node:child_process";
import { mkdtemp } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { LocalCluster } from "./local-cluster.ts";

const [sweep, ...options] = process.argv.slice(2);
if (sweep === undefined) {
  console.error("usage: node deploy/run-local-cluster.ts SWEEP [options of coppice submit]");
  process.exit(1);
}
const directory = await mkdtemp(join(tmpdir(), "coppice-cluster-"));
const cluster = await LocalCluster.start({
  directory,
  runs: resolve("runs"),
  workers: [
    ["--engine", "embedded"],
    ["--engine", "embedded"],
  ],
  verifiers: 1,
});
console.log(
  `cluster: ${cluster.parts.join(", ")}; Redis at ${cluster.redisUrl}, coordinator at ${cluster.coordinator}`,
);
console.log(`logs: ${directory}`);
const cli = resolve(import.meta.dirname, "../services/cli/main.ts");
const args = [cli, "submit", sweep, "--watch", "--coordinator", cluster.coordinator, ...options];
// Ctrl-C reaches the submit command too: it says how to go on, then the cluster is taken down.
process.on("SIGINT", () => undefined);
const submit = spawn(process.execPath, args, { stdio: "inherit" });
const status = await new Promise<number>((done) => submit.once("exit", (code) => done(code ?? 130)));
await cluster.stop();
process.exit(status);
