import { describe, expect, test } from "vitest";
import { costOf, isOverrun } from "../../services/coordinator/ask-cost.ts";
import type { OpenAsk } from "../../services/coordinator/backlog.ts";
import { Effort } from "../../services/coordinator/effort.ts";
import { Ledger } from "../../services/coordinator/ledger.ts";
import { type Prices, tokenPrice, tokenPriceMax } from "../../services/coordinator/prices.ts";
import { PromptBound, TEMPLATE_TOKENS_MAX } from "../../services/coordinator/prompt-bound.ts";
import { flopsOf } from "../../services/coordinator/usage.ts";
import { NO_TOKENS, UNKNOWN_TOKENS } from "../../services/queue/job.ts";
import { JOINT_TOKENS_MAX, SPECIAL_TOKENS_MAX, textTokensMax } from "../../services/queue/token-bound.ts";
import { rootPrefix } from "../../services/search/search.ts";
import { amount, NO_ARM_BUDGET, NO_BUDGET } from "../support/budget.ts";

/** 0.15, 0.075 and 0.60 dollars for a million tokens. */
const PRICES: Prices = {
  prompt: 150_000,
  cached: 75_000,
  completion: 600_000,
  verifier: 1_000_000,
  gpuHour: 0,
};
const ledger = new Ledger({ budget: NO_BUDGET, arms: [{ id: "a", budget: NO_ARM_BUDGET }] });

function openAsk(kind: "sample" | "verify", worst: Parameters<typeof amount>[0]): OpenAsk {
  const prefix = rootPrefix("p");
  return {
    ask:
      kind === "sample"
        ? { kind, id: "0/0", prefix, options: {}, sample: 0 }
        : { kind, id: "0/0", role: "process", tool: null, prefix, of: null },
    route: { kind: "host", model: "m", can: new Set() },
    issued: 0,
    isWithdrawn: false,
    job: "j",
    dispatches: 1,
    reservation: ledger.reserve(ledger.accountOf("a/p", "a"), amount(worst)),
    accepting: null,
    isHedge: false,
    effort: new Effort(),
  };
}

const SAMPLE = { rollouts: 1, completionTokens: 100, totalTokens: 150, usdMicros: 68 };

describe("an ask's cost", () => {
  test("is what was counted, with cached tokens at their price", () => {
    const usage = { promptTokens: 40, cachedTokens: 30, completionTokens: 50 };
    const cost = costOf(openAsk("sample", SAMPLE), usage, { prices: PRICES, isAccepted: true });
    expect(cost).toEqual(
      // 10 * 0.15 + 30 * 0.075 + 50 * 0.6 = 33.75 millionths, rounded up.
      amount({ rollouts: 1, completionTokens: 50, totalTokens: 90, usdMicros: 34 }),
    );
  });

  test("is the worst in what nobody counted, cached tokens as if there were none", () => {
    const how = { prices: PRICES, isAccepted: false };
    const worst = costOf(openAsk("sample", SAMPLE), UNKNOWN_TOKENS, how);
    expect(worst).toEqual(amount({ ...SAMPLE, rollouts: 0 }));
    const counted = { promptTokens: 40, cachedTokens: null, completionTokens: 50 };
    expect(costOf(openAsk("sample", SAMPLE), counted, how).usdMicros).toBe(36);
    expect(costOf(openAsk("sample", SAMPLE), NO_TOKENS, how)).toEqual(amount({}));
  });

  test("is never more than was reserved, whatever a host claims", () => {
    const usage = { promptTokens: 1_000, cachedTokens: 0, completionTokens: 1_000 };
    const open = openAsk("sample", SAMPLE);
    expect(costOf(open, usage, { prices: PRICES, isAccepted: true })).toEqual(amount(SAMPLE));
    expect(isOverrun(open, usage)).toBe(true);
    expect(isOverrun(open, { promptTokens: 50, cachedTokens: 0, completionTokens: 100 })).toBe(false);
  });

  test("of a verification by a model is its tokens; of one that asked none nothing", () => {
    const usage = { promptTokens: 30, cachedTokens: 4, completionTokens: 1 };
    const how = { prices: PRICES, isAccepted: true };
    const open = openAsk("verify", { verifierTokens: 80, usdMicros: 80 });
    expect(costOf(open, usage, how)).toEqual(amount({ verifierTokens: 31, usdMicros: 31 }));
    expect(costOf(open, UNKNOWN_TOKENS, how)).toEqual(amount({ verifierTokens: 80, usdMicros: 80 }));
    expect(costOf({ ...open, reservation: null }, usage, how)).toEqual(amount({}));
  });

  test("at most counts every prompt token at what costs more, cached or not", () => {
    const tokens = { prompt: 100, completion: 10, verifier: 0 };
    expect(tokenPriceMax(PRICES, tokens)).toBe(tokenPrice(PRICES, { ...tokens, cached: 0 }));
    const odd = { ...PRICES, cached: 300_000 };
    expect(tokenPriceMax(odd, tokens)).toBe(tokenPrice(odd, { ...tokens, cached: 100 }));
    expect(tokenPriceMax(null, tokens)).toBe(0);
  });

  test("in FLOPs is two for each parameter and computed token, unknown where either is", () => {
    const usage = { promptTokens: 100, cachedTokens: 90, completionTokens: 20 };
    expect(flopsOf(usage, 7e9)).toBe(2 * 7e9 * 30);
    expect(flopsOf(usage, null)).toBeNull();
    expect(flopsOf({ ...usage, cachedTokens: null }, 7e9)).toBeNull();
    expect(flopsOf(NO_TOKENS, null)).toBe(0);
  });
});

describe("the tokens of a text at most", () => {
  test("are its bytes, also once a tokenizer has normalized it", () => {
    expect(textTokensMax("4 5 6 10\n")).toBe(9);
    expect(textTokensMax("\u00e4")).toBe(2);
    // One character of three bytes, that NFKC makes 18 of; one of four bytes, that NFC makes three of four bytes of.
    expect(textTokensMax("\ufdfa")).toBe(Buffer.byteLength("\ufdfa".normalize("NFKC")));
    expect(textTokensMax("\ud834\udd60")).toBe(12);
    expect(textTokensMax("\ud834")).toBe(3);
  });

  test("of a prompt are those that a host counted, as soon as one has, and bytes behind that", () => {
    const bound = new PromptBound();
    const root = rootPrefix("a prompt of some length");
    const step = root.extend("step 1\n");
    const next = step.extend("step 2, longer\n");
    expect(bound.of(root)).toBe(23 + SPECIAL_TOKENS_MAX);
    expect(bound.of(next)).toBe(23 + 7 + 15 + 2 * JOINT_TOKENS_MAX + SPECIAL_TOKENS_MAX);
    bound.counted(root, 6);
    expect(bound.of(root)).toBe(6 + SPECIAL_TOKENS_MAX);
    expect(bound.of(next)).toBe(6 + 7 + 15 + 2 * JOINT_TOKENS_MAX + SPECIAL_TOKENS_MAX);
    // What was sampled has as many tokens as were sampled, though it has fewer bytes.
    bound.sampled(step, 9);
    expect(bound.of(step)).toBe(6 + 9 + JOINT_TOKENS_MAX + SPECIAL_TOKENS_MAX);
    // A host that claims a million, of the prompt or of what it made, does not make the task dearer than any budget.
    const lie = { promptTokens: 1e6, cachedTokens: 0, completionTokens: 1e6 };
    const lied = new PromptBound();
    lied.saw(root, lie, { continued: step, completionMax: 9 });
    expect(lied.of(step)).toBeLessThan(23 + 9 + TEMPLATE_TOKENS_MAX + 100);
    bound.counted(step, 11);
    expect(bound.of(next)).toBe(11 + 15 + JOINT_TOKENS_MAX + SPECIAL_TOKENS_MAX);
  });
});
