/* fuzz_plan.c - plans: random graphs of all ops under every way of planning, against each op's kernel alone. The bytes
 * are the choices of plan_graph.c.
 *
 * How far a plan may be off follows from the graph: by how much its values move when each of them is disturbed by a
 * rounding of the plan's kind (f32 or bf16). A value that is not finite, or becomes so, says nothing. */
#include "config.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "base/rng.h"
#include "fuzz.h"
#include "plan_graph.h"

const int64_t fuzz_runs = 600;

enum { DISTURBED = 3 };
static const double rounding[2] = {1e-6, 8e-3}, moves[2] = {10, 6}, least[2] = {1e-5, 2e-2};

static float number_at(const void *x, int dtype, int64_t k) {
  float wide;
  uint32_t bits;
  if (dtype == SONDE_F32) return ((const float *)x)[k];
  if (dtype == SONDE_I32) return (float)((const int32_t *)x)[k];
  bits = (uint32_t)((const uint16_t *)x)[k] << 16;
  memcpy(&wide, &bits, sizeof wide);
  return wide;
}

typedef struct checked { maker m; alone exact, off[2][DISTURBED]; } checked;

/* The largest number that the op behind n reads: terms of that size may cancel, after a rounding inside the kernel. */
static double largest_term(const checked *c, const sonde_node *n) {
  double size = 0;
  if (n->kind == SONDE_KIND_RESULT) n = n->in[0];
  for (int j = 0; j < n->n_in; j++)
    for (int64_t k = 0, count = sonde_shape_count(&n->in[j]->shape); k < count; k++) {
      double x = number_at(plan_alone_value(&c->exact, n->in[j]), n->in[j]->shape.dtype, k);
      if (isfinite(x)) size = fmax(size, fabs(x));
    }
  return size;
}

static int differs(const checked *c, int bf16, const sonde_node *n, const void *got, int i) {
  const void *want = plan_alone_value(&c->exact, n);
  int64_t count = sonde_shape_count(&n->shape), dtype = n->shape.dtype;
  double size = 0, moved = 0;
  for (int64_t k = 0; k < count; k++) {
    double x = number_at(want, (int)dtype, k);
    if (!isfinite(x)) continue;
    size = fmax(size, fabs(x));
    for (int d = 0; d < DISTURBED; d++) {
      double y = number_at(plan_alone_value(&c->off[bf16][d], n), (int)dtype, k);
      moved = fmax(moved, isfinite(y) ? fabs(y - x) : INFINITY);
    }
  }
  size = fmax(size, largest_term(c, n));
  double bound = moves[bf16] * moved + least[bf16] * size + 1e-30 + (dtype == SONDE_I32 && moved > 0);
  for (int64_t k = 0; k < count && isfinite(bound); k++) {
    double x = number_at(want, (int)dtype, k), y = number_at(got, (int)dtype, k);
    if (!isfinite(x) || fabs(y - x) <= bound || (!isfinite(y) && bound > size / 2)) continue;
    fprintf(stderr, "output %d (node %lld, %s), element %lld of %lld: %.9g and not %.9g (bound %g)\n", i,
            (long long)n->id, sonde_node_op(n), (long long)k, (long long)count, y, x, bound);
    return 1;
  }
  return 0;
}

/* Some outputs are written to the tensor of a leaf, which the plan reads too. */
static void choose_tensors(maker *m, sonde_tensor **to) {
  for (int i = 0; i < m->n_want; i++)
    for (int k = 0; k < m->n_out && !to[i]; k++) {
      sonde_tensor *t = m->out[k].tensor;
      int taken = m->out[k].node->kind != SONDE_KIND_LEAF || t->shape.dtype != m->want[i]->shape.dtype ||
                  !sonde_shape_equal(&t->shape, &m->want[i]->shape);
      for (int j = 0; j < i; j++) taken |= to[j] == t;
      if (!taken && plan_choice(m, 2)) to[i] = t;
    }
}

static void restore(const maker *m) {
  for (int k = 0; k < m->n_out; k++)
    memcpy(sonde_tensor_write(m->out[k].tensor, NULL), m->out[k].saved, (size_t)m->out[k].tensor->bytes);
}

static void failed(const sonde_plan *p, const sonde_plan_opts *o, const char *what) {
  sonde_error err = {0};
  if (p) sonde_plan_dump(p, "fuzz_plan.schedule", 0, &err);
  fprintf(stderr, "%s: compute %s, %s, recompute %d, hold %d; the schedule is in fuzz_plan.schedule\n", what,
          o->compute == SONDE_BF16 ? "bf16" : "f32", o->no_fuse ? "not fused" : "fused", o->recompute, o->hold);
  abort();
}

static void check(checked *c, const sonde_plan_opts *o) {
  maker *m = &c->m;
  sonde_error err = {0};
  sonde_tensor *to[MAX_OUTPUTS] = {0};
  uint64_t first[MAX_OUTPUTS] = {0};
  if (!plan_choice(m, 2)) choose_tensors(m, to);
  sonde_plan *p = sonde_plan_new(m->g, m->want, to, m->n_want, o, &err);
  if (!p) failed(p, o, err.text);
  p->watched = 1;
  for (int k = 0; k < m->n_out; k++)
    if (m->out[k].node->kind == SONDE_KIND_INPUT)
      sonde_plan_set_input(p, m->out[k].node->name, sonde_tensor_read(m->out[k].tensor, NULL), &err);
  sonde_plan_set_step(p, 7);
  for (int run = 0; run < 2; run++) {
    restore(m);
    if (sonde_plan_run(p, &err)) failed(p, o, err.text);
    for (int i = 0; i < m->n_want; i++) {
      const unsigned char *x = sonde_plan_output(p, i);
      uint64_t hash = 0;
      for (int64_t k = 0; k < sonde_shape_bytes(&m->want[i]->shape); k++) hash = (hash ^ x[k]) * 0x100000001b3u;
      if (run && hash != first[i]) failed(p, o, "the second run gives other bits");
      first[i] = hash;
      if (differs(c, o->compute == SONDE_BF16, m->want[i], x, i)) failed(p, o, "a wrong value");
    }
  }
  restore(m);
  sonde_plan_free(p);
}

int LLVMFuzzerInitialize(int *argc, char ***argv) {
  (void)argc, (void)argv;
  sonde_error err = {0};
  sonde_ctx *ctx = sonde_ctx_new(1, &err);
  FUZZ_CHECK(ctx != NULL);
  plan_graph_divergence(ctx);
  sonde_ctx_free(ctx);
  return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  sonde_error err = {0};
  checked c = {.m = {.data = data, .size = size, .state = 88172645463325252u}};
  for (size_t k = 0; k < size; k++) c.m.state = (c.m.state ^ data[k]) * 0x100000001b3u;
  c.m.ctx = sonde_ctx_new(1 + (int)plan_choice(&c.m, 2), &err);
  FUZZ_CHECK(c.m.ctx != NULL);
  const char *lacks = plan_graph_lacks(c.m.ctx);
  if (lacks) fprintf(stderr, "plan_graph.c cannot make the op '%s': give it a maker\n", lacks);
  FUZZ_CHECK(!lacks);
  if (plan_graph_make(&c.m)) {
    for (int k = 0; k < c.m.n_out; k++) {
      FUZZ_CHECK((c.m.out[k].saved = sonde_alloc((size_t)c.m.out[k].tensor->bytes)) != NULL);
      memcpy(c.m.out[k].saved, sonde_tensor_read(c.m.out[k].tensor, NULL), (size_t)c.m.out[k].tensor->bytes);
    }
    c.exact = plan_alone(&c.m, 0, 1, 7);
    for (int b = 0; b < 2; b++)
      for (int d = 0; d < DISTURBED; d++) c.off[b][d] = plan_alone(&c.m, rounding[b], (uint64_t)d + 1, 7);
    for (int way = 0; way < 8; way++) {
      sonde_plan_opts o = {.no_fuse = way & 1,
                           .compute = way & 2 ? SONDE_BF16 : SONDE_F32,
                           .recompute = way & 4 ? 2 : 0,
                           .hold = plan_choice(&c.m, 4) == 0};
      if (way > 3 && plan_choice(&c.m, 2)) continue;
      check(&c, &o);
    }
    for (int b = 0; b < 2; b++)
      for (int d = 0; d < DISTURBED; d++) plan_alone_free(&c.off[b][d]);
    plan_alone_free(&c.exact);
  }
  plan_graph_free(&c.m);
  sonde_ctx_free(c.m.ctx);
  return 0;
}
