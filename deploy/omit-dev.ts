/** Removes from node_modules what the lock file says only development needs. Run by deploy/Dockerfile in its own copy. */
import { readFileSync, rmSync } from "node:fs";

interface LockFile {
  readonly packages: Readonly<Record<string, { readonly dev?: boolean }>>;
}

const lock = JSON.parse(readFileSync("package-lock.json", "utf8")) as LockFile; // npm's own form, lockfileVersion 3.
const unneeded = Object.entries(lock.packages).filter(([path, { dev }]) => path !== "" && dev === true);
for (const [path] of unneeded) rmSync(path, { recursive: true, force: true });
console.log(`${unneeded.length} packages of development left out`);
