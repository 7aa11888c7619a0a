/* kit_guards.c - runs each kernel that a plugin brings between fences: does it write only its outputs and its
 * scratch, all of them, over whatever was there, and read only its inputs?
 *
 * The kernels are those that one trace with gradients needs, on the values that they get there. */
#include "config.h"

#include <math.h>
#include <string.h>

#include "base/rng.h"
#include "plugin/host.h"
#include "plugin/kit.h"

enum { FENCE = 4096 };

/* size bytes between two fences, whose pattern the salt decides. */
typedef struct fenced {
  unsigned char *all;
  size_t size;
  int salt;
} fenced;

static unsigned char fence_byte(const fenced *f, size_t i) {
  return (unsigned char)(0xa7 ^ (i + (size_t)f->salt) * 31);
}
static void *inside(const fenced *f) { return f->all ? f->all + FENCE : NULL; }

static int fenced_make(fenced *f, size_t size, int fill, int salt) {
  f->size = size;
  f->salt = salt;
  f->all = sonde_alloc(size + 2 * FENCE);
  if (!f->all) return SONDE_ENOMEM;
  for (size_t i = 0; i < FENCE; i++) f->all[i] = f->all[FENCE + size + i] = fence_byte(f, i);
  memset(f->all + FENCE, fill, size);
  return SONDE_OK;
}

/* 0, or how far a write went: positive past the end, negative before the start. */
static int64_t breach(const fenced *f) {
  int64_t past = 0, before = 0;
  for (size_t i = 0; i < FENCE; i++) {
    if (f->all[FENCE + f->size + i] != fence_byte(f, i)) past = (int64_t)i + 1;
    if (f->all[i] != fence_byte(f, i) && !before) before = (int64_t)(FENCE - i);
  }
  return past ? past : -before;
}

/* One kernel and the memory of one run of it. */
typedef struct trial {
  const sonde_op_def *def;
  const sonde_node *node;
  sonde_shape in_shape[SONDE_MAX_IN], out_shape[SONDE_MAX_OUT];
  fenced in[SONDE_MAX_IN], out[SONDE_MAX_OUT], scratch;
  int n_in, skip;              /* skip: the output that nobody reads, or -1 */
} trial;

static void trial_drop(trial *t) {
  for (int i = 0; i < SONDE_MAX_IN; i++) sonde_release(t->in[i].all);
  for (int i = 0; i < SONDE_MAX_OUT; i++) sonde_release(t->out[i].all);
  sonde_release(t->scratch.all);
}

static int is_vec(const sonde_op_def *d) { return (d->flags & SONDE_OP_ELEMENTWISE) != 0; }

/* f32 numbers in the memory of an input, as the dtype that it has there. */
static void put(const fenced *f, int dtype, const void *value) {
  if (dtype == SONDE_BF16) sonde_host_table()->simd->to_bf16(inside(f), value, (int64_t)f->size / 2);
  else memcpy(inside(f), value, f->size);
}

/* What outputs and scratch hold before, the pattern around everything, the dtypes of f32 inputs and of output 0; bit i
 * of `stays`: input i is f32 whatever the others are. */
typedef struct around {
  int fill, salt, in_type, out_type;
  uint32_t stays;
} around;

static int trial_make(trial *t, const sonde_node *n, const void *const *value, around a) {
  memset(t, 0, sizeof *t);
  t->def = n->def;
  t->node = n;
  t->n_in = n->n_in;
  t->skip = -1;
  int rc = 0;
  for (int i = 0; i < n->n_in; i++) {
    t->in_shape[i] = n->in[i]->shape;
    if (t->in_shape[i].dtype == SONDE_F32 && !(a.stays >> i & 1)) t->in_shape[i].dtype = a.in_type;
    /* A stretch function sees inputs of the output's size: they are spread out by the graph before. */
    size_t size = (size_t)sonde_shape_bytes(is_vec(n->def) ? &n->shape : &t->in_shape[i]);
    rc |= fenced_make(&t->in[i], size, 0, a.salt);
    if (rc) break;
    if (is_vec(n->def))
      sonde_rng_fill_normal(sonde_rng_stream(4, "guards"), (uint64_t)i << 32, inside(&t->in[i]), (int64_t)size / 4, 0,
                            1, 0);
    else put(&t->in[i], t->in_shape[i].dtype, value[i]);
  }
  memcpy(t->out_shape, n->out_shape, sizeof t->out_shape);
  t->out_shape[0].dtype = a.out_type;
  for (int o = 0; o < n->def->n_out && !rc; o++)
    rc = fenced_make(&t->out[o], (size_t)sonde_shape_bytes(&t->out_shape[o]), a.fill, a.salt);
  int64_t scratch = n->def->scratch ? n->def->scratch(t->in_shape, n->n_in, t->out_shape, &n->attr) : 0;
  return rc ? rc : fenced_make(&t->scratch, (size_t)(scratch > 0 ? scratch : 0), a.fill, a.salt);
}

static int trial_run(kit *k, trial *t) {
  const void *in[SONDE_MAX_IN];
  void *out[SONDE_MAX_OUT];
  sonde_error err = {0};
  for (int i = 0; i < t->n_in; i++) in[i] = inside(&t->in[i]);
  for (int o = 0; o < t->def->n_out; o++) out[o] = o == t->skip ? NULL : inside(&t->out[o]);
  if (is_vec(t->def)) {
    sonde_vec v = {.n = sonde_shape_count(&t->node->shape), .out = out[0], .attr = &t->node->attr};
    for (int i = 0; i < t->n_in; i++) v.in[i] = in[i];
    t->def->vec(&v);
    return SONDE_OK;
  }
  sonde_call c = {.size = sizeof c, .n_in = t->n_in, .n_out = t->def->n_out, .host = k->ctx->host,
                  .in_shape = t->in_shape, .out_shape = t->out_shape, .in = in, .out = out, .attr = &t->node->attr,
                  .scratch = t->scratch.size ? inside(&t->scratch) : NULL, .pool = k->ctx->pool, .err = &err,
                  .scratch_bytes = (int64_t)t->scratch.size};
  int rc = t->def->run(&c);
  return rc ? kit_fail(k, "op '%s' failed: %.400s", t->def->name, err.text), rc : SONDE_OK;
}

static int check_fence(kit *k, const trial *t, const fenced *f, const char *what, int number) {
  char text[160];
  int64_t by = breach(f);
  if (!by) return SONDE_PASS;
  return kit_fail(k, "op '%s' writes %lld bytes %s %s %d when its first input is %s", t->def->name,
                  (long long)(by > 0 ? by : -by), by > 0 ? "past the end of" : "before the start of", what, number,
                  sonde_shape_text(&t->in_shape[0], text, sizeof text));
}

static int check_memory(kit *k, const trial *t, const trial *untouched) {
  int outcome = check_fence(k, t, &t->scratch, "scratch", 0);
  for (int o = 0; o < t->def->n_out && outcome == SONDE_PASS; o++)
    outcome = check_fence(k, t, &t->out[o], "output", o);
  for (int i = 0; i < t->n_in && outcome == SONDE_PASS; i++) {
    outcome = check_fence(k, t, &t->in[i], "input", i);
    if (outcome == SONDE_PASS && memcmp(inside(&t->in[i]), inside(&untouched->in[i]), t->in[i].size))
      outcome = kit_fail(k, "op '%s' changes its input %d", t->def->name, i);
  }
  return outcome;
}

static int same_outputs(const trial *a, const trial *b, int skip) {
  for (int o = 0; o < a->def->n_out; o++)
    if (o != skip && memcmp(inside(&a->out[o]), inside(&b->out[o]), a->out[o].size)) return 0;
  return 1;
}

/* Two runs whose outputs must be the same; `skip` leaves one output out of the second, which is then looked over. */
static int compare_runs(kit *k, const sonde_node *n, const void *const *value, around first, around second, int skip,
                        const char *else_text) {
  trial a, b;
  int outcome = SONDE_PASS;
  memset(&b, 0, sizeof b);
  if (trial_make(&a, n, value, first) || trial_make(&b, n, value, second)) outcome = kit_fail(k, "no memory");
  b.skip = skip;
  if (outcome == SONDE_PASS && (trial_run(k, &a) || trial_run(k, &b))) outcome = SONDE_FAIL;
  if (outcome == SONDE_PASS) outcome = check_memory(k, &b, &a);
  if (outcome == SONDE_PASS && !same_outputs(&a, &b, skip))
    outcome = kit_fail(k, "op '%s' %s", n->def->name, else_text);
  trial_drop(&a);
  trial_drop(&b);
  return outcome;
}

/* Output 0 in the memory of input 0, where the op says that it may be. */
static int check_in_place(kit *k, const sonde_node *n, const void *const *value, around plain) {
  trial a, b;
  int outcome = SONDE_PASS;
  memset(&b, 0, sizeof b);
  if (trial_make(&a, n, value, plain) || trial_make(&b, n, value, plain)) outcome = kit_fail(k, "no memory");
  else {
    fenced own = b.out[0];
    b.out[0] = b.in[0];
    if (trial_run(k, &a) || trial_run(k, &b)) outcome = SONDE_FAIL;
    else if (memcmp(inside(&a.out[0]), inside(&b.out[0]), a.out[0].size))
      outcome = kit_fail(k, "op '%s' gives another result in the place of its input", n->def->name);
    b.out[0] = own;
  }
  trial_drop(&a);
  trial_drop(&b);
  return outcome;
}

static int check_node_guards(kit *k, const sonde_node *n, const void *const *value) {
  const around plain = {0x00, 0, SONDE_F32, n->shape.dtype, 0};
  around filled = plain, fenced_in = plain;
  filled.fill = 0xff;
  fenced_in.salt = 77;
  int outcome =
      compare_runs(k, n, value, plain, filled, -1, "does not overwrite its outputs: what was there before shows");
  if (outcome == SONDE_PASS)
    outcome =
        compare_runs(k, n, value, plain, fenced_in, -1, "reads outside its inputs: what stands beside them shows");
  for (int o = 0; n->def->n_out > 1 && o < n->def->n_out && outcome == SONDE_PASS; o++)
    outcome =
        compare_runs(k, n, value, plain, filled, o, "gives other values when one of its outputs is not asked for");
  int same_size = sonde_shape_bytes(&n->shape) == sonde_shape_bytes(&n->in[0]->shape);
  if (outcome == SONDE_PASS && (is_vec(n->def) || (n->def->flags & SONDE_OP_INPLACE)) && same_size)
    outcome = check_in_place(k, n, value, plain);
  return outcome;
}

/* ---- bf16 --------------------------------------------------------------------------------------------------- */

/* Output 0 as f32; in the memory of `room` where it is bf16. */
static const float *as_f32(const trial *t, float *room) {
  if (t->out_shape[0].dtype != SONDE_BF16) return inside(&t->out[0]);
  sonde_host_table()->simd->from_bf16(room, inside(&t->out[0]), sonde_shape_count(&t->out_shape[0]));
  return room;
}

/* bf16 has 8 bits: what a kernel may lose where it takes or gives it, in parts of the largest result. */
static int compare_bf16(kit *k, const sonde_node *n, const void *const *value, int in_type, int out_type,
                        uint32_t stays, const char *what) {
  const double bound = 0x1p-6;
  trial a, b;
  int outcome = SONDE_PASS;
  int64_t count = sonde_shape_count(&n->shape);
  float *room = sonde_alloc((size_t)count * sizeof *room);
  double most = 0, off = 0;
  memset(&b, 0, sizeof b);
  if (trial_make(&a, n, value, (around){0, 0, SONDE_F32, SONDE_F32, 0}) ||
      trial_make(&b, n, value, (around){0, 0, in_type, out_type, stays}) || !room)
    outcome = kit_fail(k, "no memory");
  if (outcome == SONDE_PASS && (trial_run(k, &a) || trial_run(k, &b))) outcome = SONDE_FAIL;
  if (outcome == SONDE_PASS) outcome = check_fence(k, &b, &b.out[0], "bf16 output", 0);
  if (outcome == SONDE_PASS) {
    const float *x = inside(&a.out[0]), *y = as_f32(&b, room);
    for (int64_t i = 0; i < count; i++) {
      most = fmax(most, fabs((double)x[i]));
      off = fmax(off, isfinite(y[i]) ? fabs((double)x[i] - (double)y[i]) : INFINITY);
    }
    if (off > bound * most)
      outcome =
          kit_fail(k, "op '%s' with bf16 %s is off by %.2g of its largest result", n->def->name, what, off / most);
  }
  sonde_release(room);
  trial_drop(&a);
  trial_drop(&b);
  return outcome;
}

static int check_node_bf16(kit *k, const sonde_node *n, const void *const *value) {
  int outcome = SONDE_PASS;
  const uint32_t operands = n->def->bf16_operands;
  if (n->def->flags & SONDE_OP_BF16_OUT) outcome = compare_bf16(k, n, value, SONDE_F32, SONDE_BF16, 0, "output");
  if (outcome == SONDE_PASS && (n->def->flags & SONDE_OP_BF16_IN))
    outcome = compare_bf16(k, n, value, SONDE_BF16, SONDE_F32, 0, "inputs");
  if (outcome == SONDE_PASS && (n->def->flags & SONDE_OP_ROUNDS))
    outcome = compare_bf16(k, n, value, SONDE_BF16, SONDE_F32, operands & (operands - 1), "first operand alone");
  return outcome;
}

/* ---- the checks ----------------------------------------------------------------------------------------------- */

typedef int (*node_check)(kit *k, const sonde_node *n, const void *const *value);

/* The check on the node with the values that its inputs have in the trace. */
static int with_values(kit *k, sonde_graph *g, const sonde_node *n, node_check check) {
  sonde_error err = {0};
  const void *value[SONDE_MAX_IN] = {NULL};
  sonde_plan *p = sonde_plan_new(g, n->in, NULL, n->n_in, NULL, &err);
  int outcome = !p || sonde_plan_run(p, &err) ? kit_fail(k, "%.600s", err.text) : SONDE_PASS;
  for (int i = 0; p && i < n->n_in; i++) value[i] = sonde_plan_output(p, i);
  if (outcome == SONDE_PASS) outcome = check(k, n, value);
  sonde_plan_free(p);
  return outcome;
}

static int brings(const sonde_plugin *p, const sonde_op_def *d) {
  for (int k = 0; k < p->n_ops; k++)
    if (!strcmp(p->ops[k].name, d->name)) return 1;
  return 0;
}

/* The check on every use of an op of the plugin's own with one of these flags (0: any) in traces of three sizes. */
static int each_own_op(kit *k, node_check check, uint32_t flags) {
  static const int64_t size[][2] = {{1, 1}, {3, 5}, {2, 67}};
  int kernels = 0, outcome = SONDE_PASS;
  if (!k->entry->plugin || !k->entry->plugin->n_ops) return kit_skip(k, "it brings no ops of its own");
  for (size_t s = 0; s < sizeof size / sizeof size[0] && outcome == SONDE_PASS; s++) {
    rig_spec spec = rig_usual(k);
    rig r;
    spec.batch = size[s][0], spec.context = size[s][1], spec.grad = 1;
    spec.width = spec.width == 24 ? 27 : spec.width;   /* an odd number of elements where the module takes one */
    if (rig_make(k, k->ctx, &spec, &r)) {
      rig_drop(&r);
      spec.width = rig_usual(k).width;
      if (rig_make(k, k->ctx, &spec, &r)) outcome = kit_fail(k, "%.600s", r.err.text);
    }
    for (int64_t id = 0; outcome == SONDE_PASS && id < r.g->count; id++) {
      const sonde_node *n = r.g->node[id];
      if (n->kind != SONDE_KIND_OP || !brings(k->entry->plugin, n->def) || (n->def->flags & SONDE_OP_VIEW)) continue;
      if (flags && !(n->def->flags & flags)) continue;
      kernels++;
      outcome = with_values(k, r.g, n, check);
    }
    rig_drop(&r);
  }
  return outcome == SONDE_PASS && !kernels
             ? kit_skip(k, flags ? "no op of its own takes or gives bf16" : "no op of its own is used")
             : outcome;
}

int check_guards(kit *k) { return each_own_op(k, check_node_guards, 0); }
int check_bf16(kit *k) { return each_own_op(k, check_node_bf16, SONDE_OP_BF16_OUT | SONDE_OP_BF16_IN); }
