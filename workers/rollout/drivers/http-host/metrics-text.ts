/** Prometheus' text format, as engines expose it. Pure; what is not a sample is passed over. */

export interface MetricSample {
  readonly labels: ReadonlyMap<string, string>;
  readonly value: number;
}

export type MetricSamples = ReadonlyMap<string, readonly MetricSample[]>;

const SAMPLE = /^([A-Za-z_:][A-Za-z0-9_:]*)(?:\{(.*)\})?\s+(\S+)/;
const LABEL = /([A-Za-z_][A-Za-z0-9_]*)="((?:[^"\\]|\\.)*)"/g;

export function readMetrics(text: string): MetricSamples {
  const samples = new Map<string, MetricSample[]>();
  for (const line of text.split("\n")) {
    const found = SAMPLE.exec(line.trim());
    const value = Number(found?.[3]?.replace(/^\+?Inf$/, "Infinity") ?? Number.NaN);
    if (found?.[1] === undefined || Number.isNaN(value)) continue;
    const labels = new Map(
      [...(found[2] ?? "").matchAll(LABEL)].map(([, key, said]) => [key ?? "", said ?? ""]),
    );
    const same = samples.get(found[1]);
    if (same === undefined) samples.set(found[1], [{ labels, value }]);
    else same.push({ labels, value });
  }
  return samples;
}

type Labels = Readonly<Record<string, string>>;

/** The samples of the first of the names that has any: an engine's metrics change their names between releases. */
export function samplesOf(
  metrics: MetricSamples,
  names: readonly string[],
  labels: Labels = {},
): readonly MetricSample[] {
  for (const name of names) {
    const samples = (metrics.get(name) ?? []).filter((sample) =>
      Object.entries(labels).every(([key, value]) => sample.labels.get(key) === value),
    );
    if (samples.length > 0) return samples;
  }
  return [];
}

/** Null where there is none. */
export function sumOf(samples: readonly MetricSample[]): number | null {
  return samples.length === 0 ? null : samples.reduce((sum, { value }) => sum + value, 0);
}

/** Null where there is none. */
export function mostOf(samples: readonly MetricSample[]): number | null {
  return samples.length === 0 ? null : Math.max(...samples.map(({ value }) => value));
}

/** One sample of each group that differs in a label, the greatest: ranks that work on the same say the same. */
export function mostByLabel(samples: readonly MetricSample[], label: string): readonly MetricSample[] {
  const most = new Map<string, MetricSample>();
  for (const sample of samples) {
    const key = sample.labels.get(label) ?? "";
    if (sample.value > (most.get(key)?.value ?? -Infinity)) most.set(key, sample);
  }
  return [...most.values()];
}
