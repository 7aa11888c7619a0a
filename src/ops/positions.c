/* positions.c - what positions that are no rotation need: the position of each token, by which a table of learned ones
 * is read, and the slopes of ALiBi, by which attention weighs the distance of two tokens. */
#include "ops/common.h"

#include <math.h>

#include "ops/families.h"

/* ---- positions ------------------------------------------------------------------------------------------ */

static int positions_shape(const sonde_shape *in, int n_in, const sonde_attr *a, sonde_shape *out, sonde_error *err) {
  (void)a;
  if (in[0].rank < 2)
    return sonde_fail(err, SONDE_ESHAPE, "positions of %s: needs [B, T, ..]", sonde_shown(&in[0]).text);
  if (n_in > 1 && (in[1].dtype != SONDE_I32 || sonde_shape_count(&in[1]) != 1))
    return sonde_fail(err, SONDE_ESHAPE, "positions: that of the first token must be one i32, not %s",
                      sonde_shown(&in[1]).text);
  out[0] = sonde_shape_make(SONDE_I32, 2, in[0].dim);
  return SONDE_OK;
}

static int positions_run(const sonde_call *c) {
  const int64_t batch = c->out_shape[0].dim[0], length = c->out_shape[0].dim[1];
  const int32_t first = c->n_in > 1 ? *(const int32_t *)c->in[1] : 0;
  for (int64_t b = 0; b < batch; b++)
    for (int64_t t = 0; t < length; t++) ((int32_t *)c->out[0])[b * length + t] = first + (int32_t)t;
  return SONDE_OK;
}

/* ---- alibi_slopes --------------------------------------------------------------------------------------- */

static int slopes_shape(const sonde_shape *in, int n_in, const sonde_attr *a, sonde_shape *out, sonde_error *err) {
  (void)n_in;
  if (sonde_shape_count(&in[0]) != 1 || in[0].dtype != SONDE_F32)
    return sonde_fail(err, SONDE_ESHAPE, "alibi_slopes: the largest bias must be one f32, not %s",
                      sonde_shown(&in[0]).text);
  if (a->i[0] < 1 || a->i[0] > 65536)
    return sonde_fail(err, SONDE_EINVAL, "alibi_slopes: heads must be from 1 to 65536, not %lld", (long long)a->i[0]);
  out[0] = sonde_shape_make(SONDE_F32, 1, &a->i[0]);
  return SONDE_OK;
}

/* With p the largest power of two up to H, heads 1 to p have 2^(-m h/p); the others those of 2p heads, every second
 * one (Press et al. 2022, section 3; the rule for other numbers than powers of two is that of their code). */
static int slopes_run(const sonde_call *c) {
  const double largest = *(const float *)c->in[0];
  const int64_t heads = c->out_shape[0].dim[0];
  int64_t p = 1;
  while (2 * p <= heads) p *= 2;
  for (int64_t h = 0; h < heads; h++) {
    double step = h < p ? (double)(h + 1) : (double)(h - p) + 0.5;
    ((float *)c->out[0])[h] = (float)exp2(-largest * step / (double)p);
  }
  return SONDE_OK;
}

const sonde_op_def sonde_ops_positions[] = {
    {.size = sizeof(sonde_op_def), .name = "positions", .min_in = 1, .max_in = 2, .n_out = 1,
     .flags = SONDE_OP_BF16_IN,
     .doc = "x [B, T, ..] -> i32 [B, T]: the position 0, 1, .. of each token of a row, from p on with p i32 [1] as a "
            "second input; x's numbers have no part in it; no gradient",
     .shape = positions_shape, .run = positions_run, .flops = sonde_no_flops, .step = "positions"},
    {.size = sizeof(sonde_op_def), .name = "alibi_slopes", .min_in = 1, .max_in = 1, .n_out = 1,
     .doc = "m f32 [1] (8 in the paper) -> the slope of each of i0 = H heads for attention, f32 [H]: 2^(-m h/H) for "
            "h = 1 to H, H a power of two; no gradient",
     .shape = slopes_shape, .run = slopes_run, .flops = sonde_no_flops},
    {0},
};
