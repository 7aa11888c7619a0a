/* fused.c - see fused.h. Tasks are blocks of rows fixed by the shape; each writes its own part of the outputs, and
 * sums over columns go through one partial sum a task, added in the order of the tasks. */
#include "cpu/fused.h"

#include <string.h>

#include "base/mem.h"
#include "cpu/simd.h"

enum { STRETCH = SONDE_FUSED_STRETCH };

typedef struct operand {
  int full, scalar;                /* same elements in the same order; one element for all */
  int reg;                         /* where it is unpacked; -1: read in place */
  int fixed;                       /* does not change from row to row: unpacked once per task */
} operand;

struct sonde_fused {
  const sonde_cpu *cpu;
  sonde_program p;
  int64_t count, cols, rows;       /* cols: the innermost dim, or the whole when flat */
  int64_t task_rows, tasks;        /* rows of one task; fixed by the shape */
  int64_t chunk;                   /* flat programs are cut into rows of this many columns */
  operand in[SONDE_PROGRAM_INPUTS];
  int reg[SONDE_PROGRAM_OPS];      /* where the op's result goes; -1: straight into its output */
};

/* ---- from a program to its cut ------------------------------------------------------------------------ */

static int ends_in(const sonde_program *p, int reduce) {
  for (int k = 0; k < p->n_op; k++)
    if (p->op[k].reduce == reduce) return 1;
  return 0;
}

static void cut(sonde_fused *f) {
  const sonde_program *p = &f->p;
  int by_rows = ends_in(p, SONDE_REDUCE_ROWS), by_columns = ends_in(p, SONDE_REDUCE_COLUMNS);
  f->count = 1;
  for (int d = 0; d < p->rank; d++) f->count *= p->dim[d];
  f->cols = p->dim[p->rank - 1];
  f->rows = f->cols ? f->count / f->cols : 0;
  if (p->rank == 1 && !by_rows && !by_columns) {       /* flat: any cut will do */
    f->chunk = STRETCH;
    f->rows = (f->count + f->chunk - 1) / f->chunk;
    f->cols = f->chunk;
  }
  int64_t row_work = f->cols > 0 ? f->cols : 1;
  f->task_rows = (16384 + row_work - 1) / row_work;
  if (by_columns && f->task_rows * 32 < f->rows) f->task_rows = (f->rows + 31) / 32;   /* few partial sums */
  if (f->task_rows > f->rows) f->task_rows = f->rows;
  f->tasks = f->task_rows ? (f->rows + f->task_rows - 1) / f->task_rows : 0;
}

static void classify_inputs(sonde_fused *f) {
  const sonde_program *p = &f->p;
  for (int k = 0; k < p->n_in; k++) {
    operand *in = &f->in[k];
    in->reg = -1;
    in->full = sonde_program_is_full(p, k);
    in->scalar = in->fixed = 1;
    for (int d = p->rank - 1; d >= 0 && !p->in[k].constant; d--) {
      in->scalar &= p->in[k].stride[d] == 0;
      if (d < p->rank - 1) in->fixed &= p->in[k].stride[d] == 0;
    }
    if (in->full) in->fixed = 0;
    /* A row vector under rows longer than a stretch is read where it lies. */
  }
}

typedef struct registers { int free[SONDE_PROGRAM_OPS], n_free, n; } registers;
static int take(registers *r) { return r->n_free ? r->free[--r->n_free] : r->n++; }
static void give(registers *r, int reg) { r->free[r->n_free++] = reg; }

/* Inputs that must be unpacked keep a register throughout; results give theirs back after their last reader. */
static void assign_registers(sonde_fused *f) {
  const sonde_program *p = &f->p;
  registers r = {{0}, 0, 0};
  int last_read[SONDE_PROGRAM_OPS];
  for (int k = 0; k < p->n_op; k++) last_read[k] = -1;
  for (int k = 0; k < p->n_op; k++)
    for (int j = 0; j < p->op[k].n_in; j++)
      if (p->op[k].in[j] >= 0) last_read[p->op[k].in[j]] = k;
  for (int k = 0; k < p->n_in; k++)
    if (!f->in[k].full || p->in[k].dtype != SONDE_F32) f->in[k].reg = take(&r);
  for (int k = 0; k < p->n_op; k++) {
    const sonde_program_op *o = &p->op[k];
    int direct = o->out >= 0 && o->out_dtype == SONDE_F32;
    f->reg[k] = -1;
    if (o->reduce == SONDE_REDUCE_NONE) f->reg[k] = direct ? -1 : take(&r);
    for (int j = 0; j < k; j++)
      if (last_read[j] == k && f->reg[j] >= 0 && p->op[j].reduce == SONDE_REDUCE_NONE) give(&r, f->reg[j]);
    if (o->reduce == SONDE_REDUCE_NONE && last_read[k] < 0 && f->reg[k] >= 0) give(&r, f->reg[k]);
  }
}

sonde_fused *sonde_fused_new(const sonde_cpu *cpu, const sonde_program *program, sonde_error *err) {
  sonde_fused *f = sonde_alloc(sizeof *f);
  if (!f) {
    sonde_fail(err, SONDE_ENOMEM, "no memory for a fused group");
    return NULL;
  }
  f->cpu = cpu;
  f->p = *program;
  cut(f);
  classify_inputs(f);
  assign_registers(f);
  return f;
}

int64_t sonde_fused_scratch(const sonde_fused *f) {
  int64_t n = 0;
  for (int k = 0; k < f->p.n_op; k++)
    if (f->p.op[k].reduce == SONDE_REDUCE_COLUMNS) n += f->tasks * f->cols;
    else if (f->p.op[k].reduce == SONDE_REDUCE_ALL) n += f->tasks;
  return n * (int64_t)sizeof(float);
}

/* ---- the run ------------------------------------------------------------------------------------------ */

/* A cast to f32: unpacking the input has done it. */
static void copy(const sonde_vec *v) { memcpy(v->out, v->in[0], (size_t)v->n * sizeof(float)); }

typedef struct task {
  const sonde_call *c;
  const sonde_fused *f;
  const sonde_simd_table *simd;
  float *partial;                  /* all partial sums */
  float *reg;                      /* this worker's registers */
  float *result[SONDE_PROGRAM_OPS];/* where each op's current stretch is */
  const float *operand[SONDE_PROGRAM_INPUTS];
  int64_t number, row, col, n;     /* the stretch: from (row, col), n elements */
} task;

/* The element of an input at (row, 0): rows run over all dims but the last. */
static int64_t row_offset(const sonde_program *p, const sonde_program_input *in, int64_t row) {
  int64_t at = 0;
  for (int d = p->rank - 2; d >= 0; d--) {
    at += row % p->dim[d] * in->stride[d];
    row /= p->dim[d];
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
  const sonde_program_input *in = &t->f->p.in[k];
  const operand *how = &t->f->in[k];
  const void *from = t->c->in[k];
  int64_t flat = t->f->chunk ? t->row * t->f->chunk : t->row * t->f->cols + t->col;
  if (how->reg < 0) {
    t->operand[k] = (const float *)from + flat;
    return;
  }
  float *to = t->reg + (int64_t)how->reg * STRETCH;
  t->operand[k] = to;
  if (in->constant || how->scalar) {
    if (!first) return;
    if (in->constant)
      for (int64_t j = 0; j < STRETCH; j++) to[j] = in->fill;
    else unpack(t->simd, to, from, in->dtype, 0, 0, STRETCH);
    return;
  }
  if (how->full) {
    unpack(t->simd, to, from, in->dtype, flat, 1, t->n);
    return;
  }
  int64_t stride = in->stride[t->f->p.rank - 1], cols = t->f->cols;
  if (t->n < cols || t->col) {                      /* a part of one long row */
    unpack(t->simd, to, from, in->dtype, row_offset(&t->f->p, in, t->row) + t->col * stride, stride, t->n);
    return;
  }
  if (how->fixed && !first) return;
  for (int64_t r = 0; r * cols < t->n; r++)
    unpack(t->simd, to + r * cols, from, in->dtype, row_offset(&t->f->p, in, t->row + r), stride, cols);
}

static float *partial_of(const task *t, int op) {
  float *at = t->partial;
  for (int k = 0; k < op; k++)
    if (t->f->p.op[k].reduce == SONDE_REDUCE_COLUMNS) at += t->f->tasks * t->f->cols;
    else if (t->f->p.op[k].reduce == SONDE_REDUCE_ALL) at += t->f->tasks;
  return at + t->number * (t->f->p.op[op].reduce == SONDE_REDUCE_COLUMNS ? t->f->cols : 1);
}

static void reduce(task *t, const sonde_program_op *o, int op, const float *x) {
  const sonde_fused *f = t->f;
  if (o->reduce == SONDE_REDUCE_ALL) {
    *partial_of(t, op) += t->simd->common.sum(x, t->n);
    return;
  }
  int64_t cols = t->n < f->cols || t->col ? t->n : f->cols;
  float *sums = o->reduce == SONDE_REDUCE_COLUMNS ? partial_of(t, op) + t->col : NULL;
  for (int64_t r = 0; r * cols < t->n; r++) {
    if (sums) {
      t->simd->common.axpy(sums, x + r * cols, 1, cols);
      continue;
    }
    float *out = (float *)t->c->out[o->out] + t->row + r, sum = t->simd->common.sum(x + r * cols, cols);
    *out = t->col ? *out + sum : sum;
  }
}

static void run_op(task *t, int k) {
  const sonde_program_op *o = &t->f->p.op[k];
  sonde_vec v = {.n = t->n, .attr = o->attr, .step = t->c->block->number, .block = t->c->block};
  v.index = (uint64_t)(t->f->chunk ? t->row * t->f->chunk : t->row * t->f->cols + t->col);
  for (int j = 0; j < o->n_in; j++) v.in[j] = o->in[j] < 0 ? t->operand[-1 - o->in[j]] : t->result[o->in[j]];
  if (o->reduce != SONDE_REDUCE_NONE) {
    reduce(t, o, k, v.in[0]);
    return;
  }
  v.out = t->f->reg[k] < 0 ? (float *)t->c->out[o->out] + v.index : t->reg + (int64_t)t->f->reg[k] * STRETCH;
  t->result[k] = v.out;
  if (!o->round) {
    (o->def->vec ? o->def->vec : copy)(&v);
    if (o->out >= 0 && o->out_dtype == SONDE_BF16)
      t->simd->common.to_bf16((uint16_t *)t->c->out[o->out] + v.index, v.out, t->n);
    return;
  }
  uint16_t rounded[STRETCH];                  /* readers inside the group see the rounded value too */
  uint16_t *to = o->out >= 0 ? (uint16_t *)t->c->out[o->out] + v.index : rounded;
  t->simd->common.to_bf16(to, v.in[0], t->n);
  t->simd->common.from_bf16(v.out, to, t->n);
}

static void stretch(task *t, int first) {
  for (int k = 0; k < t->f->p.n_in; k++) load(t, k, first);
  for (int k = 0; k < t->f->p.n_op; k++) run_op(t, k);
}

static void run_task(void *arg, int64_t number, int worker) {
  task t = *(const task *)arg;
  const sonde_fused *f = t.f;
  int64_t end = (number + 1) * f->task_rows < f->rows ? (number + 1) * f->task_rows : f->rows;
  int64_t at_once = f->chunk || f->cols >= STRETCH ? 1 : STRETCH / f->cols;
  int first = 1;
  t.number = number;
  t.reg = f->cpu->registers + worker * (int64_t)SONDE_FUSED_REGISTERS;
  for (int k = 0; k < f->p.n_op; k++)
    if (f->p.op[k].reduce == SONDE_REDUCE_COLUMNS) memset(partial_of(&t, k), 0, (size_t)f->cols * sizeof(float));
    else if (f->p.op[k].reduce == SONDE_REDUCE_ALL) *partial_of(&t, k) = 0;
  for (t.row = number * f->task_rows; t.row < end; t.row += at_once) {
    t.col = 0;
    if (f->chunk) {
      int64_t left = f->count - t.row * f->chunk;
      t.n = left < f->chunk ? left : f->chunk;
      stretch(&t, first);
      first = 0;
    } else if (f->cols <= STRETCH) {
      int64_t rows = end - t.row < at_once ? end - t.row : at_once;
      t.n = rows * f->cols;
      /* The first stretch of a task is its longest, so what is unpacked once then is long enough for all. */
      stretch(&t, first);
      first = 0;
    } else {
      for (; t.col < f->cols; t.col += STRETCH, first = 0) {
        t.n = f->cols - t.col < STRETCH ? f->cols - t.col : STRETCH;
        stretch(&t, first);
      }
    }
  }
}

static void add_partials(const task *t) {
  for (int k = 0; k < t->f->p.n_op; k++) {
    const sonde_program_op *o = &t->f->p.op[k];
    if (o->reduce != SONDE_REDUCE_COLUMNS && o->reduce != SONDE_REDUCE_ALL) continue;
    task at = *t;
    at.number = 0;
    const float *part = partial_of(&at, k);
    float *out = t->c->out[o->out];
    if (o->reduce == SONDE_REDUCE_ALL) {
      double sum = 0;
      for (int64_t j = 0; j < t->f->tasks; j++) sum += part[j];
      *out = (float)sum;
      continue;
    }
    memcpy(out, part, (size_t)t->f->cols * sizeof(float));
    for (int64_t j = 1; j < t->f->tasks; j++) t->simd->common.axpy(out, part + j * t->f->cols, 1, t->f->cols);
  }
}

void sonde_fused_run(const sonde_fused *f, const sonde_call *c) {
  task t = {.c = c, .f = f, .simd = sonde_simd_get(), .partial = c->scratch};
  sonde_pool_run(c->pool, f->tasks, run_task, &t);
  if (sonde_fused_scratch(f)) add_partials(&t);
}
