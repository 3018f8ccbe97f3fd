import { mkdtemp, readFile, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { describe, expect, test } from "vitest";
import { coppice } from "../support/coppice.ts";

const root = resolve(import.meta.dirname, "../..");

describe("the README", () => {
  test("shows a sweep that is valid as it stands", async () => {
    const readme = await readFile(join(root, "README.md"), "utf8");
    const sweep = /```yaml\n(.*?)```/s.exec(readme)?.[1] ?? "";
    const directory = await mkdtemp(join(tmpdir(), "readme-"));
    await writeFile(join(directory, "my-sweep.yaml"), sweep);
    await writeFile(
      join(directory, "my-problems.jsonl"),
      '{"id": "q1", "prompt": "6 x 7?", "reference": "42"}\n',
    );
    const { status, out } = await coppice(["run", "my-sweep.yaml", "--dry-run"], { cwd: directory });
    expect(status).toBe(0);
    expect(out).toMatch(/best-of-n +1 +<= 16/);
    expect(out).toMatch(/output: .*\/runs\/my-problems\n/);
  });

  test("names no command and no target that does not exist", async () => {
    const readme = await readFile(join(root, "README.md"), "utf8");
    const makefile = await readFile(join(root, "Makefile"), "utf8");
    const { out: help } = await coppice(["--help"]);
    const commands = [...readme.matchAll(/^(?:npm run -s coppice --|coppice) (\w+)/gm)].map(
      ([, name]) => name,
    );
    expect(commands.length).toBeGreaterThan(5);
    for (const name of commands) expect(help).toMatch(new RegExp(`^  ${name} `, "m"));
    for (const [, target] of readme.matchAll(/^make ([a-z-]+)/gm))
      expect(makefile).toContain(`\n${target}: `);
  });
});
