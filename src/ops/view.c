/* view.c - ops that move elements of any dtype, or leave them: reshape, detach, permute, slice, concat, pad_slice.
 *
 * Attributes count axes and elements from 0; messages, which a script's author reads, count them from 1 as Lua does. */
#include "ops/common.h"

#include <string.h>

#include "ops/families.h"

/* Bytes of one run of elements along an axis and those after it. */
static int64_t bytes_from(const sonde_shape *s, int64_t axis) {
  int64_t n = sonde_dtype_size(s->dtype);
  for (int64_t k = axis; k < s->rank; k++) n *= s->dim[k];
  return n;
}

/* As a message counts: from 1. */
static long long from_one(int64_t k) { return k < INT64_MAX ? k + 1 : k; }

static int need_axis(const char *op, const sonde_shape *x, int64_t axis, sonde_error *err) {
  if (axis >= 0 && axis < x->rank) return SONDE_OK;
  return sonde_fail(err, SONDE_EINVAL, "%s: there is no axis %lld of %s; axes count from 1", op, from_one(axis),
                    sonde_shown(x).text);
}

/* ---- reshape ----------------------------------------------------------------------------------------- */

static int reshape_shape(const sonde_shape *in, int n_in, const sonde_attr *a, sonde_shape *out,
                         sonde_error *err) {
  (void)n_in;
  sonde_attr target = *a;
  int64_t open = 0, known = 1, total = sonde_shape_count(&in[0]);
  for (int64_t k = 1; k <= a->i[0] && k <= SONDE_MAX_RANK; k++) {
    if (a->i[k] != -1) {
      if (__builtin_mul_overflow(known, a->i[k], &known)) known = -1;
      continue;
    }
    if (open) return sonde_fail(err, SONDE_EINVAL, "reshape: two dims are -1; one at most can be inferred");
    open = k;
  }
  if (open) target.i[open] = known > 0 ? total / known : 0;
  int rc = sonde_target_shape("reshape", &in[0], &target, out, err);
  if (rc) return rc;
  if (sonde_shape_count(out) == total) return SONDE_OK;
  return sonde_fail(
      err, SONDE_ESHAPE, "reshape: %s has %lld elements and %s%s does not; the number must stay",
      sonde_shown(&in[0]).text, (long long)total, sonde_shown(out).text, open ? " (one dim inferred)" : "");
}

static int reshape_grad(sonde_graph *g, sonde_node *self, sonde_node *const *dout, sonde_node **din) {
  sonde_shape s = sonde_node_shape(sonde_inputs_of(self).in[0]);
  din[0] = sonde_reshape(dout[0], s.dim, s.rank);
  return sonde_rule_end(g);
}

/* ---- detach ------------------------------------------------------------------------------------------- */

static int detach_shape(const sonde_shape *in, int n_in, const sonde_attr *a, sonde_shape *out, sonde_error *err) {
  (void)n_in, (void)a, (void)err;
  *out = in[0];
  return SONDE_OK;
}

/* There is a rule, and it says that nothing flows. */
static int detach_grad(sonde_graph *g, sonde_node *self, sonde_node *const *dout, sonde_node **din) {
  (void)g, (void)self, (void)dout, (void)din;
  return SONDE_OK;
}

/* ---- permute ----------------------------------------------------------------------------------------- */

static int permute_shape(const sonde_shape *in, int n_in, const sonde_attr *a, sonde_shape *out,
                         sonde_error *err) {
  (void)n_in;
  int64_t seen = 0;
  if (a->i[0] != in[0].rank)
    return sonde_fail(err, SONDE_EINVAL, "permute: %lld axes for %s; each of its axes must be named once",
                      (long long)a->i[0], sonde_shown(&in[0]).text);
  *out = in[0];
  for (int k = 0; k < in[0].rank; k++) {
    int64_t axis = a->i[1 + k];
    int rc = need_axis("permute", &in[0], axis, err);
    if (rc) return rc;
    if (seen >> axis & 1)
      return sonde_fail(err, SONDE_EINVAL,
                        "permute: axis %lld twice for %s; each of its axes must be named once",
                        from_one(axis), sonde_shown(&in[0]).text);
    seen |= (int64_t)1 << axis;
    out->dim[k] = in[0].dim[axis];
  }
  return SONDE_OK;
}

static int permute_grad(sonde_graph *g, sonde_node *self, sonde_node *const *dout, sonde_node **din) {
  const sonde_attr *a = sonde_node_attr(self);
  sonde_attr back = {{0}, {a->i[0]}};
  for (int k = 0; k < a->i[0]; k++) back.i[1 + a->i[1 + k]] = k;
  din[0] = sonde_op_attr("permute", dout[0], &back);
  return sonde_rule_end(g);
}

/* A permutation without the axes of 1 and with axes that stay neighbours joined: for each output axis its
 * length and its stride in the input. */
typedef struct permutation {
  int rank;
  int64_t dim[SONDE_MAX_RANK], from[SONDE_MAX_RANK], to[SONDE_MAX_RANK];
  int64_t bytes;
  const char *x;
  char *out;
  int across;     /* the output axis that is contiguous in the input */
  int64_t slabs;  /* combinations of the other axes than `across` and the last */
  int64_t strips; /* `across` cut into strips of STRIP */
} permutation;

enum { STRIP = 32 };

static permutation permutation_of(const sonde_shape *x, const sonde_attr *a) {
  permutation p = {.bytes = sonde_dtype_size(x->dtype), .slabs = 1};
  int64_t stride[SONDE_MAX_RANK], n = 1;
  for (int k = x->rank - 1; k >= 0; k--) {
    stride[k] = n;
    n *= x->dim[k];
  }
  for (int k = 0; k < x->rank; k++) {
    int64_t axis = a->i[1 + k], dim = x->dim[axis];
    if (dim == 1) continue;
    if (p.rank && p.from[p.rank - 1] == dim * stride[axis]) {
      p.dim[p.rank - 1] *= dim;
      p.from[p.rank - 1] = stride[axis];
    } else {
      p.dim[p.rank] = dim;
      p.from[p.rank++] = stride[axis];
    }
  }
  n = 1;
  for (int k = p.rank - 1; k >= 0; k--) {
    p.to[k] = n;
    n *= p.dim[k];
    if (p.from[k] == 1) p.across = k;
  }
  for (int k = 0; k < p.rank - 1; k++)
    if (k != p.across) p.slabs *= p.dim[k];
  if (p.rank) p.strips = sonde_parts(p.dim[p.across], STRIP);
  return p;
}

#define TRANSPOSE(type)                                                                          \
  static void transpose_##type(type *to, int64_t to_pitch, const type *from, int64_t from_pitch, \
                               int64_t rows, int64_t columns) {                                  \
    for (int64_t c0 = 0; c0 < columns; c0 += STRIP) {                                            \
      int64_t c1 = c0 + STRIP < columns ? c0 + STRIP : columns;                                  \
      for (int64_t r = 0; r < rows; r++)                                                         \
        for (int64_t c = c0; c < c1; c++) to[r * to_pitch + c] = from[c * from_pitch + r];       \
    }                                                                                            \
  }
TRANSPOSE(uint32_t)
TRANSPOSE(uint16_t)

/* One strip of one slab: rows run along `across`, columns along the output's last axis. */
static void permute_tile(void *arg, int64_t tile, int worker) {
  (void)worker;
  const permutation *p = arg;
  int last = p->rank - 1;
  int64_t row = tile % p->strips * STRIP, slab = tile / p->strips;
  int64_t rows = p->dim[p->across] - row < STRIP ? p->dim[p->across] - row : STRIP;
  int64_t to = row * p->to[p->across], from = row;
  for (int k = last - 1; k >= 0; k--) {
    if (k == p->across) continue;
    to += slab % p->dim[k] * p->to[k];
    from += slab % p->dim[k] * p->from[k];
    slab /= p->dim[k];
  }
  if (p->bytes == 4)
    transpose_uint32_t((uint32_t *)p->out + to, p->to[p->across], (const uint32_t *)p->x + from,
                       p->from[last], rows, p->dim[last]);
  else
    transpose_uint16_t((uint16_t *)p->out + to, p->to[p->across], (const uint16_t *)p->x + from,
                       p->from[last], rows, p->dim[last]);
}

/* The last axis stays last: rows are copied whole. */
static void permute_rows_tile(void *arg, int64_t tile, int worker) {
  (void)worker;
  const permutation *p = arg;
  int64_t width = p->dim[p->rank - 1], group = sonde_row_tile(width);
  for (int64_t row = tile * group; row < (tile + 1) * group && row < p->slabs; row++) {
    int64_t from = 0, index = row;
    for (int k = p->rank - 2; k >= 0; k--) {
      from += index % p->dim[k] * p->from[k];
      index /= p->dim[k];
    }
    memcpy(p->out + row * width * p->bytes, p->x + from * p->bytes, (size_t)(width * p->bytes));
  }
}

static int permute_run(const sonde_call *c) {
  permutation p = permutation_of(&c->in_shape[0], c->attr);
  p.x = c->in[0];
  p.out = c->out[0];
  if (p.rank <= 1) {
    sonde_region whole = {p.out, p.x, 1, sonde_shape_bytes(&c->in_shape[0]), 0, 0};
    sonde_copy_region(c, &whole);
  } else if (p.across == p.rank - 1) {
    sonde_pool_run(c->pool, sonde_parts(p.slabs, sonde_row_tile(p.dim[p.rank - 1])), permute_rows_tile, &p);
  } else {
    sonde_pool_run(c->pool, p.slabs * p.strips, permute_tile, &p);
  }
  return SONDE_OK;
}

/* ---- slice and its inverse, pad_slice ---------------------------------------------------------------- */

static int slice_shape(const sonde_shape *in, int n_in, const sonde_attr *a, sonde_shape *out,
                       sonde_error *err) {
  (void)n_in;
  int rc = need_axis("slice", &in[0], a->i[0], err);
  if (rc) return rc;
  int64_t start = a->i[1], length = a->i[2], dim = in[0].dim[a->i[0]];
  if (start < 0 || length < 1 || start > dim || length > dim - start)
    return sonde_fail(
        err, SONDE_EINVAL, "slice: %lld elements from element %lld on, of axis %lld of %s; the axis has 1 to %lld",
        (long long)length, from_one(start), from_one(a->i[0]), sonde_shown(&in[0]).text, (long long)dim);
  *out = in[0];
  out->dim[a->i[0]] = length;
  return SONDE_OK;
}

static int slice_grad(sonde_graph *g, sonde_node *self, sonde_node *const *dout, sonde_node **din) {
  const sonde_attr *a = sonde_node_attr(self);
  sonde_shape x = sonde_node_shape(sonde_inputs_of(self).in[0]);
  sonde_attr back = {{0}, {a->i[0], a->i[1], x.dim[a->i[0]]}};
  din[0] = sonde_op_attr("pad_slice", dout[0], &back);
  return sonde_rule_end(g);
}

static int slice_run(const sonde_call *c) {
  const sonde_shape *x = &c->in_shape[0];
  int64_t axis = c->attr->i[0], skip = c->attr->i[1] * bytes_from(x, axis + 1);
  int64_t width = bytes_from(&c->out_shape[0], axis);
  sonde_region r = {.dst = c->out[0], .src = (const char *)c->in[0] + skip, .width = width, .dst_pitch = width,
                    .rows = sonde_leading(x, x->rank - (int)axis), .src_pitch = bytes_from(x, axis)};
  sonde_copy_region(c, &r);
  return SONDE_OK;
}

static int pad_slice_shape(const sonde_shape *in, int n_in, const sonde_attr *a, sonde_shape *out,
                           sonde_error *err) {
  (void)n_in;
  int rc = need_axis("pad_slice", &in[0], a->i[0], err);
  if (rc) return rc;
  int64_t start = a->i[1], total = a->i[2], dim = in[0].dim[a->i[0]];
  if (start < 0 || total < dim || start > total - dim)
    return sonde_fail(err, SONDE_EINVAL, "pad_slice: %s put at element %lld of axis %lld does not fit into %lld",
                      sonde_shown(&in[0]).text, from_one(start), from_one(a->i[0]), (long long)total);
  *out = in[0];
  out->dim[a->i[0]] = total;
  return SONDE_OK;
}

static int pad_slice_grad(sonde_graph *g, sonde_node *self, sonde_node *const *dout, sonde_node **din) {
  const sonde_attr *a = sonde_node_attr(self);
  sonde_shape x = sonde_node_shape(sonde_inputs_of(self).in[0]);
  sonde_attr back = {{0}, {a->i[0], a->i[1], x.dim[a->i[0]]}};
  din[0] = sonde_op_attr("slice", dout[0], &back);
  return sonde_rule_end(g);
}

static int pad_slice_run(const sonde_call *c) {
  const sonde_shape *x = &c->in_shape[0];
  int64_t axis = c->attr->i[0], width = bytes_from(x, axis), pitch = bytes_from(&c->out_shape[0], axis);
  int64_t start = c->attr->i[1] * bytes_from(x, axis + 1), rows = sonde_leading(x, x->rank - (int)axis);
  char *out = c->out[0];
  sonde_region before = {out, NULL, rows, start, pitch, 0};
  sonde_region middle = {out + start, c->in[0], rows, width, pitch, width};
  sonde_region after = {out + start + width, NULL, rows, pitch - start - width, pitch, 0};
  sonde_copy_region(c, &before);
  sonde_copy_region(c, &middle);
  sonde_copy_region(c, &after);
  return SONDE_OK;
}

/* ---- concat ------------------------------------------------------------------------------------------ */

static int concat_shape(const sonde_shape *in, int n_in, const sonde_attr *a, sonde_shape *out,
                        sonde_error *err) {
  int64_t axis = a->i[0];
  int rc = need_axis("concat", &in[0], axis, err);
  if (rc) return rc;
  *out = in[0];
  for (int n = 1; n < n_in; n++) {
    sonde_shape same = in[n];
    if (same.rank == in[0].rank) same.dim[axis] = in[0].dim[axis];
    if (same.dtype != in[0].dtype || !sonde_shape_equal(&same, &in[0]))
      return sonde_fail(err, SONDE_ESHAPE, "concat: %s beside %s; they may differ on axis %lld only",
                        sonde_shown(&in[n]).text, sonde_shown(&in[0]).text, from_one(axis));
    if (__builtin_add_overflow(out->dim[axis], in[n].dim[axis], &out->dim[axis])) out->dim[axis] = -1;
  }
  if (sonde_shape_count(out) < 0)
    return sonde_fail(err, SONDE_ESHAPE, "concat: the result has too many elements");
  return SONDE_OK;
}

static int concat_grad(sonde_graph *g, sonde_node *self, sonde_node *const *dout, sonde_node **din) {
  sonde_inputs x = sonde_inputs_of(self);
  sonde_attr piece = {{0}, {sonde_node_attr(self)->i[0]}};
  for (int n = 0; n < x.n; n++) {
    sonde_shape s = sonde_node_shape(x.in[n]);
    piece.i[2] = s.dim[piece.i[0]];
    din[n] = sonde_op_attr("slice", dout[0], &piece);
    piece.i[1] += piece.i[2];
  }
  return sonde_rule_end(g);
}

static int concat_run(const sonde_call *c) {
  int64_t axis = c->attr->i[0], pitch = bytes_from(&c->out_shape[0], axis);
  char *to = c->out[0];
  for (int n = 0; n < c->n_in; n++) {
    const sonde_shape *x = &c->in_shape[n];
    int64_t width = bytes_from(x, axis);
    sonde_region r = {to, c->in[n], sonde_leading(x, x->rank - (int)axis), width, pitch, width};
    sonde_copy_region(c, &r);
    to += width;
  }
  return SONDE_OK;
}

const sonde_op_def sonde_ops_view[] = {
    {.size = sizeof(sonde_op_def), .name = "reshape", .min_in = 1, .max_in = 1, .n_out = 1,
     .flags = SONDE_OP_VIEW, .form = SONDE_FORM_RESHAPE,
     .doc = "x's elements under another shape: i0 = rank, i1.. = dims, one of which may be -1 (inferred)",
     .shape = reshape_shape, .grad = reshape_grad, .flops = sonde_no_flops},
    {.size = sizeof(sonde_op_def), .name = "detach", .min_in = 1, .max_in = 1, .n_out = 1, .flags = SONDE_OP_VIEW,
     .doc = "x; no gradient flows through it", .shape = detach_shape, .grad = detach_grad, .flops = sonde_no_flops,
     .form = SONDE_FORM_DETACH},
    {.size = sizeof(sonde_op_def), .name = "permute", .min_in = 1, .max_in = 1, .n_out = 1,
     .doc = "axis k of y is axis i(1+k) of x: i0 = rank, i1.. = axes",
     .shape = permute_shape, .grad = permute_grad, .run = permute_run, .flops = sonde_no_flops},
    {.size = sizeof(sonde_op_def), .name = "slice", .min_in = 1, .max_in = 1, .n_out = 1,
     .doc = "part of x along one axis: i0 = axis, i1 = start, i2 = length",
     .shape = slice_shape, .grad = slice_grad, .run = slice_run, .flops = sonde_no_flops},
    {.size = sizeof(sonde_op_def), .name = "pad_slice", .min_in = 1, .max_in = 1, .n_out = 1,
     .doc = "zeros with x put at a place along one axis: i0 = axis, i1 = start, i2 = length of the result",
     .shape = pad_slice_shape, .grad = pad_slice_grad, .run = pad_slice_run, .flops = sonde_no_flops},
    {.size = sizeof(sonde_op_def), .name = "concat", .min_in = 1, .max_in = SONDE_MAX_IN, .n_out = 1,
     .doc = "the inputs one after the other along an axis: i0 = axis; other dims and dtypes equal",
     .shape = concat_shape, .grad = concat_grad, .run = concat_run, .flops = sonde_no_flops},
    {0},
};
