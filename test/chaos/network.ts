/**
 * A network of this machine's own: a switch (a Linux bridge) with a cable (a veth pair) to the network namespace of each part.
 * A cable that is pulled loses everything in silence, both ways, as a real one does: nobody is told that a peer is gone.
 *
 * Its addresses are of the block for tests of networks (RFC 2544) and reach nothing outside. Needs root and iproute2.
 */
import { spawnSync } from "node:child_process";
import type { Machines } from "../../deploy/local-cluster.ts";

/** The address of this process on the switch. */
const HERE = 254;

export class Network implements Machines {
  readonly #name: string;
  readonly #subnet: string;
  readonly #parts: readonly string[];

  private constructor(id: number, parts: readonly string[]) {
    this.#name = `cop${id}`;
    this.#subnet = `198.18.${id}`;
    this.#parts = parts;
  }

  /** Why there can be none here; null where there can. */
  static obstacle(): string | null {
    if (process.getuid?.() !== 0) return "network namespaces need root";
    if (spawnSync("ip", ["-V"]).status !== 0) return "needs ip (iproute2), which is absent";
    const probe = `copprobe${process.pid % 10_000}`;
    const made = spawnSync("ip", ["link", "add", probe, "type", "bridge"], { encoding: "utf8" });
    if (made.status !== 0) return `no bridge can be made here: ${made.stderr.trim()}`;
    spawnSync("ip", ["link", "del", probe]);
    return null;
  }

  /** @param id From 0 to 255; networks that exist at once take different ones. */
  static create(id: number, parts: readonly string[]): Network {
    const network = new Network(id, parts);
    network.remove();
    const bridge = network.#name;
    ip("link", "add", bridge, "type", "bridge");
    ip("addr", "add", `${network.#subnet}.${HERE}/24`, "dev", bridge);
    ip("link", "set", bridge, "up");
    for (const part of parts) {
      const [space, cable] = [network.#space(part), network.#cable(part)];
      ip("netns", "add", space);
      ip("link", "add", cable, "type", "veth", "peer", "name", "eth0", "netns", space);
      ip("link", "set", cable, "master", bridge, "up");
      ip("-n", space, "addr", "add", `${network.addressOf(part)}/24`, "dev", "eth0");
      ip("-n", space, "link", "set", "eth0", "up");
      ip("-n", space, "link", "set", "lo", "up");
    }
    return network;
  }

  addressOf(part: string): string {
    return `${this.#subnet}.${this.#number(part)}`;
  }

  enter(part: string): readonly string[] {
    return ["ip", "netns", "exec", this.#space(part)];
  }

  /** Pulls the cable of a part. */
  cut(part: string): void {
    ip("link", "set", this.#cable(part), "nomaster");
  }

  mend(part: string): void {
    ip("link", "set", this.#cable(part), "master", this.#name);
  }

  /** Makes one part unreachable for another, which is told so at once; the way back stays open. */
  refuse(from: string, to: string): void {
    ip("-n", this.#space(from), "route", "add", "unreachable", `${this.addressOf(to)}/32`);
  }

  allow(from: string, to: string): void {
    ip("-n", this.#space(from), "route", "del", "unreachable", `${this.addressOf(to)}/32`);
  }

  /** Whatever of it exists; what runs in it must have ended. */
  remove(): void {
    for (const part of this.#parts) spawnSync("ip", ["netns", "del", this.#space(part)]);
    spawnSync("ip", ["link", "del", this.#name]);
  }

  #space(part: string): string {
    return `${this.#name}-${this.#number(part)}`;
  }

  #cable(part: string): string {
    return `${this.#name}v${this.#number(part)}`;
  }

  #number(part: string): number {
    const index = this.#parts.indexOf(part);
    if (index === -1) throw new Error(`no part ${part} on this network; there are ${this.#parts.join(", ")}`);
    return index + 1;
  }
}

function ip(...args: readonly string[]): void {
  const { status, stderr } = spawnSync("ip", [...args], { encoding: "utf8" });
  if (status !== 0) throw new Error(`ip ${args.join(" ")}: ${stderr.trim()}`);
}
