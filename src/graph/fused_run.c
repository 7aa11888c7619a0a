/* fused_run.c - runs a fused group's program. Tasks are blocks of rows fixed by the shape; each writes its own part
 * of the outputs, and sums over columns go through one partial sum a task, added in the order of the tasks. */
#include <string.h>

#include "cpu/simd.h"
#include "graph/fused.h"

typedef struct task {
  const sonde_plan *p;
  const fused *f;
  const sonde_simd_table *simd;
  float *partial;                  /* all partial sums */
  float *reg;                      /* this worker's registers */
  float *result[FUSED_MAX_MEMBERS];/* where each op's current stretch is */
  const float *operand[FUSED_MAX_INPUTS];
  int64_t number, row, col, n;     /* the stretch: from (row, col), n elements */
} task;

/* The element of an input at (row, 0): rows run over all dims but the last. */
static int64_t row_offset(const fused *f, const fused_input *in, int64_t row) {
  int64_t at = 0;
  for (int d = f->rank - 2; d >= 0; d--) {
    at += row % f->dim[d] * in->stride[d];
    row /= f->dim[d];
  }
  return at;
}

static void unpack(const sonde_simd_table *simd, float *to, const void *from, int dtype, int64_t at, int64_t stride,
                   int64_t n) {
  if (stride == 0) {
    float x;
    if (dtype == SONDE_BF16) simd->common.from_bf16(&x, (const uint16_t *)from + at, 1);
    else x = dtype == SONDE_I32 ? (float)((const int32_t *)from)[at] : ((const float *)from)[at];
    for (int64_t k = 0; k < n; k++) to[k] = x;
  } else if (dtype == SONDE_BF16) {
    simd->common.from_bf16(to, (const uint16_t *)from + at, n);
  } else if (dtype == SONDE_I32) {
    for (int64_t k = 0; k < n; k++) to[k] = (float)((const int32_t *)from)[at + k];
  } else {
    memcpy(to, (const float *)from + at, (size_t)n * sizeof(float));
  }
}

static void load(task *t, int k, int first) {
  const fused_input *in = &t->f->in[k];
  const void *from = t->p->ptr[in->v];
  int64_t flat = t->f->chunk ? t->row * t->f->chunk : t->row * t->f->cols + t->col;
  if (in->reg < 0) {
    t->operand[k] = (const float *)from + flat;
    return;
  }
  float *to = t->reg + (int64_t)in->reg * FUSED_STRETCH;
  t->operand[k] = to;
  if (in->constant || in->scalar) {
    if (!first) return;
    if (in->constant)
      for (int64_t j = 0; j < FUSED_STRETCH; j++) to[j] = in->fill;
    else unpack(t->simd, to, from, in->dtype, 0, 0, FUSED_STRETCH);
    return;
  }
  if (in->full) {
    unpack(t->simd, to, from, in->dtype, flat, 1, t->n);
    return;
  }
  int64_t stride = in->stride[t->f->rank - 1], cols = t->f->cols;
  if (t->n < cols || t->col) {                      /* a part of one long row */
    unpack(t->simd, to, from, in->dtype, row_offset(t->f, in, t->row) + t->col * stride, stride, t->n);
    return;
  }
  if (in->fixed && !first) return;
  for (int64_t r = 0; r * cols < t->n; r++)
    unpack(t->simd, to + r * cols, from, in->dtype, row_offset(t->f, in, t->row + r), stride, cols);
}

static float *partial_of(const task *t, int op) {
  float *at = t->partial;
  for (int k = 0; k < op; k++)
    if (t->f->op[k].reduce == REDUCE_COLUMNS) at += t->f->tasks * t->f->cols;
    else if (t->f->op[k].reduce == REDUCE_ALL) at += t->f->tasks;
  return at + t->number * (t->f->op[op].reduce == REDUCE_COLUMNS ? t->f->cols : 1);
}

static void reduce(task *t, const fused_op *o, int op, const float *x) {
  const fused *f = t->f;
  if (o->reduce == REDUCE_ALL) {
    *partial_of(t, op) += t->simd->common.sum(x, t->n);
    return;
  }
  int64_t cols = t->n < f->cols || t->col ? t->n : f->cols;
  float *sums = o->reduce == REDUCE_COLUMNS ? partial_of(t, op) + t->col : NULL;
  for (int64_t r = 0; r * cols < t->n; r++) {
    if (sums) {
      t->simd->common.axpy(sums, x + r * cols, 1, cols);
      continue;
    }
    float *out = (float *)t->p->ptr[o->out] + t->row + r, sum = t->simd->common.sum(x + r * cols, cols);
    *out = t->col ? *out + sum : sum;
  }
}

static void run_op(task *t, int k) {
  const fused_op *o = &t->f->op[k];
  sonde_vec v = {.n = t->n, .attr = o->attr, .step = t->p->block.number, .block = &t->p->block};
  v.index = (uint64_t)(t->f->chunk ? t->row * t->f->chunk : t->row * t->f->cols + t->col);
  for (int j = 0; j < o->n_in; j++) v.in[j] = o->in[j] < 0 ? t->operand[-1 - o->in[j]] : t->result[o->in[j]];
  if (o->reduce != REDUCE_NONE) {
    reduce(t, o, k, v.in[0]);
    return;
  }
  v.out = o->reg < 0 ? (float *)t->p->ptr[o->out] + v.index : t->reg + (int64_t)o->reg * FUSED_STRETCH;
  t->result[k] = v.out;
  if (!o->round) {
    o->vec(&v);
    if (o->out >= 0 && o->out_dtype == SONDE_BF16)
      t->simd->common.to_bf16((uint16_t *)t->p->ptr[o->out] + v.index, v.out, t->n);
    return;
  }
  uint16_t rounded[FUSED_STRETCH];                  /* readers inside the group see the rounded value too */
  uint16_t *to = o->out >= 0 ? (uint16_t *)t->p->ptr[o->out] + v.index : rounded;
  t->simd->common.to_bf16(to, v.in[0], t->n);
  t->simd->common.from_bf16(v.out, to, t->n);
}

static void stretch(task *t, int first) {
  for (int k = 0; k < t->f->n_in; k++) load(t, k, first);
  for (int k = 0; k < t->f->n_op; k++) run_op(t, k);
}

static void run_task(void *arg, int64_t number, int worker) {
  task t = *(const task *)arg;
  const fused *f = t.f;
  int64_t end = (number + 1) * f->task_rows < f->rows ? (number + 1) * f->task_rows : f->rows;
  int64_t at_once = f->chunk || f->cols >= FUSED_STRETCH ? 1 : FUSED_STRETCH / f->cols;
  int first = 1;
  t.number = number;
  if (t.p->registers) t.reg = t.p->registers + worker * t.p->registers_per_worker;
  for (int k = 0; k < f->n_op; k++)
    if (f->op[k].reduce == REDUCE_COLUMNS) memset(partial_of(&t, k), 0, (size_t)f->cols * sizeof(float));
    else if (f->op[k].reduce == REDUCE_ALL) *partial_of(&t, k) = 0;
  for (t.row = number * f->task_rows; t.row < end; t.row += at_once) {
    t.col = 0;
    if (f->chunk) {
      int64_t left = f->count - t.row * f->chunk;
      t.n = left < f->chunk ? left : f->chunk;
      stretch(&t, first);
      first = 0;
    } else if (f->cols <= FUSED_STRETCH) {
      int64_t rows = end - t.row < at_once ? end - t.row : at_once;
      t.n = rows * f->cols;
      /* The first stretch of a task is its longest, so what is unpacked once then is long enough for all. */
      stretch(&t, first);
      first = 0;
    } else {
      for (; t.col < f->cols; t.col += FUSED_STRETCH, first = 0) {
        t.n = f->cols - t.col < FUSED_STRETCH ? f->cols - t.col : FUSED_STRETCH;
        stretch(&t, first);
      }
    }
  }
}

static void add_partials(const task *t) {
  for (int k = 0; k < t->f->n_op; k++) {
    const fused_op *o = &t->f->op[k];
    if (o->reduce != REDUCE_COLUMNS && o->reduce != REDUCE_ALL) continue;
    task at = *t;
    at.number = 0;
    const float *part = partial_of(&at, k);
    float *out = t->p->ptr[o->out];
    if (o->reduce == REDUCE_ALL) {
      double sum = 0;
      for (int64_t j = 0; j < t->f->tasks; j++) sum += part[j];
      *out = (float)sum;
      continue;
    }
    memcpy(out, part, (size_t)t->f->cols * sizeof(float));
    for (int64_t j = 1; j < t->f->tasks; j++) t->simd->common.axpy(out, part + j * t->f->cols, 1, t->f->cols);
  }
}

void fused_run(const sonde_plan *p, const fused *f, void *scratch) {
  task t = {.p = p, .f = f, .simd = sonde_simd_get(), .partial = scratch};
  sonde_pool_run(p->ctx->pool, f->tasks, run_task, &t);
  if (f->n_partial) add_partials(&t);
}
