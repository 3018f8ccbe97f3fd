/** `make bench`: every benchmark, one after the other, each in a process of its own. */
import { spawnSync } from "node:child_process";
import { readdirSync } from "node:fs";
import { join } from "node:path";
import { cpus } from "node:os";

const wanted = process.argv.slice(2);
console.log(`machine: ${cpus().length} x ${cpus()[0]?.model ?? "unknown"}, Node ${process.version}`);
let failed = 0;
for (const name of readdirSync(import.meta.dirname).toSorted()) {
  const bench = name.replace(/\.ts$/, "");
  if (name === "main.ts" || !name.endsWith(".ts") || (wanted.length > 0 && !wanted.includes(bench))) continue;
  console.log(`\n== ${bench} (node bench/${name})`);
  const { status } = spawnSync(process.execPath, [join(import.meta.dirname, name)], { stdio: "inherit" });
  failed += Number(status !== 0);
}
process.exit(failed === 0 ? 0 : 1);
