import { createLocalLink } from "../../services/link/local-link.ts";
import { systemClock } from "../../services/runtime/clock.ts";
import { createRandom } from "../../services/runtime/random.ts";
import { TestDesk, linkConformance } from "../conformance/link.ts";

linkConformance("local-link", async () => {
  const desk = new TestDesk();
  const options = { clock: systemClock, random: createRandom(1), limits: { backoffMinMs: 1 } };
  return { desk, createLink: () => createLocalLink(desk, options), close: async () => {} };
});
