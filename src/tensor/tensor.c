/* tensor.c - see tensor.h. Buffers of 1 MiB and more come straight from the system, so that a model whose plan is
 * only being checked takes no memory, and so that huge pages spare the GEMMs their TLB misses. */
#include "tensor/tensor.h"

#include <float.h>
#include <math.h>
#include <stdio.h>
#include <sys/mman.h>

#include "base/mem.h"

enum { PAGED_FROM = 1 << 20, PAGE = 4096, HUGE_PAGE = 2 << 20 };

int64_t sonde_dtype_size(int dtype) {
  switch (dtype) {
    case SONDE_F32: return 4;
    case SONDE_BF16: return 2;
    case SONDE_I32: return 4;
    default: return 0;
  }
}

const char *sonde_dtype_name(int dtype) {
  switch (dtype) {
    case SONDE_F32: return "f32";
    case SONDE_BF16: return "bf16";
    case SONDE_I32: return "i32";
    default: return "no dtype";
  }
}

sonde_shape sonde_shape_make(int dtype, int rank, const int64_t *dim) {
  sonde_shape s = {dtype, rank, {1, 1, 1, 1, 1}};
  for (int k = 0; k < rank && k < SONDE_MAX_RANK; k++) s.dim[k] = dim[k];
  return s;
}

int64_t sonde_shape_count(const sonde_shape *s) {
  int64_t n = 1;
  if (s->rank < 0 || s->rank > SONDE_MAX_RANK) return -1;
  for (int k = 0; k < s->rank; k++)
    if (s->dim[k] < 0 || __builtin_mul_overflow(n, s->dim[k], &n)) return -1;
  return n;
}

int64_t sonde_shape_bytes(const sonde_shape *s) {
  int64_t n = sonde_shape_count(s), bytes;
  return n < 0 || __builtin_mul_overflow(n, sonde_dtype_size(s->dtype), &bytes) ? -1 : bytes;
}

int sonde_shape_equal(const sonde_shape *a, const sonde_shape *b) {
  if (a->rank != b->rank) return 0;
  for (int k = 0; k < a->rank; k++)
    if (a->dim[k] != b->dim[k]) return 0;
  return 1;
}

char *sonde_shape_text(const sonde_shape *s, char *buf, size_t n) {
  int at = snprintf(buf, n, "%s [", sonde_dtype_name(s->dtype));
  for (int k = 0; k < s->rank && k < SONDE_MAX_RANK && (size_t)at < n; k++)
    at += snprintf(buf + at, n - (size_t)at, "%s%lld", k ? ", " : "", (long long)s->dim[k]);
  if ((size_t)at < n) snprintf(buf + at, n - (size_t)at, "]");
  return buf;
}

int sonde_shape_broadcast(const sonde_shape *a, const sonde_shape *b, sonde_shape *out) {
  sonde_shape r = {a->dtype, a->rank > b->rank ? a->rank : b->rank, {1, 1, 1, 1, 1}};
  for (int k = 0; k < r.rank; k++) {
    int ka = a->rank - r.rank + k, kb = b->rank - r.rank + k;
    int64_t da = ka < 0 ? 1 : a->dim[ka], db = kb < 0 ? 1 : b->dim[kb];
    if (da != db && da != 1 && db != 1) return SONDE_ESHAPE;
    r.dim[k] = da == 1 ? db : da;
  }
  *out = r;
  return 0;
}

int sonde_program_is_full(const sonde_program *p, int k) {
  int64_t step = 1;
  if (p->in[k].constant) return 0;
  int same = 1, scalar = 1;
  for (int d = p->rank - 1; d >= 0; d--) {
    same &= p->in[k].stride[d] == step || p->dim[d] == 1;
    scalar &= p->in[k].stride[d] == 0;
    step *= p->dim[d];
  }
  return same && !scalar;
}

static size_t whole_pages(int64_t bytes) { return ((size_t)bytes + PAGE - 1) & ~(size_t)(PAGE - 1); }

int sonde_all_finite(const float *x, int64_t n) {
  int finite = 1;
  for (int64_t k = 0; k < n; k++) finite &= fabsf(x[k]) <= FLT_MAX;   /* no branch, so that gcc vectorises it */
  return finite;
}

void *sonde_pages_alloc(int64_t bytes) {
  size_t want = whole_pages(bytes), size = want + HUGE_PAGE;   /* room to move the start to a huge-page boundary */
  char *raw = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (raw == MAP_FAILED) return NULL;
  size_t head = (HUGE_PAGE - (uintptr_t)raw % HUGE_PAGE) % HUGE_PAGE;
  if (head) munmap(raw, head);
  if (size - head > want) munmap(raw + head + want, size - head - want);
  madvise(raw + head, want, MADV_HUGEPAGE);
  return raw + head;
}

void sonde_pages_release(void *p, int64_t bytes) {
  if (p) munmap(p, whole_pages(bytes));
}

sonde_tensor *sonde_tensor_new(const sonde_shape *shape, sonde_error *err) {
  char text[160];
  int64_t bytes = sonde_shape_bytes(shape);
  if (bytes < 0 || !sonde_dtype_size(shape->dtype)) {
    sonde_fail(err, SONDE_ESHAPE, "tensor %s: not a shape that memory can hold",
               sonde_shape_text(shape, text, sizeof text));
    return NULL;
  }
  sonde_tensor *t = sonde_alloc(sizeof *t);
  if (t) t->host = bytes >= PAGED_FROM ? sonde_pages_alloc(bytes) : sonde_alloc(bytes ? (size_t)bytes : 1);
  if (!t || !t->host) {
    sonde_release(t);
    sonde_fail(err, SONDE_ENOMEM, "tensor %s: no memory for its %lld bytes", sonde_shape_text(shape, text, sizeof text),
               (long long)bytes);
    return NULL;
  }
  t->shape = sonde_shape_make(shape->dtype, shape->rank, shape->dim);
  t->bytes = bytes;
  t->refs = 1;
  return t;
}

static void leave(sonde_tensor *t);

sonde_tensor *sonde_tensor_ref(sonde_tensor *t) {
  if (t) __atomic_add_fetch(&t->refs, 1, __ATOMIC_RELAXED);
  return t;
}

void sonde_tensor_free(sonde_tensor *t) {
  if (!t || __atomic_sub_fetch(&t->refs, 1, __ATOMIC_ACQ_REL) > 0) return;
  leave(t);
  if (t->bytes >= PAGED_FROM) sonde_pages_release(t->host, t->bytes);
  else sonde_release(t->host);
  sonde_release(t);
}

sonde_shape sonde_tensor_shape(const sonde_tensor *t) { return t->shape; }

/* ---- a copy on a device ------------------------------------------------------------------------------- */

static void leave(sonde_tensor *t) {
  if (t->at) t->backend->release(t->device, t->at, t->bytes, SONDE_MEMORY_TENSOR);
  t->at = NULL;
}

/* The host's copy, brought up to date. */
static void *host(sonde_tensor *t, sonde_error *err) {
  if ((t->stale & SONDE_STALE_HOST) &&
      t->backend->copy(t->device, t->host, t->at, t->bytes, SONDE_COPY_OUT, err))
    return NULL;
  t->stale &= ~SONDE_STALE_HOST;
  return t->host;
}

const void *sonde_tensor_read(const sonde_tensor *t, sonde_error *err) {
  return host((sonde_tensor *)(uintptr_t)t, err);
}

void *sonde_tensor_write(sonde_tensor *t, sonde_error *err) {
  void *x = host(t, err);
  if (x && t->at) t->stale = SONDE_STALE_DEVICE;
  if (x && (t->lacks || t->first)) t->lacks = t->first = 0;      /* else untouched: threads may write parts of one */
  return x;
}

int sonde_tensor_place(sonde_tensor *t, const sonde_backend *backend, void *device, sonde_error *err) {
  if ((backend->flags & SONDE_BACKEND_HOST) || (t->at && t->device == device)) return SONDE_OK;
  if (!host(t, err)) return SONDE_EIO;
  leave(t);
  int rc = backend->alloc(device, t->bytes, SONDE_MEMORY_TENSOR, &t->at, err);
  if (rc) return rc;
  t->backend = backend;
  t->device = device;
  t->stale = SONDE_STALE_DEVICE;
  return SONDE_OK;
}

int sonde_tensor_bring(sonde_tensor *t, sonde_error *err) {
  if (!(t->stale & SONDE_STALE_DEVICE)) return SONDE_OK;
  int rc = t->backend->copy(t->device, t->at, t->host, t->bytes, SONDE_COPY_IN, err);
  if (!rc) t->stale = 0;
  return rc;
}
int64_t sonde_tensor_bytes(const sonde_tensor *t) { return t->bytes; }
