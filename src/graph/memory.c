/* memory.c - where every value lies: one arena, offsets by lifetime, results in the place of dying inputs. */
#include <stdlib.h>
#include <string.h>

#include "graph/fused.h"

void plan_step_values(const sonde_plan *p, const step *s, void (*fn)(void *arg, value v, int stored), void *arg) {
  if (s->kind == STEP_COPY) {
    fn(arg, s->from, 0);
  } else if (s->kind == STEP_FUSED) {
    for (int k = 0; k < s->f->program.n_in; k++) fn(arg, s->f->in[k], 0);
    for (int k = 0; k < s->f->program.n_out; k++) fn(arg, s->f->out[k], 1);
  } else {
    const pnode *n = &p->node[s->node];
    for (int k = 0; k < n->n_in; k++) fn(arg, n->in[k], 0);
    for (int k = 0; k < n->n_out; k++)
      if (p->uses[value_of(s->node, k)]) fn(arg, value_of(s->node, k), 1);
  }
}

int plan_in_place(const sonde_plan *p, const step *s, value i, value o) {
  if (s->kind == STEP_OP) {
    const pnode *n = &p->node[s->node];
    int slot = n->def->adds;                                 /* c + a b: c is what the sum goes into */
    if (!(s->kernel.flags & SONDE_KERNEL_INPLACE) || value_out(o) || n->n_in <= slot || p->root[n->in[slot]] != p->root[i]) return 0;
    for (int k = 0; k < n->n_in; k++)
      if (k != slot && p->root[n->in[k]] == p->root[i]) return 0;
    return plan_shape(p, n->in[slot])->dtype == n->shape[0].dtype;
  }
  if (s->kind != STEP_FUSED || !(s->kernel.flags & SONDE_KERNEL_INPLACE)) return 0;
  const fused *f = s->f;
  int made = -1, in = -1;
  for (int k = 0; k < f->program.n_out; k++)
    if (f->out[k] == o) made = f->made_by[k];
  for (int k = 0; k < f->program.n_in; k++)
    if (p->root[f->in[k]] == p->root[i]) {
      if (in >= 0) return 0;                                 /* read twice, under two shapes */
      in = k;
    }
  /* Read in place and element by element, and not again after the result is written over it. */
  return made >= 0 && in >= 0 && sonde_program_is_full(&f->program, in) && f->program.in[in].dtype == SONDE_F32 &&
         f->program.op[made].out_dtype == SONDE_F32 && f->program.op[made].reduce == SONDE_REDUCE_NONE &&
         f->program.in[in].last_use <= made;
}

/* ---- lifetimes ---------------------------------------------------------------------------------------- */

typedef struct life { sonde_plan *p; int32_t at; } life;

static void touch(void *arg, value v, int stored) {
  life *l = arg;
  storage *s = &l->p->store[l->p->root[v]];
  if (stored && s->first < 0) s->first = l->at;
  if (s->last < l->at) s->last = l->at;
}

static void begin_storage(sonde_plan *p) {
  for (int32_t k = 0; k < p->count; k++)
    for (int j = 0; j < p->node[k].n_out; j++) {
      const pnode *n = &p->node[k];
      value v = value_of(k, j);
      p->root[v] = plan_is_view(n) ? p->root[n->in[0]] : v;
      storage *s = &p->store[v];
      *s = (storage){.place = NOWHERE, .bytes = sonde_shape_bytes(&n->shape[j]), .first = -1, .last = -1};
      if (n->kind == SONDE_KIND_LEAF) {
        s->place = IN_TENSOR;
        s->tensor = n->src->tensor;
      } else if (n->kind == SONDE_KIND_INPUT) {
        s->place = IN_INPUT;
        s->at = p->input_bytes;
        p->input[p->n_input++] = (plan_input){.name = n->src->name, .bytes = s->bytes, .at = s->at, .low = INT32_MIN, .high = INT32_MAX};
        p->input_bytes += plan_aligned(p, s->bytes);
      } else if (n->kind == SONDE_KIND_CONST) {
        s->place = IN_CONST;
      } else if (!plan_is_view(n)) {
        s->place = p->uses[v] ? IN_ARENA : NOWHERE;
      }
    }
}

/* ---- what inputs may hold ----------------------------------------------------------------------------- */

static plan_input *input_behind(const sonde_plan *p, value v) {
  const storage *s = &p->store[p->root[v]];
  for (int32_t k = 0; s->place == IN_INPUT && k < p->n_input; k++)
    if (p->input[k].at == s->at && p->input[k].bytes == s->bytes) return &p->input[k];
  return NULL;
}

static void bound_inputs(sonde_plan *p) {
  for (int32_t k = 0; k < p->count; k++) {
    const pnode *n = &p->node[k];
    sonde_shape in[SONDE_MAX_IN];
    int64_t low, high;
    if (!n->def || !n->def->range) continue;
    for (int j = 0; j < n->n_in; j++) in[j] = *plan_shape(p, n->in[j]);
    for (int j = 0; j < n->n_in; j++) {
      plan_input *input = input_behind(p, n->in[j]);
      if (!input || !n->def->range(in, n->n_in, &n->attr, j, &low, &high)) continue;
      if (low > input->low) input->low = low, input->bound_by = n->def->name;
      if (high < input->high) input->high = high, input->bound_by = n->def->name;
    }
  }
}

/* ---- what is held from run to run --------------------------------------------------------------------- */

typedef struct holding { sonde_plan *p; uint8_t *held; int all; } holding;

static int is_written(const sonde_plan *p, const sonde_tensor *t) {
  for (int i = 0; i < p->n_out; i++)
    if (p->out_tensor[i] == t) return 1;
  return 0;
}

static void ask(void *arg, value v, int stored) {
  holding *h = arg;
  value root = h->p->root[v];
  const storage *s = &h->p->store[root];
  int fixed = s->place == IN_CONST || (s->place == IN_TENSOR && !is_written(h->p, s->tensor));
  if (!stored && !fixed && !h->held[root]) h->all = 0;
}

static void keep(void *arg, value v, int stored) {
  holding *h = arg;
  value root = h->p->root[v];
  if (!stored) return;
  h->held[root] = 1;
  h->p->store[root].first = 0;
  h->p->store[root].last = HELD;
}

/* Steps that read only leaves, constants and results of such steps; before outputs are placed, so that a held result
 * that is an output is copied to its tensor in every run. */
static int hold_steps(sonde_plan *p, sonde_error *err) {
  holding h = {p, sonde_alloc((size_t)p->count * SONDE_MAX_OUT), 0};
  if (!h.held) return sonde_fail(err, SONDE_ENOMEM, "no memory for the plan");
  for (int32_t k = 0; k < p->n_step; k++) {
    const pnode *n = p->step[k].kind == STEP_OP ? &p->node[p->step[k].node] : NULL;
    h.all = !n || !(n->def->flags & SONDE_OP_RANDOM);
    if (h.all) plan_step_values(p, &p->step[k], ask, &h);
    if (!h.all) continue;
    plan_step_values(p, &p->step[k], keep, &h);
    p->step[k].held = 1;
  }
  sonde_release(h.held);
  return 0;
}

/* Results that take over the buffer of an input that nobody reads afterwards. */
typedef struct over { sonde_plan *p; step *s; int32_t at; value in[SONDE_MAX_IN + SONDE_PROGRAM_INPUTS]; int n_in; } over;

static void collect(void *arg, value v, int stored) {
  over *o = arg;
  if (!stored) {
    if (o->n_in < (int)(sizeof o->in / sizeof o->in[0])) o->in[o->n_in++] = v;
    return;
  }
  storage *mine = &o->p->store[o->p->root[v]];
  if (mine->place != IN_ARENA) return;
  for (int k = 0; k < o->n_in; k++) {
    value from = o->p->root[o->in[k]];
    storage *s = &o->p->store[from];
    if (s->place != IN_ARENA || s->last != o->at || s->bytes != mine->bytes || !plan_in_place(o->p, o->s, o->in[k], v)) continue;
    s->last = mine->last;
    for (int32_t x = 0; x < o->p->count * SONDE_MAX_OUT; x++)
      if (o->p->root[x] == v) o->p->root[x] = from;
    mine->place = NOWHERE;
    return;
  }
}

/* Output i goes straight to its tensor if no one reads the tensor's old values after that. */
static int write_through(sonde_plan *p, int i) {
  value root = p->root[p->out[i]];
  storage *s = &p->store[root];
  if (s->place != IN_ARENA || s->bytes != p->out_tensor[i]->bytes || s->last == HELD) return 0;
  for (int32_t k = 0; k < p->count; k++) {
    if (p->node[k].kind != SONDE_KIND_LEAF || p->node[k].src->tensor != p->out_tensor[i]) continue;
    const storage *old = &p->store[value_of(k, 0)];
    if (old->last > s->first) return 0;
    if (old->last == s->first && !plan_in_place(p, &p->step[s->first], value_of(k, 0), root)) return 0;
  }
  s->place = IN_TENSOR;
  s->tensor = p->out_tensor[i];
  return 1;
}

static void place_outputs(sonde_plan *p) {
  for (int i = 0; i < p->n_out; i++) {
    storage *s = &p->store[p->root[p->out[i]]];
    if (s->last < p->n_step + p->n_out) s->last = p->n_step + p->n_out;
    if (p->out_tensor[i] && !write_through(p, i))
      p->step[p->n_step++] = (step){.kind = STEP_COPY, .from = p->out[i], .output = i};
  }
}

/* ---- offsets ------------------------------------------------------------------------------------------ */

typedef struct block { int64_t bytes, at; int32_t first, last; value owner; int32_t scratch_of; } block;

static int larger_first(const void *a, const void *b) {
  const block *x = a, *y = b;
  if (x->bytes != y->bytes) return x->bytes < y->bytes ? 1 : -1;
  return x->first != y->first ? (x->first < y->first ? -1 : 1) : (x->owner < y->owner ? -1 : x->owner > y->owner);
}

static int by_offset(const void *a, const void *b) {
  const block *x = *(const block *const *)a, *y = *(const block *const *)b;
  return x->at < y->at ? -1 : x->at > y->at;
}

/* Largest first, each at the lowest offset that is free for its whole life. */
static int pack(const sonde_plan *p, block *b, int n, const block **busy, int64_t *top, sonde_error *err) {
  *top = 0;
  qsort(b, (size_t)n, sizeof *b, larger_first);
  for (int k = 0; k < n; k++) {
    int m = 0, rc = plan_stopped(p, err);
    if (rc) return rc;
    for (int j = 0; j < k; j++)
      if (b[j].first <= b[k].last && b[k].first <= b[j].last) busy[m++] = &b[j];
    qsort(busy, (size_t)m, sizeof *busy, by_offset);
    int64_t at = 0;
    for (int j = 0; j < m; j++) {
      if (busy[j]->at - at >= b[k].bytes) break;
      if (busy[j]->at + busy[j]->bytes > at) at = busy[j]->at + busy[j]->bytes;
    }
    b[k].at = at;
    if (at > INT64_MAX / 4 || b[k].bytes > INT64_MAX / 4)
      return sonde_fail(err, SONDE_ELIMIT, "the plan needs more memory than any machine has: take a smaller batch or context");
    if (at + b[k].bytes > *top) *top = at + b[k].bytes;
  }
  return 0;
}

static int place_arena(sonde_plan *p, sonde_error *err) {
  int64_t values = (int64_t)p->count * SONDE_MAX_OUT, room = values + p->n_step;
  block *b = sonde_alloc((size_t)room * sizeof *b);
  const block **busy = sonde_alloc((size_t)room * sizeof *busy);
  int n = 0;
  if (!b || !busy) {
    sonde_release(b);
    sonde_release(busy);
    return sonde_fail(err, SONDE_ENOMEM, "no memory to place the plan's buffers");
  }
  for (int64_t v = 0; v < values; v++) {
    storage *s = &p->store[v];
    if (s->place == IN_CONST) {
      s->at = p->const_bytes;
      p->const_bytes += plan_aligned(p, s->bytes);
    }
    if (s->place == IN_ARENA && s->first >= 0)
      b[n++] = (block){plan_aligned(p, s->bytes), 0, s->first, s->last, (value)v, -1};
  }
  for (int32_t k = 0; k < p->n_step; k++)
    if (p->step[k].kernel.scratch > 0)
      b[n++] = (block){plan_aligned(p, p->step[k].kernel.scratch), 0, k, k, -1, k};
  int rc = pack(p, b, n, busy, &p->arena_bytes, err);
  for (int k = 0; k < n; k++)
    if (b[k].scratch_of >= 0) p->step[b[k].scratch_of].scratch_at = b[k].at;
    else p->store[b[k].owner].at = b[k].at;
  sonde_release(b);
  sonde_release(busy);
  return rc;
}

int plan_memory(sonde_plan *p, sonde_error *err) {
  size_t values = (size_t)p->count * SONDE_MAX_OUT;
  p->root = sonde_alloc(values * sizeof *p->root);
  p->store = sonde_alloc(values * sizeof *p->store);
  p->ptr = sonde_alloc(values * sizeof *p->ptr);
  p->input = sonde_alloc(((size_t)p->count + 1) * sizeof *p->input);
  if (!p->root || !p->store || !p->ptr || !p->input) return sonde_fail(err, SONDE_ENOMEM, "no memory for the plan");
  for (size_t v = 0; v < values; v++) {
    p->root[v] = -1;
    p->store[v].place = NOWHERE;
  }
  begin_storage(p);
  bound_inputs(p);
  life l = {p, 0};
  for (; l.at < p->n_step; l.at++) plan_step_values(p, &p->step[l.at], touch, &l);
  if (p->opts.hold && hold_steps(p, err)) return SONDE_ENOMEM;
  place_outputs(p);
  for (int32_t k = 0; k < p->n_step; k++) {
    int rc = plan_stopped(p, err);
    if (rc) return rc;
    over o = {p, &p->step[k], k, {0}, 0};
    plan_step_values(p, &p->step[k], collect, &o);
  }
  return place_arena(p, err);
}
