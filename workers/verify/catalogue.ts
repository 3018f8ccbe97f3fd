/** Every kind of verifier. A thread of the pool and the sweep file's schema both read it here. */
import type { OutsideVerifier } from "./outside-verifier.ts";
import { command } from "./outside/command.ts";
import { execute } from "./outside/execute.ts";
import { http } from "./outside/http.ts";
import { unitTests } from "./outside/unit-tests.ts";
import type { Verifier } from "./verifier.ts";
import { calculator } from "./verifiers/calculator.ts";
import { exact } from "./verifiers/exact.ts";
import { game24 } from "./verifiers/game24.ts";
import { math } from "./verifiers/math.ts";
import { numeric } from "./verifiers/numeric.ts";

export const VERIFIERS: readonly Verifier[] = [calculator, exact, game24, math, numeric];

/** Those that judge outside of this process. */
export const OUTSIDE_VERIFIERS: readonly OutsideVerifier[] = [command, execute, http, unitTests];
