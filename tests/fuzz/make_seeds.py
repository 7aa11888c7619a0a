#!/usr/bin/env python3
"""make_seeds.py - writes the seeds that are not text: token shards, teachers' caches, safetensors, video
features, packed texts."""
import gzip
import hashlib
import json
import os
import struct
import zlib

HERE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "seeds")


def write(name, data):
    os.makedirs(os.path.dirname(os.path.join(HERE, name)), exist_ok=True)
    with open(os.path.join(HERE, name), "wb") as f:
        f.write(data)


def shard(ids, offsets, width, vocab):
    tokens = struct.pack("<%d%s" % (len(ids), "H" if width == 2 else "I"), *ids)
    body = tokens + b"\0" * (-len(tokens) % 8) + struct.pack("<%dq" % len(offsets), *offsets)
    head = b"SONDETOK" + struct.pack("<IIqqqq", 2, width, len(ids), len(offsets) - 1, vocab, 4 * len(ids))
    head += hashlib.sha256(b"tokenizer").digest() + hashlib.sha256(tokens).digest()
    crc = zlib.crc32(body, zlib.crc32(head.ljust(256, b"\0")))
    return (head + struct.pack("<I", crc)).ljust(256, b"\0") + body


def cache(rows, context, k, vocab):
    """A teacher's cache: of each token the classes 0, 1, .. with falling probabilities."""
    head = struct.pack("<8sIIqqqdq", b"SONDETCH", 1, k, rows, context, vocab, 1.0, 7)
    head = (head + hashlib.sha256(b"teacher").digest() * 3).ljust(252, b"\0")
    data = head + struct.pack("<I", zlib.crc32(head))
    for _ in range(rows):
        row = struct.pack("<4d", 0.1, 0.2, 1e-5, 1e-4)
        row += struct.pack("<%dH" % (context * (k + 1)), *([2048 * (j + 1) for j in range(k + 1)] * context))
        row += struct.pack("<%d%s" % (context * k, "H" if vocab <= 65536 else "I"), *(list(range(k)) * context))
        row += b"\0" * ((-len(row) - 4) % 8)
        data += row + struct.pack("<I", zlib.crc32(row))
    return data


def safetensors(header, size):
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + bytes(i % 251 for i in range(size))


def features(rows, grid, thumb, clip=b"c" * 32):
    """A file of video features: what its numbers are does not matter to a reader."""
    columns = 16 + 3 * 5 * grid[0] * grid[1] + thumb[0] * thumb[1] * thumb[2]
    head = struct.pack("<8sIIq8i2dq2d2q32s32s16s", b"SONDEVID", 1, columns, rows, 320, 180, *grid, *thumb, 0, 15.0, 3.0,
                       0, 0.0, float("inf"), 1000, 1, clip, b"o" * 32, b"h264")
    body = struct.pack("<%df" % (rows * columns), *(k / 8 for k in range(rows * columns)))
    head += struct.pack("<I", zlib.crc32((head + bytes(64)) + body)) + bytes(60)
    return head + body


write("features/small", features(2, (2, 1), (2, 2, 1)))
write("features/colour", features(1, (1, 1), (1, 2, 3)))
write("features/no_thumbnail", features(3, (1, 2), (0, 0, 1)))
write("features/of_no_clip", features(1, (1, 1), (0, 0, 1), bytes(32)))
write("cache/narrow", cache(2, 3, 2, 300))
write("cache/wide", cache(1, 2, 3, 70000))
write("shard/u16", shard([1, 2, 3, 4, 5, 999, 7], [0, 3, 7], 2, 1000))
write("shard/u32", shard([70000, 5, 6], [0, 1, 1, 3], 4, 100000))
write("shard/empty", shard([], [0], 2, 256))
write("shard/llmc_u16", struct.pack("<3i", 20240520, 1, 5).ljust(1024, b"\0") + struct.pack("<5H", 1, 2, 3, 4, 5))
write("shard/llmc_u32", struct.pack("<3i", 20240801, 7, 3).ljust(1024, b"\0") + struct.pack("<3I", 1, 2, 3))
write("shard/bare", struct.pack("<6H", 1, 2, 3, 4, 5, 6))
write("safetensors/two", safetensors({"__metadata__": {"format": "pt"},
                                      "a": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]},
                                      "b": {"dtype": "BF16", "shape": [4], "data_offsets": [24, 32]}}, 32))
write("safetensors/llama2c", struct.pack("<7i", 2, 2, 1, 1, 1, 2, 2) + struct.pack("<42f", *(k / 8 for k in range(42))))
write("safetensors/kinds", safetensors({"h": {"dtype": "F16", "shape": [1, 2], "data_offsets": [0, 4]},
                                        "i": {"dtype": "I32", "shape": [], "data_offsets": [4, 8]},
                                        "e": {"dtype": "U8", "shape": [0, 5], "data_offsets": [8, 8]}}, 8))

write("text/gzip", gzip.compress(b'{"text": "one"}\n' * 3, mtime=0) + gzip.compress(b"more\n", mtime=0))
# A zstd frame of one raw block, by hand (RFC 8878): magic, one segment of 1 byte's size, last raw block.
raw = b'{"text": "packed"}\n'
write("text/zstd", b"\x28\xb5\x2f\xfd\x20" + bytes([len(raw)]) + struct.pack("<I", len(raw) << 3 | 1)[:3] + raw)
write("text/latin", b"caf\xe9 " * 20 + b"\n")


# Tokenizers of other files than a tokenizer.json: a SentencePiece model, one of llama2.c, GPT-2's two files.
def field(number, data):
    return bytes([number << 3 | 2]) + bytes([len(data) & 127 | 128, len(data) >> 7]) + data


def piece(text, score, kind=1):
    text = text.encode()
    return field(1, field(1, text) + b"\x15" + struct.pack("<f", score) + bytes([0x18, kind]))


SINGLE = ["▁", "t", "h", "e", "a"]
PIECES = [("<unk>", 0, 2), ("<s>", 0, 3), ("</s>", 0, 3), ("<0x41>", 0, 6), ("th", -1), ("▁th", -2), ("the", -3)]
PIECES += [(c, -10 - i) for i, c in enumerate(SINGLE)]
model = b"".join(piece(*p) for p in PIECES)
for name, kind, normalizer in (("bpe", 2, b"\x18\x01\x20\x00"), ("pieces", 1, b"\x18\x01\x20\x01")):
    trainer = bytes([0x18, kind, 0x98, 0x02, 0x01, 0xC8, 0x02, 0x01, 0xD0, 0x02, 0x02])
    write("tokenizer/" + name, b"model:" + model + field(2, trainer) + field(3, normalizer))
body = b"".join(struct.pack("<fI", p[1], len(p[0].encode())) + p[0].encode() for p in PIECES)
write("tokenizer/bin", b"bin:" + struct.pack("<I", 8) + body)
vocab = {c: i for i, c in enumerate(["<|endoftext|>", "t", "h", "e", "\u0120", "th", "the", "\u0120the"])}
config = {"add_bos_token": True, "bos_token": "<|endoftext|>", "added_tokens_decoder": {"8": {"content": "<x>"}}}
write("tokenizer/vocab", b"vocab:" + json.dumps(vocab).encode() + b"\0#version: 0.2\nt h\nth e\n\xc4\xa0 the\n\0"
      + json.dumps(config).encode())
