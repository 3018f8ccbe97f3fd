/**
 * A server that answers as kept exchanges say, byte by byte: each answer is written in pieces of so many bytes, each a chunk of
 * HTTP of its own and a write of its own, so that lines, events and characters are cut wherever that falls.
 */
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import { once } from "node:events";
import type { AddressInfo } from "node:net";
import type { Exchange } from "./exchanges.ts";

export interface ExchangeServer {
  readonly url: string;
  /** Requests that none of the exchanges is for: they were answered with 404. */
  readonly strange: readonly string[];
  close(): Promise<void>;
}

export async function startExchangeServer(
  exchanges: readonly Exchange[],
  { pieceBytes }: { readonly pieceBytes: number },
): Promise<ExchangeServer> {
  const used = new Set<Exchange>();
  const strange: string[] = [];

  /**
   * Of those that want the most of the request, the first that was not used yet; what is asked again and again is answered as
   * it was last.
   */
  function choose(line: string, body: unknown): Exchange | null {
    const all = exchanges.filter(({ request }) => request.line === line && has(body, request.body));
    const most = Math.max(...all.map(({ request }) => leavesOf(request.body)));
    const fitting = all.filter(({ request }) => leavesOf(request.body) === most);
    const chosen = fitting.find((each) => !used.has(each)) ?? fitting.at(-1) ?? null;
    if (chosen !== null) used.add(chosen);
    return chosen;
  }

  async function answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    let text = "";
    for await (const piece of request) text += String(piece);
    const line = `${request.method} ${request.url}`;
    const chosen = choose(line, text === "" ? undefined : JSON.parse(text));
    if (chosen === null) {
      if (request.method !== "GET") strange.push(`${line} ${text}`);
      response.writeHead(404).end('{"detail":"Not Found"}');
      return;
    }
    const { status, headers, chunks, isLeft } = chosen.response;
    response.socket?.setNoDelay(true);
    response.writeHead(status, headers);
    const body = Buffer.from(chunks.join(""));
    for (let at = 0; at < body.length && !response.destroyed; at += pieceBytes) {
      await new Promise<void>((resolve) =>
        response.write(body.subarray(at, at + pieceBytes), () => resolve()),
      );
    }
    if (isLeft !== true) response.end();
  }

  const server = createServer((request, response) => {
    answer(request, response).catch(() => response.destroy());
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  // It listens on a port, so its address is not a pipe's name.
  const { port } = server.address() as AddressInfo;
  return {
    url: `http://127.0.0.1:${port}`,
    strange,
    async close() {
      server.closeAllConnections();
      server.close();
      await once(server, "close");
    },
  };
}

/** Whether all that is wanted is there, at any depth; lists are wanted whole. */
function has(found: unknown, wanted: unknown): boolean {
  if (typeof wanted !== "object" || wanted === null) return found === wanted;
  if (typeof found !== "object" || found === null) return false;
  if (Array.isArray(wanted)) return JSON.stringify(found) === JSON.stringify(wanted);
  const fields = new Map<string, unknown>(Object.entries(found));
  return Object.entries(wanted).every(([key, value]) => has(fields.get(key), value));
}

/** How much it wants. */
function leavesOf(wanted: unknown): number {
  if (wanted === undefined) return 0;
  if (typeof wanted !== "object" || wanted === null || Array.isArray(wanted)) return 1;
  return Object.values(wanted).reduce<number>((sum, value) => sum + leavesOf(value), 0);
}
