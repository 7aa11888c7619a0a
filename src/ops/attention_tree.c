/* attention_tree.c - attention in rows of sequences with shared beginnings: contexts with several continuations, as
 * evaluation packs them. Each beginning is computed once. A token's result is that of its sequence alone, to the bit:
 * keys are cut into blocks by their places in the sequence, and the softmax takes no account of the other queries of a
 * block. */
#include "config.h"
#include "graph/ops.h"

#include <string.h>

#include "ops/attention.h"
#include "ops/rows.h"
#include "tensor/tensor.h"

enum { FIELDS = 4 };

int sonde_attention_is_tree(const sonde_shape *in, int n_in) { return n_in > IN_MORE && in[IN_MORE].rank == 3; }

int sonde_attention_tree_check(const sonde_shape *in, const sonde_attr *at, sonde_error *err) {
  const sonde_shape *s = &in[IN_MORE];
  char text[96];
  if (!at->i[ATTENTION_CAUSAL] || in[IN_Q].dim[1] != in[IN_K].dim[1])
    return sonde_fail(err, SONDE_EINVAL, "attention: segments need a causal attention of a row to itself");
  if (s->dtype != SONDE_I32 || s->dim[0] != in[IN_Q].dim[0] || s->dim[1] < 1 || s->dim[2] != FIELDS)
    return sonde_fail(err, SONDE_ESHAPE, "attention: the segments must be i32 [B, S, 4], not %s",
                      sonde_shape_text(s, text, sizeof text));
  return SONDE_OK;
}

/* One block of queries of one segment. */
typedef struct piece { int32_t entry, segment, at; } piece;

int64_t sonde_attention_tree_scratch(const sonde_shape *in) {
  int64_t most = sonde_parts(in[IN_Q].dim[1], SONDE_BLOCK) + in[IN_MORE].dim[1];
  return in[IN_Q].dim[0] * most * (int64_t)sizeof(piece);
}

/* From the segment's own part of the sequence to its ancestors'. What lies in one segment is read where it is. */
rows32 sonde_attention_tree_rows(const attention *t, int input, int64_t b, int64_t head, int64_t at, int64_t n,
                                 float *buf) {
  const segment *of = t->sequence->segments;
  int64_t end = at + n;
  for (int32_t i = t->sequence->last; end > at; i = of[i].parent) {
    int64_t from = of[i].depth > at ? of[i].depth : at;
    if (from >= end) continue;
    float *to = buf + (from - at) * t->width;
    rows32 r = sonde_attention_f32(t, input, b, head, of[i].first + from - of[i].depth, end - from, to);
    if (from == at && end == at + n) return r;
    for (int64_t k = 0; r.at != to && k < end - from; k++)
      memcpy(to + k * t->width, r.at + k * r.ld, (size_t)t->width * sizeof *to);
    end = from;
  }
  return (rows32){buf, t->width};
}

typedef struct row { const attention *task; const segment *segments; const piece *pieces; int64_t count; } row;

static void tree_tile(void *arg, int64_t tile, int worker) {
  (void)worker;
  const row *r = arg;
  const piece *p = &r->pieces[tile / r->task->heads];
  const segment *of = r->segments + p->entry * r->count, *s = &of[p->segment];
  sequence own = {of, p->segment};
  attention t = *r->task;
  int64_t left = s->length - p->at;
  t.sequence = &own;
  t.ahead = s->depth - s->first;
  sonde_attention_forward(&t, p->entry, tile % t.heads, s->first + p->at, left < SONDE_BLOCK ? left : SONDE_BLOCK);
}

/* Its parent comes before it, and its sequence holds the tokens that it begins with. */
static int is_sound(const segment *of, int64_t i, int64_t context) {
  const segment *s = &of[i];
  if (s->length == 0) return 1;
  if (s->first < 0 || s->length < 0 || s->first + (int64_t)s->length > context || s->parent < -1 || s->parent >= i ||
      s->depth < 0)
    return 0;
  return s->parent < 0 ? s->depth == 0 : s->depth <= (int64_t)of[s->parent].depth + of[s->parent].length;
}

int sonde_attention_tree_sound(const segment *segments, int64_t batch, int64_t count, int64_t context,
                               sonde_error *err) {
  for (int64_t b = 0; b < batch; b++) {
    const segment *of = segments + b * count;
    int64_t covered = 0;
    for (int64_t i = 0; i < count; covered += of[i++].length)
      if (!is_sound(of, i, context) || covered + of[i].length > context)
        return sonde_fail(err, SONDE_EINVAL, "attention: segment %lld of row %lld is none: first %d, length %d, "
                          "parent %d, depth %d", (long long)i, (long long)b, of[i].first, of[i].length, of[i].parent,
                          of[i].depth);
  }
  return SONDE_OK;
}

int sonde_attention_tree_run(const sonde_call *c) {
  const int64_t batch = c->in_shape[IN_Q].dim[0], context = c->in_shape[IN_Q].dim[1];
  attention t = sonde_attention_task(c, IN_MORE);
  piece *pieces = c->scratch;
  int64_t n = 0;
  row r = {&t, c->in[IN_MORE], pieces, c->in_shape[IN_MORE].dim[1]};
  const int rc = sonde_attention_tree_sound(r.segments, batch, r.count, context, c->err);
  if (rc) return rc;
  t.narrow = NULL;     /* pairs of keys would not be those of the sequence */
  for (int64_t b = 0; b < batch; b++)
    for (int64_t i = 0; i < r.count; i++)
      for (int32_t at = 0; at < r.segments[b * r.count + i].length; at += SONDE_BLOCK)
        pieces[n++] = (piece){(int32_t)b, (int32_t)i, at};
  /* Tokens of no segment. */
  if (c->out[0]) memset(c->out[0], 0, (size_t)sonde_shape_bytes(&c->out_shape[0]));
  for (int k = 1; k < c->n_out; k++)
    if (c->out[k]) memset(c->out[k], 0, (size_t)sonde_shape_bytes(&c->out_shape[k]));
  sonde_pool_run(c->pool, n * t.heads, tree_tile, &r);
  return SONDE_OK;
}
