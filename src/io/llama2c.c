/* llama2c.c - the checkpoints of llama2.c, version 0: seven i32, then f32 in a fixed order.
 *
 * The header: dim, hidden_dim, n_layers, n_heads, n_kv_heads, vocab_size, seq_len; vocab_size is negative where the
 * head has weights of its own. The numbers: the embedding; then, each for all layers, the attention's norm, wq, wk, wv,
 * wo, the other norm, w1 (gate), w2 (down), w3 (up); the final norm; two tables of rotations, which nobody needs; the
 * head. Later versions begin with a magic number, "ak42". */
#include "config.h"

#include <stdio.h>
#include <string.h>
#include "io/safetensors_internal.h"

enum { DIM, HIDDEN, LAYERS, HEADS, KV_HEADS, VOCAB, SEQ, FIELDS };
enum { MAGIC = 0x616b3432, PK = 0x04034b50 };

static const char *const fields[FIELDS] = {"dim", "hidden_dim", "n_layers", "n_heads", "n_kv_heads", "vocab_size",
                                           "seq_len"};

/* A tensor of every layer, or of the model where its name has no layer in it; cols 0: a vector. */
typedef struct part {
  const char *name;
  int by_layer;
  int64_t rows, cols;
} part;

typedef struct reader {
  sonde_st *st;
  const char *file;            /* its name, in the arena */
  const char *at, *end;        /* what is left of its bytes */
  sonde_error *err;
} reader;

static int cut_short(const reader *r) {
  return sonde_fail(r->err, SONDE_EFORMAT, "%s: the file is cut short, or no checkpoint of llama2.c", r->file);
}

static int add_tensor(reader *r, const part *p, int64_t layer) {
  char name[128];
  sonde_st_entry e = {.dtype = SONDE_ST_F32, .rank = p->cols ? 2 : 1, .file = r->file, .data = r->at};
  for (int i = 0; i < SONDE_ST_MAX_RANK; i++) e.dim[i] = 1;
  e.dim[0] = p->rows;
  if (p->cols) e.dim[1] = p->cols;
  e.count = p->rows * e.dim[1];          /* under 2^62: both are under 2^31 */
  if (e.count > (r->end - r->at) / 4) return cut_short(r);
  e.bytes = 4 * e.count;
  if (p->by_layer) snprintf(name, sizeof name, "model.layers.%lld.%s", (long long)layer, p->name);
  e.name = sonde_arena_strdup(r->st->arena, p->by_layer ? name : p->name);
  if (!e.name) return sonde_fail(r->err, SONDE_ENOMEM, "%s: out of memory", r->file);
  r->at += e.bytes;
  return sonde__st_append(r->st, &e, r->err);
}

static int add_parts(reader *r, const part *parts, int n, int64_t layers) {
  int rc = 0;
  for (int k = 0; k < n && !rc; k++)
    for (int64_t layer = 0; layer < (parts[k].by_layer ? layers : 1) && !rc; layer++)
      rc = add_tensor(r, &parts[k], layer);
  return rc;
}

static int check_header(const reader *r, const int32_t *h) {
  if (h[DIM] == PK)
    return sonde_fail(r->err, SONDE_EUNSUP,
                      "%s: weights of PyTorch, a zip of pickles, which can execute code; convert them to safetensors",
                      r->file);
  if (h[DIM] == MAGIC)
    return sonde_fail(r->err, SONDE_EUNSUP, "%s: a later version of llama2.c's checkpoints; only version 0 is read",
                      r->file);
  for (int k = 0; k < FIELDS; k++)
    if (h[k] == 0 || (h[k] < 0 && k != VOCAB) || h[k] == INT32_MIN)
      return sonde_fail(r->err, SONDE_EFORMAT, "%s: %s is %d: no checkpoint of llama2.c (version 0)", r->file,
                        fields[k], (int)h[k]);
  if (h[DIM] % h[HEADS] || h[DIM] / h[HEADS] % 2 || h[HEADS] % h[KV_HEADS])
    return sonde_fail(r->err, SONDE_EFORMAT,
                      "%s: dim %d, n_heads %d and n_kv_heads %d do not fit: no checkpoint of llama2.c (version 0)",
                      r->file, (int)h[DIM], (int)h[HEADS], (int)h[KV_HEADS]);
  return 0;
}

static int keep_header(const reader *r, const int32_t *h) {
  for (int k = 0; k < FIELDS; k++) {
    char text[16];
    snprintf(text, sizeof text, "%d", (int)(h[k] < 0 ? -h[k] : h[k]));
    char *copy = sonde_arena_strdup(r->st->arena, text);
    if (!copy || sonde_map_set(r->st->meta, fields[k], copy))
      return sonde_fail(r->err, SONDE_ENOMEM, "%s: out of memory", r->file);
  }
  return 0;
}

int sonde__st_add_llama2c(sonde_st *st, const void *data, int64_t size, const char *name, sonde_error *err) {
  reader r = {st, sonde_arena_strdup(st->arena, name), data, (const char *)data + size, err};
  int32_t h[FIELDS];
  if (!r.file) return sonde_fail(err, SONDE_ENOMEM, "%s: out of memory", name);
  if (size < (int64_t)sizeof h) return cut_short(&r);
  memcpy(h, data, sizeof h);
  r.at += sizeof h;
  int rc = check_header(&r, h);
  if (!rc) rc = keep_header(&r, h);
  if (rc) return rc;
  const int64_t dim = h[DIM], hidden = h[HIDDEN], kv = dim / h[HEADS] * h[KV_HEADS], own_head = h[VOCAB] < 0;
  const int64_t vocab = own_head ? -(int64_t)h[VOCAB] : h[VOCAB];
  const part before[] = {
      {"model.embed_tokens.weight", 0, vocab, dim}, {"input_layernorm.weight", 1, dim, 0},
      {"self_attn.q_proj.weight", 1, dim, dim},     {"self_attn.k_proj.weight", 1, kv, dim},
      {"self_attn.v_proj.weight", 1, kv, dim},      {"self_attn.o_proj.weight", 1, dim, dim},
      {"post_attention_layernorm.weight", 1, dim, 0}, {"mlp.gate_proj.weight", 1, hidden, dim},
      {"mlp.down_proj.weight", 1, dim, hidden},     {"mlp.up_proj.weight", 1, hidden, dim},
      {"model.norm.weight", 0, dim, 0},
  };
  const part head = {"lm_head.weight", 0, vocab, dim};
  rc = add_parts(&r, before, sizeof before / sizeof before[0], h[LAYERS]);
  if (rc) return rc;
  const int64_t tables = h[SEQ] * (dim / h[HEADS]);
  if (tables > (r.end - r.at) / 4) return cut_short(&r);
  r.at += 4 * tables;
  rc = own_head ? add_parts(&r, &head, 1, 1) : 0;
  if (rc || r.at == r.end) return rc;
  return sonde_fail(err, SONDE_EFORMAT, "%s: %lld bytes at the end belong to no tensor: no checkpoint of llama2.c "
                    "(version 0)", r.file, (long long)(r.end - r.at));
}
