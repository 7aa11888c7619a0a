#!/usr/bin/env node
/* make_tokenizer_kinds.js - writes tokenizer_kinds.json: small tokenizers of every kind, with what the Hugging Face
 * tokenizers library makes of texts and of ids.
 *
 *   npm install tokenizers@0.23.2 && node make_tokenizer_kinds.js [file]
 *
 * BPE is trained by the library on `lines`. `kinds` has, by name, a whole tokenizer.json,
   the ids of each of `texts` and
 * the text that these ids are decoded to (specials kept). `parts` are steps that change a vocabulary of single
 * characters: normalisers, pre-tokenisers with all behaviours, decoders. */
"use strict";
const fs = require("fs"), os = require("os"), path = require("path");
const hf = require(require.resolve("tokenizers", { paths: [process.cwd(), __dirname] }));
const out = process.argv[2] || path.join(__dirname, "tokenizer_kinds.json");

const lines = [
  "The depth of a network is not the depth of the sea, but both are measured by what comes back.",
  "We lowered the instrument to four hundred metres; it said: 404, 405, 406. Then it said nothing.",
  "don't can't won't I'll you'll they've we've it's that's he'd she'd I'm",
    "caf\u00e9 na\u00efve \u00e9t\u00e9 stra\u00dfe",
  "\u6df1\u3055 \u6df1\u3044\u6d77 \ud55c\uad6d\uc5b4",
    "deep deeper deepest depth depths the the the there then them these",
  "aaaa aaaaaaaa aaaab abab", "   three spaces, then   three more   ",
];

const texts = [
  "", " ", "  ", "\n", "x", "The deepest network in the sea.", "  two  spaces   three ",
    "don't I'll we've WE'RE it'd",
  "one\r\ntwo\n\n\tthree\n", "404 + 1234567 = 3.14159 \u00bd \u00b2 \u0661\u0662 \u2167",
    "caf\u00e9 cafe\u0301 \u00c5 A\u030a \u212b \ufb01n \u1e9b\u0323",
  "\u6df1\u3055 \u30c6\u30b9\u30c8 \ud55c\uad6d\uc5b4 \u1112\u1161\u11ab",
    "\ud83d\ude00 \ud83d\udc69\u200d\ud83d\udc67\ud83c\udde9\ud83c\uddea!",
  "nbsp\u00a0x\u2003y\u2028z\u3000w\u200bu\u0085t\ufeff", "\u0001\u001f\u007f\u009f control \ufffd",
    "\u0130\u01c4\u03a3 STRASSE \u1e9e",
  "aaaaaaaaaaaaaaaaaaaaaaaaaaaaa", "<s>The</s> end <unk> <0x41><0xE6>",
    "\u2581the \u2581\u2581a\u2581b ab\u2581\u2581", "[M] the   [M]x[M]",
  "a--b...c!?;'d'_e_ (f) $g+h=<i>^`|~", "hello , world . isn ' t it ? do not they 've",
    "\u00bf\u3001\u3002\u2019\u203f_ \u0301\u0300x", "zzz\u00e9zzz qqq",
];

const added = (id, content, more) => Object.assign({ id, content, single_word: false, lstrip: false, rstrip: false,
  normalized: false, special: true }, more);
const metaspace = (prepend_scheme, split) => ({ type: "Metaspace", replacement: "\u2581", prepend_scheme, split });
const replace = (pattern, content) => ({ type: "Replace", pattern, content });
const split = (pattern, behavior, invert) => ({ type: "Split", pattern, behavior, invert: !!invert });
const norms = (...normalizers) => ({ type: "Sequence", normalizers });
const pres = (...pretokenizers) => ({ type: "Sequence", pretokenizers });
const decoders = (...list) => ({ type: "Sequence", decoders: list });
const template = (id, content) => ({ type: "TemplateProcessing",
  single: [{ SpecialToken: { id: content, type_id: 0 } }, { Sequence: { id: "A", type_id: 0 } }],
  pair: [{ Sequence: { id: "A", type_id: 0 } }, { Sequence: { id: "B", type_id: 1 } }],
  special_tokens: { [content]: { id: content, ids: [id], tokens: [content] } } });
const llamaNorm = norms({ type: "Prepend", prepend: "\u2581" }, replace({ String: " " }, "\u2581"));
const llamaDecoder = decoders(replace({ String: "\u2581" }, " "), { type: "ByteFallback" }, { type: "Fuse" },
  { type: "Strip", content: " ", start: 1, stop: 0 });

function tree(model, more) {
  return Object.assign({ version: "1.0", truncation: null, padding: null, added_tokens: [], normalizer: null,
    pre_tokenizer: null, post_processor: null, decoder: null, model }, more);
}

/* Merges of the lines with spaces as marks, words apart. */
function train() {
  const file = path.join(fs.mkdtempSync(path.join(os.tmpdir(), "train-")), "lines.txt");
  fs.writeFileSync(file, lines.join("\n") + "\n");
  const t = new hf.Tokenizer(hf.BPE.empty());
  t.setPreTokenizer(hf.metaspacePreTokenizer("\u2581", "always", true));
  t.train([file]);
  t.save(file + ".json");
  const pairs = JSON.parse(fs.readFileSync(file + ".json")).model.merges.map((m) => (Array.isArray(m) ? m :
    m.split(" ")));
  return pairs.filter((m) => !/[\n ]/.test(m[0] + m[1]));
}

/* <unk> <s> </s>, the bytes, characters, merges. */
function bpe(merges, bytes, more) {
  const vocab = { "<unk>": 0, "<s>": 1, "</s>": 2 };
  const put = (token) => { if (!(token in vocab)) vocab[token] = Object.keys(vocab).length; };
  if (bytes) for (let b = 0; b < 256; b++) put("<0x" + b.toString(16).toUpperCase().padStart(2, "0") + ">");
  for (const c of new Set([...lines.join(""), "\u2581"])) if (c !== " ") put(c);
  const kept = merges.slice(0, 220);
  for (const m of kept) put(m[0] + m[1]);
  return Object.assign({ type: "BPE", dropout: null, unk_token: "<unk>", continuing_subword_prefix: null,
    end_of_word_suffix: null, fuse_unk: true, byte_fallback: bytes, ignore_merges: false, vocab, merges: kept },
      more);
}

/* Pieces with scores that tie and that do not; a duplicate; some of bytes. */
function unigram(merges, bytes) {
  const seen = new Set(["<unk>", "<s>", "</s>"]), vocab = [["<unk>", 0], ["<s>", 0], ["</s>", 0]];
  const put = (token, score) => { if (!seen.has(token)) vocab.push([token, score]); seen.add(token); };
  for (const c of new Set([...lines.join(""), "\u2581"])) if (c !== " ") put(c, -7.25 - (c.codePointAt(0) % 7) / 3);
  merges.slice(0, 260).forEach((m, k) => put(m[0] + m[1], -2.5 - Math.log(k + 2) * 1.1));
  vocab.push(["\u2581the", -3.1]);
  if (bytes) for (let b = 0; b < 256; b++) put("<0x" + b.toString(16).toUpperCase().padStart(2, "0") + ">", 0);
  return { type: "Unigram", unk_id: 0, vocab, byte_fallback: bytes };
}

function wordpiece(more) {
  const vocab = { "[PAD]": 0, "[UNK]": 1, "[CLS]": 2, "[SEP]": 3 };
  const put = (token) => { if (!(token in vocab)) vocab[token] = Object.keys(vocab).length; };
  for (const c of "abcdefghijklmnopqrstuvwxyz0123456789.,!?;:'\u00e9\u6df1\u3055$=") { put(c); put("##" + c); }
  for (const w of ["the", "depth", "deep", "##est", "##th", "network", "sea", "isn", "do", "not", "##s", "##aa",
    "THE", "The"]) put(w);
  return Object.assign({ type: "WordPiece", unk_token: "[UNK]", continuing_subword_prefix: "##",
    max_input_chars_per_word: 20, vocab }, more);
}

const bert = (more) => Object.assign({ type: "BertNormalizer", clean_text: true, handle_chinese_chars: true,
  strip_accents: null, lowercase: true }, more);

function kindsOf(merges) {
  const llama = bpe(merges, true), next = Object.keys(llama.vocab).length;
  const specials = [added(0, "<unk>"), added(1, "<s>"), added(2, "</s>", { rstrip: true, special: false })];
  const more = specials.concat(added(next, "[M]", { lstrip: true, normalized: true, special: false }));
  const words = bpe(merges, false), pieces = unigram(merges, false), bytes = unigram(merges, true);
  const wordAdded = [added(1, "[UNK]"), added(2, "[CLS]"), added(3, "[SEP]")];
  const clsSep = { type: "BertProcessing", sep: ["[SEP]", 3], cls: ["[CLS]", 2] };
  return {
    llama: tree(llama, { added_tokens: specials, normalizer: llamaNorm, decoder: llamaDecoder, post_processor:
      template(1, "<s>") }),
    llama_first: tree(llama, { added_tokens: more, pre_tokenizer: metaspace("first", false), decoder: llamaDecoder }),
    llama_never: tree(llama, { added_tokens: more, normalizer: replace({ String: " " }, "\u2581"), decoder: decoders(
      replace({ String: "\u2581" }, " "), { type: "ByteFallback" }, { type: "Fuse" }) }),
    llama_split: tree(llama, { added_tokens: more, pre_tokenizer: metaspace("always", true), decoder:
      metaspace("always", true) }),
    whole_words: tree(bpe(merges, true, { ignore_merges: true }), { pre_tokenizer: metaspace("always", true),
      decoder: metaspace("never", true) }),
    unknown_fused: tree(words, { pre_tokenizer: metaspace("first", true), decoder: metaspace("first", true) }),
    unknown_each: tree(bpe(merges, false, { fuse_unk: false }), { normalizer: llamaNorm }),
    part_of_bytes: tree(bpe(merges, true, { vocab: Object.fromEntries(Object.entries(llama.vocab).filter(([k]) =>
      k !== "<0xE3>" && k !== "<0x0A>")
      .map(([k], i) => [k, i])) }), { normalizer: llamaNorm, decoder: llamaDecoder }),
    unigram: tree(pieces, { added_tokens: specials, pre_tokenizer: metaspace("always", true), decoder:
      metaspace("always", true),
      normalizer: norms({ type: "NFKC" }, { type: "Strip", strip_left: false, strip_right: true }, replace({ Regex:
        " {2,}" }, "\u2581")) }),
    unigram_whole: tree(pieces, { normalizer: llamaNorm, decoder: decoders(replace({ String: "\u2581" }, " ")) }),
    unigram_bytes: tree(bytes, { pre_tokenizer: metaspace("never", false), decoder: decoders({ type:
      "ByteFallback" }, metaspace("never", false)) }),
    wordpiece: tree(wordpiece(), { added_tokens: wordAdded, normalizer: bert(), pre_tokenizer: { type:
      "BertPreTokenizer" },
      post_processor: clsSep, decoder: { type: "WordPiece", prefix: "##", cleanup: true } }),
    wordpiece_cased: tree(wordpiece({ max_input_chars_per_word: 5 }), { added_tokens: wordAdded, pre_tokenizer: {
      type: "Whitespace" },
      normalizer: bert({ lowercase: false, strip_accents: false, handle_chinese_chars: false }), decoder: { type:
        "WordPiece", prefix: "##", cleanup: false } }),
    wordpiece_accents: tree(wordpiece(), { normalizer: bert({ clean_text: false, lowercase: false, strip_accents:
      true }),
      pre_tokenizer: { type: "WhitespaceSplit" } }),
  };
}

/* What a step does shows in a vocabulary of all characters that come up,
  where pieces are merged whole if they are short:
 * an unknown one is <unk>, each by itself. */
function partsOf() {
  const letters = new Set([..."the depth of a network is not", ...texts.join(""), ...texts.join("").normalize("NFKD"),
    ...texts.join("").normalize("NFC"), ...texts.join("").toLowerCase(), "\u2581", "#", "\u0120"]);
  const vocab = { "<unk>": 0 };
  for (const c of letters) if (!(c in vocab)) vocab[c] = Object.keys(vocab).length;
  const merges = [];
  for (const [a, b] of [["a", "a"], ["t", "h"], ["th", "e"], [" ", " "], [" ", "t"], ["1", "2"], ["\u2581", "t"],
    ["-", "-"], [".", "."], ["l", "l"], ["'", "l"],
    ["e", "t"], ["s", "e"], ["se", "a"], [" ", "s"], ["n", "\n"], ["\r", "\n"], ["!", "?"], ["?", ";"]]) {
    if (!(a in vocab)) vocab[a] = Object.keys(vocab).length;
    if (!(b in vocab)) vocab[b] = Object.keys(vocab).length;
    if (!(a + b in vocab)) vocab[a + b] = Object.keys(vocab).length;
    merges.push([a, b]);
  }
  const model = { type: "BPE", dropout: null, unk_token: "<unk>", continuing_subword_prefix: null,
    end_of_word_suffix: null,
    fuse_unk: false, byte_fallback: false, ignore_merges: false, vocab, merges };
  const parts = {}, put = (name, more) => { parts[name] = more; };
  for (const type of ["NFC", "NFD", "NFKC", "NFKD", "Lowercase", "StripAccents", "Nmt"]) put(type, { normalizer: {
    type } });
  for (const [l, r] of [[true, false], [false, true], [true, true]]) put(`Strip${+l}${+r}`, { normalizer: { type:
    "Strip", strip_left: l, strip_right: r } });
  put("NFD+StripAccents+Lowercase", { normalizer: norms({ type: "NFD" }, { type: "StripAccents" }, { type:
    "Lowercase" }) });
  put("Replace regex", { normalizer: replace({ Regex: "a*|\\s+" }, "-") });
  put("Replace string", { normalizer: norms(replace({ String: "th" }, "\u6df1"), { type: "Prepend", prepend: "aa" },
    replace({ String: "e" }, "")) });
  for (const behavior of ["Removed", "Isolated", "MergedWithPrevious", "MergedWithNext", "Contiguous"]) {
    put("Punctuation " + behavior, { pre_tokenizer: { type: "Punctuation", behavior } });
    for (const invert of [false, true]) put(`Split ${behavior} ${invert}`, { pre_tokenizer: split({ Regex:
      "[aeiou\\s]" }, behavior, invert) });
    put("Split string " + behavior, { pre_tokenizer: split({ String: "." }, behavior, false) });
    put("Split empty " + behavior, { pre_tokenizer: split({ Regex: "(?=t)|l" }, behavior, false) });
  }
  for (const individual_digits of [false, true]) put("Digits " + individual_digits, { pre_tokenizer: { type:
    "Digits", individual_digits } });
  for (const type of ["Whitespace", "WhitespaceSplit", "BertPreTokenizer"]) put(type, { pre_tokenizer: { type } });
  put("CharDelimiterSplit", { pre_tokenizer: { type: "CharDelimiterSplit", delimiter: "e" } });
  put("WhitespaceSplit+Metaspace", { pre_tokenizer: pres({ type: "WhitespaceSplit" }, metaspace("always", true)),
    decoder: metaspace("always", true) });
  put("Metaspace+Digits", { pre_tokenizer: pres(metaspace("first", false), { type: "Digits", individual_digits:
    true }), decoder: metaspace("first", true) });
  put("Metaspace of before", { pre_tokenizer: { type: "Metaspace", replacement: "_", add_prefix_space: true },
    decoder: { type: "Metaspace", replacement: "_", add_prefix_space: true } });
  put("Strip of tokens", { decoder: decoders({ type: "Strip", content: "t", start: 0, stop: 1 }, replace({ Regex:
    "[aeiou]" }, "\u6df1")) });
  put("Strip of the text", { decoder: decoders({ type: "Fuse" }, { type: "Strip", content: "a", start: 3, stop: 0 },
    replace({ String: "th" }, "")) });
  return { base: tree(model, {}), parts };
}

async function results(json, name) {
  if (process.env.SHOW) console.error(name);
  const t = hf.Tokenizer.fromString(JSON.stringify(json)), ids = [], decoded = [];
  for (const text of texts) {
    ids.push((await t.encode(text, null)).getIds());
    decoded.push(await t.decode(ids[ids.length - 1], false));
  }
  return { ids, decoded };
}

async function main() {
  const kinds = {}, { base, parts } = partsOf();
  for (const [name, json] of Object.entries(kindsOf(train()))) kinds[name] = Object.assign({ json },
    await results(json, name));
  for (const [name, replace] of Object.entries(parts)) parts[name] = Object.assign({ replace },
    await results(Object.assign({}, base, replace), name));
  const text = JSON.stringify({ texts, kinds, base, parts }).replace(/,"([\w +]+)":(?=\{"(?:json|replace)")/g,
    ',\n"$1":');
  fs.writeFileSync(out, text + "\n");
}

main();
