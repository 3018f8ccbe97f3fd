/** Numbers for Prometheus, and the small HTTP endpoint that serves them. The only importer of prom-client. */
import { type IncomingMessage, type Server, type ServerResponse, createServer } from "node:http";
import { Counter, Gauge, Histogram, Registry, collectDefaultMetrics } from "prom-client";
import { CoppiceError, messageOf } from "./errors.ts";

export type Labels = Readonly<Record<string, string>>;

export interface MetricGauge {
  set(value: number, labels?: Labels): void;
  /** Forgets every series, so that what is gone is not reported for ever. */
  reset(): void;
}

export interface MetricCounter {
  add(amount: number, labels?: Labels): void;
  /** Forgets every series: for a count that somebody else keeps and that is added whole at each scrape. */
  reset(): void;
}

export interface MetricHistogram {
  observe(value: number, labels?: Labels): void;
}

/** A family of series: its name (units last, as Prometheus wants them), what it means, and its labels. */
export interface MetricFamily {
  readonly name: string;
  readonly about: string;
  readonly labels?: readonly string[];
}

/** Asking twice for one name gives the same family. */
export interface Metrics {
  gauge(family: MetricFamily): MetricGauge;
  counter(family: MetricFamily): MetricCounter;
  /** @param buckets Upper bounds, ascending. */
  histogram(family: MetricFamily, buckets?: readonly number[]): MetricHistogram;
  /** Called before every scrape: for gauges that are read rather than kept. */
  beforeScrape(collect: () => void): void;
  /** Adds series that somebody else counts, as lines of the text format, read at every scrape. */
  addText(read: () => string): void;
  /** The text that Prometheus scrapes. */
  text(): Promise<string>;
}

const SECONDS_BUCKETS = [0.001, 0.005, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300];

/** A registry of its own. `hasProcessMetrics` adds memory, CPU and event-loop lag of this process. */
export function createMetrics(options: { readonly hasProcessMetrics?: boolean } = {}): Metrics {
  const registry = new Registry();
  if (options.hasProcessMetrics === true) collectDefaultMetrics({ register: registry });
  const collectors: (() => void)[] = [];
  const texts: (() => string)[] = [];
  const families = new Map<string, Gauge | Counter | Histogram>();
  const settings = ({ name, about, labels }: MetricFamily) => {
    return { name, help: about, labelNames: [...(labels ?? [])], registers: [registry] };
  };
  function family<F extends Gauge | Counter | Histogram>(name: string, make: () => F): F {
    const known = families.get(name) ?? make();
    families.set(name, known);
    // One name is one kind: asking for it as another kind is a programmer's error that the first use shows.
    return known as F;
  }
  return {
    gauge(declared) {
      const gauge = family(declared.name, () => new Gauge(settings(declared)));
      return { set: (value, labels = {}) => gauge.set(labels, value), reset: () => gauge.reset() };
    },
    counter(declared) {
      const counter = family(declared.name, () => new Counter(settings(declared)));
      return { add: (amount, labels = {}) => counter.inc(labels, amount), reset: () => counter.reset() };
    },
    histogram(declared, buckets = SECONDS_BUCKETS) {
      const make = () => new Histogram({ ...settings(declared), buckets: [...buckets] });
      const histogram = family(declared.name, make);
      return { observe: (value, labels = {}) => histogram.observe(labels, value) };
    },
    beforeScrape: (collect) => void collectors.push(collect),
    addText: (read) => void texts.push(read),
    text: async () => {
      for (const collect of collectors) collect();
      return [await registry.metrics(), ...texts.map((read) => read())].join("\n");
    },
  };
}

/** Limits of the endpoint, with their defaults (I7). */
export interface MetricsLimits {
  readonly connectionsMax: number;
  readonly requestMs: number;
  readonly headerBytesMax: number;
}

export const DEFAULT_METRICS_LIMITS: MetricsLimits = {
  connectionsMax: 64,
  requestMs: 5_000,
  headerBytesMax: 8_192,
};

export interface MetricsServerOptions {
  readonly metrics: Metrics;
  /** `host:port`; `:9090` listens on loopback only, port 0 takes a free one. */
  readonly address: string;
  /** Null when healthy; what is wrong otherwise, answered with 503. */
  readonly complaint?: () => string | null;
  readonly limits?: Partial<MetricsLimits>;
}

export interface MetricsServer {
  /** Where it listens, with the port that was taken. */
  readonly address: string;
  close(): Promise<void>;
}

/**
 * Serves `/metrics` and `/healthz`.
 * @throws invalid_argument for an address that is none, unavailable for one that is taken.
 */
export async function serveMetrics(options: MetricsServerOptions): Promise<MetricsServer> {
  const limits = { ...DEFAULT_METRICS_LIMITS, ...options.limits };
  const { host, port } = parseAddress(options.address);
  const server = createServer(
    {
      maxHeaderSize: limits.headerBytesMax,
      requestTimeout: limits.requestMs,
      headersTimeout: limits.requestMs,
    },
    (request, response) => void answer(request, response, options),
  );
  server.maxConnections = limits.connectionsMax;
  await listen(server, { host, port, given: options.address });
  const bound = server.address();
  const boundPort = typeof bound === "object" && bound !== null ? bound.port : port;
  return {
    address: `${host.includes(":") ? `[${host}]` : host}:${boundPort}`,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}

/** `host:port`, `[::1]:port` or `:port`. */
export function parseAddress(address: string): { readonly host: string; readonly port: number } {
  const parts = /^(?:\[([^\]]+)\]|([^:]*)):(\d{1,5})$/.exec(address);
  const port = Number(parts?.[3]);
  if (parts === null || port > 65_535) {
    throw new CoppiceError(
      "invalid_argument",
      `expected HOST:PORT such as 127.0.0.1:9090, found ${JSON.stringify(address)}`,
    );
  }
  return { host: parts[1] ?? (parts[2] || "127.0.0.1"), port };
}

function listen(server: Server, at: { host: string; port: number; given: string }): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once("error", (error) => {
      const message = `cannot listen on ${at.given}: ${messageOf(error)}`;
      reject(new CoppiceError("unavailable", message, { cause: error, isRetryable: false }));
    });
    server.listen(at.port, at.host, resolve);
  });
}

async function answer(
  request: IncomingMessage,
  response: ServerResponse,
  options: MetricsServerOptions,
): Promise<void> {
  const path = (request.url ?? "/").split("?")[0];
  try {
    if (request.method !== "GET" && request.method !== "HEAD") return send(response, 405, "only GET\n");
    if (path === "/metrics") return send(response, 200, await options.metrics.text());
    if (path !== "/healthz") return send(response, 404, "there are /metrics and /healthz\n");
    const complaint = options.complaint?.() ?? null;
    send(response, complaint === null ? 200 : 503, `${complaint ?? "ok"}\n`);
  } catch (error) {
    send(response, 500, `${messageOf(error)}\n`);
  }
}

function send(response: ServerResponse, status: number, body: string): void {
  response.writeHead(status, { "content-type": "text/plain; version=0.0.4; charset=utf-8" });
  response.end(body);
}
