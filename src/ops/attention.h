/* attention.h - what the forward and the backward kernel of attention share: the task, blocks of rows, the
 * mask. */
#ifndef SONDE_OPS_ATTENTION_H
#define SONDE_OPS_ATTENTION_H

#include <math.h>

#include "cpu/micro.h"
#include "cpu/simd.h"

/* Keys are taken KEYS at a time, queries SONDE_BLOCK; heads are at most SONDE_HEAD wide. */
enum { KEYS = 128, STEP = SONDE_GROUP, GROUPS = SONDE_BLOCK / STEP, SONDE_HEAD = 256 };
/* Places in attr.i and attr.f. */
enum { ATTENTION_CAUSAL = 0, ATTENTION_WINDOW = 1, ATTENTION_SINKS = 2, ATTENTION_SIZE = 3, ATTENTION_STRIDE = 4 };
enum { ATTENTION_SCALE = 0, ATTENTION_CAP = 1 };
/* Inputs. Behind them, of the forward op from IN_MORE on and of the backward op from IN_GRAD_MORE on, come the starts
 * (i32 [B, T]) or segments (i32 [B, S, 4]), the lists of blocks (i32 [B, T, H, 1 + K]) and the slopes (f32 [H]); each
 * may be missing. */
enum { IN_Q = 0, IN_K = 1, IN_V = 2, IN_MORE = 3, IN_OUT = 3, IN_LSE = 4, IN_DOUT = 5, IN_GRAD_MORE = 6 };

/* A row of sequences with shared beginnings (op attention, a fourth input of rank 3): the sequence of a segment is the
 * first `depth` tokens of its parent's and then its own. What is masked and how keys are cut into blocks goes by places
 * in the sequence, so that a token's result does not depend on what else is in the row. */
typedef struct segment { int32_t first, length, parent, depth; } segment;
typedef struct sequence { const segment *segments; int32_t last; } sequence;

typedef struct attention {
  const sonde_call *c;
  const sonde_simd_table *simd;
  const sonde_micro *narrow;   /* products of bf16 numbers in hardware; NULL: all products in f32 */
  int64_t batch, tq, tk, heads, kv, width;
  int64_t ahead;               /* query i sees keys up to i + ahead */
  int64_t window, sinks;       /* 0: none */
  int64_t size, stride;        /* keys of a block, counted from a query's start; which ones back it sees */
  const int32_t *starts;       /* [B, T] the first key that each query sees; NULL: 0 */
  const int32_t *blocks;       /* [B, T, H, 1 + listed] the same, and numbers of blocks, -1: none; NULL: all blocks */
  int64_t listed;
  const float *slopes;         /* [H] what a score loses for each key that its key is back; NULL: 0 */
  const sequence *sequence;    /* of the queries at hand, where rows are segments: keys count in it; NULL: in the row */
  int causal;
  int sparse;                  /* what a query sees may have gaps */
  float scale;
  float cap;                   /* scores are cap tanh(scale q k / cap); 0: scale q k */
} attention;

/* The numbers of the inputs that may be missing, from `more` on; -1: missing. */
typedef struct attention_inputs { int starts, segments, blocks, slopes; } attention_inputs;
attention_inputs sonde_attention_inputs(const sonde_shape *in, int n_in, int more);
/* Whether they fit, and the attributes with them. */
int sonde_attention_check(const char *op, const sonde_shape *in, int n_in, int more, const sonde_attr *at,
                          sonde_error *err);

/* `more`: the number of the first input that may be missing; queries and keys are inputs IN_Q and IN_K. */
attention sonde_attention_task(const sonde_call *c, int more);

/* Rows [first, first+n) of one head of an input: where they are if of the dtype asked for, else converted
 * into buf. */
typedef struct rows32 { const float *at; int64_t ld; } rows32;
typedef struct rows16 { const uint16_t *at; int64_t ld; } rows16;
rows32 sonde_attention_f32(const attention *t, int input, int64_t b, int64_t head, int64_t first, int64_t n,
                           float *buf);
rows16 sonde_attention_bf16(const attention *t, int input, int64_t b, int64_t head, int64_t first, int64_t n,
                            uint16_t *buf);

/* Asks for n rows of so many bytes, `pitch` bytes apart, before they are needed: the rows of one head are far apart,
 * and the hardware does not foresee them. _input: rows [first, first+n) of one head of an input, as far as there are
 * any. */
void sonde_attention_ask(const char *rows, int64_t pitch, int64_t bytes, int64_t n);
void sonde_attention_ask_input(const attention *t, int input, int64_t b, int64_t head, int64_t first, int64_t n);

/* Queries as the right-hand side of the products with keys: [width, SONDE_BLOCK] of f32, or [width/2,
 * SONDE_BLOCK] of bf16 pairs if narrow; the columns from n on are zero. */
void sonde_attention_turn(const attention *t, int input, int64_t b, int64_t head, int64_t first, int64_t n,
                          uint32_t *turned);

/* ---- what is computed ---- */

/* A block of queries and a stretch of keys. Group v of STEP queries is multiplied with the keys [from[v], to[v]) of the
 * stretch, so that most of what a causal mask or a window hides is not computed; neither falls from group to group.
 * What is outside of them in a block of scores is never read. */
typedef struct meeting {
  int64_t first, n;              /* queries */
  int64_t at, keys;
  int64_t groups, from[GROUPS], to[GROUPS];
} meeting;

/* As large pieces as there are: keys [j, end) and queries [low, high) that all meet, by keys from j on, and by queries
 * from low on. */
typedef struct strip { int64_t j, end, low, high; } strip;
strip sonde_attention_key_strip(const meeting *m, int64_t j);
strip sonde_attention_query_strip(const meeting *m, int64_t low);

/* s [keys, SONDE_BLOCK] = rows of input (keys or values) times turned queries. */
void sonde_attention_scores(const attention *t, const meeting *m, int input, int64_t b, int64_t kv,
                            const uint32_t *turned, float *s);

/* The soft-cap on a block of scores that are not masked yet: s becomes tanh(a s) / a with a = scale / cap, so that
 * scale s is the capped score; slope takes its derivative, 1 - tanh(a s)^2, where it is not NULL. Without a
 * cap nothing changes. */
void sonde_attention_cap(const attention *t, const meeting *m, float *s, float *slope);

/* Takes from the scores of head h, which are still to be multiplied by the scale, what the distance costs (ALiBi). */
void sonde_attention_distance(const attention *t, const meeting *m, int64_t h, float *s);

/* ---- what is visible (attention_visible.c) ---- */

/* What one query sees, as places of keys. */
typedef struct visible {
  int64_t start, near, own;    /* its first key, the first one of its window, and its own, the last */
  const int32_t *list;         /* [listed] numbers of blocks */
} visible;

/* Query i of batch entry b and head h, whose own key is `own`. */
visible sonde_attention_visible(const attention *t, int64_t b, int64_t h, int64_t i, int64_t own);
/* The next keys [*from, *to) in a row that it sees, from `at` on; returns 0 if it sees none there. */
int sonde_attention_run(const attention *t, const visible *x, int64_t at, int64_t *from, int64_t *to);

/* What a block of queries sees: keys of [from, to), [all_from, all_to) seen by all of them where nothing is sparse, and
 * none in front of near[v] by group v. */
typedef struct view {
  int64_t first, n, from, to, all_from, all_to, near[GROUPS];
  visible of[SONDE_BLOCK];
} view;

void sonde_attention_look(const attention *t, int64_t b, int64_t h, int64_t first, int64_t n, view *v);
/* The next keys that it is multiplied with behind those of m, at most KEYS, from a multiple of STEP on; m is {0} at
 * first. What no query sees is passed over. Returns 0 behind the last. */
int sonde_attention_next(const attention *t, const view *v, meeting *m);
/* Sets the scores of keys that a query does not see to -infinity. */
void sonde_attention_mask(const attention *t, const view *v, const meeting *m, float *s);
/* Pairs of a query and a key that it sees, over all heads, of the last tq queries of a sequence of tk. What starts hide
 * is counted: it is known at the run only. */
double sonde_attention_pairs(const sonde_shape *in, int n_in, int more, const sonde_attr *at, double tq, double tk);

/* One key head's rows of an input as bf16 pairs of neighbouring rows: [(tk+1)/2, width] words. */
int64_t sonde_attention_paired_words(const attention *t);
void sonde_attention_pair_rows(const attention *t, int input, int64_t b, int64_t kv, uint32_t *paired);

/* A block of weights [keys, SONDE_BLOCK] in bf16 as the left-hand side [SONDE_BLOCK, keys] of a product, in groups
 * WEIGHT_STEP words apart. */
enum { WEIGHT_STEP = KEYS / 2 * SONDE_GROUP };
typedef struct weights { uint32_t word[SONDE_BLOCK / SONDE_GROUP * WEIGHT_STEP]; } weights;
void sonde_attention_pack(const attention *t, const meeting *m, const uint16_t *rows, weights *packed);
/* out += the weights of a strip of queries times the pairs of their keys' rows, of which `pairs` are those of the first
 * key of the stretch. */
void sonde_attention_weigh(const attention *t, const strip *x, const weights *packed, const uint32_t *pairs, float *out,
                           int64_t ld);

/* The entropy of weights exp(x) / total, weighed = sum of x exp(x): -sum of p log p = log total - weighed / total. Not
 * negative; NaN stays NaN. */
static inline float sonde_attention_entropy(float total, float weighed) {
  const float entropy = logf(total) - weighed / total;
  return entropy < 0 ? 0 : entropy;
}

int sonde_attention_grad_run(const sonde_call *c);

/* Queries [first, first+n) of one head, n at most SONDE_BLOCK: the forward kernel of a block. */
void sonde_attention_forward(const attention *t, int64_t b, int64_t h, int64_t first, int64_t n);

/* Keys or values [at, at+n) of a head, by their places in the row or in the sequence of the queries; n at most KEYS. */
rows32 sonde_attention_keys(const attention *t, int input, int64_t b, int64_t kv, int64_t at, int64_t n, float *buf);

/* Segments (attention_tree.c). _check: the shape of that input. _rows: keys or values [at, at+n) of a sequence. */
int sonde_attention_is_tree(const sonde_shape *in, int n_in);
int sonde_attention_tree_check(const sonde_shape *in, const sonde_attr *at, sonde_error *err);
int64_t sonde_attention_tree_scratch(const sonde_shape *in);
rows32 sonde_attention_tree_rows(const attention *t, int input, int64_t b, int64_t head, int64_t at, int64_t n,
                                 float *buf);
int sonde_attention_tree_run(const sonde_call *c);
/* Whether the segments [batch, count] of rows of `context` tokens are any, each one's parent before it. */
int sonde_attention_tree_sound(const segment *segments, int64_t batch, int64_t count, int64_t context,
                               sonde_error *err);

/* The op document_starts (documents.c). */
int sonde_document_starts_shape(const sonde_shape *in, int n_in, const sonde_attr *at, sonde_shape *out,
                                sonde_error *err);
int sonde_document_starts_run(const sonde_call *c);

#endif
