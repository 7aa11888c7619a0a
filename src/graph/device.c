/* device.c - what a plan has from its device: kernels for its steps and blocks of memory. */
#include "graph/fused.h"

static int of_op(const sonde_plan *p, const sonde_device *d, const step *s, sonde_kernel *k, sonde_error *err) {
  const pnode *n = &p->node[s->node];
  sonde_shape in[SONDE_MAX_IN];
  for (int j = 0; j < n->n_in; j++) in[j] = *plan_shape(p, n->in[j]);
  return d->backend->kernel(d->state, n->def, in, n->n_in, n->shape, &n->attr, k, err);
}

static int of_step(const sonde_plan *p, const sonde_device *d, const step *s, sonde_kernel *k, sonde_error *err) {
  return s->kind == STEP_OP ? of_op(p, d, s, k, err) : d->backend->fuse(d->state, &s->f->program, k, err);
}

int plan_find_kernel(sonde_plan *p, step *s, sonde_error *err) {
  s->by = p->ctx->device;
  int rc = of_step(p, s->by, s, &s->kernel, err);
  if (rc == SONDE_ENOENT && s->by != &p->ctx->cpu) {
    s->by = &p->ctx->cpu;
    rc = of_step(p, s->by, s, &s->kernel, err);
  }
  if (rc != SONDE_ENOENT) return rc;
  return sonde_fail(err, SONDE_EUNSUP, "%s has no kernel on %s", p->node[s->node].def->name,
                    p->ctx->device->backend->name);
}

void plan_drop_kernel(step *s) {
  if (s->by) s->by->backend->drop(s->by->state, &s->kernel);
}

uint32_t plan_kernel_flags(const sonde_plan *p, int32_t node) {
  step s = {.kind = STEP_OP, .node = node};
  sonde_error none = {0};
  if (!p->node[node].def || plan_find_kernel((sonde_plan *)(uintptr_t)p, &s, &none)) return 0;
  uint32_t flags = s.kernel.flags;
  plan_drop_kernel(&s);
  return flags;
}

int64_t plan_aligned(const sonde_plan *p, int64_t bytes) {
  const int64_t align = p->ctx->device->backend->align;
  return (bytes + align - 1) / align * align;
}

int plan_take(const sonde_plan *p, int64_t bytes, int use, void **at, sonde_error *err) {
  const sonde_device *d = p->ctx->device;
  return d->backend->alloc(d->state, bytes, use, at, err);
}

void plan_give(const sonde_device *d, void *at, int64_t bytes, int use) {
  if (at) d->backend->release(d->state, at, bytes, use);
}
