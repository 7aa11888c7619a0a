/* sentencepiece.c - a tokenizer.model, which is a protocol buffer: fields of a number, a wire type and a value. Those
 * that no id depends on are passed over. And llama2.c's tokenizer.bin: i32 longest piece, then per piece f32 score, i32
 * length, text. */
#include "config.h"

#include <endian.h>
#include <string.h>
#include "text/pieces.h"

typedef struct message { const unsigned char *p, *end; } message;

typedef struct field {
  uint64_t number, value;      /* of a varint, or the bits of a fixed32 or fixed64 */
  int wire;
  message inside;              /* of a field with a length */
} field;

enum { VARINT = 0, FIXED64 = 1, LENGTH = 2, FIXED32 = 5 };

static int read_varint(message *m, uint64_t *value) {
  *value = 0;
  for (int shift = 0; shift < 64 && m->p < m->end; shift += 7) {
    unsigned char c = *m->p++;
    *value |= (uint64_t)(c & 127) << shift;
    if (c < 128) return 1;
  }
  return 0;
}

static int read_fixed(message *m, int n, uint64_t *value) {
  if (m->end - m->p < n) return 0;
  *value = 0;
  for (int i = 0; i < n; i++) *value |= (uint64_t)m->p[i] << (8 * i);
  m->p += n;
  return 1;
}

/* The next field of a message: 1, 0 at its end, -1 where it is damaged. */
static int next_field(message *m, field *f) {
  uint64_t key;
  if (m->p == m->end) return 0;
  if (!read_varint(m, &key)) return -1;
  *f = (field){.number = key >> 3, .wire = (int)(key & 7)};
  switch (f->wire) {
    case VARINT: return read_varint(m, &f->value) ? 1 : -1;
    case FIXED64: return read_fixed(m, 8, &f->value) ? 1 : -1;
    case FIXED32: return read_fixed(m, 4, &f->value) ? 1 : -1;
    case LENGTH:
      if (!read_varint(m, &f->value) || f->value > (uint64_t)(m->end - m->p)) return -1;
      f->inside = (message){m->p, m->p + f->value};
      m->p += f->value;
      return 1;
    default: return -1;
  }
}

static double float_of(uint64_t bits) {
  uint32_t word = (uint32_t)bits;
  float x;
  memcpy(&x, &word, sizeof x);
  return (double)x;
}

typedef struct reader {
  sonde_pieces pieces;
  const sonde_sources *from;
  sonde_error *err;
} reader;

static int damaged(const reader *r) {
  return sonde_fail(r->err, SONDE_EFORMAT, "%s: this is no SentencePiece model, or a damaged one", r->from->name);
}

static int unsupported(const reader *r, const char *what) {
  return sonde_fail(r->err, SONDE_EUNSUP, "%s: %s is not supported", r->from->name, what);
}

static int read_piece(reader *r, message m) {
  field f;
  message text = {NULL, NULL};
  double score = 0;
  uint64_t kind = SONDE_PIECE_NORMAL;
  int more;
  while ((more = next_field(&m, &f)) > 0) {
    if (f.number == 1 && f.wire == LENGTH) text = f.inside;
    else if (f.number == 2 && f.wire == FIXED32) score = float_of(f.value);
    else if (f.number == 3 && f.wire == VARINT) kind = f.value;
  }
  if (more < 0 || kind > SONDE_PIECE_BYTE) return damaged(r);
  return sonde_pieces_add(&r->pieces, text.p ? (const char *)text.p : "", text.p ? text.end - text.p : 0, score,
                          (int64_t)kind, r->from->name, r->err);
}

enum { MODEL_TYPE = 3, SUFFIX = 24, BYTE_FALLBACK = 35, BOS = 41, EOS = 42 };
enum { UNIGRAM = 1, BPE = 2 };

static int read_trainer(reader *r, message m) {
  field f;
  int more;
  while ((more = next_field(&m, &f)) > 0) {
    if (f.wire != VARINT) continue;
    if (f.number == MODEL_TYPE) r->pieces.unigram = f.value == UNIGRAM;
    if (f.number == MODEL_TYPE && f.value != UNIGRAM && f.value != BPE)
      return unsupported(r, "a model of words or of characters");
    if (f.number == SUFFIX && f.value) return unsupported(r, "treat_whitespace_as_suffix");
    if (f.number == BYTE_FALLBACK) r->pieces.byte_fallback = f.value != 0;
    if (f.number == BOS) r->pieces.bos = (int32_t)f.value;
    if (f.number == EOS) r->pieces.eos = (int32_t)f.value;
  }
  return more < 0 ? damaged(r) : 0;
}

enum { CHARSMAP = 2, DUMMY_PREFIX = 3, ONE_SPACE = 4, ESCAPE = 5 };

static int read_normalizer(reader *r, message m) {
  field f;
  int more;
  while ((more = next_field(&m, &f)) > 0) {
    if (f.number == CHARSMAP && f.wire == LENGTH) {
      r->pieces.charsmap = (const char *)f.inside.p;
      r->pieces.charsmap_n = f.inside.end - f.inside.p;
    }
    if (f.wire != VARINT) continue;
    if (f.number == DUMMY_PREFIX) r->pieces.dummy_prefix = f.value != 0;
    if (f.number == ONE_SPACE) r->pieces.one_space = f.value != 0;
    if (f.number == ESCAPE && !f.value) return unsupported(r, "a model that keeps spaces as they are");
  }
  return more < 0 ? damaged(r) : 0;
}

static int read_model(reader *r, message m) {
  field f;
  int more, rc = 0, specs = 0;
  while (!rc && (more = next_field(&m, &f)) > 0) {
    if (f.wire != LENGTH) continue;
    if (f.number == 1) rc = read_piece(r, f.inside);
    else if (f.number == 2) specs++, rc = read_trainer(r, f.inside);
    else if (f.number == 3) specs++, rc = read_normalizer(r, f.inside);
  }
  return rc ? rc : more < 0 || !specs ? damaged(r) : 0;
}

json_t *sonde_sentencepiece_tree(const sonde_sources *s, sonde_error *err) {
  reader r = {.from = s, .err = err};
  int rc = sonde_pieces_init(&r.pieces);
  if (rc) sonde_fail(err, rc, "%s: out of memory", s->name);
  r.pieces.unigram = r.pieces.one_space = 1;
  r.pieces.bos = 1;
  r.pieces.eos = 2;
  if (!rc) rc = read_model(&r, (message){(const unsigned char *)s->data, (const unsigned char *)s->data + s->n});
  json_t *tree = rc ? NULL : sonde_pieces_tree(&r.pieces, s, err);
  sonde_pieces_free(&r.pieces);
  return tree;
}

/* ---- llama2.c ------------------------------------------------------------------------------------------ */

enum { BIN_BOS = 1, BIN_EOS = 2, BIN_BYTES = 3 };

/* Spaces in the file are marks. The first three pieces are the unknown one and the two ends, then come the bytes. */
static int read_bin_piece(reader *r, message *m) {
  uint64_t score, length;
  int64_t id = r->pieces.n;
  sonde_bytes text = {0};
  if (!read_fixed(m, 4, &score) || !read_fixed(m, 4, &length) || length > (uint64_t)(m->end - m->p))
    return sonde_fail(r->err, SONDE_EFORMAT, "%s: piece %lld is cut off: this is no tokenizer.bin of llama2.c",
                      r->from->name, (long long)id);
  static const char *const names[] = {"<unk>", "<s>", "</s>"};
  int rc = id < BIN_BYTES ? sonde_bytes_add(&text, names[id], (int64_t)strlen(names[id])) : 0;
  for (uint64_t i = 0; i < length && id >= BIN_BYTES && !rc; i++)
    rc = m->p[i] == ' ' ? sonde_bytes_add(&text, "\xe2\x96\x81", 3) : sonde_bytes_add(&text, m->p + i, 1);
  m->p += length;
  sonde_piece_kind kind = id == 0                   ? SONDE_PIECE_UNKNOWN
                          : id < BIN_BYTES          ? SONDE_PIECE_CONTROL
                          : id < BIN_BYTES + 256    ? SONDE_PIECE_BYTE
                                                    : SONDE_PIECE_NORMAL;
  rc = rc ? sonde_fail(r->err, rc, "%s: out of memory", r->from->name)
          : sonde_pieces_add(&r->pieces, text.data ? text.data : "", text.n, float_of(score), kind, r->from->name,
                             r->err);
  sonde_bytes_free(&text);
  return rc;
}

json_t *sonde_llama2c_tree(const sonde_sources *s, sonde_error *err) {
  reader r = {.from = s, .err = err};
  message m = {(const unsigned char *)s->data, (const unsigned char *)s->data + s->n};
  uint64_t longest;
  int rc = sonde_pieces_init(&r.pieces);
  if (rc) sonde_fail(err, rc, "%s: out of memory", s->name);
  r.pieces.byte_fallback = 1;
  r.pieces.bos = BIN_BOS;
  r.pieces.eos = BIN_EOS;
  if (!rc && !read_fixed(&m, 4, &longest))
    rc = sonde_fail(err, SONDE_EFORMAT, "%s: this is no tokenizer.bin of llama2.c", s->name);
  while (!rc && m.p < m.end) rc = read_bin_piece(&r, &m);
  json_t *tree = rc ? NULL : sonde_pieces_tree(&r.pieces, s, err);
  sonde_pieces_free(&r.pieces);
  return tree;
}
