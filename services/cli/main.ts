#!/usr/bin/env node
/** The command. What it was compiled to is kept beside the libraries: from the second start on it is there in half the time. */
import { enableCompileCache } from "node:module";
import { join } from "node:path";

// Where nothing may be written there, nothing is kept.
enableCompileCache(join(import.meta.dirname, "../../node_modules/.cache/coppice"));
await import("./command-line.ts");
