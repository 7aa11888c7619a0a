/* tensor.h - shapes, dtypes and reference-counted buffers. */
#ifndef SONDE_TENSOR_TENSOR_H
#define SONDE_TENSOR_TENSOR_H

#include "base/error.h"
#include "sonde_backend.h"

struct sonde_tensor {
  sonde_shape shape;
  int64_t bytes;
  int refs;               /* changed atomically */
  void *host;             /* 64-byte aligned; pages of a large buffer are allocated when first touched */
  /* The copy on a device whose memory is not the host's; at NULL: none. */
  const sonde_backend *backend;
  void *device, *at;
  int stale;              /* SONDE_STALE_*: which of the two is not the newest; 0: both are */
  int lacks;              /* of a parameter: SONDE_LACKS_*, until it is written; 0: it has values */
  int first;              /* of a parameter: 1: it holds what its initialisation gave it; nothing was written since */
};

enum { SONDE_STALE_HOST = 1, SONDE_STALE_DEVICE = 2 };
/* VALUES: first values are still to be given. RESULT: it has them, and waits for what is computed from others
 * (refresh.h). */
enum { SONDE_LACKS_VALUES = 1, SONDE_LACKS_RESULT = 2 };

/* Makes room on a device (not during a run). Nothing where the device's memory is the host's. */
int sonde_tensor_place(sonde_tensor *t, const sonde_backend *backend, void *device, sonde_error *err);
/* Brings the newest numbers to the device that it was placed on. */
int sonde_tensor_bring(sonde_tensor *t, sonde_error *err);
/* Where the device has it, and: the device has written it. */
static inline void *sonde_tensor_at(const sonde_tensor *t) { return t->at ? t->at : t->host; }
static inline void sonde_tensor_changed(sonde_tensor *t) {
  t->stale = t->at ? SONDE_STALE_HOST : 0;
  t->lacks = t->first = 0;
}

int64_t sonde_dtype_size(int dtype);              /* bytes; 0 for an unknown dtype */
const char *sonde_dtype_name(int dtype);          /* "f32", "bf16", "i32" */

sonde_shape sonde_shape_make(int dtype, int rank, const int64_t *dim);
int sonde_shape_equal(const sonde_shape *a, const sonde_shape *b);       /* the dims; dtypes may differ */
int64_t sonde_shape_bytes(const sonde_shape *s);                         /* -1 if it overflows */
/* "f32 [8, 256, 64]" into buf; returns buf. */
char *sonde_shape_text(const sonde_shape *s, char *buf, size_t n);
/* Broadcasting by numpy's rule; ESHAPE if the two do not match. The dtype of *out is a's. */
int sonde_shape_broadcast(const sonde_shape *a, const sonde_shape *b, sonde_shape *out);

/* 1: none of the n numbers is NaN or infinite. */
int sonde_all_finite(const float *x, int64_t n);

/* Pages from the system for `bytes`, zero when first touched, on a huge-page boundary; NULL when out of memory. */
void *sonde_pages_alloc(int64_t bytes);
void sonde_pages_release(void *p, int64_t bytes);

#endif
