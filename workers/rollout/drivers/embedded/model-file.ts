/**
 * Reads a GGUF file's header before llama.cpp sees the file: llama.cpp aborts the process on some damaged
 * files, and says little about the others. What is checked here costs a few kilobytes of reading, not the
 * weights.
 */
import { open, stat } from "node:fs/promises";
import { basename, extname } from "node:path";
import { readGgufFileInfo } from "node-llama-cpp";
import { CoppiceError, messageOf } from "../../../../services/runtime/errors.ts";

export interface ModelFile {
  readonly path: string;
  readonly bytes: number;
  /** `general.name` of the file, else its name without the extension. */
  readonly name: string;
}

const MAGIC = "GGUF";
/** Magic, version, number of tensors, number of metadata entries. */
const HEADER_BYTES = 24;
const VERSIONS = [2, 3];
/**
 * Tokens of the byte fallback, `<0x00>` to `<0xFF>`; llama.cpp aborts on a SentencePiece vocabulary without
 * them.
 */
const NEWLINE_BYTE_TOKEN = "<0x0A>";

/**
 * Checks that `path` is a whole GGUF file that llama.cpp can be given.
 * Throws invalid_argument saying what was found instead.
 */
export async function readModelFile(path: string): Promise<ModelFile> {
  const bytes = await sizeOf(path);
  await checkHeader(path, bytes);
  const info = await readGgufFileInfo(path, { sourceType: "filesystem", logWarnings: false }).catch(
    (error: unknown) => {
      throw damaged(path, `its metadata cannot be read: ${messageOf(error)}`, error);
    },
  );
  const tensors = info.fullTensorInfo ?? info.tensorInfo ?? [];
  if (tensors.length === 0) throw damaged(path, "it holds no tensors (a vocabulary only?)");
  for (const tensor of tensors) {
    const start = Number(tensor.offset) + (info.tensorInfoSize ?? 0) + info.metadataSize;
    if (start >= bytes) {
      throw damaged(
        path,
        `tensor "${tensor.name}" starts at byte ${start}, the file ends at ${bytes}: it is cut short`,
      );
    }
  }
  const metadata = info.metadata;
  if (typeof metadata.general?.architecture !== "string")
    throw damaged(path, "general.architecture is missing");
  checkVocabulary(path, metadata);
  const name = metadata.general.name;
  return {
    path,
    bytes,
    name: typeof name === "string" && name !== "" ? name : basename(path, extname(path)),
  };
}

async function sizeOf(path: string): Promise<number> {
  const facts = await stat(path).catch((error: unknown) => {
    throw new CoppiceError("invalid_argument", `model file ${path}: cannot be read (${messageOf(error)})`, {
      cause: error,
    });
  });
  if (!facts.isFile()) {
    const found = facts.isDirectory() ? "a directory" : "not a plain file";
    throw new CoppiceError("invalid_argument", `model file ${path}: expected a GGUF file, found ${found}`);
  }
  return facts.size;
}

async function checkHeader(path: string, bytes: number): Promise<void> {
  const file = await open(path, "r");
  try {
    const header = Buffer.alloc(HEADER_BYTES);
    const { bytesRead } = await file.read(header, 0, HEADER_BYTES, 0);
    const magic = header.toString("latin1", 0, Math.min(bytesRead, 4));
    if (magic !== MAGIC) {
      const found =
        bytesRead === 0 ? "an empty file" : `a file of ${bytes} bytes that begins ${JSON.stringify(magic)}`;
      throw new CoppiceError(
        "invalid_argument",
        `model file ${path}: expected a GGUF file (it begins "GGUF"), found ${found}`,
      );
    }
    if (bytesRead < HEADER_BYTES) throw damaged(path, `it ends after ${bytes} bytes, inside its header`);
    const version = header.readUInt32LE(4);
    if (!VERSIONS.includes(version)) {
      throw damaged(path, `GGUF version ${version} is not one of ${VERSIONS.join(", ")}`);
    }
    checkCount(path, "tensors", header.readBigUInt64LE(8), bytes);
    checkCount(path, "metadata entries", header.readBigUInt64LE(16), bytes);
  } finally {
    await file.close();
  }
}

/**
 * Each entry takes more than a byte, so a count beyond the file's size is damage (and would be allocated
 * for).
 */
function checkCount(path: string, what: string, count: bigint, bytes: number): void {
  if (count > BigInt(bytes)) throw damaged(path, `it claims ${count} ${what} in ${bytes} bytes`);
}

function checkVocabulary(path: string, metadata: unknown): void {
  const tokenizer = field(field(metadata, "tokenizer"), "ggml");
  const kind = field(tokenizer, "model");
  if (kind === undefined) throw damaged(path, "it has no tokenizer (tokenizer.ggml.model)");
  const tokens = field(tokenizer, "tokens");
  if (!Array.isArray(tokens) || tokens.length === 0)
    throw damaged(path, "it has no tokens (tokenizer.ggml.tokens)");
  if (kind === "llama" && !tokens.includes(NEWLINE_BYTE_TOKEN)) {
    throw damaged(
      path,
      `its SentencePiece vocabulary lacks the byte tokens (${NEWLINE_BYTE_TOKEN}), which llama.cpp needs`,
    );
  }
}

function field(value: unknown, name: string): unknown {
  return typeof value === "object" && value !== null ? Reflect.get(value, name) : undefined;
}

function damaged(path: string, found: string, cause?: unknown): CoppiceError {
  return new CoppiceError("invalid_argument", `model file ${path}: not a usable GGUF file: ${found}`, {
    cause,
  });
}
