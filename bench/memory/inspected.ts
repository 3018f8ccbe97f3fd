/** The heap of a Node process that runs with `--inspect`, asked over the DevTools protocol: the process runs the shipped command. */
import { readFile } from "node:fs/promises";

export interface HeapSample {
  /** Of live objects, right after a full collection; Buffers stand outside of it, in `externalBytes`. */
  readonly heapBytes: number;
  readonly externalBytes: number;
  readonly rssBytes: number;
  /** Processor time that the process has used since it began. */
  readonly cpuSeconds: number;
}

type Usage = NodeJS.MemoryUsage & { readonly cpu: NodeJS.CpuUsage };

const ANSWER_MS_MAX = 60_000;

export class Inspected {
  readonly #socket: WebSocket;
  readonly #waiting = new Map<number, (result: unknown) => void>();
  #next = 1;

  private constructor(socket: WebSocket) {
    this.#socket = socket;
    socket.addEventListener("message", ({ data }) => {
      const { id, result } = JSON.parse(String(data));
      this.#waiting.get(id)?.(result);
      this.#waiting.delete(id);
    });
  }

  /** @param log The process's standard error, where it says its inspector's address. */
  static async connect(log: string): Promise<Inspected> {
    const address = /Debugger listening on (ws:\S+)/.exec(await readFile(log, "utf8"))?.[1];
    if (address === undefined) throw new Error(`${log}: expected the address of an inspector, found none`);
    const socket = new WebSocket(address);
    await new Promise((done, fail) => {
      socket.addEventListener("open", done, { once: true });
      socket.addEventListener("error", () => fail(new Error(`no inspector at ${address}`)), { once: true });
    });
    return new Inspected(socket);
  }

  /** After a forced collection. */
  async heap(): Promise<HeapSample> {
    await this.#call("HeapProfiler.collectGarbage");
    const answer = await this.#call("Runtime.evaluate", {
      expression: "({ ...process.memoryUsage(), cpu: process.cpuUsage() })",
      returnByValue: true,
    });
    // The protocol's answer to `returnByValue`.
    const { value } = (answer as { readonly result: { readonly value: Usage } }).result;
    const { heapUsed, external, rss, cpu } = value;
    const cpuSeconds = (cpu.user + cpu.system) / 1e6;
    return { heapBytes: heapUsed, externalBytes: external, rssBytes: rss, cpuSeconds };
  }

  close(): void {
    this.#socket.close();
  }

  #call(method: string, params: Readonly<Record<string, unknown>> = {}): Promise<unknown> {
    const id = this.#next++;
    return new Promise((done, fail) => {
      const limit = setTimeout(
        () => fail(new Error(`${method}: no answer in ${ANSWER_MS_MAX} ms`)),
        ANSWER_MS_MAX,
      );
      this.#waiting.set(id, (result) => {
        clearTimeout(limit);
        done(result);
      });
      this.#socket.send(JSON.stringify({ id, method, params }));
    });
  }
}
