/** What every strategy keeps, whatever it does: run over the whole catalogue, and over any new strategy. */
import { describe, expect, it } from "vitest";
import { createRandom, deriveSeed } from "../../services/runtime/random.ts";
import type { Ask, Loss } from "../../services/search/program.ts";
import { rootPrefix, Search } from "../../services/search/search.ts";
import type { SearchOptions } from "../../services/search/search.ts";
import type { ParameterValues, Strategy } from "../../services/search/strategy.ts";
import { withDefaults } from "../../services/search/strategy.ts";
import {
  describeAsk,
  describeCandidate,
  describeOutcome,
  describeTold,
  drive,
  PROBLEM,
  replay,
  settle,
} from "../search/drive.ts";
import type { DriveOptions, Trace } from "../search/drive.ts";
import { syntheticAnswer } from "../search/synthetic-task.ts";
import { IS_LONG } from "../support/long.ts";

const SEEDS = Array.from({ length: IS_LONG ? 100 : 10 }, (_, seed) => seed);
const LOST_SHARE = 0.3;

export interface StrategyCase {
  readonly strategy: Strategy;
  /** Small ones: a run should take some dozens of asks. */
  readonly parameters: readonly Partial<ParameterValues<Strategy["parameters"]>>[];
}

/** Describes the suite for one strategy. */
export function strategyConformance({ strategy, parameters }: StrategyCase): void {
  const sets = parameters.map((given) => withDefaults(strategy.parameters, given));
  const runs = SEEDS.flatMap((seed) => sets.map((values) => ({ seed, values })));

  function createSearch(
    values: ParameterValues<Strategy["parameters"]>,
    options: SearchOptions = {},
  ): Search {
    const prompt = rootPrefix("problem\n");
    const draw = (name: string): number => createRandom(deriveSeed(1, "draw", name)).next();
    return new Search(() => strategy.search(prompt, values, PROBLEM), { draw, ...options });
  }
  const answers = (seed: number): DriveOptions => ({ answer: (ask) => syntheticAnswer(seed, ask) });
  const shuffled = (seed: number, order: number): DriveOptions => ({
    ...answers(seed),
    random: createRandom(deriveSeed(seed, "order", order)),
  });
  const lossy =
    (seed: number, lost: Loss["reason"] = "lost") =>
    (ask: Ask): Loss | null => {
      const draw = createRandom(deriveSeed(seed, "loss", ask.id)).next();
      return draw < LOST_SHARE ? { reason: lost, message: `lost ${ask.id}` } : null;
    };

  describe(`strategy ${strategy.name}`, () => {
    it("declares defaults within their limits, and right together", () => {
      for (const parameter of Object.values(strategy.parameters)) {
        if (parameter.type === "choice") expect(parameter.choices).toContain(parameter.default);
        if (parameter.type === "integer" || parameter.type === "number") {
          expect(parameter.default).toBeGreaterThanOrEqual(parameter.min);
          expect(parameter.default).toBeLessThanOrEqual(parameter.max);
        }
      }
      expect(strategy.check?.(withDefaults(strategy.parameters)) ?? null).toBeNull();
    });

    it("asks no more than its cost, and of verifiers and tools only what it says it needs", () => {
      for (const { seed, values } of runs) {
        const { asks } = drive(createSearch(values), shuffled(seed, 0));
        const cost = strategy.cost(values);
        expect(asks.filter((ask) => ask.kind === "sample").length).toBeLessThanOrEqual(cost.rollouts);
        expect(asks.filter((ask) => ask.kind === "verify").length).toBeLessThanOrEqual(cost.verifications);
        const { processVerifier = false, likelihood = false, tools = [] } = strategy.needs(values);
        for (const ask of asks) {
          if (ask.kind !== "verify") continue;
          if (ask.role === "process") expect(processVerifier).toBe(true);
          if (ask.role === "likelihood") expect(likelihood).toBe(true);
          if (ask.role === "tool") expect(tools).toContain(ask.tool);
        }
      }
    });

    it("ends with an outcome that is one of its candidates", () => {
      for (const { seed, values } of runs) {
        const search = createSearch(values);
        drive(search, shuffled(seed, 0));
        expect(search.end?.kind).toBe("outcome");
        expect(search.candidates).toContain(search.outcome?.candidate);
        const indexes = search.candidates.map((candidate) => candidate.index);
        expect(new Set(indexes).size).toBe(indexes.length);
      }
    });

    it("asks the same again and ends the same when its journal is replayed", () => {
      for (const { seed, values } of runs) {
        const first = createSearch(values);
        const trace = drive(first, { ...shuffled(seed, 1), lose: lossy(seed) });
        const again = createSearch(values);
        expect(shapeOf(replay(again, trace.journal))).toEqual(shapeOf(trace));
        expect(describeOutcome(again.outcome)).toBe(describeOutcome(first.outcome));
        expect(again.end?.kind).toBe(first.end?.kind);
      }
    });

    it("is not changed by answers that come twice or late", () => {
      const nothing = { asked: [], withdrawn: [], told: [], ended: false };
      for (const { seed, values } of runs) {
        const search = createSearch(values);
        const trace = drive(search, {
          ...shuffled(seed, 2),
          onTold: (entry) => expect(settle(search, entry)).toEqual(nothing),
        });
        const outcome = describeOutcome(search.outcome);
        for (const ask of trace.asks) {
          expect(search.tell(ask.id, syntheticAnswer(seed, ask))).toEqual(nothing);
          expect(search.fail(ask.id, { reason: "lost", message: "late" })).toEqual(nothing);
        }
        expect(search.tell("0.999/0", { kind: "verdict", verdict: anyVerdict })).toEqual(nothing);
        expect(describeOutcome(search.outcome)).toBe(outcome);
        const undisturbed = createSearch(values);
        expect(shapeOf(drive(undisturbed, shuffled(seed, 2)))).toEqual(shapeOf(trace));
      }
    });

    it.skipIf(strategy.isOrderAdaptive)("asks and ends the same in whatever order answers arrive", () => {
      for (const { seed, values } of runs) {
        const [inTurn, mixed] = [createSearch(values), createSearch(values)];
        const expected = drive(inTurn, { ...answers(seed), lose: lossy(seed) });
        const found = drive(mixed, { ...shuffled(seed, 3), lose: lossy(seed) });
        expect(found.asks.map(describeAsk).toSorted()).toEqual(expected.asks.map(describeAsk).toSorted());
        expect(describeOutcome(mixed.outcome)).toBe(describeOutcome(inTurn.outcome));
      }
    });

    it("in order, is told the same sequence and ends the same in whatever order answers arrive", () => {
      for (const { seed, values } of runs) {
        const [inTurn, mixed] = [
          createSearch(values, { inOrder: true }),
          createSearch(values, { inOrder: true }),
        ];
        const expected = drive(inTurn, { ...answers(seed), lose: lossy(seed) });
        const found = drive(mixed, { ...shuffled(seed, 4), lose: lossy(seed) });
        expect(describeTold(found)).toEqual(describeTold(expected));
        expect(describeOutcome(mixed.outcome)).toBe(describeOutcome(inTurn.outcome));
        expect(describeCandidate(mixed.best)).toBe(describeCandidate(inTurn.best));
      }
    });

    it("ends, by an outcome or a loss, when any of its asks are lost", () => {
      for (const { seed, values } of runs) {
        const search = createSearch(values);
        drive(search, { ...shuffled(seed, 5), lose: lossy(seed) });
        expect(search.end?.kind).toMatch(/^(?:outcome|lost)$/u);
        if (search.candidates.length > 0) expect(search.candidates).toContain(search.outcome?.candidate);
      }
    });

    it("ends by the loss when everything is lost", () => {
      for (const { seed, values } of runs) {
        const search = createSearch(values);
        drive(search, { ...answers(seed), lose: () => ({ reason: "lost", message: "host gone" }) });
        expect(search.loss).toMatchObject({ reason: "lost" });
        expect(search.best).toBeNull();
      }
    });

    it("asks for no rollout after a refused one, and ends with what it has", () => {
      for (const { seed, values } of runs) {
        const search = createSearch(values);
        const refusedFrom = seed;
        let isRefused = false;
        const sampledLate: Ask[] = [];
        drive(search, {
          ...shuffled(seed, 6),
          lose(ask, settled) {
            return ask.kind === "sample" && settled >= refusedFrom
              ? { reason: "budget", message: "no budget" }
              : null;
          },
          onTold({ loss }, step) {
            isRefused ||= loss !== null;
            if (isRefused) sampledLate.push(...step.asked.filter((ask) => ask.kind === "sample"));
          },
        });
        expect(sampledLate).toEqual([]);
        if (search.candidates.length > 0) expect(search.candidates).toContain(search.outcome?.candidate);
        else if (isRefused) expect(search.loss?.reason).toBe("budget");
      }
    });

    it.skipIf(strategy.grows === undefined)(
      "goes on from all that it was told when what may grow has grown",
      () => {
        for (const { seed, values } of runs) {
          const trace = drive(createSearch(values), { ...shuffled(seed, 8), lose: lossy(seed) });
          for (const name of strategy.grows ?? []) {
            const more = { ...values, [name]: Number(values[name]) * 2 + 1 };
            const again = createSearch(more);
            const replayed = replay(again, trace.journal);
            expect(replayed.told).toEqual(trace.told);
            const asked = new Map(replayed.asks.map((ask) => [ask.id, describeAsk(ask)]));
            for (const ask of trace.asks) expect(asked.get(ask.id)).toBe(describeAsk(ask));
          }
        }
      },
    );

    it("withdraws every open ask when it is cancelled, and keeps its best", () => {
      for (const { seed, values } of runs) {
        const search = createSearch(values);
        const trace = drive(search, { ...shuffled(seed, 7), answersMax: seed * 2 });
        if (search.isEnded) continue;
        const best = describeCandidate(search.best);
        const settled = new Set([...trace.journal.map((entry) => entry.ask), ...trace.withdrawn]);
        const open = trace.asks.map((ask) => ask.id).filter((id) => !settled.has(id));
        const step = search.cancel();
        expect([...step.withdrawn].toSorted()).toEqual(open.toSorted());
        expect(step).toMatchObject({ asked: [], ended: true });
        expect(search.openAsks).toBe(0);
        expect(describeCandidate(search.best)).toBe(best);
        expect(search.cancel()).toMatchObject({ ended: false });
      }
    });
  });
}

const anyVerdict = { verdict: "correct", score: 1, answer: "x", reason: null } as const;

function shapeOf(trace: Trace): unknown {
  return { asks: trace.asks.map(describeAsk), withdrawn: trace.withdrawn, told: trace.told };
}
