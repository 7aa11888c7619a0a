#!/usr/bin/python3
"""make_sentencepiece.py - writes sentencepiece.json: small models of SentencePiece, with what it makes of texts.

    apt-get install python3-sentencepiece
    make_sentencepiece.py [FILE]

Models are trained on a few lines; `model` is the file, in hexadecimal. `llama2c` is the model `bpe` as llama2.c's
export writes it (tokenizer.bin).
"""
import io
import json
import os
import struct
import sys
import tempfile

import sentencepiece

LINES = [
    "The depth of a network is not the depth of the sea, but both are measured by what comes back.",
    "We lowered the instrument to four hundred metres; it said: 404, 405, 406. Then it said nothing.",
    "don't can't won't I'll you'll they've we've it's that's he'd she'd I'm", "café naïve été straße",
    "深さ 深い海 한국어", "deep deeper deepest depth depths the the the there then them these",
    "aaaa aaaaaaaa aaaab abab",
    "the network said the depth of the network", "four hundred metres of sea and four hundred metres of depth",
]
TEXTS = [
    "", " ", "  ", "\n", "x", "The deepest network in the sea.", "  two  spaces   three ", "don't I'll we've WE'RE",
    "one\ntwo\n\n\tthree\n", "404 + 1234567 = 3.14159", "café naïve", "深さ テスト 한국어", "😀 the 😀😀",
    "aaaaaaaaaaaaaaaaaaaaa", "<s>The</s> end <unk>", "▁the ▁▁a▁b ab▁▁", "[M] the   [M]x[M]", "Ⓐ zzz qqq",
    "the" * 40, " the", "the ", "\u3000the",
]
# A to a, Z to zz, ideographic space to space, circled A to a
RULES = "41\t61\n5A\t7A 7A\n3000\t20\n24B6\t61\n"

MODELS = {
    "bpe": dict(model_type="bpe", byte_fallback=True, normalization_rule_name="identity",
                remove_extra_whitespaces=False, vocab_size=420),
    "bpe_unknown": dict(model_type="bpe", normalization_rule_name="identity", vocab_size=160),
    "bpe_no_prefix": dict(model_type="bpe", byte_fallback=True, normalization_rule_name="identity", vocab_size=420,
                          add_dummy_prefix=False, remove_extra_whitespaces=False, user_defined_symbols=["[M]", "▁▁"]),
    "unigram": dict(model_type="unigram", normalization_rule_name="identity", vocab_size=160),
    "unigram_bytes": dict(model_type="unigram", byte_fallback=True, normalization_rule_name="identity",
                          remove_extra_whitespaces=False, vocab_size=420),
    "unigram_rules": dict(model_type="unigram", vocab_size=160, rules=RULES),
}


def train(options):
    options = dict(options)
    model = io.BytesIO()
    with tempfile.TemporaryDirectory() as folder:
        rules = options.pop("rules", None)
        if rules:
            options["normalization_rule_tsv"] = os.path.join(folder, "rules.tsv")
            with open(options["normalization_rule_tsv"], "w") as f:
                f.write(rules)
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(LINES * 3), model_writer=model, hard_vocab_limit=False, character_coverage=1.0,
            minloglevel=2, **options)
    return model.getvalue()


def llama2c(data):
    model = sentencepiece.SentencePieceProcessor(model_proto=data)
    body, longest = b"", 0
    for i in range(model.vocab_size()):
        piece = {1: "\n<s>\n", 2: "\n</s>\n"}.get(i, model.id_to_piece(i)).replace("▁", " ").encode()
        body += struct.pack("<fI", model.get_score(i), len(piece)) + piece
        longest = max(longest, len(piece))
    return struct.pack("<I", longest) + body


def main():
    result = {"texts": TEXTS, "models": {}}
    for name, options in MODELS.items():
        data = train(options)
        model = sentencepiece.SentencePieceProcessor(model_proto=data)
        ids = [model.encode(text) for text in TEXTS]
        result["models"][name] = {"model": data.hex(), "ids": ids, "decoded": [model.decode(i) for i in ids]}
        if name == "bpe":
            result["llama2c"] = llama2c(data).hex()
    out = sys.argv[1] if len(sys.argv) > 1 else os.path.join(os.path.dirname(os.path.abspath(__file__)),
                                                             "sentencepiece.json")
    with open(out, "w") as f:
        json.dump(result, f, ensure_ascii=True)
        f.write("\n")


main()
