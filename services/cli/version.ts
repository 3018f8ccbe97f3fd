/** Where the program lies, and which one it is. */
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";

/** Absolute path of a file of the package. */
export function packagePath(relative: string): string {
  return fileURLToPath(new URL(`../../${relative}`, import.meta.url));
}

/** The model that is shipped with the project. */
export const SHIPPED_MODEL_PATH = packagePath("models/game24/game24-tiny.gguf");

/** From package.json. */
export function programVersion(): string {
  const parsed: unknown = JSON.parse(readFileSync(packagePath("package.json"), "utf8"));
  const isNamed = typeof parsed === "object" && parsed !== null && "version" in parsed;
  if (!isNamed || typeof parsed.version !== "string") throw new Error("package.json has no version");
  return parsed.version;
}
