"""Reading and writing GGUF files (version 3), as far as this model needs it: f16 matrices, f32 vectors."""

import struct

import numpy as np

ALIGNMENT = 32
U32, I32, F32, BOOL, STRING, ARRAY = 4, 5, 6, 7, 8, 9
FORMATS = {U32: "<I", I32: "<i", F32: "<f", BOOL: "<?"}
DTYPES = {0: np.dtype("<f4"), 1: np.dtype("<f2")}


def _string(text):
    data = text.encode()
    return struct.pack("<Q", len(data)) + data


def _kind(value):
    if isinstance(value, bool):
        return BOOL
    return {int: U32, float: F32, str: STRING, list: ARRAY}[type(value)]


def _value(value, kind):
    if kind == STRING:
        return _string(value)
    if kind != ARRAY:
        return struct.pack(FORMATS[kind], value)
    inner = I32 if isinstance(value[0], int) else _kind(value[0])
    return struct.pack("<IQ", inner, len(value)) + b"".join(_value(v, inner) for v in value)


def _padding(size):
    return -size % ALIGNMENT


def write(path, metadata, tensors):
    """Write metadata (str, int, float, bool, list) and tensors (numpy; matrices become f16, vectors f32)."""
    head = [b"GGUF", struct.pack("<IQQ", 3, len(tensors), len(metadata))]
    for key, value in metadata.items():
        head += [_string(key), struct.pack("<I", _kind(value)), _value(value, _kind(value))]
    body, offset = [], 0
    for name, tensor in tensors.items():
        kind = 1 if tensor.ndim == 2 else 0
        data = np.ascontiguousarray(tensor, DTYPES[kind]).tobytes()
        shape = tensor.shape[::-1]
        head += [_string(name), struct.pack(f"<I{len(shape)}QIQ", len(shape), *shape, kind, offset)]
        body.append(data + bytes(_padding(len(data))))
        offset += len(body[-1])
    head = b"".join(head)
    with open(path, "wb") as file:
        file.write(head + bytes(_padding(len(head))) + b"".join(body))


def read(path):
    """The metadata and the tensors (as f32 arrays) of a file that `write` made."""
    with open(path, "rb") as file:
        data = file.read()
    at = 0

    def take(layout):
        nonlocal at
        values = struct.unpack_from(layout, data, at)
        at += struct.calcsize(layout)
        return values if len(values) > 1 else values[0]

    def take_string():
        nonlocal at
        size = take("<Q")
        at += size
        return data[at - size : at].decode()

    def take_value(kind):
        if kind == STRING:
            return take_string()
        if kind != ARRAY:
            return take(FORMATS[kind])
        inner, size = take("<IQ")
        return [take_value(inner) for _ in range(size)]

    if data[:4] != b"GGUF":
        raise ValueError(f"{path}: expected a GGUF file, found {data[:4]!r}")
    at = 4
    _, tensor_count, key_count = take("<IQQ")
    metadata = {}
    for _ in range(key_count):
        key = take_string()
        metadata[key] = take_value(take("<I"))
    infos = []
    for _ in range(tensor_count):
        name, rank = take_string(), take("<I")
        shape = tuple(take("<Q") for _ in range(rank))[::-1]
        infos.append((name, shape, *take("<IQ")))
    base = at + _padding(at)
    tensors = {}
    for name, shape, kind, offset in infos:
        flat = np.frombuffer(data, DTYPES[kind], int(np.prod(shape)), base + offset)
        tensors[name] = flat.reshape(shape).astype(np.float32)
    return metadata, tensors
