/** A server of the user's that judges: candidates by POST, verdicts in its answer. */
import { CoppiceError } from "../../../services/runtime/errors.ts";
import { apiKeyOf } from "../../api-key.ts";
import { defineOutsideVerifier, type OutsideJudge, type OutsideParts } from "../outside-verifier.ts";
import { quote, type COMMON_OPTIONS, type OptionValues } from "../verifier.ts";
import { DEFAULT_HTTP_BENCH_LIMITS, HttpBench, type HttpBenchLimits } from "./http-bench.ts";
import { PerSpecification } from "./per-specification.ts";

/**
 * Whoever writes a sweep names an address and a variable of the worker's environment: only what the machine's owner named so
 * may be sent there.
 */
const KEY_PREFIX = "COPPICE_VERIFIER_";

const OPTIONS = {
  url: {
    type: "text",
    default: null,
    about: "The address that candidates are posted to, http or https; required.",
  },
  batch_max: {
    type: "integer",
    default: 1,
    min: 1,
    max: 1_024,
    about: "Candidates in one request; its time limit is timeout_ms for each of them.",
  },
  concurrency: {
    type: "integer",
    default: 16,
    min: 1,
    max: 4_096,
    about: "Requests at once.",
  },
  api_key_env: {
    type: "text",
    default: null,
    about:
      "The environment variable of the worker that holds a key, sent as a bearer token; it must begin with COPPICE_VERIFIER_.",
  },
} as const;

type Options = OptionValues<typeof OPTIONS & typeof COMMON_OPTIONS>;

export const http = defineOutsideVerifier({
  kind: "http",
  about: "A server of your own: candidates by POST as JSON, verdicts in its answer.",
  options: OPTIONS,
  isRepeatable: false,
  runsCommands: false,
  queues: true,
  check({ url, api_key_env }) {
    checkUrl(url);
    if (api_key_env === null || api_key_env.startsWith(KEY_PREFIX)) return;
    throw new CoppiceError(
      "invalid_argument",
      `verifier http: api_key_env must begin with ${KEY_PREFIX}, found ${quote(api_key_env)}`,
    );
  },
  open: createHttpJudge,
});

function checkUrl(url: string | null): void {
  const complain = (found: string): never => {
    const expected = "verifier http: url must be an address such as http://gpu1:8000/verify";
    throw new CoppiceError("invalid_argument", `${expected}, found ${found}`);
  };
  if (url === null) return complain("none");
  if (!/^https?:\/\/[^/]/i.test(url) || !URL.canParse(url)) return complain(quote(url));
  const { username, password } = new URL(url);
  // It would stand in sweep files, logs and errors.
  if (username !== "" || password !== "") complain("one with a name or password; use api_key_env");
}

export function createHttpJudge(
  parts: OutsideParts,
  limits: Partial<HttpBenchLimits> = {},
): OutsideJudge<typeof OPTIONS> {
  const open = ({ url, ...options }: Options): HttpBench => {
    checkUrl(url);
    const address = new URL(url ?? "").href;
    return new HttpBench({
      url: address,
      apiKey: apiKeyOf({ url: address, api_key_env: options.api_key_env }, parts.env),
      concurrency: options.concurrency,
      batchMax: options.batch_max,
      timeoutMs: options.timeout_ms,
      clock: parts.clock,
      limits: { ...DEFAULT_HTTP_BENCH_LIMITS, ...limits },
    });
  };
  const benches = new PerSpecification(open);
  return {
    verify: async (candidate, options, signal) => await benches.of(options).verify(candidate, signal),
    close: () => benches.close(),
  };
}
