/** Vitest's global set-up: what tests leave in the system's folder for temporary files stands in one of its own, and goes when they end. */
import { chmodSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

/** Workers inherit it. @returns The tear-down. */
export function setup(): () => void {
  const directory = mkdtempSync(join(tmpdir(), "coppice-test-"));
  // Sandboxed programs run as nobody, also where the tests run as root.
  chmodSync(directory, 0o755);
  process.env["TMPDIR"] = directory;
  return () => rmSync(directory, { recursive: true, force: true, maxRetries: 3 });
}
