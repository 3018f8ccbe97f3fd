/** What every disk promises. */
import { expect, test } from "vitest";
import { type Disk, writeNewFile } from "../../services/runtime/disk.ts";

/** @param open A disk and a directory on it that is there and empty. */
export function diskConformance(
  open: () => Promise<{ readonly disk: Disk; readonly directory: string }>,
): void {
  const text = async (disk: Disk, path: string): Promise<string> =>
    Buffer.concat(await Array.fromAsync(disk.chunks(path))).toString("utf8");

  test("a file grows by what is written, in order, whoever opened it", async () => {
    const { disk, directory } = await open();
    const path = `${directory}/f`;
    const first = await disk.append(path);
    expect(await first.size()).toBe(0);
    await first.write([Buffer.from("one "), Buffer.from("two ")]);
    await first.sync();
    const second = await disk.append(path);
    await second.write([Buffer.from("three")]);
    expect(await second.size()).toBe(13);
    expect((await second.read(4, 3)).toString()).toBe("two");
    expect((await second.read(8, 100)).toString()).toBe("three");
    await first.close();
    await second.close();
    expect(await text(disk, path)).toBe("one two three");
  });

  test("a file that is cut goes on from there", async () => {
    const { disk, directory } = await open();
    await writeNewFile(disk, `${directory}/f`, "whole torn");
    const file = await disk.append(`${directory}/f`);
    await file.truncate(6);
    await file.sync();
    await file.write([Buffer.from("again")]);
    await file.close();
    expect(await text(disk, `${directory}/f`)).toBe("whole again");
  });

  test("a new file, and a directory, are refused where there is one", async () => {
    const { disk, directory } = await open();
    await writeNewFile(disk, `${directory}/f`, "");
    await expect(disk.append(`${directory}/f`, { isNew: true })).rejects.toMatchObject({ code: "EEXIST" });
    await disk.makeDirectory(`${directory}/d`);
    await expect(disk.makeDirectory(`${directory}/d`)).rejects.toMatchObject({ code: "EEXIST" });
    await disk.makeDirectory(`${directory}/d/e/f`, { isDeep: true });
    await disk.makeDirectory(`${directory}/d/e/f`, { isDeep: true });
    expect((await disk.list(directory)).toSorted()).toEqual(["d", "f"]);
  });

  test("a directory is renamed and removed with all that is in it", async () => {
    const { disk, directory } = await open();
    await disk.makeDirectory(`${directory}/a/b`, { isDeep: true });
    await writeNewFile(disk, `${directory}/a/b/f`, "here");
    await disk.rename(`${directory}/a`, `${directory}/c`);
    expect(await disk.exists(`${directory}/a`)).toBe(false);
    expect(await text(disk, `${directory}/c/b/f`)).toBe("here");
    await disk.syncDirectory(`${directory}/c`);
    await disk.remove(`${directory}/c`);
    await disk.remove(`${directory}/c`);
    expect(await disk.list(directory)).toEqual([]);
  });

  test("a file takes the place of another of that name", async () => {
    const { disk, directory } = await open();
    await writeNewFile(disk, `${directory}/old`, "old");
    await writeNewFile(disk, `${directory}/new`, "new");
    await disk.rename(`${directory}/new`, `${directory}/old`);
    expect(await text(disk, `${directory}/old`)).toBe("new");
    expect(await disk.list(directory)).toEqual(["old"]);
  });

  test("what is not there is refused by its name", async () => {
    const { disk, directory } = await open();
    await expect(text(disk, `${directory}/none`)).rejects.toMatchObject({ code: "ENOENT" });
    await expect(disk.append(`${directory}/none/f`)).rejects.toMatchObject({ code: "ENOENT" });
    await expect(disk.list(`${directory}/none`)).rejects.toMatchObject({ code: "ENOENT" });
    await expect(disk.rename(`${directory}/none`, `${directory}/x`)).rejects.toMatchObject({
      code: "ENOENT",
    });
    expect(await disk.exists(`${directory}/none`)).toBe(false);
  });
}
