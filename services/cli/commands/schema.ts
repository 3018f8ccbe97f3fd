/** `coppice schema`: the JSON Schema of a sweep file, for editors (`# yaml-language-server: $schema=...`). */
import type { Command } from "commander";
import { sweepJsonSchema } from "../../coordinator/sweep-file/sweep-schema.ts";
import { CATALOGUE } from "../catalogue.ts";
import { EXIT } from "../exit-status.ts";
import type { Shell } from "../shell.ts";

export function schemaCommand(program: Command, shell: Shell, exit: (status: number) => void): void {
  program
    .command("schema")
    .description("print the JSON Schema of a sweep file, for editors")
    .action(() => {
      shell.out(JSON.stringify(sweepJsonSchema(CATALOGUE), null, 2));
      exit(EXIT.settled);
    });
}
