/* guarded.c - see guarded.h. */
#include "guarded.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "base/error.h"
#include "cpu/backend.h"
#include "tensor/tensor.h"

enum { PAGE = 4096, ALIGN = 256, RESERVE = 1 << 28 };

guarded_counts guarded_counted;

typedef struct closure {                 /* a recorded call, or a copy (kernel.run NULL) */
  struct closure *next;
  sonde_kernel kernel;
  sonde_call call;
  const void *in[SONDE_PROGRAM_INPUTS];
  void *out[SONDE_PROGRAM_OPS];
  sonde_shape in_shape[SONDE_MAX_IN], out_shape[SONDE_MAX_OUT];
  void *to;
  const void *from;
  int64_t bytes;
} closure;

typedef struct recording { closure *first, **last; } recording;

typedef struct device {
  void *cpu;                             /* what computes */
  char *memory;
  int64_t used;
  sonde_step_block *block;               /* in that memory */
  recording *recording;                  /* NULL: calls run at once */
} device;


static void reach(device *d, int on) {
  if (mprotect(d->memory, (size_t)d->used, on ? PROT_READ | PROT_WRITE : PROT_NONE)) abort();
}

/* Blocks are never used twice: a stale pointer finds zeros, or nothing. */
static void *take(device *d, int64_t bytes) {
  int64_t size = (bytes + ALIGN - 1) / ALIGN * ALIGN, pages = (d->used + size + PAGE - 1) / PAGE * PAGE;
  if (pages > RESERVE) return NULL;
  void *at = d->memory + d->used;
  d->used = pages;
  return at;
}

static int open(int number, void *pool, void **to, sonde_error *err) {
  device *d = calloc(1, sizeof *d);
  if (!d) abort();
  if (sonde_cpu_backend.open(number, pool, &d->cpu, err)) return err->code;
  d->memory = mmap(NULL, RESERVE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (d->memory == MAP_FAILED) abort();
  d->block = take(d, sizeof *d->block);
  memset(&guarded_counted, 0, sizeof guarded_counted);
  *to = d;
  return 0;
}

static void close(void *state) {
  device *d = state;
  sonde_cpu_backend.close(d->cpu);
  munmap(d->memory, RESERVE);
  free(d);
}

static int alloc(void *state, int64_t bytes, int use, void **at, sonde_error *err) {
  (void)use;
  *at = take(state, bytes);
  guarded_counted.live += *at != NULL;
  return *at ? 0 : sonde_fail(err, SONDE_ENOMEM, "the test's device has no memory left");
}

static void release(void *state, void *at, int64_t bytes, int use) {
  device *d = state;
  (void)use;
  guarded_counted.live--;
  if (bytes > PAGE) madvise(at, (size_t)(bytes / PAGE * PAGE), MADV_DONTNEED);
  (void)d;
}

static closure *append(device *d) {
  closure *c = calloc(1, sizeof *c);
  if (!c) abort();
  *d->recording->last = c;
  d->recording->last = &c->next;
  return c;
}

static int copy(void *state, void *to, const void *from, int64_t bytes, int way, sonde_error *err) {
  device *d = state;
  if (d->recording && way == SONDE_COPY_INSIDE) {
    closure *c = append(d);
    c->to = to, c->from = from, c->bytes = bytes;
    return 0;
  }
  if (d->recording) {
    guarded_counted.read_while_recording++;
    return sonde_fail(err, SONDE_EBUG, "the host copies during a recording");
  }
  reach(d, 1);
  memmove(to, from, (size_t)bytes);
  reach(d, 0);
  return 0;
}

static int fill(void *state, void *to, double value, int dtype, int64_t count, sonde_error *err) {
  device *d = state;
  reach(d, 1);
  int rc = sonde_cpu_backend.fill(d->cpu, to, value, dtype, count, err);
  reach(d, 0);
  return rc;
}

static int sync(void *state, sonde_error *err) {
  const device *d = state;
  return d->recording ? sonde_fail(err, SONDE_EBUG, "the host waits during a recording") : 0;
}

/* ---- kernels ---------------------------------------------------------------------------------------- */

typedef struct own { device *d; sonde_kernel inner; } own;

static int run(const sonde_kernel *k, const sonde_call *call) {
  const own *o = k->data;
  device *d = o->d;
  guarded_counted.runs++;
  if (d->recording) {
    closure *c = append(d);
    c->kernel = o->inner;
    c->call = *call;
    memcpy(c->in, call->in, (size_t)call->n_in * sizeof *c->in);
    memcpy(c->out, call->out, (size_t)call->n_out * sizeof *c->out);
    if (call->in_shape) memcpy(c->in_shape, call->in_shape, (size_t)call->n_in * sizeof *c->in_shape);
    if (call->out_shape) memcpy(c->out_shape, call->out_shape, (size_t)call->n_out * sizeof *c->out_shape);
    c->call.in = c->in, c->call.out = c->out, c->call.in_shape = c->in_shape, c->call.out_shape = c->out_shape;
    c->call.block = d->block;
    c->call.step = UINT64_MAX;                           /* by value it would be the recording's */
    c->call.err = NULL;
    return 0;
  }
  reach(d, 1);
  int rc = o->inner.run(&o->inner, call);
  reach(d, 0);
  return rc;
}

static int wrap(device *d, sonde_kernel *k, int rc) {
  if (rc) return rc;
  own *o = calloc(1, sizeof *o);
  if (!o) abort();
  *o = (own){d, *k};
  k->run = run;
  k->data = o;
  guarded_counted.live++;
  return 0;
}

static int lacks(const char *name) {
  static const char *const names[] = {"attention", "attention_grad", "attention_cached", "rope",
                                      "lm_loss_grad", "gather", "sum"};
  for (size_t k = 0; k < sizeof names / sizeof *names; k++)
    if (!strcmp(names[k], name)) return 1;
  return 0;
}

static int kernel(void *state, const sonde_op_def *def, const sonde_shape *in, int n_in, const sonde_shape *out,
                  const sonde_attr *attr, sonde_kernel *k, sonde_error *err) {
  device *d = state;
  if (lacks(def->name)) {
    guarded_counted.lacking++;
    return SONDE_ENOENT;
  }
  return wrap(d, k, sonde_cpu_backend.kernel(d->cpu, def, in, n_in, out, attr, k, err));
}

static int fusable(void *state, const sonde_op_def *def) {
  (void)state;
  return strcmp(def->name, "swiglu") && strcmp(def->name, "tanh");
}

static int fuse(void *state, const sonde_program *p, sonde_kernel *k, sonde_error *err) {
  device *d = state;
  for (int j = 0; j < p->n_op; j++)
    if (!fusable(state, p->op[j].def)) {
      guarded_counted.lacking++;
      return SONDE_ENOENT;
    }
  return wrap(d, k, sonde_cpu_backend.fuse(d->cpu, p, k, err));
}

static void drop(void *state, sonde_kernel *k) {
  device *d = state;
  own *o = k->data;
  if (!o) return;
  sonde_cpu_backend.drop(d->cpu, &o->inner);
  free(o);
  *k = (sonde_kernel){0};
  guarded_counted.live--;
}

/* ---- recordings ------------------------------------------------------------------------------------- */

static int begin(void *state, sonde_error *err) {
  device *d = state;
  if (d->recording) return sonde_fail(err, SONDE_EBUG, "a recording in a recording");
  if (!(d->recording = calloc(1, sizeof *d->recording))) abort();
  d->recording->last = &d->recording->first;
  guarded_counted.recordings++;
  guarded_counted.live++;
  return 0;
}

static int end(void *state, void **made, sonde_error *err) {
  device *d = state;
  (void)err;
  *made = d->recording;
  d->recording = NULL;
  return 0;
}

static int replay(void *state, void *made, const sonde_step_block *block, sonde_error *err) {
  device *d = state;
  const recording *r = made;
  int rc = 0;
  guarded_counted.replays++;
  reach(d, 1);
  *d->block = *block;
  for (closure *c = r->first; c && !rc; c = c->next) {
    c->call.err = err;
    if (c->kernel.run) rc = c->kernel.run(&c->kernel, &c->call);
    else memmove(c->to, c->from, (size_t)c->bytes);
  }
  reach(d, 0);
  return rc;
}

static void forget(void *state, void *made) {
  recording *r = made;
  (void)state;
  for (closure *c = r->first, *next; c; c = next) {
    next = c->next;
    free(c);
  }
  free(r);
  guarded_counted.live--;
}

const sonde_backend guarded_backend = {
    .size = sizeof guarded_backend, .flags = SONDE_BACKEND_RECORDS, .align = ALIGN, .name = "guarded",
    .doc = "a device of the tests", .open = open, .close = close, .alloc = alloc, .release = release, .copy = copy,
    .fill = fill, .sync = sync, .kernel = kernel, .fusable = fusable, .fuse = fuse, .drop = drop, .begin = begin,
    .end = end, .replay = replay, .forget = forget};
