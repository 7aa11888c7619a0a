/* tree.c - see tree.h. The first micro-batch of each pair writes its gradients straight to the lowest level, so a sum
 * of n takes n - 1 additions and no copy; and all levels that a micro-batch completes are added in one pass. */
#include "train/tree.h"

#include "base/mem.h"

enum { TILE = 16384 };

typedef struct tile { int64_t param, offset, n; } tile;

struct sonde_tree {
  sonde_pool *pool;
  int32_t batches;
  int levels;
  int64_t n, n_tiles;
  sonde_tensor **grad;           /* [n] */
  sonde_tensor **partial;        /* [levels][n] */
  tile *tiles;
  int32_t batch;                 /* that is being added */
};

static int bits(int32_t x) {
  int n = 0;
  for (; x; x >>= 1) n++;
  return n;
}

static int64_t elements(const sonde_tensor *t) { return t->bytes / (int64_t)sizeof(float); }

static int make_partials(sonde_tree *t, sonde_error *err) {
  for (int64_t k = 0; k < t->levels * t->n; k++) {
    if (!(t->partial[k] = sonde_tensor_new(&t->grad[k % t->n]->shape, err)))
      return sonde_wrap(err, "sums over %d micro-batches", t->batches);
  }
  return SONDE_OK;
}

static void make_tiles(sonde_tree *t) {
  tile *at = t->tiles;
  for (int64_t i = 0; i < t->n; i++)
    for (int64_t offset = 0, count = elements(t->grad[i]); offset < count; offset += TILE)
      *at++ = (tile){i, offset, count - offset < TILE ? count - offset : TILE};
}

sonde_tree *sonde_tree_new(sonde_pool *pool, sonde_tensor *const *grad, int64_t n, int32_t batches, sonde_error *err) {
  sonde_tree *t = sonde_alloc(sizeof *t);
  if (!t) {
    sonde_fail(err, SONDE_ENOMEM, "no memory for sums over micro-batches");
    return NULL;
  }
  t->pool = pool;
  t->batches = batches;
  t->levels = bits(batches - 1);
  t->n = n;
  for (int64_t i = 0; i < n; i++) t->n_tiles += (elements(grad[i]) + TILE - 1) / TILE;
  t->grad = sonde_alloc((size_t)n * sizeof *t->grad);
  t->partial = sonde_alloc((size_t)(t->levels * n) * sizeof *t->partial);
  t->tiles = sonde_alloc((size_t)t->n_tiles * sizeof *t->tiles);
  int code = SONDE_OK;
  if (!t->grad || !t->partial || !t->tiles)
    code = sonde_fail(err, SONDE_ENOMEM, "no memory for sums over micro-batches");
  for (int64_t i = 0; i < n && !code; i++) t->grad[i] = sonde_tensor_ref(grad[i]);
  if (!code) code = make_partials(t, err);
  if (!code) {
    make_tiles(t);
    return t;
  }
  sonde_tree_free(t);
  return NULL;
}

void sonde_tree_free(sonde_tree *t) {
  if (!t) return;
  for (int64_t k = 0; t->partial && k < t->levels * t->n; k++) sonde_tensor_free(t->partial[k]);
  for (int64_t i = 0; t->grad && i < t->n; i++) sonde_tensor_free(t->grad[i]);
  sonde_release(t->grad);
  sonde_release(t->partial);
  sonde_release(t->tiles);
  sonde_release(t);
}

int64_t sonde_tree_forecast(int64_t gradient_bytes, int32_t batches) { return bits(batches - 1) * gradient_bytes; }

int64_t sonde_tree_bytes(const sonde_tree *t) {
  int64_t n = 0;
  for (int64_t k = 0; k < t->levels * t->n; k++) n += t->partial[k]->bytes;
  return n;
}

int sonde_tree_aside(const sonde_tree *t, int32_t batch) { return !(batch & 1) && batch != t->batches - 1; }

sonde_tensor *sonde_tree_target(const sonde_tree *t, int64_t i, int aside) {
  return aside ? t->partial[i] : t->grad[i];
}

/* The levels that a micro-batch completes, as bits: those that hold a sum already, from the lowest to the first that
 * holds none; the last micro-batch takes all. */
static int32_t completed(int32_t batch, int32_t batches) {
  return batch == batches - 1 ? batch : batch & ~(batch + 1);
}

static void add_tile(void *arg, int64_t index, int worker) {
  const sonde_tree *t = arg;
  const tile *at = &t->tiles[index];
  const int32_t done = completed(t->batch, t->batches);
  (void)worker;
  sonde_tensor *into = t->batch == t->batches - 1 ? t->grad[at->param] : t->partial[bits(done) * t->n + at->param];
  const float *newer = (const float *)t->grad[at->param]->host + at->offset;
  float *sum = (float *)into->host + at->offset;
  for (int l = 0; done >> l; l++) {
    if (!(done >> l & 1)) continue;
    const float *older = (const float *)t->partial[l * t->n + at->param]->host + at->offset;
    for (int64_t k = 0; k < at->n; k++) sum[k] = older[k] + newer[k];
    newer = sum;
  }
}

int sonde_tree_add(sonde_tree *t, int32_t batch, sonde_error *err) {
  const int32_t done = completed(batch, t->batches);
  const int last = batch == t->batches - 1;
  if (!done) return SONDE_OK;
  for (int64_t i = 0; i < t->n; i++) {
    if (!(last ? sonde_tensor_write(t->grad[i], err) : sonde_tensor_read(t->grad[i], err))) return SONDE_EIO;
    for (int l = 0; l < t->levels; l++)
      if ((done >> l & 1) && !sonde_tensor_read(t->partial[l * t->n + i], err)) return SONDE_EIO;
    if (!last && !sonde_tensor_write(t->partial[bits(done) * t->n + i], err)) return SONDE_EIO;
  }
  t->batch = batch;
  sonde_pool_run(t->pool, t->n_tiles, add_tile, t);
  return SONDE_OK;
}

double sonde_tree_number(double level[SONDE_TREE_LEVELS], int32_t batch, int32_t batches, double x) {
  const int32_t done = completed(batch, batches);
  for (int l = 0; done >> l; l++)
    if (done >> l & 1) x = level[l] + x;
  if (batch < batches - 1) level[bits(done)] = x;
  return x;
}
