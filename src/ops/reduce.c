/* reduce.c - sums and maxima down to a shape, and their inverse, expand.
 *
 * A reduction sees its input as rows: the last run of axes that are all kept or all reduced is the row, the
 * axes before it are outer axes of both kinds. The reduced outer axes are cut into blocks of BLOCK rows and
 * long rows into chunks of SONDE_TILE; each (kept index, block, chunk) gives a partial result, and a second
 * pass combines the partials in order. The cuts depend on the shape alone, so the bits do too. */
#include "ops/common.h"

#include <string.h>

#include "cpu/simd.h"
#include "ops/families.h"

enum { BLOCK = 64 };

typedef struct reduction {
  int rank; /* outer axes, slowest first */
  int64_t dim[SONDE_MAX_RANK], stride[SONDE_MAX_RANK];
  int kept[SONDE_MAX_RANK];
  int64_t kept_n, reduced_n; /* products of the outer axes of each kind */
  int64_t row;               /* elements of a row */
  int row_kept;              /* 1: rows are added up; 0: each row is summed to one number */
  int64_t blocks, chunks;
} reduction;

/* What is reduced by: a row to a number, and a row into an accumulator. */
typedef struct kernel {
  float (*row)(const float *x, int64_t n);
  void (*into)(float *acc, const float *x, int64_t n);
} kernel;

static float sum_row(const float *x, int64_t n) { return sonde_simd_get()->common.sum(x, n); }
static void sum_into(float *acc, const float *x, int64_t n) { sonde_simd_get()->common.axpy(acc, x, 1, n); }
static float max_row(const float *x, int64_t n) { return sonde_simd_get()->common.max(x, n); }
static void max_into(float *acc, const float *x, int64_t n) {
  for (int64_t k = 0; k < n; k++) acc[k] = x[k] > acc[k] ? x[k] : acc[k];
}

static const kernel kernel_sum = {sum_row, sum_into}, kernel_max = {max_row, max_into};

/* Neighbouring axes of one kind become one; the last of them is the row. */
static reduction reduction_of(const sonde_shape *x, const sonde_shape *out) {
  reduction r = {.kept_n = 1, .reduced_n = 1, .row = 1, .row_kept = 1};
  int missing = x->rank - out->rank;
  for (int k = 0; k < x->rank; k++) {
    int kept = k >= missing && out->dim[k - missing] == x->dim[k];
    if (x->dim[k] == 1) continue;
    if (r.rank && r.kept[r.rank - 1] == kept) {
      r.dim[r.rank - 1] *= x->dim[k];
    } else {
      r.dim[r.rank] = x->dim[k];
      r.kept[r.rank++] = kept;
    }
  }
  if (r.rank) {
    r.rank--;
    r.row = r.dim[r.rank];
    r.row_kept = r.kept[r.rank];
  }
  int64_t stride = r.row;
  for (int k = r.rank - 1; k >= 0; k--) {
    r.stride[k] = stride;
    stride *= r.dim[k];
    if (r.kept[k]) r.kept_n *= r.dim[k];
    else r.reduced_n *= r.dim[k];
  }
  r.blocks = sonde_parts(r.reduced_n, BLOCK);
  r.chunks = sonde_parts(r.row, SONDE_TILE);
  return r;
}

/* Where the index-th combination of the outer axes of a kind starts. */
static int64_t offset_of(const reduction *r, int kept, int64_t index) {
  int64_t offset = 0;
  for (int k = r->rank - 1; k >= 0; k--) {
    if (r->kept[k] != kept) continue;
    offset += index % r->dim[k] * r->stride[k];
    index /= r->dim[k];
  }
  return offset;
}

static int64_t partials_of(const reduction *r) { /* per kept index; 1: the result itself */
  return r->row_kept ? r->blocks : r->blocks * r->chunks;
}

typedef struct job {
  reduction r;
  const kernel *kernel;
  const float *x;
  float *out, *partial; /* the same when there is one partial a kept index */
  int64_t group;        /* kept indices a tile */
} job;

static void reduce_rows(const job *j, int64_t kept, int64_t block, int64_t chunk) {
  const reduction *r = &j->r;
  int64_t first = block * BLOCK, last = first + BLOCK < r->reduced_n ? first + BLOCK : r->reduced_n;
  int64_t column = chunk * SONDE_TILE, n = r->row - column < SONDE_TILE ? r->row - column : SONDE_TILE;
  const float *base = j->x + offset_of(r, 1, kept) + column;
  float *to = j->partial + (r->row_kept ? (kept * r->blocks + block) * r->row + column
                                        : (kept * r->blocks + block) * r->chunks + chunk);
  for (int64_t k = first; k < last; k++) {
    const float *row = base + offset_of(r, 0, k);
    if (r->row_kept) {
      if (k == first) memcpy(to, row, (size_t)n * sizeof *to);
      else j->kernel->into(to, row, n);
    } else {
      float value = j->kernel->row(row, n);
      if (k == first) *to = value;
      else j->kernel->into(to, &value, 1);
    }
  }
}

static void partial_tile(void *arg, int64_t tile, int worker) {
  (void)worker;
  const job *j = arg;
  int64_t cuts = j->r.blocks * j->r.chunks, block = tile % cuts / j->r.chunks, chunk = tile % j->r.chunks;
  int64_t first = tile / cuts * j->group, last = first + j->group;
  for (int64_t k = first; k < last && k < j->r.kept_n; k++) reduce_rows(j, k, block, chunk);
}

static void combine_tile(void *arg, int64_t tile, int worker) {
  (void)worker;
  const job *j = arg;
  const reduction *r = &j->r;
  if (!r->row_kept) {
    int64_t n = partials_of(r), last = (tile + 1) * j->group;
    for (int64_t k = tile * j->group; k < last && k < r->kept_n; k++)
      j->out[k] = j->kernel->row(j->partial + k * n, n);
    return;
  }
  int64_t kept = tile / r->chunks, column = tile % r->chunks * SONDE_TILE;
  int64_t n = r->row - column < SONDE_TILE ? r->row - column : SONDE_TILE;
  float *to = j->out + kept * r->row + column;
  const float *from = j->partial + kept * r->blocks * r->row + column;
  memcpy(to, from, (size_t)n * sizeof *to);
  for (int64_t b = 1; b < r->blocks; b++) j->kernel->into(to, from + b * r->row, n);
}

static int run_reduction(const sonde_call *c, const kernel *kernel) {
  job j = {.r = reduction_of(&c->in_shape[0], &c->out_shape[0]),
           .kernel = kernel,
           .x = c->in[0],
           .out = c->out[0]};
  int64_t elements = sonde_shape_count(&c->in_shape[0]);
  int whole = partials_of(&j.r) == 1;
  j.partial = whole ? j.out : c->scratch;
  j.group = sonde_row_tile(elements / j.r.kept_n / (j.r.blocks * j.r.chunks));
  int64_t groups = sonde_parts(j.r.kept_n, j.group);
  sonde_pool_run(c->pool, groups * j.r.blocks * j.r.chunks, partial_tile, &j);
  if (!whole) {
    j.group = sonde_row_tile(partials_of(&j.r));
    int64_t tiles = j.r.row_kept ? j.r.kept_n * j.r.chunks : sonde_parts(j.r.kept_n, j.group);
    sonde_pool_run(c->pool, tiles, combine_tile, &j);
  }
  return SONDE_OK;
}

static int64_t reduce_scratch(const sonde_shape *in, int n_in, const sonde_shape *out, const sonde_attr *a) {
  (void)n_in, (void)a;
  reduction r = reduction_of(&in[0], &out[0]);
  int64_t partials = partials_of(&r);
  return partials <= 1 ? 0 : partials * r.kept_n * (r.row_kept ? r.row : 1) * (int64_t)sizeof(float);
}

static double reduce_flops(const sonde_shape *in, int n_in, const sonde_shape *out, const sonde_attr *a) {
  (void)n_in, (void)out, (void)a;
  return (double)sonde_shape_count(&in[0]);
}

static int reduce_shape(const char *op, const sonde_shape *in, const sonde_attr *a, sonde_shape *out,
                        sonde_error *err) {
  int rc = sonde_need_dtype(op, "x", &in[0], SONDE_F32, err);
  if (!rc) rc = sonde_target_shape(op, &in[0], a, out, err);
  return rc ? rc : sonde_need_broadcast(op, out, &in[0], err);
}

static int sum_shape(const sonde_shape *in, int n_in, const sonde_attr *a, sonde_shape *out,
                     sonde_error *err) {
  (void)n_in;
  return reduce_shape("sum", in, a, out, err);
}

static int amax_shape(const sonde_shape *in, int n_in, const sonde_attr *a, sonde_shape *out,
                      sonde_error *err) {
  (void)n_in;
  return reduce_shape("amax", in, a, out, err);
}

static int sum_run(const sonde_call *c) { return run_reduction(c, &kernel_sum); }
static int amax_run(const sonde_call *c) { return run_reduction(c, &kernel_max); }

static int sum_grad(sonde_graph *g, sonde_node *self, sonde_node *const *dout, sonde_node **din) {
  din[0] = sonde_expand_like(dout[0], sonde_inputs_of(self).in[0]);
  return sonde_rule_end(g);
}

/* The gradient goes to the positions that equal the maximum, divided by their number. */
static int amax_grad(sonde_graph *g, sonde_node *self, sonde_node *const *dout, sonde_node **din) {
  sonde_node *x = sonde_inputs_of(self).in[0];
  sonde_node *equal = sonde_affine(sonde_op2("greater", self, x), -1, 1);
  din[0] = sonde_mul(equal, sonde_div(dout[0], sonde_sum_like(equal, self)));
  return sonde_rule_end(g);
}

/* ---- expand ------------------------------------------------------------------------------------------ */

/* The output as rows of `row` elements, each copied from one place or filled from one element. */
typedef struct expansion {
  int rank;
  int64_t dim[SONDE_MAX_RANK], stride[SONDE_MAX_RANK]; /* outer axes; stride 0 repeats */
  int64_t row, total, bytes;                           /* bytes of an element */
  int repeat;                                          /* 1: a row repeats one element */
  const char *x;
  char *out;
} expansion;

static expansion expansion_of(const sonde_shape *x, const sonde_shape *out) {
  expansion e = {.row = 1, .total = sonde_shape_count(out), .bytes = sonde_dtype_size(x->dtype)};
  int missing = out->rank - x->rank;
  int64_t stride = sonde_shape_count(x);
  for (int k = 0; k < out->rank; k++) {
    if (out->dim[k] == 1) continue;
    int repeat = k < missing || x->dim[k - missing] == 1;
    if (!repeat) stride /= out->dim[k];
    if (e.rank && (e.stride[e.rank - 1] == 0) == repeat) {
      e.dim[e.rank - 1] *= out->dim[k];
    } else {
      e.dim[e.rank++] = out->dim[k];
    }
    e.stride[e.rank - 1] = repeat ? 0 : stride;
  }
  if (e.rank) {
    e.row = e.dim[--e.rank];
    e.repeat = e.stride[e.rank] == 0;
  }
  return e;
}

static void fill(char *to, const char *value, int64_t n, int64_t bytes) {
  if (bytes == 4) {
    uint32_t v;
    memcpy(&v, value, sizeof v);
    for (int64_t k = 0; k < n; k++) ((uint32_t *)to)[k] = v;
  } else {
    uint16_t v;
    memcpy(&v, value, sizeof v);
    for (int64_t k = 0; k < n; k++) ((uint16_t *)to)[k] = v;
  }
}

static void expand_tile(void *arg, int64_t tile, int worker) {
  (void)worker;
  const expansion *e = arg;
  int64_t at = tile * SONDE_TILE, end = at + SONDE_TILE < e->total ? at + SONDE_TILE : e->total;
  while (at < end) {
    int64_t index = at / e->row, column = at % e->row, from = 0;
    int64_t n = e->row - column < end - at ? e->row - column : end - at;
    for (int k = e->rank - 1; k >= 0; k--) {
      from += index % e->dim[k] * e->stride[k];
      index /= e->dim[k];
    }
    if (e->repeat) fill(e->out + at * e->bytes, e->x + from * e->bytes, n, e->bytes);
    else memcpy(e->out + at * e->bytes, e->x + (from + column) * e->bytes, (size_t)(n * e->bytes));
    at += n;
  }
}

static int expand_run(const sonde_call *c) {
  expansion e = expansion_of(&c->in_shape[0], &c->out_shape[0]);
  e.x = c->in[0];
  e.out = c->out[0];
  sonde_pool_run(c->pool, sonde_parts(e.total, SONDE_TILE), expand_tile, &e);
  return SONDE_OK;
}

static int expand_shape(const sonde_shape *in, int n_in, const sonde_attr *a, sonde_shape *out,
                        sonde_error *err) {
  (void)n_in;
  int rc = sonde_target_shape("expand", &in[0], a, out, err);
  return rc ? rc : sonde_need_broadcast("expand", &in[0], out, err);
}

static int expand_grad(sonde_graph *g, sonde_node *self, sonde_node *const *dout, sonde_node **din) {
  din[0] = sonde_sum_like(dout[0], sonde_inputs_of(self).in[0]);
  return sonde_rule_end(g);
}

const sonde_op_def sonde_ops_reduce[] = {
    {.size = sizeof(sonde_op_def), .name = "sum", .min_in = 1, .max_in = 1, .n_out = 1,
     .doc = "y = x summed over the axes it broadcasts along: i0 = rank of y, i1.. = its dims; x f32",
     .shape = sum_shape, .grad = sum_grad, .scratch = reduce_scratch, .run = sum_run, .flops = reduce_flops,
     .form = SONDE_FORM_SUM},
    {.size = sizeof(sonde_op_def), .name = "amax", .min_in = 1, .max_in = 1, .n_out = 1,
     .doc = "y = maximum of x over the axes it broadcasts along: i0 = rank of y, i1.. = its dims; equals "
            "share the gradient; x f32",
     .shape = amax_shape, .grad = amax_grad, .scratch = reduce_scratch, .run = amax_run,
     .flops = reduce_flops},
    {.size = sizeof(sonde_op_def), .name = "expand", .min_in = 1, .max_in = 1, .n_out = 1,
     .doc = "y = x repeated to a shape it broadcasts to: i0 = rank of y, i1.. = its dims; any dtype",
     .shape = expand_shape, .grad = expand_grad, .run = expand_run, .flops = sonde_no_flops,
     .form = SONDE_FORM_EXPAND},
    {0},
};
