/* exec.c - runs a plan: takes the memory at the first run, then only walks the schedule. */
#include <string.h>

#include "base/clock.h"
#include "base/crash.h"
#include "graph/exec.h"

enum { LINE = 64 };   /* bytes that a cache takes at once */

static int fill_constants(sonde_plan *p, sonde_error *err) {
  const sonde_device *d = p->ctx->device;
  void *at = NULL;
  int rc = p->const_bytes ? plan_take(p, p->const_bytes, SONDE_MEMORY_CONSTANTS, &at, err) : 0;
  p->constants = at;
  for (int32_t k = 0; k < p->count && !rc; k++) {
    const storage *s = &p->store[value_of(k, 0)];
    const sonde_shape *shape = &p->node[k].shape[0];
    if (s->place != IN_CONST) continue;
    rc = d->backend->fill(d->state, p->constants + s->at, p->node[k].constant, shape->dtype, sonde_shape_count(shape),
                          err);
  }
  return rc;
}

static int take_arena(sonde_plan *p, sonde_error *err) {
  arena_memory *a = p->arena;
  void *at = NULL;
  if (a->taken >= a->bytes && (a->data || !a->bytes)) return 0;
  plan_give(a->device, a->data, a->taken, SONDE_MEMORY_ARENA);
  a->data = NULL;
  a->taken = 0;
  if (plan_take(p, a->bytes, SONDE_MEMORY_ARENA, &at, err))
    return sonde_fail(err, SONDE_ENOMEM, "no memory for the plan's %.1f MiB of activations",
                      (double)a->bytes / (1 << 20));
  a->data = at;
  a->taken = a->bytes;
  return 0;
}

/* A block of no bytes may be nowhere: values of dimension 0 lie in it. */
static char *inside(char *block, int64_t at) { return block ? block + at : NULL; }

/* A thousand pointers or more: only when what they follow from has changed. */
static void set_pointers(sonde_plan *p) {
  if (p->pointed && p->pointed_into == p->arena->data) return;
  plan_forget_recordings(p);
  p->pointed = 1;
  p->pointed_into = p->arena->data;
  for (int32_t v = 0; v < p->count * SONDE_MAX_OUT; v++) {
    if (p->root[v] < 0) continue;
    const storage *s = &p->store[p->root[v]];
    switch (s->place) {
      case IN_ARENA: p->ptr[v] = inside(p->arena->data, s->at); break;
      case IN_TENSOR: p->ptr[v] = sonde_tensor_at(s->tensor); break;
      case IN_INPUT: p->ptr[v] = inside(p->inputs, s->at); break;
      case IN_CONST: p->ptr[v] = inside(p->constants, s->at); break;
      case NOWHERE: p->ptr[v] = NULL; break;
    }
  }
}

static int prepare(sonde_plan *p, sonde_error *err) {
  int rc = fill_constants(p, err);
  if (!rc && !plan_on_host(p)) rc = plan_prepare_device(p, err);
  p->prepared = !rc;
  return rc;
}

static int check_range(const plan_input *in, const int32_t *x, sonde_error *err) {
  for (int64_t k = 0; k < in->bytes / (int64_t)sizeof *x; k++)
    if (x[k] < in->low || x[k] > in->high)
      return sonde_fail(err, SONDE_EINVAL, "input '%s': %d at position %lld; %s takes %lld to %lld", in->name,
                        (int)x[k], (long long)k, in->bound_by, (long long)in->low, (long long)in->high);
  return 0;
}

int plan_set_input(sonde_plan *p, int32_t k, const void *data, sonde_error *err) {
  plan_input *in = &p->input[k];
  int rc = in->bound_by ? check_range(in, data, err) : 0;
  if (!rc && !p->inputs) {
    void *at = NULL;
    rc = plan_take(p, p->input_bytes, SONDE_MEMORY_INPUTS, &at, err);
    p->inputs = at;
    p->pointed = 0;
  }
  const sonde_device *d = p->ctx->device;
  if (!rc) rc = d->backend->copy(d->state, p->inputs + in->at, data, in->bytes, SONDE_COPY_IN, err);
  if (rc) return rc;
  in->set = 1;
  return 0;
}

int sonde_plan_set_input(sonde_plan *p, const char *name, const void *data, sonde_error *err) {
  const char *known[64];
  int n = 0;
  for (int32_t k = 0; k < p->n_input; k++) {
    if (!strcmp(p->input[k].name, name)) return plan_set_input(p, k, data, err);
    if (n < (int)(sizeof known / sizeof *known)) known[n++] = p->input[k].name;
  }
  const char *near = sonde_nearest(name, known, n);
  return sonde_fail(err, SONDE_EINVAL, "the plan has no input '%s'%s%s%s", name, near ? "; did you mean '" : "",
                    near ? near : "", near ? "'?" : "");
}

static void point_op(const sonde_plan *p, const step *s, operands *o) {
  const pnode *n = &p->node[s->node];
  for (int k = 0; k < n->n_in; k++) {
    o->in_shape[k] = *plan_shape(p, n->in[k]);
    o->in[k] = p->ptr[n->in[k]];
  }
  for (int k = 0; k < n->n_out; k++) o->out[k] = p->ptr[value_of(s->node, k)];
  o->call.n_in = n->n_in;
  o->call.n_out = n->n_out;
  o->call.in_shape = o->in_shape;
  o->call.out_shape = n->shape;
  o->call.attr = &n->attr;
}

static void point_program(const sonde_plan *p, const step *s, operands *o) {
  o->call.n_in = s->f->program.n_in;
  o->call.n_out = s->f->program.n_out;
  for (int k = 0; k < o->call.n_in; k++) o->in[k] = p->ptr[s->f->in[k]];
  for (int k = 0; k < o->call.n_out; k++) o->out[k] = p->ptr[s->f->out[k]];
}

static void point(const sonde_plan *p, const step *s, operands *o, sonde_error *err) {
  o->call = (sonde_call){.size = sizeof o->call, .host = p->ctx->host, .in = o->in, .out = o->out,
                         .pool = p->ctx->pool, .err = err, .scratch_bytes = s->kernel.scratch,
                         .scratch = s->kernel.scratch ? p->arena->data + s->scratch_at : NULL,
                         .step = p->block.number, .block = &p->block};
  if (s->kind == STEP_OP) point_op(p, s, o);
  else point_program(p, s, o);
}

static int copy_out(const sonde_plan *p, const step *s, sonde_error *err) {
  const sonde_device *d = p->ctx->device;
  const sonde_tensor *t = p->out_tensor[s->output];
  void *to = sonde_tensor_at(t);
  return p->ptr[s->from] == to ? 0 : d->backend->copy(d->state, to, p->ptr[s->from], t->bytes, SONDE_COPY_INSIDE, err);
}

int plan_run_step(sonde_plan *p, const step *s, sonde_error *err) {
  operands o;
  if (s->kind == STEP_COPY) return copy_out(p, s, err);
  const pnode *n = &p->node[s->kind == STEP_OP ? s->node : s->f->told];
  sonde_doing(s->kind == STEP_OP ? "the op" : "a group of ops with", n->def->name, sonde_node_scope(n->src),
              n->def->run ? (const void *)n->def->run : (const void *)n->def->vec);
  point(p, s, &o, err);
  int rc = s->by == p->ctx->device ? s->kernel.run(&s->kernel, &o.call) : plan_run_elsewhere(p, s, &o, err);
  if (rc && err && !err->code) sonde_fail(err, rc, "it failed");
  if (rc) sonde_wrap(err, "%s%s%s", sonde_node_scope(n->src), n->src->scope >= 0 ? ": " : "", n->def->name);
  return rc;
}

/* The weights of a model push all else out of the caches between two steps of generation, where an op takes about a
 * microsecond: what the next op is run with is asked for while this one runs. */
static void ask_for(const sonde_plan *p, const step *s) {
  if (s->kind != STEP_OP) return;
  for (size_t at = 0; at < sizeof(pnode); at += LINE) __builtin_prefetch((const char *)&p->node[s->node] + at);
}
static void ask_for_shapes(const sonde_plan *p, const step *s) {
  if (s->kind != STEP_OP) return;
  const pnode *n = &p->node[s->node];
  for (int k = 0; k < n->n_in; k++) __builtin_prefetch(plan_shape(p, n->in[k]));
}

static int run_steps(sonde_plan *p, int held, sonde_error *err) {
  int rc = 0;
  for (int32_t k = 0; !rc && k < p->n_step; k++) {
    if (p->step[k].held != held) continue;
    if (k + 2 < p->n_step) ask_for(p, &p->step[k + 2]), ask_for_shapes(p, &p->step[k + 1]);
    int64_t start = p->profile ? sonde_clock_ns() : 0;
    if (p->watched) plan_watch_before(p, k);
    rc = plan_run_step(p, &p->step[k], err);
    if (p->watched) plan_watch_after(p, k);
    if (p->profile) p->step[k].ns += sonde_clock_ns() - start;
    if (p->after && !rc) p->after(p->after_arg, k);
  }
  sonde_doing_nothing();
  return rc;
}

/* What is held depends on nothing else, so it can be computed in front of all other steps. */
static int hold(sonde_plan *p, sonde_error *err) {
  int rc = p->held || !p->opts.hold ? 0 : run_steps(p, 1, err);
  p->held = !rc;
  return rc;
}

static int begin(sonde_plan *p, sonde_error *err) {
  int rc = p->prepared ? 0 : prepare(p, err);
  if (!rc) rc = take_arena(p, err);
  if (!rc) set_pointers(p);
  if (!rc && !plan_on_host(p)) rc = plan_bring(p, err);
  if (!rc && p->watched) plan_watch_run(p);
  if (!rc && err) err->code = 0;
  return rc;
}

int sonde_plan_hold(sonde_plan *p, sonde_error *err) {
  int rc = begin(p, err);
  p->held = 0;
  return rc ? rc : hold(p, err);
}

int sonde_plan_run(sonde_plan *p, sonde_error *err) {
  for (int32_t k = 0; k < p->n_input; k++)
    if (!p->input[k].set)
      return sonde_fail(err, SONDE_EINVAL, "the plan's input '%s' has no data; set it before the run",
                        p->input[k].name);
  int rc = begin(p, err);
  if (!rc) rc = hold(p, err);
  if (rc) return rc;
  rc = plan_on_host(p) ? run_steps(p, 0, err) : plan_run_device(p, err);
  for (int i = 0; i < p->n_out; i++)
    if (p->out_tensor[i]) sonde_tensor_changed(p->out_tensor[i]);
  return rc;
}

const void *sonde_plan_output(sonde_plan *p, int i) {
  if (i < 0 || i >= p->n_out) return NULL;
  if (p->out_tensor[i]) return sonde_tensor_read(p->out_tensor[i], NULL);
  return plan_on_host(p) ? p->ptr[p->out[i]] : plan_read_back(p, i);
}
