/* plan_models.c - makers of the ops that models have: norms, positions, attention, losses, teachers, experts (see
 * plan_makers.h). */
#include "config.h"

#include <string.h>

#include "fuzz.h"
#include "ops/pointwise.h"
#include "plan_makers.h"

/* A norm, or its gradient op on the norm's own inputs and statistics; often with a factor behind it. */
static sonde_node *norm(maker *m, const char *op) {
  int layer = !strncmp(op, "layernorm", 9), gradient = strstr(op, "_grad") != NULL;
  sonde_node *x = plan_any(m, plan_real(m), 1, 4);
  if (!x) return NULL;
  sonde_shape row = SHAPE(F32, x->shape.dim[x->shape.rank - 1]);
  sonde_attr at = {{1e-2}, {0}};
  sonde_node *gain = plan_operand(m, row), *y, *dy;
  y = layer ? CALL("layernorm", &at, x, gain, plan_operand(m, row)) : CALL("rmsnorm", &at, x, gain);
  if (!y) return NULL;
  if (!gradient)
    return plan_choice(m, 3) ? sonde_affine(y, 0.5 * (double)plan_choice(m, 4), 0)
                             : sonde_result(y, (int)plan_choice(m, 2 + layer));
  dy = plan_operand(m, plan_shape_of(plan_choice(m, 3) ? F32 : BF16, x->shape.rank, x->shape.dim));
  y = layer ? CALL(op, &at, x, gain, sonde_result(y, 1), sonde_result(y, 2), dy)
            : CALL(op, &at, x, gain, sonde_result(y, 1), dy);
  return y ? sonde_result(y, (int)plan_choice(m, 2 + layer)) : NULL;
}

static sonde_shape heads(maker *m, int dtype) {
  return SHAPE(dtype, 1 + plan_choice(m, 2), 1 + plan_choice(m, 6), 1 + plan_choice(m, 3), 2 * (1 + plan_choice(m, 5)));
}

static sonde_node *rope(maker *m, const char *op) {
  sonde_shape x = heads(m, plan_real(m)), one = SHAPE(I32, 1);
  sonde_attr at = {{100, plan_choice(m, 2) ? 1 : -1, 0.5 * (double)plan_choice(m, 3)}, {plan_choice(m, 9)}};
  sonde_node *in[3] = {plan_operand(m, x), NULL, NULL};
  int n = 1;
  if (plan_choice(m, 2)) in[n++] = plan_operand(m, SHAPE(F32, 1 + plan_choice(m, x.dim[3] / 2)));
  if (plan_choice(m, 2)) {
    sonde_shape each = SHAPE(I32, x.dim[0], x.dim[1]);
    in[n++] = plan_integers(m, plan_choice(m, 2) ? &one : &each, 0, 9);
  }
  return plan_call(m, op, n, in, &at);
}

static sonde_node *frequencies(maker *m, const char *op) {
  const int64_t scheme = plan_choice(m, 5);
  sonde_attr at = {{4, scheme < 3 ? 1 : 32, scheme < 3 ? 4 : 1, 16}, {2 * (1 + plan_choice(m, 8)), scheme}};
  sonde_shape one = SHAPE(F32, 1);
  return CALL(op, &at, sonde_constant(m->g, &one, 100 + (double)plan_choice(m, 100)));
}

static sonde_node *by_length(maker *m, const char *op) {
  sonde_attr at = {{0}, {1 + plan_choice(m, 5), 1 + plan_choice(m, 5), plan_choice(m, 2)}};
  int64_t n = plan_dim(m);
  return CALL(op, &at, plan_operand(m, SHAPE(F32, n)), plan_operand(m, SHAPE(F32, n)));
}

static sonde_node *starts_of(maker *m, const char *op, int64_t batch, int64_t length) {
  sonde_shape tokens = SHAPE(I32, batch, length);
  sonde_attr at = {{0}, {1}};
  sonde_node *in[1] = {plan_integers(m, &tokens, 0, 4)};
  return sonde_result(plan_call(m, op, 1, in, &at), (int)plan_choice(m, 2));
}
static sonde_node *documents(maker *m, const char *op) {
  return starts_of(m, op, 1 + plan_choice(m, 3), 1 + plan_choice(m, 9));
}

static sonde_node *positions(maker *m, const char *op) {
  sonde_shape one = SHAPE(I32, 1);
  sonde_node *in[2] = {plan_operand(m, SHAPE(plan_real(m), 1 + plan_choice(m, 3), 1 + plan_choice(m, 5),
      1 + plan_choice(m, 4)))};
  int from = (int)plan_choice(m, 2);
  if (from) in[1] = plan_integers(m, &one, 0, 9);
  return plan_call(m, op, 1 + from, in, NULL);
}

static sonde_node *largest(maker *m, const char *op) {
  int64_t n = 1 + plan_choice(m, 9);
  sonde_attr at = {{0}, {1 + plan_choice(m, n)}};
  return CALL(op, &at, plan_operand(m, SHAPE(F32, 1 + plan_choice(m, 5), n)));
}

static sonde_node *slopes_of(maker *m, int64_t heads) {
  sonde_attr at = {{0}, {heads}};
  sonde_shape one = SHAPE(F32, 1);
  return CALL("alibi_slopes", &at, sonde_constant(m->g, &one, 1 + (double)plan_choice(m, 8)));
}
static sonde_node *slopes(maker *m, const char *op) {
  (void)op;
  return slopes_of(m, 1 + plan_choice(m, 9));
}

/* Lists of some of 6 blocks of 3 keys, for queries [B, T, H, Dh]. */
static sonde_node *lists_of(maker *m, const sonde_shape *q) {
  sonde_shape lists = SHAPE(I32, q->dim[0], q->dim[1], q->dim[2], 2 + plan_choice(m, 3));
  return plan_integers(m, &lists, -1, 5);
}

static void take_pattern(maker *m, sonde_attr *at, int listed) {
  at->i[1] = plan_choice(m, 4);
  at->i[2] = plan_choice(m, 3);
  at->i[3] = listed ? 3 : plan_choice(m, 5);
  at->i[4] = at->i[3] ? plan_choice(m, 4) : 0;
}

static sonde_node *attention(maker *m, const char *op) {
  int64_t groups = 1 + plan_choice(m, 2);
  sonde_shape k = heads(m, F32), q = k;
  int causal = (int)plan_choice(m, 2);
  if (!plan_choice(m, 4)) k.dim[1] = q.dim[1] = 130;
  q.dim[1] -= plan_choice(m, q.dim[1]);
  q.dim[2] *= groups;
  int listed = causal && !plan_choice(m, 4);
  sonde_attr at = {{0.5 * (double)plan_choice(m, 3), (double)plan_choice(m, 2)}, {causal}};
  if (causal) take_pattern(m, &at, listed);
  int dq = plan_real(m), dk = plan_real(m), dv = plan_choice(m, 2) ? dk : plan_real(m);
  sonde_node *in[8] = {plan_operand(m, plan_shape_of(dq, 4, q.dim)), plan_operand(m, plan_shape_of(dk, 4, k.dim)),
                       plan_operand(m, plan_shape_of(dv, 4, k.dim))};
  int more = 0;
  if (listed) in[3] = in[6] = lists_of(m, &q), more++;
  else if (causal && plan_choice(m, 2)) in[3] = in[6] = starts_of(m, "document_starts", q.dim[0], q.dim[1]), more++;
  if (causal && plan_choice(m, 2)) in[3 + more] = in[6 + more] = slopes_of(m, q.dim[2]), more++;
  sonde_node *y = plan_call(m, "attention", 3 + more, in, &at);
  if (!y) return NULL;
  in[3] = y;
  in[4] = sonde_result(y, 1);
  in[5] = plan_operand(m, plan_shape_of(plan_real(m), 4, q.dim));
  if (!strcmp(op, "attention_grad")) return sonde_result(plan_call(m, op, 6 + more, in, &at), (int)plan_choice(m, 3));
  return sonde_result(y, plan_choice(m, 4) ? 0 : 1 + (int)plan_choice(m, 2));
}

/* The choice of blocks; the weights and what they are like. */
static sonde_node *measures(maker *m, const char *op) {
  sonde_shape k = heads(m, plan_real(m)), q = k, thresholds = SHAPE(F32, 1 + plan_choice(m, 3), 2), one = SHAPE(I32, 1);
  int64_t every = 1 + plan_choice(m, 3), n = 2;
  q.dim[2] *= 1 + plan_choice(m, 2);
  sonde_node *in[6] = {plan_operand(m, q), plan_operand(m, k)};
  if (!strncmp(op, "attention_blocks", 16)) {
    sonde_attr at = {{0}, {every * (1 + plan_choice(m, 3)), plan_choice(m, 4), every}};
    in[n++] = in[0];
    if (!strcmp(op, "attention_blocks_cached")) {
      q.dim[1] = 1 + plan_choice(m, q.dim[1]);
      in[2] = plan_operand(m, q);
      in[n++] = plan_integers(m, &one, 0, k.dim[1] - q.dim[1]);
    } else if (plan_choice(m, 2)) {
      in[n++] = starts_of(m, "document_starts", q.dim[0], q.dim[1]);
    }
    return plan_call(m, op, (int)n, in, &at);
  }
  sonde_attr at = {{0, (double)plan_choice(m, 2)}, {1}};
  int listed = (int)plan_choice(m, 2);
  take_pattern(m, &at, listed);
  in[n++] = plan_operand(m, SHAPE(F32, q.dim[0], q.dim[2], q.dim[1]));
  if (!strcmp(op, "attention_spread")) in[n++] = plan_operand(m, thresholds);
  if (listed) in[n++] = lists_of(m, &q);
  sonde_node *y = plan_call(m, op, (int)n, in, &at);
  return y && !strcmp(op, "attention_spread") ? sonde_result(y, (int)plan_choice(m, 2)) : y;
}

static sonde_node *cached(maker *m, const char *op) {
  sonde_shape x = heads(m, plan_real(m)), cache = x, one = SHAPE(I32, 1);
  cache.dtype = F32;
  cache.dim[1] += 3;
  sonde_node *at = plan_integers(m, &one, 0, 3), *k = plan_operand(m, cache), *v = plan_operand(m, cache);
  if (!strcmp(op, "cache_write")) return CALL(op, NULL, k, plan_operand(m, x), at);
  sonde_attr a = {{0, (double)plan_choice(m, 2)}, {1}};
  take_pattern(m, &a, 0);
  x.dim[2] *= 1 + plan_choice(m, 2);
  sonde_node *q = plan_operand(m, x);
  return plan_choice(m, 2) ? CALL(op, &a, q, k, v, at) : CALL(op, &a, q, k, v, slopes_of(m, x.dim[2]), at);
}

static sonde_node *loss(maker *m, const char *op) {
  int64_t n = plan_dim(m), d = plan_dim(m), v = plan_dim(m);
  int dtype = plan_real(m);
  if (n * d > LARGEST || v * d > LARGEST || n * v > LARGEST) return NULL;
  sonde_shape ids = SHAPE(I32, n);
  sonde_node *in[4] = {plan_operand(m, SHAPE(dtype, n, d)), plan_operand(m, SHAPE(dtype, v, d)), plan_integers(m,
      &ids, -1, v - 1),
                       plan_operand(m, SHAPE(F32, n))};
  sonde_attr at = {{2.0 * (double)plan_choice(m, 2)}, {0}};
  if (!strcmp(op, "lm_loss")) return plan_call(m, op, 3, in, &at);
  sonde_node *y = plan_call(m, op, 4, in, &at);
  return y ? sonde_result(y, (int)plan_choice(m, 3)) : NULL;
}

/* -p log q. */
int64_t plan_graph_divergence(sonde_ctx *ctx) {
  sonde_error err = {0};
  sonde_graph *g = sonde_graph_new(ctx, &err);
  const sonde_shape s = SHAPE(F32, 1, SONDE_POINTWISE_STRETCH, 1);
  sonde_node *in[4] = {sonde_input(g, "log_p", &s), sonde_input(g, "p", &s), sonde_input(g, "log_q", &s),
                       sonde_input(g, "q", &s)};
  int64_t number = sonde_pointwise_of(in, 4, sonde_neg(sonde_mul(in[1], in[2])), sonde_neg(in[1]), &err);
  sonde_graph_free(g);
  FUZZ_CHECK(number > 0);
  return number;
}

static sonde_node *teaching(maker *m, const char *op) {
  int64_t n = plan_dim(m), d = plan_dim(m), v = plan_dim(m), k = 1 + plan_choice(m, v < 4 ? v : 4);
  int dtype = plan_real(m), cached = strstr(op, "cached") != NULL, of_grad = strstr(op, "grad") != NULL;
  if (n * d > LARGEST || v * d > LARGEST || n * v > LARGEST) return NULL;
  sonde_node *x = plan_operand(m, SHAPE(dtype, n, d)), *w = plan_operand(m, SHAPE(dtype, v, d));
  sonde_attr top = {{1 + (double)plan_choice(m, 2), 2.0 * (double)plan_choice(m, 2)}, {k}};
  if (!strcmp(op, "teacher_top")) return CALL(op, &top, x, w);
  sonde_shape ids = SHAPE(I32, n), kept = SHAPE(I32, n, k);
  sonde_node *in[7] = {x, w, plan_integers(m, &ids, -1, v - 1), plan_operand(m, SHAPE(dtype, n, d)),
                       plan_operand(m, SHAPE(dtype, v, d)), plan_operand(m, SHAPE(F32, n)), plan_operand(m, SHAPE(F32,
                           n))};
  if (cached) in[3] = plan_integers(m, &kept, 0, v - 1), in[4] = plan_operand(m, SHAPE(F32, n, k + 1));
  sonde_attr at = {{top.f[0], top.f[1]}, {plan_graph_divergence(m->ctx)}};
  if (!cached && plan_choice(m, 2)) at.i[1] = k;
  sonde_node *y = plan_call(m, op, of_grad ? 7 : 5, in, &at);
  return y ? sonde_result(y, (int)plan_choice(m, of_grad ? 4 : 2)) : NULL;
}

static sonde_node *along(maker *m, const char *op) {
  sonde_node *x = plan_any(m, F32, 1, 4);
  if (!x) return NULL;
  int64_t width = x->shape.dim[x->shape.rank - 1];
  sonde_attr at = {{0}, {1 + plan_choice(m, width < 6 ? width : 6)}};
  if (!strcmp(op, "top_k")) return CALL(op, &at, x);
  sonde_shape index = x->shape;
  index.dtype = I32;
  if (!strcmp(op, "put_along")) return CALL(op, &at, plan_integers(m, &index, 0, at.i[0] - 1), x);
  index.dim[index.rank - 1] = at.i[0];
  return CALL(op, NULL, x, plan_integers(m, &index, 0, width - 1));
}

/* Choices of experts, and tokens in their order. */
static sonde_node *order_of(maker *m, int64_t experts) {
  sonde_shape s = plan_any_shape(m, I32, 1, 3);
  sonde_attr at = {{0}, {experts}};
  return CALL("expert_order", &at, plan_integers(m, &s, 0, experts - 1));
}
static sonde_node *expert_order(maker *m, const char *op) {
  (void)op;
  return sonde_result(order_of(m, 1 + plan_choice(m, 6)), (int)plan_choice(m, 3));
}

static sonde_node *grouped(maker *m, const char *op) {
  int64_t experts = 1 + plan_choice(m, 5), k = plan_dim(m), n = plan_dim(m);
  sonde_node *order = order_of(m, experts), *offsets = sonde_result(order, 2);
  if (!offsets || order->shape.dim[0] * (k > n ? k : n) > LARGEST || experts * k * n > LARGEST) return NULL;
  int64_t rows = order->shape.dim[0];
  int dtype = plan_real(m), turned = (int)plan_choice(m, 2), add = !plan_choice(m, 4);
  sonde_attr at = {{0}, {turned}};
  sonde_node *a = plan_operand(m, SHAPE(dtype, rows, k));
  if (!strcmp(op, "grouped_outer")) return CALL(op, NULL, a, plan_operand(m, SHAPE(dtype, rows, n)), offsets);
  int second = plan_second(m, dtype);
  sonde_shape b = turned ? SHAPE(second, experts, n, k) : SHAPE(second, experts, k, n);
  sonde_node *in[4] = {a, plan_operand(m, b), offsets, add ? plan_operand(m, SHAPE(F32, rows, n)) : NULL};
  return plan_call(m, op, add ? 4 : 3, in, &at);
}

static sonde_node *expert_sum(maker *m, const char *op) {
  sonde_shape place = plan_any_shape(m, I32, 1, 3), weight = place;
  int64_t rows = 1 + plan_choice(m, 9), width = plan_dim(m);
  if (sonde_shape_count(&place) * width > LARGEST) return NULL;
  weight.dtype = F32;
  sonde_shape sum = weight;
  sum.dim[sum.rank - 1] = width;
  int gradient = !strcmp(op, "expert_sum_grad"), more = gradient || plan_choice(m, 2);
  sonde_node *in[4] = {plan_operand(m, SHAPE(plan_real(m), rows, width)), plan_operand(m, weight), plan_integers(m,
      &place, 0, rows - 1),
                       more ? plan_operand(m, sum) : NULL};
  sonde_node *y = plan_call(m, op, more ? 4 : 3, in, NULL);
  return gradient ? sonde_result(y, (int)plan_choice(m, 2)) : y;
}

const plan_maker plan_makers_of_models[] = {
    {"rmsnorm", norm}, {"rmsnorm_grad", norm}, {"layernorm", norm}, {"layernorm_grad", norm}, {"rope", rope},
    {"rope_frequencies", frequencies}, {"rope_by_length", by_length}, {"attention", attention},
    {"attention_grad", attention}, {"attention_cached", cached}, {"document_starts", documents},
    {"positions", positions}, {"alibi_slopes", slopes}, {"attention_blocks", measures},
    {"attention_blocks_cached", measures}, {"attention_weights", measures}, {"attention_spread", measures},
    {"cache_write", cached}, {"lm_loss", loss}, {"lm_loss_grad", loss}, {"top_k", along}, {"take_along", along},
    {"put_along", along}, {"expert_order", expert_order}, {"grouped_matmul", grouped}, {"grouped_outer", grouped},
    {"expert_sum", expert_sum}, {"expert_sum_grad", expert_sum}, {"topk_mask", largest}, {"distill", teaching},
    {"distill_grad", teaching}, {"distill_cached", teaching}, {"distill_cached_grad", teaching},
    {"teacher_top", teaching},
    {NULL, NULL},
};
