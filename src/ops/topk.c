/* topk.c - which numbers of a row are its largest: what activation sparsity keeps. */
#include "ops/common.h"

#include <math.h>

#include "ops/families.h"
#include "ops/top.h"

static int topk_shape(const sonde_shape *in, int n_in, const sonde_attr *a, sonde_shape *out, sonde_error *err) {
  (void)n_in;
  int code = sonde_need_dtype("topk_mask", "x", &in[0], SONDE_F32, err);
  if (code) return code;
  if (in[0].rank < 1)
    return sonde_fail(err, SONDE_ESHAPE, "topk_mask of %s: needs rows [.., n]", sonde_shown(&in[0]).text);
  if (a->i[0] < 1 || a->i[0] > in[0].dim[in[0].rank - 1])
    return sonde_fail(err, SONDE_EINVAL, "topk_mask of %s: of a row of %lld numbers %lld cannot be kept",
                      sonde_shown(&in[0]).text, (long long)in[0].dim[in[0].rank - 1], (long long)a->i[0]);
  out[0] = in[0];
  return SONDE_OK;
}

typedef struct topk {
  const float *x;
  float *out;
  int64_t n, k;
} topk;

/* The row of the result has the sizes at first. */
static void topk_rows(void *arg, int64_t begin, int64_t end, float *sums) {
  const topk *t = arg;
  (void)sums;
  for (int64_t r = begin; r < end; r++) {
    const float *x = t->x + r * t->n;
    float *out = t->out + r * t->n;
    for (int64_t j = 0; j < t->n; j++) out[j] = fabsf(x[j]);
    sonde_top top = sonde_top_count(out, t->n, t->k);
    for (int64_t j = 0; j < t->n; j++) out[j] = (float)sonde_top_takes(&top, out[j]);
  }
}

static int topk_run(const sonde_call *c) {
  const int64_t n = c->in_shape[0].dim[c->in_shape[0].rank - 1];
  topk t = {c->in[0], c->out[0], n, c->attr->i[0]};
  sonde_rows_run(c, sonde_on_pool, sonde_shape_count(&c->in_shape[0]) / n, n, 0, topk_rows, &t);
  return SONDE_OK;
}

static double topk_flops(const sonde_shape *in, int n_in, const sonde_shape *out, const sonde_attr *a) {
  (void)n_in, (void)out, (void)a;
  return 3.0 * (double)sonde_shape_count(&in[0]);
}

const sonde_op_def sonde_ops_topk[] = {
    {.size = sizeof(sonde_op_def), .name = "topk_mask", .min_in = 1, .max_in = 1, .n_out = 1,
     .doc = "x [.., n] -> 1 at the i0 = k largest |x| of each row (of equal ones the first), else 0; no gradient",
     .shape = topk_shape, .run = topk_run, .flops = topk_flops},
    {0},
};
