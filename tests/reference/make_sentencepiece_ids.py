#!/usr/bin/python3
"""make_sentencepiece_ids.py - what SentencePiece makes of the texts of make_token_ids.js, for compare_token_ids.lua.

    apt-get install python3-sentencepiece
    make_sentencepiece_ids.py TOKENIZER.model OUT

Reads OUT.texts; writes OUT.ids and OUT.decoded and prints the SHA-256 of the ids. Compare with
`sonde run compare_token_ids.lua TOKENIZER.model OUT plain`: SentencePiece adds no tokens and knows no special ones.
"""
import hashlib
import struct
import sys

import sentencepiece

model = sentencepiece.SentencePieceProcessor(model_file=sys.argv[1])
out = sys.argv[2]
digest, count = hashlib.sha256(), 0
with open(out + ".texts", "rb") as texts, open(out + ".ids", "w") as ids_out, open(out + ".decoded", "wb") as decoded:
    while size := texts.read(4):
        text = texts.read(struct.unpack("<I", size)[0]).decode()
        ids = model.encode(text)
        line = " ".join(map(str, ids)) + "\n"
        ids_out.write(line)
        digest.update(line.encode())
        back = model.decode(ids).encode()
        decoded.write(struct.pack("<I", len(back)) + back)
        count += 1
print(count, "texts", digest.hexdigest())
