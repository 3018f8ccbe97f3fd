/**
 * `node test/chaos/main.ts [--rounds 200] [--seed 1] [--kinds kill,stop]`: sweeps on a real cluster while its parts are killed,
 * stopped, cut off and filled up, a few faults a round. Stops at the first round in which something does not hold, keeps
 * everything of it, and says how to repeat it. Faults that this machine does not allow are left out, with the reason.
 *
 * A seed fixes which faults come and when; where they meet the sweep is the machine's to say.
 */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { Bed } from "./bed.ts";
import { createRandom } from "../../services/runtime/random.ts";
import { FAULTS, faultText, type Kind, KINDS, scheduleFaults } from "./fault.ts";
import { type Round, runRound } from "./round.ts";
import { type Reference, undisturbed } from "./sweep.ts";

/** Different sweeps: rounds take them in turn. */
const SWEEP_SEEDS = [1, 2, 3] as const;

const { values } = parseArgs({
  options: {
    rounds: { type: "string", default: "200" },
    seed: { type: "string", default: "1" },
    kinds: { type: "string", default: KINDS.join(",") },
  },
});
const rounds = wholeNumber("rounds", values.rounds);
const firstSeed = wholeNumber("seed", values.seed);
const wanted = values.kinds.split(",").map((name) => {
  const kind = KINDS.find((known) => known === name);
  if (kind === undefined) throw new Error(`--kinds: expected some of ${KINDS.join(",")}; found ${name}`);
  return kind;
});

const directory = mkdtempSync(join(tmpdir(), "coppice-chaos-"));
const references: Reference[] = [];
for (const seed of SWEEP_SEEDS) references.push(await undisturbed(directory, seed));
const bed = await Bed.start(directory, wanted);
for (const [kind, why] of bed.obstacles) if (wanted.includes(kind)) console.log(`left out: ${kind} (${why})`);
const kinds = wanted.filter((kind) => !bed.obstacles.has(kind));
const stopped = new AbortController();
for (const signal of ["SIGINT", "SIGTERM"] as const) process.on(signal, () => stopped.abort());

const done: Round[] = [];
let failed: { readonly seed: number; readonly wrong: readonly string[] } | null = null;
try {
  for (let n = 0; n < rounds && failed === null && !stopped.signal.aborted; n += 1) {
    const seed = firstSeed + n;
    const reference = references[seed % references.length];
    if (reference === undefined) throw new Error("no sweep");
    const faults = scheduleFaults(createRandom(seed), kinds);
    const round = await runRound(bed, `round-${seed}`, { faults, reference });
    console.log(roundLine(seed, round));
    done.push(round);
    if (round.wrong.length > 0) failed = { seed, wrong: round.wrong };
  }
} finally {
  const kept = bed.keep();
  const strays = await ended(bed);
  for (const stray of strays) console.log(`left behind: ${stray}`);
  if (failed === null && strays.length === 0) rmSync(directory, { recursive: true });
  else console.log(`kept: run directories in ${kept}, logs in ${directory}`);
  if (strays.length > 0) process.exitCode = 1;
}
table(done);
if (failed !== null) {
  const only = values.kinds === KINDS.join(",") ? "" : ` --kinds ${values.kinds}`;
  for (const wrong of failed.wrong) console.log(`wrong: ${wrong}`);
  console.log(`repeat: node test/chaos/main.ts --rounds 1 --seed ${failed.seed}${only}`);
  process.exitCode = 1;
}

async function ended(running: Bed): Promise<readonly string[]> {
  await running.stop();
  return running.strays();
}

function roundLine(seed: number, { faults, ms, wrong }: Round): string {
  const texts = faults.map(({ fault, hasStruck }) => `${faultText(fault)}${hasStruck ? "" : " (too late)"}`);
  const result = wrong.length === 0 ? "ok" : `WRONG: ${wrong[0]}`;
  return `seed ${seed}: ${texts.join("; ")}: ${(ms / 1_000).toFixed(1)} s, ${result}`;
}

/** How often each fault really happened. */
function table(all: readonly Round[]): void {
  const faults = all.flatMap((round) => round.faults);
  const seconds = all.map(({ ms }) => ms / 1_000).toSorted((a, b) => a - b);
  const clean = all.filter(({ wrong }) => wrong.length === 0).length;
  const struck = faults.filter(({ hasStruck }) => hasStruck);
  console.log(
    `\n${clean} of ${all.length} rounds clean, ${struck.length} faults; a round took ${seconds[seconds.length >> 1]?.toFixed(1)} s (median), ${seconds.at(-1)?.toFixed(1)} s at most`,
  );
  console.table(
    Object.fromEntries(
      KINDS.map((kind: Kind) => {
        const ofKind = struck.filter(({ fault }) => fault.kind === kind);
        const victims = Map.groupBy(ofKind, ({ fault }) => fault.victim);
        const each = [...victims].map(([victim, hits]) => `${victim} ${hits.length}`).toSorted();
        return [kind, { happened: ofKind.length, whom: each.join(", "), what: FAULTS[kind] }];
      }),
    ),
  );
}

function wholeNumber(name: string, text: string): number {
  const value = Number(text);
  if (!Number.isSafeInteger(value) || value < 1)
    throw new Error(`--${name}: expected a whole number from 1, found ${JSON.stringify(text)}`);
  return value;
}
