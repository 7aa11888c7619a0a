#!/usr/bin/env node
/* make_token_ids.js - what the Hugging Face tokenizers library makes of many texts, for compare_token_ids.lua.
 *
 *   npm install tokenizers@0.23.2
 *   node make_token_ids.js TOKENIZER.json[.gz] OUT [how many texts: 100000] [seed: 1] [files of text ...]
 *
 * Half of the texts are lines of the files, the other half is drawn: words, digits, blanks, signs of many scripts, what
 * composes, controls, any code point, and the tokenizer's own added tokens whole and cut. Writes OUT.texts (for each
 * text its length, u32, and its bytes), OUT.ids (a line each) and OUT.decoded (as OUT.texts: the ids decoded,
 * specials kept), and prints the SHA-256 of the ids. */
"use strict";
const crypto = require("crypto"), fs = require("fs"), zlib = require("zlib");
const hf = require(require.resolve("tokenizers", { paths: [process.cwd(), __dirname] }));

const [file, out, countGiven, seed, ...files] = process.argv.slice(2);
const count = Number(countGiven || 100000);
let state = BigInt(seed || 1);

function draw(n) {      /* SplitMix64 */
  state = (state + 0x9e3779b97f4a7c15n) & 0xffffffffffffffffn;
  let z = state;
  z = ((z ^ (z >> 30n)) * 0xbf58476d1ce4e5b9n) & 0xffffffffffffffffn;
  z = ((z ^ (z >> 27n)) * 0x94d049bb133111ebn) & 0xffffffffffffffffn;
  return Number((z ^ (z >> 31n)) % BigInt(n));
}

function read(path) {
  const bytes = fs.readFileSync(path);
  return (path.endsWith(".gz") ? zlib.gunzipSync(bytes) : bytes).toString();
}

/* Lines of the files, long ones cut. */
function lines() {
  const all = [];
  for (const path of files) {
    for (const line of read(path).split("\n")) {
      const text = /\.jsonl(\.gz)?$/.test(path) && line ? JSON.parse(line).text || "" : line;
      for (const part of text.split(/(?<=\n)(?=\S)/)) for (let i = 0; i < part.length; i += 400) {
        const piece = part.slice(i, i + 400).toWellFormed();
        if (piece) all.push(piece);
      }
    }
  }
  return all;
}

const words = ("the depth of a network is not The DEPTH OF don't I'll we've WE'RE it's 's 'S 'T n't co-op e.g. " +
  "caf\u00e9 cafe\u0301 na\u00efve stra\u00dfe STRASSE \u0130stanbul \u017f \ufb01n \u01c4 \u03a3\u03a3\u03c2 " +
  "\u6df1\u3055 \u30c6\u30b9\u30c8 \u304c \u304b\u3099 \ud55c\uad6d\uc5b4 \u1112\u1161\u11ab \u0e44\u0e17\u0e22 " +
  "\u0627\u0644\u0639\u0631\u0628\u064a\u0629 \u05e2\u05d1\u05e8\u05d9\u05ea " +
  "\u0939\u093f\u0928\u094d\u0926\u0940 \u0440\u0443\u0441\u0441\u043a\u0438\u0439 " +
  "int x=1; foo(bar)[0]->baz http://a.b/?c=d&e=%20#f <html> </s> <s> <unk> <pad> <0x41> <0xE6> \u2581 " +
  "\u2581\u2581a a\u2581b \u0120the \u010a").split(" ");
const blanks = [" ", " ", " ", "  ", "   ", "\n", "\n\n", "\r\n", "\t", "\u00a0", "\u3000", "\u2003", "\u200b",
  "\u200d", "\u0085", "\u2028", "\u180e", "\u202f", "\ufeff", "        ", "\n \n", " \n", "\t\t"];
const signs = [..."!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~", "\u00bf", "\u2026", "\u2019", "\u201c", "\u3001", "\u3002",
  "\u00b0", "\u20ac", "--", "...", "----------", "\u00b2", "\u00bd", "\u2167", "\u0661", "\u0966", "\u00aa", "\u24b6",
  "\u203f", "0", "1", "7", "42", "1234567", "3.14", "1,000", "\u0301", "\u0323\u0307", "\u0300\u0301", "\ud83d\ude00",
  "\ud83d\udc69\u200d\ud83d\udc69\u200d\ud83d\udc67", "\ud83c\udde9\ud83c\uddea", "\ud83d\udc4d\ud83c\udffd",
  "\u2764\ufe0f", "\u0001", "\u001f", "\u007f", "\u009f", "\ufffd", "\u212b", "\u2126", "\ufb03", "\u1e9b\u0323",
  "\uac00\u11a8", "\u0344", "\u0f73", "\u0958"];

const planes = [[0x20, 0x7e], [0xa0, 0x24f], [0x250, 0x1fff], [0x2000, 0x2bff], [0x3000, 0x33ff], [0x4e00, 0x9fff],
  [0xa000, 0xd7a3], [0xf900, 0xffef], [0x10000, 0x103ff], [0x1d400, 0x1d7ff], [0x1f000, 0x1faff], [0x20000, 0x2a6df]];
const assigned = /^\P{Cn}$/u;

function codePoint() {
  for (;;) {
    const [lo, hi] = planes[draw(planes.length)], c = String.fromCodePoint(lo + draw(hi - lo + 1));
    if (assigned.test(c)) return c;
  }
}

function drawn(added) {
  let text = "";
  for (let n = 1 + draw(draw(20) ? 12 : 60); n; n--) {
    const kind = draw(16);
    if (kind < 6) text += words[draw(words.length)];
    else if (kind < 10) text += blanks[draw(blanks.length)];
    else if (kind < 12) text += signs[draw(signs.length)];
    else if (kind < 13) text += codePoint();
    else if (kind < 14) text += String.fromCharCode(97 + draw(26)).repeat(1 + draw(draw(10) ? 4 : 80));
    else if (kind < 15) text += blanks[draw(blanks.length)].repeat(1 + draw(draw(10) ? 4 : 80));
    else if (added.length) {
      const token = added[draw(added.length)];
      text += draw(3) ? token : token.slice(0, draw(token.length + 1)).toWellFormed();
    }
  }
  return text;
}

async function main() {
  const json = read(file), tree = JSON.parse(json), t = hf.Tokenizer.fromString(json);
  const added = (tree.added_tokens || []).map((a) => a.content), real = lines(), texts = [];
  for (let k = 0; k < count; k++) texts.push(k % 2 && real.length ? real[draw(real.length)] : drawn(added));
  const hash = crypto.createHash("sha256"), textsOut = fs.openSync(out + ".texts", "w"),
    idsOut = fs.openSync(out + ".ids", "w"), decodedOut = fs.openSync(out + ".decoded", "w");
  const put = (fd, text) => {
    const bytes = Buffer.from(text), size = Buffer.alloc(4);
    size.writeUInt32LE(bytes.length);
    fs.writeSync(fd, Buffer.concat([size, bytes]));
  };
  for (const text of texts) {
    const ids = (await t.encode(text, null)).getIds(), line = ids.join(" ") + "\n";
    put(textsOut, text);
    fs.writeSync(idsOut, line);
    hash.update(line);
    put(decodedOut, await t.decode(ids, false));
  }
  console.log(count, "texts", hash.digest("hex"));
}

main();
