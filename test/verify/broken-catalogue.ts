/** A catalogue that loads in the main thread and in no other. */
import { isMainThread } from "node:worker_threads";
import type { Verifier } from "../../workers/verify/verifier.ts";
import { VERIFIERS as whole } from "./stubborn-catalogue.ts";

if (!isMainThread) throw new Error("broken on purpose");

export const VERIFIERS: readonly Verifier[] = whole;
