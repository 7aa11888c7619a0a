/* sonde_build.h - the ops by name, for composing in C: inside libsonde and inside plugins alike.
 * Every helper returns NULL when an input is NULL. Shapes broadcast by numpy's rule. */
#ifndef SONDE_BUILD_H
#define SONDE_BUILD_H

#include "sonde_plugin.h"

/* ---- the host's functions by their short names; inside libsonde they are the functions themselves -------- */

#ifndef SONDE_INSIDE
#define sonde_op sonde_the_host->op
#define sonde_result sonde_the_host->result
#define sonde_constant sonde_the_host->constant
#define sonde_node_graph sonde_the_host->node_graph
#define sonde_node_shape sonde_the_host->node_shape
#define sonde_node_inputs sonde_the_host->node_inputs
#define sonde_node_attr sonde_the_host->node_attr
#define sonde_where sonde_the_host->site_place         /* sonde_where(site)->layer */
#define sonde_site_param sonde_the_host->site_param    /* of any rank; sonde_matrix and sonde_vector are shorter */
#define sonde_publish sonde_the_host->site_publish
#define sonde_lookup sonde_the_host->site_lookup
#define sonde_site_refresh sonde_the_host->site_refresh /* of any rank and rhythm; sonde_buffer is shorter */
#define sonde_refuse sonde_the_host->site_refuse       /* return sonde_refuse(site, "heads %d ...", heads); in build */
#define sonde_fail sonde_the_host->fail                /* return sonde_fail(err, SONDE_ESHAPE, "..."); in shape, run */
#define sonde_parallel sonde_the_host->parallel
#define sonde_gemm sonde_the_host->gemm
#define sonde_over_rows sonde_the_host->rows
#define sonde_rows_scratch sonde_the_host->rows_scratch
#define sonde_inverse_factor sonde_the_host->inverse_factor
#define sonde_math sonde_the_host->simd                /* sonde_math->dot(x, y, n) */
#endif

#define SONDE_INLINE static inline __attribute__((unused))

/* ---- ops ---------------------------------------------------------------------------------------------- */

SONDE_INLINE sonde_node *sonde_op1(const char *op, sonde_node *a) {
  return a ? sonde_op(sonde_node_graph(a), op, &a, 1, NULL) : NULL;
}
SONDE_INLINE sonde_node *sonde_op2(const char *op, sonde_node *a, sonde_node *b) {
  sonde_node *in[2] = {a, b};
  return a && b ? sonde_op(sonde_node_graph(a), op, in, 2, NULL) : NULL;
}
SONDE_INLINE sonde_node *sonde_opf(const char *op, sonde_node *a, double f0, double f1) {
  sonde_attr at = {{f0, f1, 0, 0}, {0}};
  return a ? sonde_op(sonde_node_graph(a), op, &a, 1, &at) : NULL;
}

/* ops whose attributes are a rank and as many numbers */
SONDE_INLINE sonde_node *sonde_dims(const char *op, sonde_node *x, const int64_t *dim, int rank) {
  sonde_attr at = {{0}, {rank}};
  for (int k = 0; k < rank && k < SONDE_MAX_RANK; k++) at.i[1 + k] = dim[k];
  return x ? sonde_op(sonde_node_graph(x), op, &x, 1, &at) : NULL;
}

/* elementwise */
SONDE_INLINE sonde_node *sonde_add(sonde_node *a, sonde_node *b) { return sonde_op2("add", a, b); }
SONDE_INLINE sonde_node *sonde_sub(sonde_node *a, sonde_node *b) { return sonde_op2("sub", a, b); }
SONDE_INLINE sonde_node *sonde_mul(sonde_node *a, sonde_node *b) { return sonde_op2("mul", a, b); }
SONDE_INLINE sonde_node *sonde_div(sonde_node *a, sonde_node *b) { return sonde_op2("div", a, b); }
/* a x + b */
SONDE_INLINE sonde_node *sonde_affine(sonde_node *x, double a, double b) { return sonde_opf("affine", x, a, b); }
SONDE_INLINE sonde_node *sonde_scale(sonde_node *x, double a) { return sonde_opf("affine", x, a, 0); }
SONDE_INLINE sonde_node *sonde_max(sonde_node *a, sonde_node *b) { return sonde_op2("max", a, b); }
SONDE_INLINE sonde_node *sonde_min(sonde_node *a, sonde_node *b) { return sonde_op2("min", a, b); }
/* 1 where a > b, else 0; no gradient */
SONDE_INLINE sonde_node *sonde_greater(sonde_node *a, sonde_node *b) { return sonde_op2("greater", a, b); }
/* a where c is not 0, else b */
SONDE_INLINE sonde_node *sonde_select(sonde_node *c, sonde_node *a, sonde_node *b) {
  sonde_node *in[3] = {c, a, b};
  return c && a && b ? sonde_op(sonde_node_graph(a), "where", in, 3, NULL) : NULL;
}
SONDE_INLINE sonde_node *sonde_neg(sonde_node *x) { return sonde_op1("neg", x); }
SONDE_INLINE sonde_node *sonde_abs(sonde_node *x) { return sonde_op1("abs", x); }
SONDE_INLINE sonde_node *sonde_sign(sonde_node *x) { return sonde_op1("sign", x); }
SONDE_INLINE sonde_node *sonde_reciprocal(sonde_node *x) { return sonde_op1("reciprocal", x); }
SONDE_INLINE sonde_node *sonde_exp(sonde_node *x) { return sonde_op1("exp", x); }
SONDE_INLINE sonde_node *sonde_log(sonde_node *x) { return sonde_op1("log", x); }
SONDE_INLINE sonde_node *sonde_sqrt(sonde_node *x) { return sonde_op1("sqrt", x); }
SONDE_INLINE sonde_node *sonde_rsqrt(sonde_node *x) { return sonde_op1("rsqrt", x); }
SONDE_INLINE sonde_node *sonde_square(sonde_node *x) { return sonde_op1("square", x); }
SONDE_INLINE sonde_node *sonde_tanh(sonde_node *x) { return sonde_op1("tanh", x); }
SONDE_INLINE sonde_node *sonde_erf(sonde_node *x) { return sonde_op1("erf", x); }
SONDE_INLINE sonde_node *sonde_sigmoid(sonde_node *x) { return sonde_op1("sigmoid", x); }
SONDE_INLINE sonde_node *sonde_silu(sonde_node *x) { return sonde_op1("silu", x); }
SONDE_INLINE sonde_node *sonde_gelu(sonde_node *x) { return sonde_op1("gelu", x); }       /* erf form */
SONDE_INLINE sonde_node *sonde_gelu_tanh(sonde_node *x) { return sonde_op1("gelu_tanh", x); }
SONDE_INLINE sonde_node *sonde_relu(sonde_node *x) { return sonde_op1("relu", x); }
SONDE_INLINE sonde_node *sonde_relu2(sonde_node *x) { return sonde_op1("relu2", x); }     /* relu(x)^2 */
SONDE_INLINE sonde_node *sonde_swiglu(sonde_node *gate, sonde_node *up) {
  return sonde_op2("swiglu", gate, up);
} /* silu(gate) up */

/* sum and mean down to `rank` dims (numpy's rule backwards: a target dim of 1 or a missing leading one is summed
 * over) */
SONDE_INLINE sonde_node *sonde_sum_to(sonde_node *x, const int64_t *dim, int rank) {
  return sonde_dims("sum", x, dim, rank);
}
/* over the last axis, which stays as a 1: [.., C] -> [.., 1] */
SONDE_INLINE sonde_node *sonde_sum_last(sonde_node *x) {
  if (!x) return NULL;
  sonde_shape s = sonde_node_shape(x);
  s.dim[s.rank - 1] = 1;
  return sonde_sum_to(x, s.dim, s.rank);
}
SONDE_INLINE sonde_node *sonde_mean_last(sonde_node *x) {
  if (!x) return NULL;
  sonde_shape s = sonde_node_shape(x);
  return sonde_scale(sonde_sum_last(x), 1.0 / (double)s.dim[s.rank - 1]);
}
SONDE_INLINE sonde_node *sonde_sum_all(sonde_node *x) { return sonde_sum_to(x, NULL, 0); }
SONDE_INLINE sonde_node *sonde_expand(sonde_node *x, const int64_t *dim, int rank) {
  return sonde_dims("expand", x, dim, rank);
}
/* same bytes, another shape; one dim may be -1 */
SONDE_INLINE sonde_node *sonde_reshape(sonde_node *x, const int64_t *dim, int rank) {
  return sonde_dims("reshape", x, dim, rank);
}

/* axis k of the result is axis order[k] of x (axes count from 0) */
SONDE_INLINE sonde_node *sonde_permute(sonde_node *x, const int64_t *order, int rank) {
  return sonde_dims("permute", x, order, rank);
}
/* `length` entries from `start` along one axis */
SONDE_INLINE sonde_node *sonde_slice(sonde_node *x, int64_t axis, int64_t start, int64_t length) {
  sonde_attr at = {{0}, {axis, start, length}};
  return x ? sonde_op(sonde_node_graph(x), "slice", &x, 1, &at) : NULL;
}
/* 1 at the k largest |x| of each row [.., n] (of equal ones the first), else 0; no gradient flows through it */
SONDE_INLINE sonde_node *sonde_topk_mask(sonde_node *x, int64_t k) {
  sonde_attr at = {{0}, {k}};
  sonde_node *mask = x ? sonde_op(sonde_node_graph(x), "topk_mask", &x, 1, &at) : NULL;
  return mask ? sonde_op(sonde_node_graph(mask), "detach", &mask, 1, NULL) : NULL;
}
SONDE_INLINE sonde_node *sonde_softmax(sonde_node *x) { return sonde_op1("softmax", x); }   /* over the last axis */

/* x, through which no gradient flows */
SONDE_INLINE sonde_node *sonde_detach(sonde_node *x) { return sonde_op1("detach", x); }

/* op(a) op(b): the last two axes; b of rank 2 is shared by all leading axes of a, else the leading axes are equal.
 * A linear layer with a weight [out, in] is matmul(x, w, 0, 1). */
SONDE_INLINE sonde_node *sonde_matmul(sonde_node *a, sonde_node *b, int ta, int tb) {
  sonde_node *in[2] = {a, b};
  sonde_attr at = {{0}, {ta, tb}};
  return a && b ? sonde_op(sonde_node_graph(a), "matmul", in, 2, &at) : NULL;
}
SONDE_INLINE sonde_node *sonde_linear(sonde_node *x, sonde_node *w) { return sonde_matmul(x, w, 0, 1); }

/* The same product, in f32 with any compute dtype. */
SONDE_INLINE sonde_node *sonde_linear_f32(sonde_node *x, sonde_node *w) {
  sonde_node *in[2] = {x, w};
  sonde_attr at = {{0}, {0, 1}};
  return x && w ? sonde_op(sonde_node_graph(x), "matmul_f32", in, 2, &at) : NULL;
}

/* i32 [.., k]: the places of the k largest of x [.., C] along the last axis, in falling order, of equals the lower */
SONDE_INLINE sonde_node *sonde_top_k(sonde_node *x, int64_t k) {
  sonde_attr at = {{0}, {k}};
  return x ? sonde_op(sonde_node_graph(x), "top_k", &x, 1, &at) : NULL;
}
/* x [.., C] at index i32 [.., K] along the last axis -> [.., K] */
SONDE_INLINE sonde_node *sonde_take_along(sonde_node *x, sonde_node *index) {
  return sonde_op2("take_along", x, index);
}
/* Of the experts of each token, i32 [.., K]: the tokens in the order of their experts, i32 [R], R of all choices;
 * result 1: the row there of each choice, i32 [.., K]; result 2: where the rows of each expert begin, i32 [E + 1] */
SONDE_INLINE sonde_node *sonde_expert_order(sonde_node *chosen, int64_t experts) {
  sonde_attr at = {{0}, {experts}};
  return chosen ? sonde_op(sonde_node_graph(chosen), "expert_order", &chosen, 1, &at) : NULL;
}
/* Linear layers of E experts: rows x [R, in], of which those from offsets[e] to offsets[e + 1] are multiplied by
 * w[e]^T, w [E, out, in] -> [R, out] */
SONDE_INLINE sonde_node *sonde_linear_by_expert(sonde_node *x, sonde_node *w, sonde_node *offsets) {
  sonde_node *in[3] = {x, w, offsets};
  sonde_attr at = {{0}, {1}};
  return x && w && offsets ? sonde_op(sonde_node_graph(x), "grouped_matmul", in, 3, &at) : NULL;
}
/* [.., D]: sum over K of weight [.., K] times the row of y [R, D] that place i32 [.., K] says */
SONDE_INLINE sonde_node *sonde_expert_sum(sonde_node *y, sonde_node *weight, sonde_node *place) {
  sonde_node *in[3] = {y, weight, place};
  return y && weight && place ? sonde_op(sonde_node_graph(y), "expert_sum", in, 3, NULL) : NULL;
}
SONDE_INLINE sonde_node *sonde_cast(sonde_node *x, int dtype) {
  sonde_attr at = {{0}, {dtype}};
  return x ? sonde_op(sonde_node_graph(x), "cast", &x, 1, &at) : NULL;
}
/* rows of table [V, D] by index i32 [..] -> [.., D] */
SONDE_INLINE sonde_node *sonde_gather(sonde_node *table, sonde_node *index) {
  return sonde_op2("gather", table, index);
}

/* x [.., D] normalised over the last axis and multiplied by gain [D]; eps inside the root */
SONDE_INLINE sonde_node *sonde_rmsnorm(sonde_node *x, sonde_node *gain, double eps) {
  sonde_node *in[2] = {x, gain};
  sonde_attr at = {{eps}, {0}};
  return x && gain ? sonde_op(sonde_node_graph(x), "rmsnorm", in, 2, &at) : NULL;
}
SONDE_INLINE sonde_node *sonde_layernorm(sonde_node *x, sonde_node *gain, sonde_node *bias, double eps) {
  sonde_node *in[3] = {x, gain, bias};
  sonde_attr at = {{eps}, {0}};
  return x && gain && bias ? sonde_op(sonde_node_graph(x), "layernorm", in, 3, &at) : NULL;
}
/* x [B, T, H, Dh]: rotary embedding of position t (+ offset), halves rotated as in Hugging Face's Llama */
SONDE_INLINE sonde_node *sonde_rope(sonde_node *x, double theta, int64_t offset) {
  sonde_attr at = {{theta, 1.0}, {offset}};
  return x ? sonde_op(sonde_node_graph(x), "rope", &x, 1, &at) : NULL;
}
/* f32 [head_dim / 2]: what pairs of a head turn by from one position to the next, theta^(-2j/Dh) under a scheme for
 * contexts longer than a model was trained for: 0 none, 1 linear (factor), 2 Llama 3's (factor, low and high
 * frequency factor, original context), 3 YaRN's (factor, beta_fast, beta_slow, original context; 4: its ramp not
 * rounded to whole pairs) */
SONDE_INLINE sonde_node *sonde_rope_frequencies(sonde_graph *g, double theta, int64_t head_dim, int64_t scheme,
                                                const double number[4]) {
  static const sonde_shape one = {SONDE_F32, 1, {1, 1, 1, 1, 1}};
  sonde_attr at = {{number[0], number[1], number[2], number[3]}, {head_dim, scheme}};
  sonde_node *base = sonde_constant(g, &one, theta);
  return base ? sonde_op(g, "rope_frequencies", &base, 1, &at) : NULL;
}
/* sonde_rope with frequencies of one's own, f32 [Dh / 2] */
SONDE_INLINE sonde_node *sonde_rope_by(sonde_node *x, sonde_node *frequencies, int64_t offset) {
  sonde_node *in[2] = {x, frequencies};
  sonde_attr at = {{1.0, 1.0}, {offset}};
  return x && frequencies ? sonde_op(sonde_node_graph(x), "rope", in, 2, &at) : NULL;
}
/* The same at positions of one's own, i32 [B, T]; x itself where they are NULL is turned by 0, 1, 2, .. What is turned
 * is multiplied by amplitude; with fewer frequencies than Dh / 2 the rest of the head passes. */
SONDE_INLINE sonde_node *sonde_rope_scaled(sonde_node *x, sonde_node *frequencies, sonde_node *positions,
                                           double amplitude) {
  sonde_node *in[3] = {x, frequencies, positions};
  sonde_attr at = {{1.0, 1.0, amplitude}, {0}};
  return x && frequencies ? sonde_op(sonde_node_graph(x), "rope", in, positions ? 3 : 2, &at) : NULL;
}
SONDE_INLINE sonde_node *sonde_rope_at(sonde_node *x, sonde_node *frequencies, sonde_node *positions) {
  return sonde_rope_scaled(x, frequencies, positions, 0);
}
/* `below` in sequences of at most `limit` tokens, else `beyond` (both f32 of one shape). T: the tokens of the trace.
 * Token by token a sequence that grows past the limit is refused, with `every` one that grows beyond it. */
SONDE_INLINE sonde_node *sonde_rope_by_length(sonde_node *below, sonde_node *beyond, int64_t limit, int64_t tokens,
                                              int every) {
  sonde_node *in[2] = {below, beyond};
  sonde_attr at = {{0}, {limit, tokens, every}};
  return below && beyond ? sonde_op(sonde_node_graph(below), "rope_by_length", in, 2, &at) : NULL;
}
/* f32 [heads]: the slopes of ALiBi, 2^(-8 h/heads) for h = 1 to heads, a power of two (Press et al. 2022, section 3) */
SONDE_INLINE sonde_node *sonde_alibi_slopes(sonde_graph *g, int64_t heads) {
  static const sonde_shape one = {SONDE_F32, 1, {1, 1, 1, 1, 1}};
  sonde_attr at = {{0}, {heads}};
  sonde_node *largest = sonde_constant(g, &one, 8);
  return largest ? sonde_op(g, "alibi_slopes", &largest, 1, &at) : NULL;
}
/* Which keys a query sees, its own always. window: so many back, itself included, and beside a window the first
 * `sinks`; stride s: the block of `size` keys that it is in, the s-th one before that, the 2s-th and so on; blocks:
 * those of `size` keys that are listed (sonde_attention_blocks). What is given is united; all 0 and NULL: all keys. */
typedef struct sonde_pattern {
  int64_t window, sinks, size, stride;
  sonde_node *blocks;
} sonde_pattern;
/* Lists of blocks i32 [B, T, H, 3 + n]: the first block, the query's own, and the `top` = n ones between them whose
 * mean key has the highest product with a query (MoBA). The first of `every` queries in a row, a divisor of size,
 * chooses for them; starts as for attention, or NULL. */
SONDE_INLINE sonde_node *sonde_attention_blocks(sonde_node *q, sonde_node *k, int64_t size, int64_t top, int64_t every,
                                                sonde_node *starts) {
  sonde_node *in[4] = {q, k, q, starts};
  sonde_attr at = {{0}, {size, top, every}};
  return q && k ? sonde_op(sonde_node_graph(q), "attention_blocks", in, starts ? 4 : 3, &at) : NULL;
}
/* q [B, T, H, Dh], k and v [B, T, KV, Dh], H a multiple of KV -> [B, T, H, Dh]; causal; scale 1/sqrt(Dh) when 0; scores
 * cap tanh(score / cap) unless cap is 0; starts: i32 [B, T], the first position that each query sees
 * ("documents.starts" of the site), or NULL; slopes: f32 [H], what a score of head h loses for each position that its
 * key is back (ALiBi), or NULL */
SONDE_INLINE sonde_node *sonde_attention_by(sonde_node *q, sonde_node *k, sonde_node *v, double scale, double cap,
                                            const sonde_pattern *p, sonde_node *starts, sonde_node *slopes) {
  sonde_node *in[6] = {q, k, v};
  sonde_attr at = {{scale, cap}, {1, p->window, p->sinks, p->size, p->stride}};
  int n = 3;
  /* Lists of blocks have starts in them, but not segments. */
  if (starts && (!p->blocks || sonde_node_shape(starts).rank == 3)) in[n++] = starts;
  if (p->blocks) in[n++] = p->blocks;
  if (slopes) in[n++] = slopes;
  return q && k && v ? sonde_op(sonde_node_graph(q), "attention", in, n, &at) : NULL;
}
SONDE_INLINE sonde_node *sonde_attention_with(sonde_node *q, sonde_node *k, sonde_node *v, double scale, double cap,
                                              int64_t window, sonde_node *starts, sonde_node *slopes) {
  sonde_pattern p = {window, 0, 0, 0, NULL};
  return sonde_attention_by(q, k, v, scale, cap, &p, starts, slopes);
}
SONDE_INLINE sonde_node *sonde_attention_from(sonde_node *q, sonde_node *k, sonde_node *v, double scale, int64_t window,
                                              sonde_node *starts) {
  return sonde_attention_with(q, k, v, scale, 0, window, starts, NULL);
}
SONDE_INLINE sonde_node *sonde_attention(sonde_node *q, sonde_node *k, sonde_node *v, double scale, int64_t window) {
  return sonde_attention_from(q, k, v, scale, window, NULL);
}

/* ---- the site, for modules: parameters and the other modules of the block ------------------------------ */

#ifndef SONDE_INSIDE
/* A weight [rows, cols] = [out, in], for sonde_linear. */
SONDE_INLINE sonde_node *sonde_matrix(sonde_site *site, const char *name, int64_t rows, int64_t cols,
                                      sonde_role role) {
  int64_t dim[2] = {rows, cols};
  return sonde_site_param(site, name, dim, 2, role, 0);
}
/* A vector [n] that starts at `value`: a gain (usually 1) or a bias (usually 0). */
SONDE_INLINE sonde_node *sonde_vector(sonde_site *site, const char *name, int64_t n, sonde_role role, double value) {
  return sonde_site_param(site, name, &n, 1, role, value);
}
/* State [n] that is computed from parameters, not trained: see site_refresh. Here with the trainer's own rhythm;
 * without a value (NULL) it stays as it was loaded. */
SONDE_INLINE sonde_node *sonde_buffer(sonde_site *site, const char *name, int64_t n, sonde_node *value) {
  sonde_node *b = sonde_site_param(site, name, &n, 1, SONDE_ROLE_BUFFER, 0);
  return value ? sonde_site_refresh(site, b, value, 0) : b;
}
#endif

#endif
