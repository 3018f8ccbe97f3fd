import { readFile, readdir } from "node:fs/promises";
import { join, resolve } from "node:path";
import { describe, expect, test } from "vitest";
import { CATALOGUE } from "../../services/cli/catalogue.ts";
import { checkProblems } from "../../services/coordinator/sweep-file/problem-file.ts";
import { templateFields } from "../../services/coordinator/sweep-file/prompt-template.ts";
import { parseSweepFile } from "../../services/coordinator/sweep-file/sweep-file.ts";
import { resolveSweep } from "../../services/coordinator/sweep-file/sweep-resolve.ts";
import { catalogueFor } from "../../services/cli/strategy-modules.ts";
import { sweepJsonSchema } from "../../services/coordinator/sweep-file/sweep-schema.ts";

const FOLDER = resolve(import.meta.dirname, "../../examples");
const names = (await readdir(FOLDER)).filter((name) => name.endsWith(".yaml"));

describe("every example is a sweep whose problems are all valid", () => {
  test.each(names)("%s", async (name) => {
    const path = join(FOLDER, name);
    const text = await readFile(path, "utf8");
    const catalogue = await catalogueFor(text, path);
    const file = parseSweepFile(text, { file: name, catalogue });
    const { sweep, problems } = resolveSweep(file, {
      catalogue,
      file: path,
      shippedModelPath: "/model.gguf",
    });
    const check = await checkProblems(problems, { file: name, fields: templateFields(sweep.promptTemplate) });
    expect(check.complaints).toEqual([]);
    expect(check.count).toBeGreaterThan(0);
  });
});

test("the schema beside the examples is what `coppice schema` prints", async () => {
  const kept: unknown = JSON.parse(await readFile(join(FOLDER, "sweep.schema.json"), "utf8"));
  expect(kept).toEqual(sweepJsonSchema(CATALOGUE));
});
