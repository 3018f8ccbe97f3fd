/** A host in the simulator: the seeded driver, with time, outages, and lies about what it counted. */
import { sleep } from "../../services/runtime/clock.ts";
import { CoppiceError } from "../../services/runtime/errors.ts";
import type { Random } from "../../services/runtime/random.ts";
import type { Driver, SampleAnswer } from "../../workers/rollout/driver.ts";
import { createSeededDriver } from "../support/seeded-driver.ts";
import type { Mishap } from "./faults.ts";
import type { Life } from "./time.ts";

export interface SimulatedHostOptions {
  readonly random: Random;
  readonly concurrency: number;
  readonly happens: (mishap: Mishap) => boolean;
}

export class SimulatedHost {
  readonly #options: SimulatedHostOptions;
  /** How much longer everything takes. */
  slowness = 1;
  #isDown = false;

  constructor(options: SimulatedHostOptions) {
    this.#options = options;
  }

  goDown(): void {
    this.#isDown = true;
  }

  comeBack(): void {
    this.#isDown = false;
    this.slowness = 1;
  }

  /** As one worker speaks to it. */
  driver(life: Life): Driver {
    const { random, concurrency, happens } = this.#options;
    const answer = (): void => {
      if (this.#isDown) throw new CoppiceError("unavailable", "simulated: the host is down");
      if (happens("host refused")) throw new CoppiceError("unavailable", "simulated: 503");
    };
    const driver = createSeededDriver({
      concurrency,
      sharesColdPrefixes: random.next() < 0.5,
      onProbe: answer,
      onSample: async (_, signal) => {
        answer();
        await sleep(life.clock, this.slowness * (2 + 20 * random.next()), signal);
        answer();
      },
      onDecode: async (_, signal) => {
        await sleep(life.clock, this.slowness * (2 + 150 * random.next() ** 2), signal);
        answer();
      },
    });
    return {
      ...driver,
      sample: async (request, signal) => {
        const answered = await driver.sample(request, signal);
        return happens("host lied") ? lie(answered, random) : answered;
      },
    };
  }
}

/** The text is right, the counts are not. */
function lie({ result, usage }: SampleAnswer, random: Random): SampleAnswer {
  const lies = [
    { ...usage, completionTokens: null },
    { ...usage, completionTokens: (usage.completionTokens ?? 0) + 100_000 },
    { ...usage, cachedTokens: (usage.promptTokens ?? 0) + 1_000 },
    { ...usage, cachedTokens: null, promptTokens: null },
    { promptTokens: 0, cachedTokens: 0, completionTokens: 0 },
    { ...usage, promptTokens: 1_000_000_000 },
  ];
  return { result, usage: lies[Math.floor(random.next() * lies.length)] ?? usage };
}
