/* remote.c - runs of a plan on a device whose memory the host does not see. Its steps fall into stretches that the
 * device has kernels for and single steps that the CPU runs between two copies. Where the device records, a stretch
 * is recorded at its first run and replayed from then on, until the arena has moved. */
#include <string.h>

#include "base/crash.h"
#include "graph/exec.h"

struct remote {
  void **recording;              /* [n_step] of the stretch that begins at that step; NULL: not recorded yet */
  char *staging;                 /* host memory for one step that the CPU runs */
  int64_t staging_bytes;
  void **out;                    /* [n_out] copies of outputs for the host */
};

static int64_t aligned(int64_t bytes) { return (bytes + 63) / 64 * 64; }

static value value_read(const sonde_plan *p, const step *s, int k) {
  return s->kind == STEP_OP ? p->node[s->node].in[k] : s->f->in[k];
}
static value value_made(const step *s, int k) { return s->kind == STEP_OP ? value_of(s->node, k) : s->f->out[k]; }

static int by_cpu(const sonde_plan *p, const step *s) { return s->kind != STEP_COPY && s->by != p->ctx->device; }

/* ---- a step of the CPU -------------------------------------------------------------------------------- */

typedef struct counting { const sonde_plan *p; int64_t bytes; } counting;

static void count(void *arg, value v, int stored) {
  counting *c = arg;
  (void)stored;
  c->bytes += aligned(sonde_shape_bytes(plan_shape(c->p, v)));
}

static int64_t staging_of(const sonde_plan *p, const step *s) {
  counting c = {p, aligned(s->kernel.scratch)};
  plan_step_values(p, s, count, &c);
  return c.bytes;
}

int plan_run_elsewhere(sonde_plan *p, const step *s, operands *o, sonde_error *err) {
  const sonde_device *d = p->ctx->device;
  void *to[SONDE_PROGRAM_OPS];
  char *at = p->remote->staging;
  int rc = 0;
  for (int k = 0; k < o->call.n_in && !rc; k++) {
    int64_t bytes = sonde_shape_bytes(plan_shape(p, value_read(p, s, k)));
    rc = d->backend->copy(d->state, at, o->in[k], bytes, SONDE_COPY_OUT, err);
    o->in[k] = at;
    at += aligned(bytes);
  }
  for (int k = 0; k < o->call.n_out; k++) {
    to[k] = o->out[k];
    if (!to[k]) continue;
    o->out[k] = at;
    at += aligned(sonde_shape_bytes(plan_shape(p, value_made(s, k))));
  }
  o->call.scratch = s->kernel.scratch ? at : NULL;
  if (!rc) rc = s->kernel.run(&s->kernel, &o->call);
  for (int k = 0; k < o->call.n_out && !rc; k++)
    if (to[k]) {
      int64_t bytes = sonde_shape_bytes(plan_shape(p, value_made(s, k)));
      rc = d->backend->copy(d->state, to[k], o->out[k], bytes, SONDE_COPY_IN, err);
    }
  return rc;
}

/* ---- before a run ------------------------------------------------------------------------------------- */

static int each_tensor(sonde_plan *p, int (*fn)(sonde_plan *p, sonde_tensor *t, sonde_error *err), sonde_error *err) {
  int rc = 0;
  for (int32_t k = 0; k < p->count && !rc; k++)
    if (p->node[k].kind == SONDE_KIND_LEAF) rc = fn(p, p->node[k].src->tensor, err);
  for (int i = 0; i < p->n_out && !rc; i++)
    if (p->out_tensor[i]) rc = fn(p, p->out_tensor[i], err);
  return rc;
}

static int place(sonde_plan *p, sonde_tensor *t, sonde_error *err) {
  return sonde_tensor_place(t, p->ctx->device->backend, p->ctx->device->state, err);
}

static int bring(sonde_plan *p, sonde_tensor *t, sonde_error *err) {
  (void)p;
  return sonde_tensor_bring(t, err);
}

int plan_prepare_device(sonde_plan *p, sonde_error *err) {
  struct remote *r = p->remote ? p->remote : sonde_alloc(sizeof *r);
  if (!r) return sonde_fail(err, SONDE_ENOMEM, "no memory for the plan on its device");
  p->remote = r;
  for (int32_t k = 0; k < p->n_step; k++)
    if (by_cpu(p, &p->step[k]) && staging_of(p, &p->step[k]) > r->staging_bytes)
      r->staging_bytes = staging_of(p, &p->step[k]);
  if (!r->recording) r->recording = sonde_alloc((size_t)(p->n_step + 1) * sizeof *r->recording);
  if (!r->staging) r->staging = sonde_alloc((size_t)r->staging_bytes + 1);
  if (!r->out) r->out = sonde_alloc((size_t)p->n_out * sizeof *r->out);
  if (!r->recording || !r->staging || !r->out)
    return sonde_fail(err, SONDE_ENOMEM, "no memory for the plan on its device");
  return each_tensor(p, place, err);
}

int plan_bring(sonde_plan *p, sonde_error *err) { return each_tensor(p, bring, err); }

/* ---- the run ------------------------------------------------------------------------------------------ */

static int run_directly(sonde_plan *p, int32_t first, int32_t end, sonde_error *err) {
  int rc = 0;
  for (int32_t k = first; k < end && !rc; k++)
    if (!p->step[k].held) rc = plan_run_step(p, &p->step[k], err);
  return rc;
}

static int record(sonde_plan *p, int32_t first, int32_t end, sonde_error *err) {
  const sonde_device *d = p->ctx->device;
  int rc = d->backend->begin(d->state, err);
  if (rc) return rc;
  sonde_error none = {0};
  rc = run_directly(p, first, end, err);
  int ended = d->backend->end(d->state, &p->remote->recording[first], rc ? &none : err);
  return rc ? rc : ended;
}

static int run_stretch(sonde_plan *p, int32_t first, int32_t end, sonde_error *err) {
  const sonde_device *d = p->ctx->device;
  if (!(d->backend->flags & SONDE_BACKEND_RECORDS)) return run_directly(p, first, end, err);
  int rc = p->remote->recording[first] ? 0 : record(p, first, end, err);
  return rc ? rc : d->backend->replay(d->state, p->remote->recording[first], &p->block, err);
}

int plan_run_device(sonde_plan *p, sonde_error *err) {
  int rc = 0;
  for (int32_t k = 0, end; k < p->n_step && !rc; k = end) {
    end = k + 1;
    if (by_cpu(p, &p->step[k])) {
      rc = run_directly(p, k, end, err);
    } else {
      while (end < p->n_step && !by_cpu(p, &p->step[end])) end++;
      rc = run_stretch(p, k, end, err);
    }
    if (p->after && !rc) p->after(p->after_arg, end - 1);
  }
  sonde_doing_nothing();
  return rc;
}

const void *plan_read_back(sonde_plan *p, int i) {
  const sonde_device *d = p->ctx->device;
  sonde_error none = {0};
  int64_t bytes = sonde_shape_bytes(plan_shape(p, p->out[i]));
  if (!p->remote || !p->ptr[p->out[i]]) return NULL;
  void **to = &p->remote->out[i];
  if (!*to && !(*to = sonde_alloc((size_t)bytes + 1))) return NULL;
  return d->backend->copy(d->state, *to, p->ptr[p->out[i]], bytes, SONDE_COPY_OUT, &none) ? NULL : *to;
}

/* ---- the end ------------------------------------------------------------------------------------------ */

void plan_forget_recordings(sonde_plan *p) {
  const sonde_device *d = p->ctx->device;
  for (int32_t k = 0; p->remote && p->remote->recording && k < p->n_step; k++) {
    if (p->remote->recording[k]) d->backend->forget(d->state, p->remote->recording[k]);
    p->remote->recording[k] = NULL;
  }
}

void plan_leave_device(sonde_plan *p) {
  struct remote *r = p->remote;
  if (!r) return;
  plan_forget_recordings(p);
  for (int i = 0; r->out && i < p->n_out; i++) sonde_release(r->out[i]);
  sonde_release(r->recording);
  sonde_release(r->staging);
  sonde_release(r->out);
  sonde_release(r);
  p->remote = NULL;
}
