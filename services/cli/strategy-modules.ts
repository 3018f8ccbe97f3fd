/**
 * Strategies of the user's own: modules that a sweep names by path (`strategy: ./my-search.ts`). A module is code that runs
 * in this process, so only what the person at this machine names is loaded, never what a client of a coordinator sends.
 */
import { createHash } from "node:crypto";
import { readFile } from "node:fs/promises";
import { registerHooks } from "node:module";
import { dirname, resolve } from "node:path";
import { pathToFileURL } from "node:url";
import { pathText } from "../coordinator/sweep-file/sweep-complaint.ts";
import { complaintsOfStrategy, modulePathsIn } from "../coordinator/sweep-file/strategy-declaration.ts";
import type { Catalogue } from "../coordinator/sweep-file/sweep-schema.ts";
import { CoppiceError, messageOf } from "../runtime/errors.ts";
import type { Strategy } from "../search/strategy.ts";
import { CATALOGUE } from "./catalogue.ts";

/** What a module imports what it is written with from, wherever it lies. */
const API = "coppice/search";
const API_URL = new URL("../search/api.ts", import.meta.url).href;

let isApiFound = false;

/**
 * The catalogue with the modules that a sweep's text names, each under the name that the text gives it. A text that is no
 * sweep names none: whoever parses it will say so.
 * @param file Absolute path of the text: paths in it are relative to its folder.
 */
export async function catalogueFor(text: string, file: string): Promise<Catalogue> {
  const paths = modulePathsIn(text);
  if (paths.length === 0) return CATALOGUE;
  const strategies = new Map(CATALOGUE.strategies);
  for (const path of paths) strategies.set(path, await loadStrategy(resolve(dirname(file), path)));
  return { ...CATALOGUE, strategies };
}

/** The catalogue with these modules under the names that they declare: what a coordinator offers to its clients. */
export async function catalogueWith(paths: readonly string[], cwd: string): Promise<Catalogue> {
  const strategies = new Map(CATALOGUE.strategies);
  for (const path of paths) {
    const strategy = await loadStrategy(resolve(cwd, path));
    if (strategies.has(strategy.name))
      throw new CoppiceError(
        "invalid_argument",
        `${path}: expected a name of its own, found a second strategy "${strategy.name}"`,
      );
    strategies.set(strategy.name, strategy);
  }
  return { ...CATALOGUE, strategies };
}

/** @throws not_found or invalid_argument naming the module, what was expected of it and what was found. */
async function loadStrategy(path: string): Promise<Strategy> {
  findApi();
  const text = await readFile(path).catch((error: unknown) => {
    throw new CoppiceError("not_found", `${path}: expected a strategy's module: ${messageOf(error)}`, {
      cause: error,
    });
  });
  let loaded: unknown;
  try {
    loaded = await import(pathToFileURL(path).href);
  } catch (error) {
    throw new CoppiceError("invalid_argument", `${path}: expected a module that loads: ${messageOf(error)}`, {
      cause: error,
    });
  }
  const found =
    typeof loaded === "object" && loaded !== null && "strategy" in loaded ? loaded.strategy : undefined;
  const complaints = complaintsOfStrategy(found).map(
    ({ path: key, message }) => `${path}: ${pathText(["strategy", ...key])}: ${message}`,
  );
  if (complaints.length > 0) throw new CoppiceError("invalid_argument", complaints.join("\n"));
  const module = { path, sha256: createHash("sha256").update(text).digest("hex") };
  // Its parts were checked just above; what its functions do is seen when they are called.
  return { ...(found as Strategy), module };
}

function findApi(): void {
  if (isApiFound) return;
  isApiFound = true;
  registerHooks({
    resolve: (specifier, context, next) =>
      specifier === API ? { url: API_URL, shortCircuit: true } : next(specifier, context),
  });
}
