/** The import rules of ARCHITECTURE.md, read from the code. */
import { readdirSync, readFileSync, statSync } from "node:fs";
import { dirname, join, relative, resolve } from "node:path";
import { describe, expect, test } from "vitest";

const root = resolve(import.meta.dirname, "..");

/** Folder -> the folders of ours that it may import. A file belongs to the longest prefix that names it. */
const MAY_IMPORT: Readonly<Record<string, readonly string[]>> = {
  proto: ["proto"],
  "services/runtime": ["services/runtime", "proto"],
  "services/search": ["services/search"],
  "services/queue": ["services/queue", "services/runtime", "proto"],
  "services/link": ["services/link", "services/queue", "services/runtime", "proto"],
  "services/coordinator": [
    "services/coordinator",
    "services/link",
    "services/queue",
    "services/runtime",
    "services/search",
    "proto",
  ],
  "services/planner": [
    "services/planner",
    "services/coordinator",
    "services/search",
    "services/link",
    "services/queue",
    "services/runtime",
    "workers/rollout/drivers/simulated",
  ],
  "services/export": ["services/export", "services/coordinator", "services/runtime"],
  workers: ["workers", "services/link", "services/queue", "services/runtime", "proto"],
};

/** Package -> the only places that may import it. */
const ONLY_IN: Readonly<Record<string, readonly string[]>> = {
  bullmq: ["services/queue"],
  ioredis: ["services/queue"],
  "@grpc/grpc-js": ["services/runtime/rpc"],
  pino: ["services/runtime/log.ts"],
  "prom-client": ["services/runtime/metrics.ts"],
  "node-llama-cpp": ["workers/rollout/drivers/embedded", "services/cli/commands/doctor"],
  zod: ["services/coordinator"],
  "@msgpack/msgpack": ["workers/rollout/drivers/kv-events"],
  "hyparquet-writer": ["services/export"],
};

interface Import {
  readonly file: string;
  readonly target: string;
  readonly isOurs: boolean;
}

function filesUnder(folder: string): readonly string[] {
  return readdirSync(join(root, folder)).flatMap((name) => {
    const path = join(folder, name);
    if (statSync(join(root, path)).isDirectory()) return filesUnder(path);
    return name.endsWith(".ts") ? [path] : [];
  });
}

function importsOf(file: string): readonly Import[] {
  const text = readFileSync(join(root, file), "utf8");
  const found = text.matchAll(
    /(?:^|\n)(?:import|export)\s[^"';]*?from\s+"([^"]+)"|import\(\s*"([^"]+)"\s*\)/g,
  );
  return [...found].map(([, fixed, dynamic]) => {
    const target = fixed ?? dynamic ?? "";
    if (!target.startsWith(".")) return { file, target, isOurs: false };
    return { file, target: relative(root, resolve(root, dirname(file), target)), isOurs: true };
  });
}

const files = ["proto", "services", "workers"].flatMap(filesUnder);
const imports = files.flatMap(importsOf);

function folderOf(file: string): string | undefined {
  return Object.keys(MAY_IMPORT)
    .filter((folder) => file.startsWith(`${folder}/`))
    .toSorted((a, b) => b.length - a.length)[0];
}

describe("structure", () => {
  test("each folder imports only what it may", () => {
    const wrong = imports.filter(({ file, target, isOurs }) => {
      const allowed = MAY_IMPORT[folderOf(file) ?? ""];
      return isOurs && allowed !== undefined && !allowed.some((folder) => target.startsWith(`${folder}/`));
    });
    expect(wrong.map(({ file, target }) => `${file} imports ${target}`)).toEqual([]);
  });

  test("a package is imported only where its folder owns it", () => {
    const wrong = imports.filter(({ file, target, isOurs }) => {
      const name = target
        .split("/")
        .slice(0, target.startsWith("@") ? 2 : 1)
        .join("/");
      const allowed = ONLY_IN[name];
      return !isOurs && allowed !== undefined && !allowed.some((place) => file.startsWith(place));
    });
    expect(wrong.map(({ file, target }) => `${file} imports ${target}`)).toEqual([]);
  });

  test("the search core imports nothing at all", () => {
    const outside = imports.filter(({ file, isOurs }) => file.startsWith("services/search/") && !isOurs);
    expect(outside.map(({ file, target }) => `${file} imports ${target}`)).toEqual([]);
  });

  test("there is no cycle among files", () => {
    const next = Map.groupBy(
      imports.filter(({ isOurs }) => isOurs),
      ({ file }) => file,
    );
    const done = new Set<string>();
    const path: string[] = [];
    const cycles: string[] = [];
    const visit = (file: string): void => {
      if (path.includes(file)) cycles.push([...path.slice(path.indexOf(file)), file].join(" -> "));
      if (done.has(file)) return;
      done.add(file);
      path.push(file);
      for (const { target } of next.get(file) ?? []) visit(target);
      path.pop();
    };
    for (const file of files) visit(file);
    expect(cycles).toEqual([]);
  });
});
