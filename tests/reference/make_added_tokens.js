#!/usr/bin/env node
/* make_added_tokens.js - writes added_tokens.json: what the Hugging Face tokenizers library makes of added tokens under
 * every combination of their flags, beside each other and beside blanks, joiners and words.
 *
 *   npm install tokenizers@0.23.2 && node make_added_tokens.js [texts a variant] [seed] [file]
 *
 * A variant has two tokens, [A] and [B], with flags as bits (1 lstrip, 2 rstrip, 4 single_word, 8 normalized), one of
 * two blanks (flags 8) and one with a letter that composes. The vocabulary is the 256 bytes and <|endoftext|>; every
 * second variant normalises to NFC. Then single expressions: `cuts` has, for each pattern of a Split, texts and ids. */
"use strict";
const fs = require("fs"), path = require("path");
const hf = require("tokenizers");

const perVariant = Number(process.argv[2] || 6);
let state = BigInt(process.argv[3] || 1);
const out = process.argv[4] || path.join(__dirname, "added_tokens.json");

function draw(n) {      /* SplitMix64 */
  state = (state + 0x9e3779b97f4a7c15n) & 0xffffffffffffffffn;
  let z = state;
  z = ((z ^ (z >> 30n)) * 0xbf58476d1ce4e5b9n) & 0xffffffffffffffffn;
  z = ((z ^ (z >> 27n)) * 0x94d049bb133111ebn) & 0xffffffffffffffffn;
  return Number((z ^ (z >> 31n)) % BigInt(n));
}

const pieces = ["[A]", "[B]", "[A]", "[B]", " ", " ", "  ", "\n", "\t", "\u00a0", "\u3000", "\u200b", "\u200c",
  "\u200d", "\u0085",
  "a", "Z", "_", "9", "\u00e9", "e\u0301", "\u0301", "\u24b6", "\u2160", "\u0661", "\u00b2", "\u203f", "-", ".",
  "\u6df1",
  "\ud83d\ude00", "\ud83c\udd70", "[N\u00e9]", "[Ne\u0301]", "<|endoftext|>", "[", "A]", "\u180e", "\u2028"];

function text() {
  let s = "";
  for (let n = 1 + draw(9); n; n--) s += pieces[draw(pieces.length)];
  return s;
}

const token = (id, content, bits, special) => ({ id, content, single_word: !!(bits & 4), lstrip: !!(bits & 1),
  rstrip: !!(bits & 2), normalized: !!(bits & 8), special });
const byteLevel = (regex) => ({ type: "ByteLevel", add_prefix_space: false, trim_offsets: true, use_regex: regex });

function base() {
  const vocab = { "<|endoftext|>": 0 };
  for (const letter of hf.byteLevelAlphabet().sort()) vocab[letter] = Object.keys(vocab).length;
  return { version: "1.0", truncation: null, padding: null, added_tokens: [token(0, "<|endoftext|>", 0, true)],
    normalizer: null,
    pre_tokenizer: byteLevel(true), post_processor: null, decoder: byteLevel(true),
    model: { type: "BPE", dropout: null, unk_token: null, continuing_subword_prefix: null, end_of_word_suffix: null,
      fuse_unk: false, byte_fallback: false, ignore_merges: false, vocab, merges: [] } };
}

const cutPatterns = ["\\p{Han}+", "\\P{Han}+", "[\\p{Hiragana}\\p{Katakana}]+", "\\p{^Arabic}+", "\\p{Common}",
  "\\p{Latin}+",
  "\\w+", "\\s+", "\\d+", "[\\w-]+", "\\p{L}+|\\p{N}", "[^\\s\\w]", "[^\\S\\n]+",
  "(?m:\\p{L}.\\p{L})", "(?mi-x)A.", "(?-m).\\p{L}", "\\p{L}{,2}\\p{N}", "\\p{L}{1,2}+", "\\p{L}{,2}+\\p{N}",
  "\\p{L}{1,2}?\\p{M}",
  "\\p{L}{2}", "(?:\\p{L}\\p{M}){1,2}+", "a{,}", "[a{,2}]+"];
/* Characters of one script that others use too, digits, joiners, and what is counted as a letter here and there. */
const cutPieces = ["a", "\u3001", "\u3002", "\u30fc", "\u6df1", "\u3005", "\u30c6", "\u3055", "\u064b", "\u0660",
  "\u060c", "\u0640",
  "\u0951", "\u0964", " ", "\u180e", "\u200d", "1", "_", "\u2160", "\u24d0", "\u0301", "\u00b2", "-", "\u10fb",
  "\u3006", "\u303c", "\u00aa",
  "\u4e00", "\u3013", "\ufe45", "\u1cd0", "\u102a0", "\u00e9", "\u2003", "\u0085"];

async function main() {
  const json = base(), next = Object.keys(json.model.vocab).length, variants = [], cuts = [];
  for (let a = 0; a < 16; a++) for (let b = 0; b < 16; b++) {
    const nfc = draw(2) === 1, special = draw(4);
    const added = [json.added_tokens[0], token(next, "[A]", a, !!(special & 1)),
      token(next + 1, "[B]", b, !!(special & 2)),
      token(next + 2, "  ", 8, false), token(next + 3, "[N\u00e9]", draw(16), false)];
    const replace = { added_tokens: added, normalizer: nfc ? { type: "NFC" } : null };
    const t = hf.Tokenizer.fromString(JSON.stringify(Object.assign({}, json, replace))), texts = [], ids = [];
    for (let k = 0; k < perVariant; k++) {
      texts.push(text());
      ids.push((await t.encode(texts[k], null)).getIds());
    }
    variants.push({ nfc, flags: added.slice(1).map((x) => [x.lstrip | x.rstrip << 1 | x.single_word << 2
      | x.normalized << 3, +x.special]),
      texts, ids });
  }
  for (const Regex of cutPatterns) {
    const pre = { type: "Sequence",
      pretokenizers: [{ type: "Split", pattern: { Regex }, behavior: "Removed", invert: false },
      byteLevel(false)] };
    const t = hf.Tokenizer.fromString(JSON.stringify(Object.assign({}, json, { pre_tokenizer: pre }))), texts = [],
    ids = [];
    for (let k = 0; k < 4 * perVariant; k++) {
      let s = "";
      for (let n = 1 + draw(8); n; n--) s += cutPieces[draw(cutPieces.length)];
      texts.push(s);
      ids.push((await t.encode(s, null)).getIds());
    }
    cuts.push({ pattern: Regex, texts, ids });
  }
  const body = JSON.stringify({ base: json, variants, cuts }).replace(/,"(variants|cuts)"/g,
    ',\n"$1"').replace(/\},\{"(nfc|pattern)"/g, '},\n{"$1"');
  fs.writeFileSync(out, body + "\n");
}

main();
