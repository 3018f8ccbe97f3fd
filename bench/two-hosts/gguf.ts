/** Reading and writing GGUF files (version 3), as far as the shipped model needs it: matrices of f16, vectors of f32. Pure. */

/** What a metadata entry may be, by GGUF's number of its type. */
const KINDS = { u32: 4, i32: 5, f32: 6, bool: 7, string: 8, array: 9 } as const;
const ALIGNMENT = 32;
const F16 = 1;

export type Scalar = number | string | boolean;

export interface Entry {
  readonly kind: number;
  /** Of an array: the type of its elements. */
  readonly inner: number | null;
  readonly value: Scalar | readonly Scalar[];
}

/** Row by row; a vector has one row. */
export interface Tensor {
  readonly rows: number;
  readonly columns: number;
  readonly isMatrix: boolean;
  readonly values: Float32Array;
}

export interface Gguf {
  readonly metadata: Map<string, Entry>;
  readonly tensors: Map<string, Tensor>;
}

export function wholeNumber(value: number): Entry {
  return { kind: KINDS.u32, inner: null, value };
}

export function number(value: number): Entry {
  return { kind: KINDS.f32, inner: null, value };
}

export function yesNo(value: boolean): Entry {
  return { kind: KINDS.bool, inner: null, value };
}

export function text(value: string): Entry {
  return { kind: KINDS.string, inner: null, value };
}

/** @throws Error for a file of another kind. */
export function readGguf(data: Buffer): Gguf {
  if (data.toString("latin1", 0, 4) !== "GGUF") throw new Error("expected a GGUF file, found another");
  const from = new Cursor(data, 4);
  if (from.u32() !== 3) throw new Error("expected GGUF version 3, found another");
  const [tensorCount, entryCount] = [from.u64(), from.u64()];
  const metadata = new Map<string, Entry>();
  for (let i = 0; i < entryCount; i += 1) metadata.set(from.string(), from.entry());
  const heads = Array.from({ length: tensorCount }, () => {
    const name = from.string();
    const dimensions = Array.from({ length: from.u32() }, () => from.u64());
    return { name, dimensions, type: from.u32(), offset: from.u64() };
  });
  const base = from.at + (-from.at & (ALIGNMENT - 1));
  const tensors = heads.map(({ name, dimensions, type, offset }): [string, Tensor] => {
    const [columns = 0, rows = 1] = dimensions;
    const bytes = data.subarray(base + offset, base + offset + rows * columns * (type === F16 ? 2 : 4));
    const own = bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.length);
    const values = type === F16 ? Float32Array.from(new Float16Array(own)) : new Float32Array(own);
    return [name, { rows, columns, isMatrix: dimensions.length === 2, values }];
  });
  return { metadata, tensors: new Map(tensors) };
}

export function writeGguf({ metadata, tensors }: Gguf): Buffer {
  const head = [Buffer.from("GGUF"), u32(3), u64(tensors.size), u64(metadata.size)];
  for (const [key, { kind, inner, value }] of metadata) {
    head.push(string(key), u32(kind));
    if (inner === null || !Array.isArray(value)) head.push(scalar(kind, value as Scalar)); // checked beside it
    else head.push(u32(inner), u64(value.length), ...value.map((each: Scalar) => scalar(inner, each)));
  }
  const body: Buffer[] = [];
  let offset = 0;
  for (const [name, { rows, columns, isMatrix, values }] of tensors) {
    const dimensions = isMatrix ? [columns, rows] : [columns];
    head.push(
      string(name),
      u32(dimensions.length),
      ...dimensions.map(u64),
      u32(isMatrix ? F16 : 0),
      u64(offset),
    );
    const numbers = isMatrix ? Float16Array.from(values) : values;
    const bytes = Buffer.from(numbers.buffer, numbers.byteOffset, numbers.byteLength);
    body.push(bytes, padding(bytes.length));
    offset += bytes.length + padding(bytes.length).length;
  }
  const start = Buffer.concat(head);
  return Buffer.concat([start, padding(start.length), ...body]);
}

class Cursor {
  readonly #data: Buffer;
  at: number;

  constructor(data: Buffer, at: number) {
    this.#data = data;
    this.at = at;
  }

  u32(): number {
    this.at += 4;
    return this.#data.readUInt32LE(this.at - 4);
  }

  u64(): number {
    this.at += 8;
    return Number(this.#data.readBigUInt64LE(this.at - 8));
  }

  string(): string {
    const bytes = this.u64();
    this.at += bytes;
    return this.#data.toString("utf8", this.at - bytes, this.at);
  }

  entry(): Entry {
    const kind = this.u32();
    if (kind !== KINDS.array) return { kind, inner: null, value: this.#scalar(kind) };
    const inner = this.u32();
    return { kind, inner, value: Array.from({ length: this.u64() }, () => this.#scalar(inner)) };
  }

  #scalar(kind: number): Scalar {
    if (kind === KINDS.string) return this.string();
    this.at += kind === KINDS.bool ? 1 : 4;
    const at = this.at;
    switch (kind) {
      case KINDS.u32:
        return this.#data.readUInt32LE(at - 4);
      case KINDS.i32:
        return this.#data.readInt32LE(at - 4);
      case KINDS.f32:
        return this.#data.readFloatLE(at - 4);
      case KINDS.bool:
        return this.#data.readUInt8(at - 1) !== 0;
      default:
        throw new Error(`expected metadata of the shipped model's types, found type ${kind}`);
    }
  }
}

function scalar(kind: number, value: Scalar): Buffer {
  if (typeof value === "string") return string(value);
  if (typeof value === "boolean") return Buffer.from([Number(value)]);
  const bytes = Buffer.alloc(4);
  if (kind === KINDS.f32) bytes.writeFloatLE(value);
  else if (kind === KINDS.i32) bytes.writeInt32LE(value);
  else bytes.writeUInt32LE(value);
  return bytes;
}

function string(value: string): Buffer {
  const bytes = Buffer.from(value);
  return Buffer.concat([u64(bytes.length), bytes]);
}

function u32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32LE(value);
  return bytes;
}

function u64(value: number): Buffer {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64LE(BigInt(value));
  return bytes;
}

function padding(length: number): Buffer {
  return Buffer.alloc(-length & (ALIGNMENT - 1));
}
