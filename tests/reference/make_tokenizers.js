#!/usr/bin/env node
/* make_tokenizers.js - writes tokenizers.json: what the Hugging Face tokenizers library makes of texts.
 *
 *   npm install tokenizers@0.23.2 && node make_tokenizers.js
 *
 * The library trains on `lines`; its merges are kept whole (`merges`). The first of them make the vocabulary of `base`,
 * a tokenizer.json. Every variant replaces some members of base; `ids` has what the library makes of each text. */
"use strict";
const fs = require("fs"), os = require("os"), path = require("path");
const hf = require("tokenizers");

const lines = [
  "The depth of a network is not the depth of the sea, but both are measured by what comes back.",
  "We lowered the instrument to four hundred metres; it said: 404, 405, 406. Then it said nothing.",
  "don't can't won't I'll you'll they've we've it's that's he'd she'd I'm WE'RE",
  "for (int i = 0; i < n; i++) { sum += x[i] * y[i]; }  // a loop, two spaces before it",
  "caf\u00e9 na\u00efve \u00e9tude \u00e9t\u00e9 \u00c5ngstr\u00f6m stra\u00dfe \u017f\u0131\u0130 \ufb01n",
  "\u6df1\u3055 \u6df1\u3044\u6d77 \u6df1\u5ea6 \u30c6\u30b9\u30c8 \ud55c\uad6d\uc5b4 \ud55c\uae00",
  "\ud83d\ude00\ud83d\ude00 \ud83d\udc69\u200d\ud83d\udc69\u200d\ud83d\udc67 \ud83c\udde9\ud83c\uddea ---- ==== ----",
  "\tindented\twith\ttabs\r", "   three spaces, then   three more   ",
  "aaaa aaaaaaaa aaaaaaaaaaaa bbbb aaab abab ababab",
  "deep deeper deepest depth depths the the the the there then them these those",
];

const texts = [
  "The deepest network in the sea.", "  two  spaces   three ", "don't I'll we've WE'RE it'd 's 'S",
  "one\r\ntwo\r\n\r\n\tthree\n\n\n",
  "", " ", "\n", "x", "404 + 1234567 = 3.14159 \u00bd \u00b2 \u0661\u0662\u0663 \u2167",
  "caf\u00e9 cafe\u0301 \u00c5 A\u030a q\u0323\u0307 e\u0323\u0302",
  "\u6df1\u3055 \u30c6\u30b9\u30c8 \ud55c\uad6d\uc5b4 \u0e44\u0e17\u0e22",
  "\ud83d\ude00 \ud83d\udc69\u200d\ud83d\udc69\u200d\ud83d\udc67\ud83c\udde9\ud83c\uddea!",
  "nbsp\u00a0x\u2003y\u2028z\u3000w\u180ev\u200bu\u0085t", "\u0001\u001f\u007f control", "\ufeffmark",
  "\u017f 's \ufb01 stra\u00dfe \u0130",
  "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
  "{\"json\": [1, 2.5e-3]} https://a.b/?c=d&e=%20#f",
  "<|endoftext|>The<|endoftext|> end", "[MASK] the   [MASK]",
  "foo[WORD]bar [WORD] x,[WORD], _[WORD] [WORD]\u00e9 [WORD]", "a   [L]   y[L]",
  "x [R]   y[R]", "a   [LR]   b  [LR][LR] ", "a\u0301b[N\u00e9]x[Ne\u0301]y", "the\u3000[L] [R]\u2003the",
];

const added = (id, content, more) => Object.assign({ id, content, single_word: false, lstrip: false, rstrip: false,
  normalized: false, special: true }, more);
const byteLevel = (more) => Object.assign({ type: "ByteLevel", add_prefix_space: false, trim_offsets: true,
  use_regex: true }, more);
const split = (pattern, behavior, invert) => ({ type: "Split", pattern, behavior, invert: !!invert });
const sequence = (...pretokenizers) => ({ type: "Sequence", pretokenizers });

function train() {
  const file = path.join(fs.mkdtempSync(path.join(os.tmpdir(), "train-")), "lines.txt");
  fs.writeFileSync(file, lines.join("\n") + "\n");
  const t = new hf.Tokenizer(hf.BPE.empty());
  t.setPreTokenizer(hf.byteLevelPreTokenizer(false, true));
  t.train([file]);
  t.save(file + ".json");
  return JSON.parse(fs.readFileSync(file + ".json")).model.merges.map((m) => (Array.isArray(m) ? m.join(" ") : m));
}

function makeBase(merges) {
  const vocab = { "<|endoftext|>": 0 };
  for (const letter of hf.byteLevelAlphabet().sort()) vocab[letter] = Object.keys(vocab).length;
  const kept = merges.slice(0, 200);
  for (const m of kept) {
    const token = m.replace(" ", "");
    if (!(token in vocab)) vocab[token] = Object.keys(vocab).length;
  }
  return { version: "1.0", truncation: null, padding: null, added_tokens: [added(0, "<|endoftext|>")], normalizer: null,
    pre_tokenizer: byteLevel(), post_processor: null, decoder: byteLevel(),
    model: { type: "BPE", dropout: null, unk_token: null, continuing_subword_prefix: null, end_of_word_suffix: null,
      fuse_unk: false, byte_fallback: false, ignore_merges: false, vocab, merges: kept } };
}

function makeVariants(base) {
  const next = Object.keys(base.model.vocab).length;
  const regex = "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}|" +
    " ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+";
  const tokens = [base.added_tokens[0], added(next, "[MASK]", { lstrip: true }),
    added(next + 1, "[WORD]", { single_word: true, special: false }),
    added(next + 2, "[L]", { lstrip: true, normalized: true, special: false }),
    added(next + 3, "[R]", { rstrip: true }),
    added(next + 4, "[LR]", { lstrip: true, rstrip: true }),
    added(next + 5, "[N\u00e9]", { normalized: true, special: false }),
    added(next + 6, "  ", { normalized: true, special: false }),
    added(next + 7, "   ", { normalized: true, special: false })];
  return {
    plain: {},
    added_nfc: { added_tokens: tokens, normalizer: { type: "NFC" } },
    prefix_space: { added_tokens: tokens, pre_tokenizer: byteLevel({ add_prefix_space: true }) },
    llama3: { pre_tokenizer: sequence(split({ Regex: regex }, "Isolated"), byteLevel({ use_regex: false })),
      model: Object.assign({}, base.model, { ignore_merges: true, merges: base.model.merges.map((m) => m.split(" ")) }),
      post_processor: { type: "Sequence", processors: [byteLevel(), { type: "TemplateProcessing",
        single: [{ SpecialToken: { id: "<|endoftext|>", type_id: 0 } }, { Sequence: { id: "A", type_id: 0 } }],
        pair: [{ Sequence: { id: "A", type_id: 0 } }, { Sequence: { id: "B", type_id: 1 } }],
        special_tokens: { "<|endoftext|>": { id: "<|endoftext|>", ids: [0], tokens: ["<|endoftext|>"] } } }] } },
    matches_only: { pre_tokenizer: sequence(split({ Regex: regex }, "Removed", true),
      byteLevel({ use_regex: false })) },
    digits: { pre_tokenizer: sequence({ type: "Digits", individual_digits: true },
      byteLevel({ add_prefix_space: true })) },
    steps: { normalizer: { type: "Sequence", normalizers: [{ type: "NFC" }] }, pre_tokenizer: sequence(
      { type: "Digits", individual_digits: false }, split({ String: "e" }, "Removed"),
      split({ Regex: "(?=[aoA])|\\s|\\w+$" }, "Isolated"), byteLevel({ use_regex: false })) },
    roberta: { post_processor: { type: "RobertaProcessing", sep: ["x", base.model.vocab.x], cls: ["<|endoftext|>", 0],
      trim_offsets: true, add_prefix_space: false } },
  };
}

async function main() {
  const merges = train(), base = makeBase(merges), variants = {};
  for (const [name, replace] of Object.entries(makeVariants(base))) {
    const t = hf.Tokenizer.fromString(JSON.stringify(Object.assign({}, base, replace))), ids = [];
    for (const text of texts) ids.push((await t.encode(text, null)).getIds());
    if (replace.model) replace.model = { ignore_merges: true, merges: "pairs" };      /* the test puts them in again */
    variants[name] = { replace, ids };
  }
  const text = JSON.stringify({ lines, merges, base, texts, variants }).replace(/,"(\w+)":(?=[[{])/g, ',\n"$1":');
  fs.writeFileSync(path.join(__dirname, "tokenizers.json"), text + "\n");
}

main();
