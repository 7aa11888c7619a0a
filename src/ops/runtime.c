/* runtime.c - a runtime with the ops that come with Sonde. */
#include "graph/graph.h"
#include "ops/families.h"

static const sonde_op_def *const families[] = {
    sonde_ops_elementwise, sonde_ops_reduce, sonde_ops_view, sonde_ops_gather, sonde_ops_softmax, sonde_ops_dropout,
    sonde_ops_matmul,      sonde_ops_norm,   sonde_ops_rope, sonde_ops_attention, sonde_ops_cache, sonde_ops_loss,
    sonde_ops_positions,   sonde_ops_distill, sonde_ops_teacher, sonde_ops_attention_blocks,
    sonde_ops_attention_measures,
    sonde_ops_experts, sonde_ops_grouped, sonde_ops_topk,
};

sonde_ctx *sonde_ctx_new(int threads, sonde_error *err) {
  sonde_ctx *ctx = sonde_ctx_bare(threads, err);
  int rc = 0;
  for (size_t f = 0; ctx && !rc && f < sizeof families / sizeof families[0]; f++)
    for (const sonde_op_def *d = families[f]; !rc && d->name; d++) rc = sonde_ops_add(ctx, d, err);
  if (!rc) return ctx;
  sonde_ctx_free(ctx);
  return NULL;
}

sonde_ctx *sonde_ctx_new_on(const sonde_backend *backend, int number, int threads, sonde_error *err) {
  sonde_ctx *ctx = sonde_ctx_new(threads, err);
  if (!ctx || !sonde_ctx_open(ctx, backend, number, err)) return ctx;
  sonde_ctx_free(ctx);
  return NULL;
}
