import { afterEach, describe, expect, it } from "vitest";
import type { SegmentId, VerificationJob } from "../../services/queue/job.ts";
import { CoppiceError } from "../../services/runtime/errors.ts";
import { type HostBed, type HostBedOptions, openHostBed, settled, siblings } from "../support/host-bed.ts";

/** More than a hundred tokens. */
const PROBLEM = `${"Reach 24 with these numbers, one step at a time. ".repeat(9)}\n4 5 6 10\n`;

const closing: (() => Promise<void>)[] = [];
afterEach(async () => {
  for (const close of closing.splice(0).toReversed()) await close();
});

async function open(options: HostBedOptions = {}): Promise<HostBed> {
  const bed = await openHostBed({ sharesColdPrefixes: false, holds: ["prefill", "decode"], ...options });
  closing.push(() => bed.close());
  return bed;
}

async function letAllGo(bed: HostBed): Promise<void> {
  while (bed.prefilling.length + bed.decoding.length > 0) {
    for (const held of [...bed.prefilling, ...bed.decoding]) held.letGo();
    await settled();
  }
  await bed.idle();
}

describe("rollout worker: leaders", () => {
  it("sends siblings behind the first token of their leader, where the host computes cold prefixes one by one", async () => {
    const bed = await open();
    await bed.add(siblings("j", [bed.keep(PROBLEM)], 4));
    expect(bed.prefilling.map(({ request }) => request.sample)).toEqual([0]);
    expect(bed.worker.metrics()).toMatchObject({ inFlight: 1, waitingForLeader: 3 });
    bed.prefilling[0]?.letGo();
    await settled();
    // The leader still decodes.
    expect(bed.decoding.map(({ request }) => request.sample)).toEqual([0]);
    expect(bed.prefilling.map(({ request }) => request.sample)).toEqual([1, 2, 3]);
    expect(bed.worker.metrics().waitingForLeader).toBe(0);
    await letAllGo(bed);
    expect(bed.reports).toHaveLength(4);
  });

  it("sends siblings at once where the host shares cold prefixes itself", async () => {
    const bed = await open({ sharesColdPrefixes: true });
    await bed.add(siblings("j", [bed.keep(PROBLEM)], 4));
    expect(bed.prefilling).toHaveLength(4);
    await letAllGo(bed);
  });

  it("sends siblings at once where the prefix is short", async () => {
    const bed = await open();
    await bed.add(siblings("j", [bed.keep("4 5 6 10\n")], 4));
    expect(bed.prefilling).toHaveLength(4);
    await letAllGo(bed);
  });

  it("leaves slots, and jobs in hand, to others while siblings wait", async () => {
    const bed = await open({ concurrency: 2 });
    const root = bed.keep(PROBLEM);
    await bed.add(...[1, 2, 3].map((n) => siblings(`j${n}`, [root], 1)));
    await bed.add(siblings("other", [bed.keep(`Another problem. ${PROBLEM}`)], 1));
    expect(bed.prefilling.map(({ request }) => request.prefix)).toEqual([
      root,
      expect.not.stringMatching(root),
    ]);
    await letAllGo(bed);
    expect(bed.reports).toHaveLength(4);
  });

  it("has the next sibling lead when the leader is withdrawn", async () => {
    const bed = await open();
    await bed.add(siblings("j", [bed.keep(PROBLEM)], 3));
    bed.withdraw({ job: "j", asks: ["j.0", "j.1"] });
    await settled();
    expect(bed.prefilling.map(({ request }) => request.sample)).toEqual([2]);
    expect(bed.reports.map(({ ask, result }) => `${ask} ${result.kind}`).toSorted()).toEqual([
      "j.0 cancelled",
      "j.1 cancelled",
    ]);
    await letAllGo(bed);
  });

  it("has the next sibling lead when the leader fails", async () => {
    const bed = await open();
    await bed.add(siblings("j", [bed.keep(PROBLEM)], 3));
    bed.prefilling[0]?.letGo(new CoppiceError("invalid_argument", "the host does not like it"));
    await settled();
    expect(bed.prefilling.map(({ request }) => request.sample)).toEqual([1]);
    await letAllGo(bed);
    expect(bed.reports.map(({ result }) => result.kind).toSorted()).toEqual([
      "failure",
      "rollout",
      "rollout",
    ]);
  });

  it("waits no more for a leader that has no first token for long", async () => {
    const bed = await open({ limits: { leaderMs: 5_000 } });
    await bed.add(siblings("j", [bed.keep(PROBLEM)], 3));
    await bed.seconds(4);
    expect(bed.prefilling).toHaveLength(1);
    await bed.seconds(1);
    expect(bed.prefilling).toHaveLength(3);
    await letAllGo(bed);
  });

  it("reports when the host had the first token, and hands on the job's priority", async () => {
    const bed = await open();
    await bed.add({ ...siblings("j", [bed.keep(PROBLEM)], 1), priority: 7 });
    expect(bed.prefilling[0]?.request.priority).toBe(7);
    await bed.seconds(2);
    bed.prefilling[0]?.letGo();
    await settled();
    await bed.seconds(3);
    await letAllGo(bed);
    const [report] = bed.reports;
    if (report?.firstTokenMs === undefined) throw new Error("expected a report with a first token");
    expect(report.firstTokenMs - report.startedMs).toBe(2_000);
    expect(report.endedMs - report.firstTokenMs).toBe(3_000);
  });
});

describe("rollout worker: leaders among verifications", () => {
  function judgings(
    bed: HostBed,
    template: string,
    paths: readonly (readonly SegmentId[])[],
  ): VerificationJob {
    const data = { id: "p", prompt: PROBLEM, reference: null, tests: null, metadata: {} };
    return {
      kind: "verification",
      id: "v",
      sweep: "s",
      task: "t",
      problem: "p",
      problemData: bed.keep(JSON.stringify(data)),
      verifier: bed.keep(JSON.stringify({ kind: "judge", template, max_tokens: 4 })),
      asks: paths.map((candidate, n) => ({ id: `v.${n}`, candidate, seed: n })),
    };
  }

  it("sends one judging of a cold path first, and the others behind its first token", async () => {
    const bed = await open();
    const root = bed.keep(PROBLEM);
    const paths = ["one", "two", "three"].map((text) => [root, bed.keep(text, root)]);
    await bed.add(judgings(bed, "{prompt}{text} Is this right?", paths));
    expect(bed.prefilling).toHaveLength(1);
    bed.prefilling[0]?.letGo();
    await settled();
    expect(bed.prefilling).toHaveLength(2);
    await letAllGo(bed);
    expect(bed.reports).toHaveLength(3);
  });

  it("sends them at once where their prompts do not begin with the path", async () => {
    const bed = await open();
    const root = bed.keep(PROBLEM);
    const paths = ["one", "two", "three"].map((text) => [root, bed.keep(text, root)]);
    await bed.add(judgings(bed, "{text}\nIs this right for {prompt}?", paths));
    expect(bed.prefilling).toHaveLength(3);
    await letAllGo(bed);
  });
});
