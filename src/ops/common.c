/* common.c - helpers of the op families (see common.h); no op of its own. */
#include "ops/common.h"

#include <string.h>

sonde_shown_shape sonde_shown(const sonde_shape *s) {
  sonde_shown_shape t;
  sonde_shape_text(s, t.text, sizeof t.text);
  return t;
}

int64_t sonde_row_tile(int64_t width) { return width >= SONDE_TILE ? 1 : SONDE_TILE / width; }

int sonde_need_dtype(const char *op, const char *what, const sonde_shape *x, int dtype, sonde_error *err) {
  if (x->dtype == dtype) return SONDE_OK;
  return sonde_fail(err, SONDE_ESHAPE, "%s: %s is %s, but must be %s", op, what, sonde_shown(x).text,
                    sonde_dtype_name(dtype));
}

int sonde_target_shape(const char *op, const sonde_shape *x, const sonde_attr *a, sonde_shape *out,
                       sonde_error *err) {
  if (a->i[0] < 0 || a->i[0] > SONDE_MAX_RANK)
    return sonde_fail(err, SONDE_EINVAL, "%s: target rank %lld; it must be 0 to %d", op, (long long)a->i[0],
                      SONDE_MAX_RANK);
  *out = sonde_shape_make(x->dtype, (int)a->i[0], a->i + 1);
  if (sonde_shape_count(out) < 0)
    return sonde_fail(err, SONDE_EINVAL, "%s: target %s has a negative dim or too many elements", op,
                      sonde_shown(out).text);
  return SONDE_OK;
}

int sonde_need_broadcast(const char *op, const sonde_shape *from, const sonde_shape *to, sonde_error *err) {
  int fits = from->rank <= to->rank;
  for (int k = 1; fits && k <= from->rank; k++) {
    int64_t d = from->dim[from->rank - k];
    fits = d == 1 || d == to->dim[to->rank - k];
  }
  if (fits) return SONDE_OK;
  return sonde_fail(err, SONDE_ESHAPE,
                    "%s: %s does not broadcast to %s; aligned at the last axis, each dim must be equal or 1",
                    op, sonde_shown(from).text, sonde_shown(to).text);
}

sonde_inputs sonde_inputs_of(const sonde_node *n) {
  sonde_inputs r;
  r.n = sonde_node_inputs(n, r.in);
  return r;
}

int sonde_rule_end(sonde_graph *g) {
  sonde_error err;
  return sonde_graph_error(g, &err);
}

sonde_node *sonde_sum_like(sonde_node *dy, sonde_node *x) {
  if (!dy || !x) return NULL;
  sonde_shape from = sonde_node_shape(dy), to = sonde_node_shape(x);
  return sonde_shape_equal(&from, &to) ? dy : sonde_sum_to(dy, to.dim, to.rank);
}

sonde_node *sonde_expand_like(sonde_node *dy, sonde_node *x) {
  if (!dy || !x) return NULL;
  sonde_shape from = sonde_node_shape(dy), to = sonde_node_shape(x);
  return sonde_shape_equal(&from, &to) ? dy : sonde_expand(dy, to.dim, to.rank);
}

sonde_node *sonde_scalar(sonde_graph *g, double value) {
  sonde_shape s = sonde_shape_make(SONDE_F32, 0, NULL);
  return sonde_constant(g, &s, value);
}

double sonde_no_flops(const sonde_shape *in, int n_in, const sonde_shape *out, const sonde_attr *a) {
  (void)in, (void)n_in, (void)out, (void)a;
  return 0;
}

sonde_node *sonde_op_attr(const char *op, sonde_node *x, const sonde_attr *a) {
  return x ? sonde_op(sonde_node_graph(x), op, &x, 1, a) : NULL;
}

enum { REGION_BYTES = 4 * SONDE_TILE };

/* One tile: bytes [tile * REGION_BYTES, ...) of the region, counted row after row. */
static void region_tile(void *arg, int64_t tile, int worker) {
  (void)worker;
  const sonde_region *r = arg;
  int64_t at = tile * REGION_BYTES, end = at + REGION_BYTES, total = r->rows * r->width;
  if (end > total) end = total;
  int64_t row = at / r->width, column = at % r->width;
  while (at < end) {
    int64_t n = r->width - column;
    if (n > end - at) n = end - at;
    char *to = r->dst + row * r->dst_pitch + column;
    if (r->src) memcpy(to, r->src + row * r->src_pitch + column, (size_t)n);
    else memset(to, 0, (size_t)n);
    at += n;
    row++;
    column = 0;
  }
}

void sonde_copy_region(const sonde_call *c, const sonde_region *r) {
  if (r->rows <= 0 || r->width <= 0) return;
  sonde_pool_run(c->pool, sonde_parts(r->rows * r->width, REGION_BYTES), region_tile, (void *)r);
}
