/* plan_alone.c - the values of a graph without a plan: each op's kernel called by itself (see plan_graph.h). */
#include "config.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cpu/simd.h"
#include "fuzz.h"
#include "plan_graph.h"

/* Of exactly this size, so that AddressSanitizer sees what goes over; full of NaN. */
static void *buffer(int64_t bytes) {
  void *p = NULL;
  FUZZ_CHECK(!posix_memalign(&p, 64, bytes > 0 ? (size_t)bytes : 1));
  memset(p, 0xff, bytes > 0 ? (size_t)bytes : 1);
  return p;
}

static const void *input_of(const maker *m, const sonde_node *n) {
  for (int k = 0; k < m->n_out; k++)
    if (m->out[k].node == n) return sonde_tensor_read(m->out[k].tensor, NULL);
  abort();
}

static float number_at(const void *x, int dtype, int64_t at) {
  float wide;
  if (dtype == SONDE_F32) return ((const float *)x)[at];
  if (dtype == SONDE_I32) return (float)((const int32_t *)x)[at];
  sonde_simd_get()->common.from_bf16(&wide, (const uint16_t *)x + at, 1);
  return wide;
}

/* An input of an elementwise op, repeated to the shape of the result. */
static float *broadcast(const void *x, const sonde_shape *from, const sonde_shape *to) {
  int64_t n = sonde_shape_count(to);
  float *wide = buffer(n * 4);
  for (int64_t k = 0; k < n; k++) {
    int64_t left = k, at = 0, step = 1;
    for (int d = to->rank - 1, e = from->rank - 1; e >= 0; d--, e--) {
      at += from->dim[e] == 1 ? 0 : left % to->dim[d] * step;
      left /= to->dim[d];
      step *= from->dim[e];
    }
    wide[k] = number_at(x, from->dtype, at);
  }
  return wide;
}

static void run_elementwise(const sonde_node *n, const void *const *in, void *out, uint64_t step) {
  float *wide[4] = {0};
  const sonde_step_block block = {sizeof block, step};
  sonde_vec v = {.n = sonde_shape_count(&n->shape), .out = out, .attr = &n->attr, .step = step, .block = &block};
  for (int k = 0; k < n->n_in; k++) v.in[k] = wide[k] = broadcast(in[k], &n->in[k]->shape, &n->shape);
  n->def->vec(&v);
  for (int k = 0; k < n->n_in; k++) free(wide[k]);
}

static void run_kernel(const maker *m, const sonde_node *n, const void *const *in, void *const *out, uint64_t step) {
  sonde_shape shape[SONDE_MAX_IN];
  sonde_error err = {0};
  const sonde_step_block block = {sizeof block, step};
  for (int k = 0; k < n->n_in; k++) shape[k] = n->in[k]->shape;
  int64_t bytes = n->def->scratch ? n->def->scratch(shape, n->n_in, n->out_shape, &n->attr) : 0;
  void *scratch = buffer(bytes);
  sonde_call c = {.size = sizeof c, .n_in = n->n_in, .n_out = n->def->n_out, .host = m->ctx->host, .in_shape = shape,
                  .out_shape = n->out_shape, .in = in, .out = out, .attr = &n->attr, .scratch = bytes ? scratch : NULL,
                  .step = step, .pool = m->ctx->pool, .err = &err, .scratch_bytes = bytes, .block = &block};
  if (n->def->run(&c)) {
    fprintf(stderr, "%s by itself: %s\n", n->def->name, err.text);
    abort();
  }
  free(scratch);
}

static double jitter(uint64_t *state) {
  *state = *state * 6364136223846793005u + 1442695040888963407u;
  return (double)(*state >> 11) / (double)((uint64_t)1 << 52) - 1;
}

/* The largest input of an op whose kernel may round inside: what cancels to 0 by itself then need not. */
static double inside(const sonde_node *n, const void *const *in) {
  double size = 0;
  if (n->kind != SONDE_KIND_OP || !(n->def->flags & SONDE_OP_BF16_IN)) return 0;
  for (int j = 0; j < n->n_in; j++)
    for (int64_t k = 0, count = sonde_shape_count(&n->in[j]->shape); k < count; k++) {
      double x = fabs(number_at(in[j], n->in[j]->shape.dtype, k));
      if (x > size && isfinite(x)) size = x;
    }
  return size;
}

static void disturb(void *x, const sonde_shape *s, double noise, double size, uint64_t *state) {
  int64_t n = sonde_shape_count(s);
  for (int64_t k = 0; noise > 0 && s->dtype != SONDE_I32 && k < n; k++) {
    float v = (float)(number_at(x, s->dtype, k) * (1 + noise * jitter(state)) + 0.2 * noise * size * jitter(state));
    if (s->dtype == SONDE_F32) ((float *)x)[k] = v;
    else sonde_simd_get()->common.to_bf16((uint16_t *)x + k, &v, 1);
  }
}

static void fill_constant(void *x, const sonde_shape *s, double value) {
  float v = (float)value;
  for (int64_t k = 0, n = sonde_shape_count(s); k < n; k++)
    if (s->dtype == SONDE_F32) ((float *)x)[k] = v;
    else if (s->dtype == SONDE_I32) ((int32_t *)x)[k] = (int32_t)value;
    else sonde_simd_get()->common.to_bf16((uint16_t *)x + k, &v, 1);
}

static void compute(const maker *m, alone *a, const sonde_node *n, double noise, uint64_t *state, uint64_t step) {
  void **out = a->value[n->id];
  const void *in[SONDE_MAX_IN];
  int n_out = n->kind == SONDE_KIND_OP ? n->def->n_out : 1;
  if (n->kind == SONDE_KIND_RESULT) return;
  for (int k = 0; k < n->n_in; k++) in[k] = plan_alone_value(a, n->in[k]);
  for (int k = 0; k < n_out; k++)
    out[k] = buffer(sonde_shape_bytes(n->kind == SONDE_KIND_OP ? &n->out_shape[k] : &n->shape));
  if (n->kind == SONDE_KIND_CONST) fill_constant(out[0], &n->shape, n->value);
  else if (n->kind != SONDE_KIND_OP) memcpy(out[0], input_of(m, n), (size_t)sonde_shape_bytes(&n->shape));
  else if (n->def->flags & SONDE_OP_VIEW) memcpy(out[0], in[0], (size_t)sonde_shape_bytes(&n->shape));
  else if (n->def->flags & SONDE_OP_ELEMENTWISE) run_elementwise(n, in, out[0], step);
  else run_kernel(m, n, in, out, step);
  if (n->kind == SONDE_KIND_CONST) return;
  double size = noise > 0 ? inside(n, in) : 0;
  for (int k = 0; k < n_out; k++)
    disturb(out[k], n->kind == SONDE_KIND_OP ? &n->out_shape[k] : &n->shape, noise, size, state);
}

alone plan_alone(const maker *m, double noise, uint64_t seed, uint64_t step) {
  alone a = {m->g->count, calloc((size_t)m->g->count, sizeof *a.value)};
  FUZZ_CHECK(a.value != NULL);
  for (int64_t id = 0; id < a.n; id++) compute(m, &a, m->g->node[id], noise, &seed, step);
  return a;
}

const void *plan_alone_value(const alone *a, const sonde_node *n) {
  return n->kind == SONDE_KIND_RESULT ? a->value[n->in[0]->id][n->index] : a->value[n->id][0];
}

void plan_alone_free(alone *a) {
  for (int64_t id = 0; id < a->n; id++)
    for (int k = 0; k < SONDE_MAX_OUT; k++) free(a->value[id][k]);
  free(a->value);
}
