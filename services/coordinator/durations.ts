/** How long the asks of an arm took of late, host by host, from their sending to their answer: what hedging compares with. */

/** Answers that a host is judged by: the latest. */
const SAMPLES_MAX = 64;
/** Nearly all of them took no longer. */
const QUANTILE = 0.95;

export interface DurationSample {
  readonly host: string;
  readonly ms: number;
}

interface Window {
  readonly samples: number[];
  next: number;
  /** Null until it is asked for again. */
  quantileMs: number | null;
}

interface ArmWindows {
  readonly hosts: Map<string, Window>;
  /** The two hosts that were fastest, the fastest first; null until they are asked for again. */
  fastest: readonly DurationSample[] | null;
}

/** Memory grows with arms times hosts, not with asks. */
export class Durations {
  readonly #samplesMin: number;
  readonly #arms = new Map<string, ArmWindows>();

  constructor(samplesMin: number) {
    this.#samplesMin = Math.min(samplesMin, SAMPLES_MAX);
  }

  add(arm: string, { host, ms }: DurationSample): void {
    let windows = this.#arms.get(arm);
    if (windows === undefined) this.#arms.set(arm, (windows = { hosts: new Map(), fastest: null }));
    let window = windows.hosts.get(host);
    if (window === undefined) windows.hosts.set(host, (window = { samples: [], next: 0, quantileMs: null }));
    windows.fastest = null;
    window.samples[window.next] = ms;
    window.next = (window.next + 1) % SAMPLES_MAX;
    window.quantileMs = null;
  }

  /** The least, over the other hosts, of what nearly all asks of the arm took there; null where none has enough samples. */
  fastestElsewhereMs(arm: string, host: string): number | null {
    const windows = this.#arms.get(arm);
    if (windows === undefined) return null;
    windows.fastest ??= this.#fastestTwo(windows.hosts);
    return windows.fastest.find((each) => each.host !== host)?.ms ?? null;
  }

  #fastestTwo(hosts: ReadonlyMap<string, Window>): readonly DurationSample[] {
    const judged: DurationSample[] = [];
    for (const [host, window] of hosts) {
      if (window.samples.length < this.#samplesMin) continue;
      window.quantileMs ??= quantileOf(window.samples);
      judged.push({ host, ms: window.quantileMs });
    }
    return judged.toSorted((a, b) => a.ms - b.ms).slice(0, 2);
  }
}

function quantileOf(samples: readonly number[]): number {
  const sorted = samples.toSorted((a, b) => a - b);
  return sorted[Math.ceil(sorted.length * QUANTILE) - 1] ?? 0;
}
