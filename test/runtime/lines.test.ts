import { mkdtemp, open, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { lineText, readLines } from "../../services/runtime/lines.ts";

async function fileOf(content: string | Buffer): Promise<string> {
  const path = join(await mkdtemp(join(tmpdir(), "lines-")), "f");
  await writeFile(path, content);
  return path;
}

async function linesOf(path: string, bytesMax?: number): Promise<readonly unknown[]> {
  const found: unknown[] = [];
  for await (const line of readLines(path, { name: "f", ...(bytesMax === undefined ? {} : { bytesMax }) })) {
    found.push([line.number, line.offset, lineText(line), line.isEnded]);
  }
  return found;
}

describe("lines", () => {
  test("end at a line feed alone, not at U+2028, and tell number, offset and end", async () => {
    expect(await linesOf(await fileOf("a\u2028b\r\n\nlast"))).toEqual([
      [1, 0, "a\u2028b", true],
      [2, 7, "", true],
      [3, 8, "last", false],
    ]);
    expect(await linesOf(await fileOf(""))).toEqual([]);
    expect(await linesOf(await fileOf("a\n"))).toEqual([[1, 0, "a", true]]);
  });

  test("are whole across the chunks of a large file", async () => {
    const texts = Array.from({ length: 50 }, (_, n) => "x".repeat(n * 997));
    const lines = (await linesOf(await fileOf(texts.join("\n")))) as readonly (readonly unknown[])[];
    expect(lines.map((line) => line[2])).toEqual(texts);
    expect(lines.at(-1)?.[1]).toBe(texts.slice(0, -1).join("\n").length + 1);
  });

  test("that are too long are refused with name and number", async () => {
    const path = await fileOf(`ok\n${"x".repeat(1_000_000)}`);
    await expect(linesOf(path, 1_000)).rejects.toThrow(/f:2: expected a line of at most 1000 bytes/);
  });

  test("of a handle leave it open for its owner", async () => {
    const handle = await open(await fileOf("one\ntwo\n"));
    let count = 0;
    for await (const _ of readLines(handle, { name: "f" })) count += 1;
    expect(count).toBe(2);
    expect((await handle.read(Buffer.alloc(3), 0, 3, 4)).buffer.toString()).toBe("two");
    await handle.close();
  });
});
