/** The key `allocate` of a sweep file: an allocator's name, or a map of its name and its parameters. */
import type { AllocatorSpec } from "../allocate/catalogue.ts";
import type { AllocatorFile } from "./sweep-schema.ts";

export function toAllocator({ kind, ...parameters }: AllocatorFile): AllocatorSpec {
  return { kind, parameters };
}

/** As `toAllocator` reads it back; a name alone where there is nothing more to say. */
export function fromAllocator({ kind, parameters }: AllocatorSpec): string | AllocatorFile {
  return Object.keys(parameters).length === 0 ? kind : { kind, ...parameters };
}
