/* attention_blocks.c - which blocks of keys a query sees, chosen by their mean: the lists of blocks of attention.
 *
 * The keys of a head are cut into blocks, counted from the first key that the query sees, and a block is scored by the
 * product of a query and the mean of its keys (Lu et al. 2025, MoBA, eqs. 5 to 7; Tang et al. 2024, Quest, section 3.3,
 * choose alike, Quest by a bound in place of the mean). Seen are the first block, the query's own, and of the whole
 * blocks between them the n of the highest scores, the earlier of equals. One query chooses for `every` in a row, the
 * first of them: with every = 1 each query for itself, as in MoBA; with every = size one for its whole block, so that a
 * block of queries meets n + 2 blocks of keys and no more. (The mean of a block's queries, by which other block-sparse
 * kernels choose, would look ahead.) The choice is a constant: it has no gradient. */
#include "config.h"
#include "ops/families.h"

#include <string.h>

#include "ops/attention.h"
#include "ops/rows.h"
#include "tensor/tensor.h"

/* Places in attr.i; inputs: of which the third only says how many queries there are. */
enum { BLOCKS_SIZE = 0, BLOCKS_TOP = 1, BLOCKS_EVERY = 2 };
enum { IN_NEW = 2, IN_BLOCKS_MORE = 3 };
/* The first two entries behind the start: the first block and the query's own. */
enum { ALWAYS = 2 };

static int64_t top_of(const sonde_shape *k, const sonde_attr *a) {
  const int64_t blocks = sonde_parts(k->dim[1], a->i[BLOCKS_SIZE]);
  return a->i[BLOCKS_TOP] < blocks ? a->i[BLOCKS_TOP] : blocks;
}

static int is_queries_and_keys(const sonde_shape *in) {
  const sonde_shape *q = &in[IN_Q], *k = &in[IN_K], *x = &in[IN_NEW];
  return q->rank == 4 && k->rank == 4 && x->rank == 4 && sonde_is_real(q) && sonde_is_real(k) && sonde_is_real(x) &&
         q->dim[0] == k->dim[0] && q->dim[1] == k->dim[1] && q->dim[3] == k->dim[3] && k->dim[1] >= 1 &&
         k->dim[2] >= 1 && q->dim[2] % k->dim[2] == 0 && q->dim[3] <= SONDE_HEAD && x->dim[0] == q->dim[0] &&
         x->dim[1] <= q->dim[1] && x->dim[2] == q->dim[2] && x->dim[3] == q->dim[3];
}

static int blocks_shape(const char *op, const sonde_shape *in, const sonde_attr *a, sonde_shape *out,
                        sonde_error *err) {
  char q[96], k[96];
  const int64_t size = a->i[BLOCKS_SIZE], top = a->i[BLOCKS_TOP], every = a->i[BLOCKS_EVERY];
  if (!is_queries_and_keys(in))
    return sonde_fail(err, SONDE_ESHAPE, "%s of q %s, k %s: needs real numbers q [B, T, H, Dh], k [B, T, KV, Dh], H a "
                      "multiple of KV, Dh at most 256, and the new queries", op,
                      sonde_shape_text(&in[IN_Q], q, sizeof q), sonde_shape_text(&in[IN_K], k, sizeof k));
  if (size < 1 || size > INT32_MAX || top < 0 || top > INT32_MAX || every < 1 || every > size || size % every)
    return sonde_fail(err, SONDE_EINVAL, "%s: the size %lld of a block must be positive, the blocks to choose %lld not "
                      "negative, and one query choose for %lld, which must divide the size", op, (long long)size,
                      (long long)top, (long long)every);
  out[0] = sonde_shape_make(SONDE_I32, 4, (int64_t[]){in[IN_NEW].dim[0], in[IN_NEW].dim[1], in[IN_NEW].dim[2],
                                                      1 + ALWAYS + top_of(&in[IN_K], a)});
  return SONDE_OK;
}

static int shape(const sonde_shape *in, int n_in, const sonde_attr *a, sonde_shape *out, sonde_error *err) {
  const attention_inputs more = sonde_attention_inputs(in, n_in, IN_BLOCKS_MORE);
  const int rc = blocks_shape("attention_blocks", in, a, out, err);
  if (rc) return rc;
  const sonde_shape *starts = more.starts < 0 ? NULL : &in[more.starts];
  if (n_in > IN_BLOCKS_MORE + (more.starts >= 0) + (more.segments >= 0) ||
      (starts && (starts->dim[0] != in[IN_Q].dim[0] || starts->dim[1] != in[IN_Q].dim[1])) ||
      in[IN_NEW].dim[1] != in[IN_Q].dim[1])
    return sonde_fail(err, SONDE_ESHAPE, "attention_blocks: behind q, k and q again come starts i32 [B, T] or segments "
                      "i32 [B, S, 4]; they may be missing");
  const sonde_attr causal = {{0}, {1}};
  const sonde_shape like[4] = {in[IN_Q], in[IN_K], in[IN_K], more.segments < 0 ? in[IN_K] : in[more.segments]};
  return more.segments < 0 ? SONDE_OK : sonde_attention_tree_check(like, &causal, err);
}

/* ---- the choice ----------------------------------------------------------------------------------------- */

typedef struct choice {
  attention task;
  const sonde_call *c;
  int64_t size, top, every, at;  /* at: the position of the first new query */
  int64_t blocks;                /* that a sequence has at most */
} choice;

/* Of one head on its way through the queries of a sequence. Means are of blocks that are counted from `start`; those of
 * the second up to block `known` are there. */
typedef struct chooser {
  const choice *of;
  const attention *t;
  int64_t b, h, start, known, query;   /* the place of the query that has chosen last; -1: none */
  float *mean, *score;                 /* [blocks, width], [top] */
} chooser;

static int64_t tile_floats(int64_t blocks, int64_t width, int64_t top) { return blocks * width + top; }

static void take_mean(const chooser *x, int64_t block) {
  const attention *t = x->t;
  const int64_t size = x->of->size, kv = x->h / (t->heads / t->kv);
  float buf[KEYS * SONDE_HEAD], *mean = x->mean + block * t->width;
  memset(mean, 0, (size_t)t->width * sizeof *mean);
  for (int64_t done = 0, n; done < size; done += n) {
    n = size - done < KEYS ? size - done : KEYS;
    rows32 k = sonde_attention_keys(t, IN_K, x->b, kv, x->start + block * size + done, n, buf);
    for (int64_t j = 0; j < n; j++) t->simd->common.axpy(mean, k.at + j * k.ld, 1, t->width);
  }
  t->simd->common.scale(mean, mean, 1 / (float)size, t->width);
}

/* The blocks between the first and block `own` of the highest scores, best first; -1 where there are no more. */
static void choose(chooser *x, int64_t query, int64_t own, int32_t *list) {
  const attention *t = x->t;
  const int64_t top = x->of->top;
  float buf[SONDE_HEAD];
  rows32 q = sonde_attention_keys(t, IN_Q, x->b, x->h, query, 1, buf);
  int64_t n = 0;
  for (; x->known < own; x->known++) take_mean(x, x->known);
  for (int64_t block = 1; block < own && top; block++) {
    const float score = t->simd->common.dot(q.at, x->mean + block * t->width, t->width);
    int64_t at = n < top ? n++ : top;
    for (; at > 0 && score > x->score[at - 1]; at--)
      if (at < top) x->score[at] = x->score[at - 1], list[at] = list[at - 1];
    if (at < top) x->score[at] = score, list[at] = (int32_t)block;
  }
  for (; n < top; n++) list[n] = -1;
}

/* The list of the query at place `own`; that of the query before it lies `pitch` numbers before it. */
static void write_list(chooser *x, int64_t own, int64_t start, int32_t *list, int64_t pitch) {
  const int64_t since = own - start, block = since / x->of->size, query = own - since % x->of->every;
  list[0] = (int32_t)start;
  list[1] = 0;
  list[2] = block ? (int32_t)block : -1;
  if (start != x->start) x->start = start, x->known = 1, x->query = -1;
  if (query == x->query) memcpy(list + 1 + ALWAYS, list - pitch + 1 + ALWAYS, (size_t)x->of->top * sizeof *list);
  else choose(x, query, block, list + 1 + ALWAYS);
  x->query = query;
}

static chooser chooser_of(const choice *of, const attention *t, int64_t b, int64_t h) {
  const int64_t floats = tile_floats(of->blocks, t->width, of->top);
  float *room = (float *)of->c->scratch + (b * t->heads + h) * floats;
  return (chooser){of, t, b, h, 0, 1, -1, room, room + of->blocks * t->width};
}

/* A tile is one head of one batch entry. */
static void row_tile(void *arg, int64_t tile, int worker) {
  (void)worker;
  const choice *of = arg;
  const attention *t = &of->task;
  const sonde_shape *out = &of->c->out_shape[0];
  const int64_t b = tile / t->heads, h = tile % t->heads, pitch = t->heads * out->dim[3];
  chooser x = chooser_of(of, t, b, h);
  for (int64_t i = 0; i < out->dim[1]; i++) {
    const int64_t own = of->at + i;
    int64_t start = t->starts ? t->starts[b * t->tq + i] : 0;
    start = start > own ? own : start < 0 ? 0 : start;
    write_list(&x, own, start, (int32_t *)of->c->out[0] + (b * out->dim[1] + i) * pitch + h * out->dim[3], pitch);
  }
}

static void segment_lists(const choice *of, int64_t b, int64_t h, const segment *segments, int32_t s) {
  const int64_t width = of->c->out_shape[0].dim[3], pitch = of->task.heads * width;
  const sequence own = {segments, s};
  attention t = of->task;
  t.sequence = &own;
  chooser x = chooser_of(of, &t, b, h);
  for (int64_t i = 0; i < segments[s].length; i++)
    write_list(&x, segments[s].depth + i, 0,
               (int32_t *)of->c->out[0] + (b * t.tq + segments[s].first + i) * pitch + h * width, pitch);
}

typedef struct tree { choice of; const segment *segments; int64_t count; } tree;

static void tree_tile(void *arg, int64_t tile, int worker) {
  (void)worker;
  const tree *x = arg;
  const int64_t b = tile / x->of.task.heads, h = tile % x->of.task.heads;
  const segment *segments = x->segments + b * x->count;
  for (int32_t s = 0; s < x->count; s++) segment_lists(&x->of, b, h, segments, s);
}

static choice choice_of(const sonde_call *c) {
  const int64_t *i = c->attr->i;
  return (choice){.task = sonde_attention_task(c, IN_BLOCKS_MORE), .c = c, .size = i[BLOCKS_SIZE],
                  .top = top_of(&c->in_shape[IN_K], c->attr), .every = i[BLOCKS_EVERY],
                  .blocks = sonde_parts(c->in_shape[IN_K].dim[1], i[BLOCKS_SIZE])};
}

static int run(const sonde_call *c) {
  const int segments = sonde_attention_inputs(c->in_shape, c->n_in, IN_BLOCKS_MORE).segments;
  const int64_t tiles = c->in_shape[IN_Q].dim[0] * c->in_shape[IN_Q].dim[2];
  tree x = {.of = choice_of(c)};
  if (segments < 0) {
    sonde_pool_run(c->pool, tiles, row_tile, &x.of);
    return SONDE_OK;
  }
  x.segments = c->in[segments], x.count = c->in_shape[segments].dim[1];
  const int rc = sonde_attention_tree_sound(x.segments, c->in_shape[IN_Q].dim[0], x.count, c->in_shape[IN_Q].dim[1],
                                            c->err);
  if (rc) return rc;
  memset(c->out[0], 0xff, (size_t)sonde_shape_bytes(&c->out_shape[0]));   /* tokens of no segment: -1 */
  sonde_pool_run(c->pool, tiles, tree_tile, &x);
  return SONDE_OK;
}

static int64_t scratch(const sonde_shape *in, int n_in, const sonde_shape *out, const sonde_attr *a) {
  (void)n_in, (void)out;
  const double blocks = (double)sonde_parts(in[IN_K].dim[1], a->i[BLOCKS_SIZE]), width = (double)in[IN_Q].dim[3];
  const double bytes = (double)in[IN_Q].dim[0] * (double)in[IN_Q].dim[2] * 4 *
                       (blocks * width + (double)top_of(&in[IN_K], a));
  return bytes < 1e18 ? (int64_t)bytes : INT64_MAX / 2;      /* which no plan takes */
}

/* The means, and the products of one query in `every` with half of them. */
static double flops(const sonde_shape *in, int n_in, const sonde_shape *out, const sonde_attr *a) {
  (void)n_in, (void)out;
  const double heads = (double)in[IN_Q].dim[0] * (double)in[IN_Q].dim[2] * (double)in[IN_Q].dim[3],
               keys = (double)in[IN_K].dim[1], choosers = (double)in[IN_NEW].dim[1] / (double)a->i[BLOCKS_EVERY];
  return heads * keys * (1 + choosers / (double)a->i[BLOCKS_SIZE]);
}

/* ---- token by token ------------------------------------------------------------------------------------- */

static int cached_shape(const sonde_shape *in, int n_in, const sonde_attr *a, sonde_shape *out, sonde_error *err) {
  if (n_in != IN_BLOCKS_MORE + 1)
    return sonde_fail(err, SONDE_EINVAL,
                      "a cache holds one document: trace without document_end, or without the cache");
  if (in[n_in - 1].dtype != SONDE_I32 || sonde_shape_count(&in[n_in - 1]) != 1)
    return sonde_fail(err, SONDE_ESHAPE, "attention_blocks_cached: the position must be one i32");
  return blocks_shape("attention_blocks_cached", in, a, out, err);
}

static int cached_run(const sonde_call *c) {
  choice x = choice_of(c);
  x.at = *(const int32_t *)c->in[c->n_in - 1];
  if (x.at < 0 || x.at + c->in_shape[IN_NEW].dim[1] > c->in_shape[IN_K].dim[1])
    return sonde_fail(c->err, SONDE_EINVAL, "position %lld is past the cache of %lld", (long long)x.at,
                      (long long)c->in_shape[IN_K].dim[1]);
  sonde_pool_run(c->pool, c->in_shape[IN_Q].dim[0] * c->in_shape[IN_Q].dim[2], row_tile, &x);
  return SONDE_OK;
}

static int cached_range(const sonde_shape *in, int n_in, const sonde_attr *a, int k, int64_t *low, int64_t *high) {
  (void)a;
  *low = 0, *high = in[IN_K].dim[1] - in[IN_NEW].dim[1];
  return k == n_in - 1;
}

const sonde_op_def sonde_ops_attention_blocks[] = {
    {.size = sizeof(sonde_op_def),
     .name = "attention_blocks",
     .min_in = 3,
     .max_in = 4,
     .n_out = 1,
     .flags = SONDE_OP_BF16_IN,
     .doc = "the blocks of keys that each query of q [B, T, H, Dh] sees of k [B, T, KV, Dh], as lists for attention, "
            "i32 [B, T, H, 3 + n]: its start, block 0, its own block, and of the blocks between them the n whose mean "
            "key has the highest product with the query; -1: none. attention_blocks(q, k, q[, starts or segments]), as "
            "attention has them. i0: keys of a block, counted from the start, i1: n, i2: for how many queries in a row "
            "the first of them chooses, a divisor of i0; no gradient",
     .shape = shape,
     .scratch = scratch,
     .run = run,
     .flops = flops,
     .bf16_operands = 1 << IN_Q | 1 << IN_K | 1 << IN_NEW,
     .step = "attention_blocks_cached",
     .cached = 1 << IN_Q | 1 << IN_K},
    {.size = sizeof(sonde_op_def),
     .name = "attention_blocks_cached",
     .min_in = 4,
     .max_in = 4,
     .n_out = 1,
     .flags = SONDE_OP_BF16_IN,
     .doc = "attention_blocks of new queries x [B, T, H, Dh] at positions p.. over caches of queries [B, S, H, Dh] and "
            "keys [B, S, KV, Dh]: attention_blocks_cached(q, k, x, p i32 [1]); attributes as attention_blocks; no "
            "gradient",
     .shape = cached_shape,
     .scratch = scratch,
     .run = cached_run,
     .flops = flops,
     .range = cached_range},
    {0}};
