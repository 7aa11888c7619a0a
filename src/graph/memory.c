/* memory.c - where every value lies: one arena, offsets by lifetime, results in the place of dying inputs. */
#include <stdlib.h>
#include <string.h>

#include "graph/fused.h"
#include "graph/pack.h"

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

/* May value `o`, stored by step s, take the place of value `i`, read by it? (both of the same size) */
static int plan_in_place(const sonde_plan *p, const step *s, value i, value o) {
  if (s->kind == STEP_OP) {
    const pnode *n = &p->node[s->node];
    int slot = n->def->adds;                                 /* c + a b: c is what the sum goes into */
    if (!(s->kernel.flags & SONDE_KERNEL_INPLACE) || value_out(o) || n->n_in <= slot ||
        p->root[n->in[slot]] != p->root[i])
      return 0;
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
        p->input[p->n_input++] =
            (plan_input){.name = n->src->name, .bytes = s->bytes, .at = s->at, .low = INT32_MIN, .high = INT32_MAX};
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

/* ---- leaves by their tensors ------------------------------------------------------------------------------ */

typedef struct leaf { const sonde_tensor *tensor; int32_t node; } leaf;
typedef struct leaves { leaf *leaf; int32_t n; } leaves;

static int by_tensor(const void *a, const void *b) {
  const leaf *x = a, *y = b;
  if (x->tensor != y->tensor) return (uintptr_t)x->tensor < (uintptr_t)y->tensor ? -1 : 1;
  return x->node < y->node ? -1 : x->node > y->node;
}

static int find_leaves(const sonde_plan *p, leaves *l, sonde_error *err) {
  if (!(l->leaf = sonde_alloc(((size_t)p->count + 1) * sizeof *l->leaf)))
    return sonde_fail(err, SONDE_ENOMEM, "no memory for the plan");
  for (int32_t k = 0; k < p->count; k++)
    if (p->node[k].kind == SONDE_KIND_LEAF) l->leaf[l->n++] = (leaf){p->node[k].src->tensor, k};
  qsort(l->leaf, (size_t)l->n, sizeof *l->leaf, by_tensor);
  return 0;
}

/* The first leaf of the tensor; the others are behind it. */
static int32_t first_leaf(const leaves *l, const sonde_tensor *t) {
  int32_t lo = 0, hi = l->n;
  while (lo < hi) {
    int32_t mid = lo + (hi - lo) / 2;
    if ((uintptr_t)l->leaf[mid].tensor < (uintptr_t)t) lo = mid + 1;
    else hi = mid;
  }
  return lo;
}

static void mark_written(sonde_plan *p, const leaves *l) {
  for (int i = 0; i < p->n_out; i++)
    for (int32_t k = p->out_tensor[i] ? first_leaf(l, p->out_tensor[i]) : l->n;
         k < l->n && l->leaf[k].tensor == p->out_tensor[i]; k++)
      p->store[value_of(l->leaf[k].node, 0)].written = 1;
}

/* ---- what is held from run to run --------------------------------------------------------------------- */

typedef struct holding { sonde_plan *p; uint8_t *held; int all; } holding;

static void ask(void *arg, value v, int stored) {
  holding *h = arg;
  value root = h->p->root[v];
  const storage *s = &h->p->store[root];
  int fixed = s->place == IN_CONST || (s->place == IN_TENSOR && !s->written);
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
typedef struct over {
  sonde_plan *p;
  value *ring;                    /* the values of one storage, each the next one's number */
  step *s;
  int32_t at;
  value in[SONDE_MAX_IN + SONDE_PROGRAM_INPUTS];
  int n_in;
} over;

static void make_rings(const sonde_plan *p, value *ring) {
  for (int32_t k = 0; k < p->count; k++)
    for (int j = 0; j < p->node[k].n_out; j++) {
      value v = value_of(k, j), root = p->root[v];
      ring[v] = v == root ? v : ring[root];
      ring[root] = v;
    }
}

/* The values in the storage v are from now on in `from`. */
static void move_values(over *o, value v, value from) {
  value x = v, next = o->ring[v];
  do {
    o->p->root[x] = from;
    o->p->visits++;
    x = o->ring[x];
  } while (x != v);
  o->ring[v] = o->ring[from];
  o->ring[from] = next;
}

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
    if (s->place != IN_ARENA || s->last != o->at || s->bytes != mine->bytes || !plan_in_place(o->p, o->s, o->in[k], v))
      continue;
    s->last = mine->last;
    move_values(o, v, from);
    mine->place = NOWHERE;
    return;
  }
}

/* Output i goes straight to its tensor if no one reads the tensor's old values after that. */
static int write_through(sonde_plan *p, const leaves *l, int i) {
  value root = p->root[p->out[i]];
  storage *s = &p->store[root];
  if (s->place != IN_ARENA || s->bytes != p->out_tensor[i]->bytes || s->last == HELD) return 0;
  for (int32_t k = first_leaf(l, p->out_tensor[i]); k < l->n && l->leaf[k].tensor == p->out_tensor[i]; k++) {
    value leaf = value_of(l->leaf[k].node, 0);
    const storage *old = &p->store[leaf];
    p->visits++;
    if (old->last > s->first) return 0;
    if (old->last == s->first && !plan_in_place(p, &p->step[s->first], leaf, root)) return 0;
  }
  s->place = IN_TENSOR;
  s->tensor = p->out_tensor[i];
  return 1;
}

static void place_outputs(sonde_plan *p, const leaves *l) {
  for (int i = 0; i < p->n_out; i++) {
    storage *s = &p->store[p->root[p->out[i]]];
    if (s->last < p->n_step + p->n_out) s->last = p->n_step + p->n_out;
    if (p->out_tensor[i] && !write_through(p, l, i))
      p->step[p->n_step++] = (step){.kind = STEP_COPY, .from = p->out[i], .output = i};
  }
}

/* ---- offsets ------------------------------------------------------------------------------------------ */

static int place_arena(sonde_plan *p, sonde_error *err) {
  int64_t values = (int64_t)p->count * SONDE_MAX_OUT, room = values + p->n_step;
  piece *b = sonde_alloc((size_t)room * sizeof *b);
  int32_t n = 0;
  if (!b) return sonde_fail(err, SONDE_ENOMEM, "no memory to place the plan's buffers");
  for (int64_t v = 0; v < values; v++) {
    storage *s = &p->store[v];
    if (s->place == IN_CONST) {
      s->at = p->const_bytes;
      p->const_bytes += plan_aligned(p, s->bytes);
    }
    if (s->place == IN_ARENA && s->first >= 0)
      b[n++] = (piece){plan_aligned(p, s->bytes), 0, s->first, s->last, (value)v, -1};
  }
  for (int32_t k = 0; k < p->n_step; k++)
    if (p->step[k].kernel.scratch > 0)
      b[n++] = (piece){plan_aligned(p, p->step[k].kernel.scratch), 0, k, k, -1, k};
  int rc = plan_pack(p, b, n, &p->arena_bytes, err);
  for (int32_t k = 0; k < n; k++)
    if (b[k].scratch_of >= 0) p->step[b[k].scratch_of].scratch_at = b[k].at;
    else p->store[b[k].owner].at = b[k].at;
  sonde_release(b);
  return rc;
}

/* Outputs go to their tensors, and results over their inputs, where nothing reads these any more. */
static int share_storage(sonde_plan *p, sonde_error *err) {
  leaves l = {NULL, 0};
  over o = {.p = p, .ring = sonde_alloc((size_t)p->count * SONDE_MAX_OUT * sizeof *o.ring)};
  int rc = o.ring ? find_leaves(p, &l, err) : sonde_fail(err, SONDE_ENOMEM, "no memory for the plan");
  if (!rc) {
    make_rings(p, o.ring);
    mark_written(p, &l);
    if (p->opts.hold) rc = hold_steps(p, err);
  }
  if (!rc) place_outputs(p, &l);
  for (int32_t k = 0; !rc && k < p->n_step && !(rc = plan_stopped(p, err)); k++) {
    o.s = &p->step[k];
    o.at = k;
    o.n_in = 0;
    plan_step_values(p, o.s, collect, &o);
  }
  sonde_release(o.ring);
  sonde_release(l.leaf);
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
  int rc = share_storage(p, err);
  return rc ? rc : place_arena(p, err);
}
