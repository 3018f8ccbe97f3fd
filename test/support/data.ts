/** The public data that some tests read in place; they skip, with the reason, where it is absent. */
import { existsSync, readFileSync } from "node:fs";
import { join, resolve } from "node:path";

const DATA = resolve(import.meta.dirname, "../../../shared/data");

/** The path of a data file, or null. */
export function dataFile(name: string): string | null {
  const path = join(DATA, name);
  return existsSync(path) ? path : null;
}

export const NO_DATA = "needs ../shared/data, which is absent";

/** The lines of a data file; none where it is absent. */
export function dataLines(name: string): readonly string[] {
  const path = dataFile(name);
  return path === null
    ? []
    : readFileSync(path, "utf8")
        .split("\n")
        .filter((line) => line !== "");
}
