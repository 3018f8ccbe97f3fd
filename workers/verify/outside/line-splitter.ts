/** Lines of what a process writes, in bounded memory. */
const LINE_END = 0x0a;

export interface LineSplitter {
  feed(bytes: Buffer): void;
  /** Nothing more comes: what stands behind the last line end is a line too. */
  end(): void;
}

/**
 * @param bytesMax Of a longer line only so many bytes are told, once, and `isCut` says so.
 * @param onLine Gets each line without its end. Bytes that are not UTF-8 become U+FFFD.
 */
export function createLineSplitter(
  bytesMax: number,
  onLine: (line: string, isCut: boolean) => void,
): LineSplitter {
  let held: Buffer[] = [];
  let heldBytes = 0;
  let isCut = false;

  function hold(bytes: Buffer): void {
    const room = bytesMax - heldBytes;
    if (bytes.length > room) isCut = true;
    if (room === 0 || bytes.length === 0) return;
    const part = bytes.subarray(0, room);
    held.push(part);
    heldBytes += part.length;
  }
  function tell(): void {
    const line = Buffer.concat(held).toString("utf8");
    const wasCut = isCut;
    [held, heldBytes, isCut] = [[], 0, false];
    onLine(line, wasCut);
  }

  return {
    feed(bytes) {
      let from = 0;
      for (let end = bytes.indexOf(LINE_END); end !== -1; end = bytes.indexOf(LINE_END, from)) {
        hold(bytes.subarray(from, end));
        tell();
        from = end + 1;
      }
      hold(bytes.subarray(from));
    },
    end() {
      if (heldBytes > 0) tell();
    },
  };
}
