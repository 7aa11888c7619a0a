/* rope.c - rotary position embedding (Su et al. 2021), halves rotated as in Hugging Face's Llama: pair j of a head is
 * (x[j], x[j + Dh/2]), turned at position t by the angle t w_j. w_j = theta^(-2j/Dh), or what a second input says: so a
 * scheme for longer contexts is a rule for frequencies and no concern of the op that turns. With r/2 frequencies, fewer
 * than Dh/2, the first r of the head are turned and the rest passes (partial rotary). */
#include "config.h"
#include "ops/families.h"

#include <math.h>
#include <string.h>

#include "ops/rows.h"
#include "tensor/tensor.h"

enum { POSITIONS = 64, MAX_HEAD = 1024 };

enum { THETA = 0, DIRECTION = 1, AMPLITUDE = 2 };       /* places in attr.f */

/* The inputs behind x: frequencies (f32), then the position or those of all tokens (i32); either may be missing. */
static int has_frequencies(const sonde_shape *in, int n_in) {
  return n_in > 1 && in[1].dtype != SONDE_I32;
}

static int is_offset(const sonde_shape *s) { return sonde_shape_count(s) == 1; }
static int is_positions(const sonde_shape *s, const sonde_shape *x) {
  return s->rank == 2 && s->dim[0] == x->dim[0] && s->dim[1] == x->dim[1];
}

static int shape(const sonde_shape *in, int n_in, const sonde_attr *at, sonde_shape *out, sonde_error *err) {
  char text[96];
  if (in[0].rank != 4 || !sonde_is_real(&in[0]) || (in[0].dim[3] % 2 && !has_frequencies(in, n_in)) ||
      in[0].dim[3] < 2 || in[0].dim[3] > MAX_HEAD)
    return sonde_fail(err, SONDE_ESHAPE,
                      "rope of %s: needs [B, T, H, Dh] with an even head width Dh of at most %d",
                      sonde_shape_text(&in[0], text, sizeof text), MAX_HEAD);
  if (n_in > 1 &&
      (in[n_in - 1].dtype == SONDE_I32 ? !is_offset(&in[n_in - 1]) && !is_positions(&in[n_in - 1], &in[0]) : n_in > 2))
    return sonde_fail(err, SONDE_ESHAPE, "rope: the position must be one i32, or one for each token, [B, T]");
  if (n_in > 2 && !has_frequencies(in, n_in))
    return sonde_fail(err, SONDE_ESHAPE,
                      "rope: it takes frequencies and then a position, not a position and then another");
  if (has_frequencies(in, n_in) && (in[1].dtype != SONDE_F32 || sonde_shape_count(&in[1]) > in[0].dim[3] / 2))
    return sonde_fail(err, SONDE_ESHAPE, "rope: a head of %lld needs half as many frequencies in f32, or fewer, not %s",
                      (long long)in[0].dim[3], sonde_shape_text(&in[1], text, sizeof text));
  if (!(at->f[THETA] > 0) || (at->f[DIRECTION] != 1 && at->f[DIRECTION] != -1))
    return sonde_fail(err, SONDE_EINVAL,
                      "rope: theta must be over 0 and the direction 1 or -1, not %g and %g", at->f[THETA],
                      at->f[DIRECTION]);
  if (!(at->f[AMPLITUDE] >= 0 && at->f[AMPLITUDE] <= 1e6))
    return sonde_fail(err, SONDE_EINVAL, "rope: the amplitude must be over 0, or 0 for 1, not %g", at->f[AMPLITUDE]);
  *out = in[0];
  out->dtype = SONDE_F32;
  return SONDE_OK;
}

/* The angles of one position: cos and sin of pair j. */
typedef struct angles {
  int64_t half, position;
  int turns;                          /* whether step_c and step_s are there */
  double side, amplitude, w[MAX_HEAD / 2], c[MAX_HEAD / 2], s[MAX_HEAD / 2], step_c[MAX_HEAD / 2], step_s[MAX_HEAD / 2];
  float rounded_c[MAX_HEAD / 2], rounded_s[MAX_HEAD / 2];
} angles;

/* theta^(-2j/Dh) is a power of j = 1's: that loses no more than turning on does, and in generation, where a call turns
 * one position, the powers would be most of the time. */
static void init_angles(angles *a, const sonde_call *call) {
  const int64_t width = call->in_shape[0].dim[3];
  const float *frequency = has_frequencies(call->in_shape, call->n_in) ? call->in[1] : NULL;
  const double *f = call->attr->f, ratio = pow(f[THETA], -2.0 / (double)width);
  double w = 1;
  a->half = frequency ? sonde_shape_count(&call->in_shape[1]) : width / 2;
  a->turns = 0, a->side = f[DIRECTION], a->amplitude = f[AMPLITUDE] != 0 ? f[AMPLITUDE] : 1;
  for (int64_t j = 0; j < a->half; j++, w *= ratio) a->w[j] = frequency ? (double)frequency[j] : w;
}

static void take_angles(angles *a, int64_t position) {
  for (int64_t j = 0; j < a->half; j++) {
    double at = (double)position * a->w[j];
    a->c[j] = cos(at), a->s[j] = a->side * sin(at);
  }
  a->position = position;
}

/* To the position behind, in double precision: POSITIONS steps lose less than 1e-13. */
static void turn_on(angles *a) {
  if (!a->turns)
    for (int64_t j = 0; j < a->half; j++) a->step_c[j] = cos(a->w[j]), a->step_s[j] = a->side * sin(a->w[j]);
  a->turns = 1;
  for (int64_t j = 0; j < a->half; j++) {
    double next = a->c[j] * a->step_c[j] - a->s[j] * a->step_s[j];
    a->s[j] = a->s[j] * a->step_c[j] + a->c[j] * a->step_s[j];
    a->c[j] = next;
  }
  a->position++;
}

/* Those of any position: as where it stands in a row that is counted through, to the bit. */
static void find_angles(angles *a, int64_t position) {
  int64_t steps = position > 0 ? position % POSITIONS : 0;
  take_angles(a, position - steps);
  while (steps--) turn_on(a);
}

static void round_angles(angles *a) {
  for (int64_t j = 0; j < a->half; j++) {
    a->rounded_c[j] = (float)(a->amplitude * a->c[j]);
    a->rounded_s[j] = (float)(a->amplitude * a->s[j]);
  }
}

/* All heads of position t of a batch entry. */
static void turn_heads(const sonde_call *call, const angles *a, int64_t b, int64_t t) {
  const sonde_simd_table *simd = sonde_simd_get();
  const sonde_shape *x = &call->in_shape[0];
  const int64_t heads = x->dim[2], width = x->dim[3], turned = 2 * a->half;
  float in_buf[MAX_HEAD], out_buf[MAX_HEAD];
  for (int64_t h = 0; h < heads; h++) {
    int64_t at = ((b * x->dim[1] + t) * heads + h) * width;
    const float *from = sonde_row_in(simd, call->in[0], x->dtype, at, width, in_buf);
    float *to = sonde_row_out(call->out[0], call->out_shape[0].dtype, at, out_buf);
    simd->turn(to, from, a->rounded_c, a->rounded_s, a->half);
    if (to != from && turned < width) memcpy(to + turned, from + turned, (size_t)(width - turned) * sizeof *to);
    sonde_row_done(simd, call->out[0], call->out_shape[0].dtype, at, width, to);
  }
}

/* A tile is POSITIONS places of all rows. Where all rows have the same positions, their angles are taken once. */
static void turn_positions(void *arg, int64_t tile, int worker) {
  (void)worker;
  const sonde_call *call = arg;
  const sonde_shape *x = &call->in_shape[0], *last = &call->in_shape[call->n_in - 1];
  const int64_t batch = x->dim[0], length = x->dim[1];
  const int64_t first = tile * POSITIONS, end = first + POSITIONS < length ? first + POSITIONS : length;
  const int32_t *given = last->dtype == SONDE_I32 ? call->in[call->n_in - 1] : NULL;
  const int apart = given && !is_offset(last);          /* positions of each token */
  const int64_t offset = call->attr->i[0] + (given && !apart ? *given : 0), sweeps = apart ? batch : 1;
  angles a;
  init_angles(&a, call);
  for (int64_t sweep = 0; sweep < sweeps; sweep++)
    for (int64_t t = first; t < end; t++) {
      int64_t position = offset + (apart ? given[sweep * length + t] : t);
      if (apart ? t > first && position == a.position + 1 && position % POSITIONS : t > first) turn_on(&a);
      else if (apart) find_angles(&a, position);
      else take_angles(&a, position);
      round_angles(&a);
      for (int64_t b = apart ? sweep : 0; b < (apart ? sweep + 1 : batch); b++) turn_heads(call, &a, b, t);
    }
}

static int run(const sonde_call *c) {
  sonde_pool_run(c->pool, sonde_parts(c->in_shape[0].dim[1], POSITIONS), turn_positions, (void *)c);
  return SONDE_OK;
}

/* A rotation's transpose is the rotation back; the amplitude stays. */
static int grad(sonde_graph *g, sonde_node *self, sonde_node *const *dout, sonde_node **din) {
  sonde_attr at = *sonde_node_attr(self);
  sonde_node *in[SONDE_MAX_IN];
  at.f[DIRECTION] = -at.f[DIRECTION];
  if (!dout[0]) return SONDE_OK;
  int n_in = sonde_node_inputs(self, in);
  in[0] = dout[0];
  din[0] = sonde_op(g, "rope", in, n_in, &at);
  return din[0] ? SONDE_OK : SONDE_ESHAPE;
}

static double flops(const sonde_shape *in, int n_in, const sonde_shape *out, const sonde_attr *at) {
  (void)n_in, (void)out, (void)at;
  return 3.0 * (double)sonde_leading(&in[0], 0);
}

/* ---- frequencies ----------------------------------------------------------------------------------------- */

enum { PLAIN, LINEAR, LLAMA3, YARN, YARN_EXACT, SCHEMES };
enum { FACTOR = 0, LOW = 1, HIGH = 2, FAST = 1, SLOW = 2, ORIGINAL = 3 };      /* places in attr.f */

static int check_numbers(const sonde_attr *at, sonde_error *err) {
  const double *f = at->f;
  if (at->i[1] != PLAIN && !(f[FACTOR] >= 1 && f[FACTOR] <= 1e9))
    return sonde_fail(err, SONDE_EINVAL, "rope_frequencies: the factor must be at least 1, not %g", f[FACTOR]);
  if (at->i[1] == LLAMA3 && !(f[LOW] > 0 && f[HIGH] > f[LOW] && f[HIGH] <= 1e9 && f[ORIGINAL] >= 1))
    return sonde_fail(err, SONDE_EINVAL,
                      "rope_frequencies: the high frequency factor must be over the low one and the original context "
                      "at least 1, not %g, %g and %g",
                      f[HIGH], f[LOW], f[ORIGINAL]);
  if (at->i[1] >= YARN && !(f[SLOW] > 0 && f[FAST] >= f[SLOW] && f[FAST] <= 1e9 && f[ORIGINAL] >= 1))
    return sonde_fail(err, SONDE_EINVAL,
                      "rope_frequencies: beta_fast must be at least beta_slow, that over 0, and the original context "
                      "at least 1, not %g, %g and %g",
                      f[FAST], f[SLOW], f[ORIGINAL]);
  return SONDE_OK;
}

static int frequencies_shape(const sonde_shape *in, int n_in, const sonde_attr *at, sonde_shape *out,
                             sonde_error *err) {
  (void)n_in;
  const int64_t half = at->i[0] / 2, scheme = at->i[1];
  if (sonde_shape_count(&in[0]) != 1 || in[0].dtype != SONDE_F32)
    return sonde_fail(err, SONDE_ESHAPE, "rope_frequencies: theta must be one f32");
  if (half < 1 || half > MAX_HEAD / 2 || at->i[0] % 2 || scheme < 0 || scheme >= SCHEMES)
    return sonde_fail(err, SONDE_EINVAL, "rope_frequencies: no head width of %lld, or no scheme %lld",
                      (long long)at->i[0], (long long)scheme);
  int rc = check_numbers(at, err);
  if (rc) return rc;
  *out = sonde_shape_make(SONDE_F32, 1, &half);
  return SONDE_OK;
}

/* Llama 3.1: waves shorter than O/high stay, those longer than O/low are stretched, and in between it is a blend: how
 * much of w is kept. */
static double llama3_share(const double *f, double w) {
  double waves = f[ORIGINAL] * w / (2 * M_PI), share = (waves - f[LOW]) / (f[HIGH] - f[LOW]);
  return share < 0 ? 0 : share > 1 ? 1 : share;
}

/* YaRN (Peng et al. 2023, section 3.2): the pair that turns n times within the original context, as a real number. */
static double yarn_pair(const sonde_attr *at, double theta, double n) {
  return (double)at->i[0] * log(at->f[ORIGINAL] / (n * 2 * M_PI)) / (2 * log(theta));
}

/* The ramp over the pairs between beta_fast and beta_slow turns, as transformers has it: its ends are whole pairs, or
 * as they come (YARN_EXACT). */
static double yarn_share(const sonde_attr *at, double theta, int64_t j) {
  double low = yarn_pair(at, theta, at->f[FAST]), high = yarn_pair(at, theta, at->f[SLOW]);
  if (at->i[1] == YARN) low = floor(low), high = ceil(high);
  low = low > 0 ? low : 0;
  high = high < (double)(at->i[0] - 1) ? high : (double)(at->i[0] - 1);
  if (high == low) high += 0.001;
  double ramp = ((double)j - low) / (high - low);
  return 1 - (ramp < 0 ? 0 : ramp > 1 ? 1 : ramp);
}

static double scaled(const sonde_attr *at, double theta, int64_t j) {
  const double w = pow(theta, -2.0 * (double)j / (double)at->i[0]);
  if (at->i[1] == PLAIN) return w;
  double share = at->i[1] == LINEAR ? 0 : at->i[1] == LLAMA3 ? llama3_share(at->f, w) : yarn_share(at, theta, j);
  return (1 - share) * w / at->f[FACTOR] + share * w;
}

static int frequencies_run(const sonde_call *c) {
  const double theta = *(const float *)c->in[0];
  if (!(theta > 0)) return sonde_fail(c->err, SONDE_EINVAL, "rope_frequencies: theta must be over 0, not %g", theta);
  for (int64_t j = 0; j < c->attr->i[0] / 2; j++) ((float *)c->out[0])[j] = (float)scaled(c->attr, theta, j);
  return SONDE_OK;
}

/* ---- frequencies by length -------------------------------------------------------------------------------- */

enum { LIMIT = 0, LENGTH = 1, EVERY = 2 };       /* places in attr.i */

static int by_length_shape(const sonde_shape *in, int n_in, const sonde_attr *at, sonde_shape *out, sonde_error *err) {
  char a[96], b[96];
  if (in[0].dtype != SONDE_F32 || !sonde_shape_equal(&in[0], &in[1]))
    return sonde_fail(err, SONDE_ESHAPE, "rope_by_length of %s and %s: needs two f32 of one shape",
                      sonde_shape_text(&in[0], a, sizeof a), sonde_shape_text(&in[1], b, sizeof b));
  if (n_in > 2 && (in[2].dtype != SONDE_I32 || !is_offset(&in[2])))
    return sonde_fail(err, SONDE_ESHAPE, "rope_by_length: the position must be one i32");
  if (at->i[LIMIT] < 1 || at->i[LENGTH] < 1)
    return sonde_fail(err, SONDE_EINVAL, "rope_by_length: the limit and the length must be at least 1, not %lld and "
                      "%lld", (long long)at->i[LIMIT], (long long)at->i[LENGTH]);
  out[0] = in[0];
  return SONDE_OK;
}

/* Token by token, what is in the cache was turned by the frequencies of a shorter sequence: past the limit they are
 * others, and the result would be that of no forward pass. */
static int by_length_run(const sonde_call *c) {
  const int64_t limit = c->attr->i[LIMIT], position = c->n_in > 2 ? *(const int32_t *)c->in[2] : 0;
  const int64_t length = position + c->attr->i[LENGTH];
  if (position > 0 && length > limit && (c->attr->i[EVERY] || position <= limit))
    return sonde_fail(c->err, SONDE_EINVAL,
                      "the rotary positions of this model differ in sequences of over %lld tokens, so the keys in the "
                      "cache are of no use at position %lld; generate fewer tokens%s",
                      (long long)limit, (long long)position, c->attr->i[EVERY] ? "" : ", or from a longer prompt");
  memcpy(c->out[0], c->in[length > limit], (size_t)sonde_shape_bytes(&c->in_shape[0]));
  return SONDE_OK;
}

const sonde_op_def sonde_ops_rope[] = {
    {.size = sizeof(sonde_op_def),
     .name = "rope",
     .min_in = 1,
     .max_in = 3,
     .n_out = 1,
     .flags = SONDE_OP_INPLACE | SONDE_OP_BF16_IN | SONDE_OP_BF16_OUT,
     .doc =
         "x [B, T, H, Dh] with pair (j, j + Dh/2) at position t turned by (t + offset) theta^(-2j/Dh), or by "
         "(t + offset) w[j] with w f32 [r/2] as the second input: the first r of the head are turned then, the rest "
         "passes. f0: theta, f1: 1, or -1 to turn back, f2: a factor of what is turned (0: 1), i0: offset. "
         "A last input, i32: one number, which is added to the offset, or [B, T], the position of each token in place "
         "of t",
     .shape = shape,
     .grad = grad,
     .run = run,
     .flops = flops,
     .step = "rope"},
    {.size = sizeof(sonde_op_def),
     .name = "rope_frequencies",
     .min_in = 1,
     .max_in = 1,
     .n_out = 1,
     .doc = "w [Dh/2] for rope, of theta f32 [1]: w_j = theta^(-2j/Dh) under a scheme for longer contexts. i0: Dh, i1: "
            "0 as "
            "it is, 1 linear (w / f0), 2 llama3 (f0: factor, f1 and f2: low and high frequency factor, f3: original "
            "context), 3 yarn (f0: factor, f1 and f2: beta_fast and beta_slow, f3: original context), 4 yarn with the "
            "ends of its ramp between pairs; no gradient",
     .shape = frequencies_shape,
     .run = frequencies_run},
    {.size = sizeof(sonde_op_def),
     .name = "rope_by_length",
     .min_in = 2,
     .max_in = 3,
     .n_out = 1,
     .doc = "the first input where a sequence has at most i0 tokens, else the second, f32 of one shape: frequencies "
            "that depend on the length. i1: tokens T. A "
            "third input, i32 [1], is the position of the first one: a sequence "
            "that grows past i0 is refused then, and with i2 = 1 one that grows beyond it; no gradient",
     .shape = by_length_shape,
     .run = by_length_run,
     .step = "rope_by_length"},
    {0}};
