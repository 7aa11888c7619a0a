/* ctx.c - the runtime: the thread pool and the table of ops. */
#include "cpu/backend.h"
#include "cpu/simd.h"
#include "graph/graph.h"

#include <string.h>

static const sonde_op_def *const families[] = {
    sonde_ops_elementwise, sonde_ops_reduce, sonde_ops_view, sonde_ops_gather, sonde_ops_softmax, sonde_ops_dropout,
    sonde_ops_matmul,      sonde_ops_norm,   sonde_ops_rope, sonde_ops_attention, sonde_ops_cache, sonde_ops_loss,
};

static int check_def(const sonde_op_def *d, sonde_error *err) {
  const char *lacks = NULL;
  if (!d->name || !*d->name) return sonde_fail(err, SONDE_EINVAL, "op without a name");
  if (d->min_in < 1 || d->max_in < d->min_in || d->max_in > SONDE_MAX_IN) lacks = "min_in and max_in within 1..8";
  else if (d->n_out < 1 || d->n_out > SONDE_MAX_OUT) lacks = "n_out within 1..4";
  else if (d->adds && (d->adds < d->min_in || d->adds != d->max_in - 1)) lacks = "an optional last input to add (adds)";
  else if (d->flags & SONDE_OP_ELEMENTWISE) {
    if (!d->vec) lacks = "vec (it is flagged elementwise)";
    else if (d->n_out != 1 || d->max_in > 4) lacks = "one output and at most 4 inputs (it is flagged elementwise)";
  } else if (!d->shape) lacks = "shape";
  else if (!(d->flags & SONDE_OP_VIEW) && !d->run) lacks = "run";
  return lacks ? sonde_fail(err, SONDE_EINVAL, "op '%s' lacks %s", d->name, lacks) : 0;
}

int sonde_ops_add(sonde_ctx *ctx, const sonde_op_def *def, sonde_error *err) {
  if (def->name && sonde_map_get(ctx->ops, def->name))
    return sonde_fail(err, SONDE_EINVAL, "op '%s' exists already; give it another name", def->name);
  if ((def->flags & SONDE_OP_ELEMENTWISE) && !def->vec && def->name) {
    const int room = (int)(sizeof ctx->filled / sizeof ctx->filled[0]);
    void (*vec)(const sonde_vec *) = sonde_simd_get()->vec(def->name);
    sonde_op_def *copy = vec && ctx->n_filled < room ? sonde_alloc(sizeof *copy) : NULL;
    if (copy) {
      *copy = *def;
      copy->vec = vec;
      ctx->filled[ctx->n_filled++] = copy;
      def = copy;
    }
  }
  int rc = check_def(def, err);
  if (rc) return rc;
  if (sonde_map_set(ctx->ops, def->name, (void *)(uintptr_t)def))
    return sonde_fail(err, SONDE_ENOMEM, "op '%s': no memory to register it", def->name);
  return 0;
}

const sonde_op_def *sonde_ops_find(const sonde_ctx *ctx, const char *name) { return sonde_map_get(ctx->ops, name); }
int sonde_ops_count(const sonde_ctx *ctx) { return (int)sonde_map_count(ctx->ops); }
const sonde_op_def *sonde_ops_at(const sonde_ctx *ctx, int i) { return sonde_map_value(ctx->ops, i); }

/* The device that was opened last is where plans run. */
static int open_device(sonde_ctx *ctx, sonde_device *d, const sonde_backend *backend, int number, sonde_error *err) {
  int rc = backend->open(number, ctx->pool, &d->state, err);
  if (rc) return rc;
  d->backend = backend;
  ctx->device = d;
  return 0;
}

static void close_device(sonde_device *d) {
  if (d->backend) d->backend->close(d->state);
}

sonde_ctx *sonde_ctx_new(int threads, sonde_error *err) {
  sonde_ctx *ctx = sonde_alloc(sizeof *ctx);
  if (!ctx || !(ctx->ops = sonde_map_new())) {
    sonde_release(ctx);
    sonde_fail(err, SONDE_ENOMEM, "no memory for a runtime");
    return NULL;
  }
  ctx->pool = sonde_pool_new(threads, err);
  int rc = ctx->pool ? 0 : err ? err->code : SONDE_ENOMEM;
  if (!rc) rc = open_device(ctx, &ctx->cpu, &sonde_cpu_backend, 0, err);
  for (size_t f = 0; !rc && f < sizeof families / sizeof families[0]; f++)
    for (const sonde_op_def *d = families[f]; !rc && d->name; d++) rc = sonde_ops_add(ctx, d, err);
  if (rc) {
    sonde_ctx_free(ctx);
    return NULL;
  }
  return ctx;
}

sonde_ctx *sonde_ctx_new_on(const sonde_backend *backend, int number, int threads, sonde_error *err) {
  sonde_ctx *ctx = sonde_ctx_new(threads, err);
  if (!ctx || !open_device(ctx, &ctx->other, backend, number, err)) return ctx;
  sonde_ctx_free(ctx);
  return NULL;
}

void sonde_ctx_free(sonde_ctx *ctx) {
  if (!ctx) return;
  for (int s = 0; s < SONDE_CTX_SLOTS; s++)
    if (ctx->slot[s] && ctx->slot_free[s]) ctx->slot_free[s](ctx->slot[s]);
  for (int k = 0; k < ctx->n_filled; k++) sonde_release(ctx->filled[k]);
  sonde_map_free(ctx->ops);
  close_device(&ctx->other);
  close_device(&ctx->cpu);
  sonde_pool_free(ctx->pool);
  sonde_release(ctx);
}

int sonde_ctx_threads(const sonde_ctx *ctx) { return sonde_pool_threads(ctx->pool); }
