/** A process that takes run directories when it is told to, for tests of who gets one; speaks over the channel of `fork`. */
import { join } from "node:path";
import { NOTHING } from "../../services/coordinator/amount.ts";
import { Journal } from "../../services/coordinator/journal.ts";
import { Rows } from "../../services/coordinator/run-directory.ts";
import { holderOf, lockRunDirectory, type HeldRun } from "../../services/coordinator/run-lock.ts";
import { messageOf } from "../../services/runtime/errors.ts";

export type Command =
  | { readonly kind: "take"; readonly path: string }
  /** Takes it as a process of another machine would, with its journal and its rows. */
  | { readonly kind: "hold"; readonly path: string; readonly beatMs: number }
  | { readonly kind: "write"; readonly ask: string };

export type Reply =
  | { readonly kind: "took"; readonly generation: number }
  | { readonly kind: "wrote"; readonly ask: string }
  | { readonly kind: "lost"; readonly message: string }
  | { readonly kind: "refused"; readonly message: string };

const NOTHING_SPENT = {
  usage: { promptTokens: 0, completionTokens: 0, cachedTokens: 0 },
  charge: NOTHING,
};

let journal: Journal | null = null;
let rows: Rows | null = null;
/** Kept, so that nothing lets go of it. */
let held: HeldRun | null = null;

function reply(message: Reply): void {
  process.send?.(message);
}

async function hold(path: string, beatMs: number): Promise<void> {
  const holder = { ...(await holderOf(process.pid)), host: "elsewhere", place: "another machine" };
  held = await lockRunDirectory(path, {
    holder,
    limits: { beatMs },
    onLost: (error) => reply({ kind: "lost", message: error.message }),
  });
  ({ journal } = await Journal.reopen(join(path, "journal"), () => undefined, {
    generation: held.generation,
  }));
  rows = await Rows.open(path, { rolloutsEnd: 0, resultsEnd: 0 });
  reply({ kind: "took", generation: held.generation });
}

async function obey(command: Command): Promise<void> {
  switch (command.kind) {
    case "take": {
      const { generation } = await lockRunDirectory(command.path);
      return reply({ kind: "took", generation });
    }
    case "hold":
      return hold(command.path, command.beatMs);
    case "write": {
      const { ask } = command;
      await rows?.append([{ ask }], { ask });
      await journal?.append({
        kind: "loss",
        task: "a/p1",
        ask,
        loss: { reason: "lost", message: "" },
        ...NOTHING_SPENT,
      });
      return reply({ kind: "wrote", ask });
    }
  }
}

process.on("message", (command: Command) => {
  obey(command).catch((error: unknown) => reply({ kind: "refused", message: messageOf(error) }));
});
