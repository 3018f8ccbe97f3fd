/** The generated code under proto/gen is what the definitions give; and they pass buf's lint. */
import { execFile } from "node:child_process";
import { mkdtemp, readFile, readdir, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { delimiter, join } from "node:path";
import { promisify } from "node:util";
import { expect, it } from "vitest";

const root = join(import.meta.dirname, "..", "..");
const bin = join(root, "node_modules", ".bin");

/** Runs buf of this checkout; its plugin is found beside it. */
async function buf(...args: readonly string[]): Promise<string> {
  const env = { ...process.env, PATH: `${bin}${delimiter}${process.env["PATH"] ?? ""}` };
  const { stdout } = await promisify(execFile)(join(bin, "buf"), args, { cwd: root, env });
  return stdout;
}

async function filesUnder(folder: string): Promise<ReadonlyMap<string, string>> {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true });
  const paths = entries.filter((entry) => entry.isFile()).map((entry) => join(entry.parentPath, entry.name));
  return new Map(
    await Promise.all(
      paths.map(async (path) => [path.slice(folder.length + 1), await readFile(path, "utf8")] as const),
    ),
  );
}

it("generating again gives the files that are there: run `npm run generate` otherwise", async () => {
  const folder = await mkdtemp(join(tmpdir(), "coppice-generated-"));
  try {
    // buf puts each plugin's `out` below the folder given with --output.
    await buf("generate", "--output", folder);
    const again = await filesUnder(join(folder, "proto", "gen"));
    expect(again.size).toBeGreaterThan(0);
    expect(await filesUnder(join(root, "proto", "gen"))).toEqual(again);
  } finally {
    await rm(folder, { recursive: true });
  }
});

it("the definitions pass buf lint", async () => {
  await expect(buf("lint")).resolves.toBe("");
});
