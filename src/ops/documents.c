/* documents.c - where documents begin in rows that are packed with several: what attention needs so that no token looks
 * into another document (its input starts), and rope so that positions count from each document's first token. */
#include "graph/ops.h"

#include "ops/attention.h"
#include "tensor/tensor.h"

int sonde_document_starts_shape(const sonde_shape *in, int n_in, const sonde_attr *at, sonde_shape *out,
                                sonde_error *err) {
  char text[96];
  (void)n_in;
  if (in[0].dtype != SONDE_I32 || in[0].rank != 2)
    return sonde_fail(err, SONDE_ESHAPE, "document_starts of %s: needs tokens i32 [B, T]",
                      sonde_shape_text(&in[0], text, sizeof text));
  if (at->i[0] < 0 || at->i[0] > INT32_MAX)
    return sonde_fail(err, SONDE_EINVAL,
                      "document_starts: the token that ends a document must be from 0 to 2147483647, not %lld",
                      (long long)at->i[0]);
  out[0] = out[1] = in[0];
  return SONDE_OK;
}

/* The token that ends a document belongs to it; a row's first token starts one, wherever its document began. */
int sonde_document_starts_run(const sonde_call *c) {
  int64_t batch = c->in_shape[0].dim[0], length = c->in_shape[0].dim[1];
  for (int64_t b = 0; b < batch; b++) {
    const int32_t *token = (const int32_t *)c->in[0] + b * length;
    int64_t start = 0;
    for (int64_t t = 0; t < length; t++) {
      if (t > 0 && token[t - 1] == c->attr->i[0]) start = t;
      if (c->out[0]) ((int32_t *)c->out[0])[b * length + t] = (int32_t)start;
      if (c->out[1]) ((int32_t *)c->out[1])[b * length + t] = (int32_t)(t - start);
    }
  }
  return SONDE_OK;
}
