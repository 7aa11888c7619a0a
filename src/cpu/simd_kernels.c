/* simd_kernels.c - sums, dots, conversions and norm rows, compiled once per instruction set (SONDE_ISA).
 *
 * Sums run in STRIDE partial sums, element i in sum i % STRIDE, that are added in one fixed order, so the bits depend
 * on n and the instruction set's fused multiply-add only. The loops are plain C on gcc's vector type: no intrinsics, so
 * the base build needs no more than x86-64. */
#include "config.h"
#include "cpu/micro.h"
#include "cpu/simd_isa.h"
#include "cpu/simd_vector.h"

#include <string.h>

enum { STRIDE = 32, VECS = STRIDE / LANES };   /* partial sums, and vectors of them */

/* The first n < LANES elements, `fill` after them. */
static inline vec load_part(const float *x, int64_t n, float fill) {
  float t[LANES];
  for (int k = 0; k < LANES; k++) t[k] = k < n ? x[k] : fill;
  return load(t);
}

static inline void store_part(float *y, vec v, int64_t n) {
  float t[LANES];
  store(t, v);
  memcpy(y, t, (size_t)n * sizeof *y);
}

/* The sum of all partial sums: the upper half is added to the lower one until one is left. */
static inline float fold(vec *a) {
  typedef float four __attribute__((vector_size(16)));
  for (int w = VECS / 2; w > 0; w /= 2)
    for (int k = 0; k < w; k++) a[k] += a[k + w];
  union { vec whole; four part[LANES / 4]; } x = {a[0]};
  for (int w = LANES / 8; w > 0; w /= 2)
    for (int k = 0; k < w; k++) x.part[k] += x.part[k + w];
  four q = x.part[0];
  return (q[0] + q[2]) + (q[1] + q[3]);
}

/* Applies STEP(accumulator, offset) over whole vectors, and LAST(accumulator, offset, count) to the rest. */
#define REDUCE(n, a, STEP, LAST)                                         \
  vec a[VECS] = {{0}};                                                   \
  int64_t i_ = 0;                                                        \
  for (; i_ + STRIDE <= (n); i_ += STRIDE)                               \
    _Pragma("GCC unroll 8") for (int v_ = 0; v_ < VECS; v_++) STEP(a[v_], i_ + v_ * LANES); \
  _Pragma("GCC unroll 8") for (int v_ = 0; v_ < VECS; v_++) {            \
    int64_t left_ = (n) - i_ - v_ * LANES;                               \
    if (left_ >= LANES) STEP(a[v_], i_ + v_ * LANES);                    \
    else if (left_ > 0) LAST(a[v_], i_ + v_ * LANES, left_);             \
  }

static float sum(const float *x, int64_t n) {
#define STEP(s, i) s += load(x + (i))
#define LAST(s, i, c) s += load_part(x + (i), c, 0)
  REDUCE(n, a, STEP, LAST);
#undef STEP
#undef LAST
  return fold(a);
}

static float dot(const float *x, const float *y, int64_t n) {
#define STEP(s, i) s += load(x + (i)) * load(y + (i))
#define LAST(s, i, c) s += load_part(x + (i), c, 0) * load_part(y + (i), c, 0)
  REDUCE(n, a, STEP, LAST);
#undef STEP
#undef LAST
  return fold(a);
}

/* Four maxima side by side: one alone would wait for the comparison before it. */
static float max(const float *x, int64_t n) {
  vec a[4];
  int64_t i = 0;
  for (int k = 0; k < 4; k++) a[k] = (vec){0} - __builtin_inff();
  for (; i + 4 * LANES <= n; i += 4 * LANES)
    for (int k = 0; k < 4; k++) a[k] = max_of(load(x + i + k * LANES), a[k]);
  for (; i < n; i += LANES)
    a[0] = max_of(n - i < LANES ? load_part(x + i, n - i, -__builtin_inff()) : load(x + i), a[0]);
  float t[LANES], m = -__builtin_inff();
  store(t, max_of(max_of(a[0], a[1]), max_of(a[2], a[3])));
  for (int k = 0; k < LANES; k++) m = m > t[k] || m != m ? m : t[k];
  return m;
}

static void axpy(float *y, const float *x, float a, int64_t n) {
#pragma GCC ivdep
  for (int64_t i = 0; i < n; i++) y[i] += a * x[i];
}

static void scale(float *y, const float *x, float a, int64_t n) {
#pragma GCC ivdep
  for (int64_t i = 0; i < n; i++) y[i] = a * x[i];
}

static void mul(float *y, const float *a, const float *b, int64_t n) {
#pragma GCC ivdep
  for (int64_t i = 0; i < n; i++) y[i] = a[i] * b[i];
}

static void vexp(float *y, const float *x, int64_t n) {
#pragma GCC ivdep
  for (int64_t i = 0; i < n; i++) y[i] = exp_one(x[i]);
}

static void vtanh(float *y, const float *x, int64_t n) {
#pragma GCC ivdep
  for (int64_t i = 0; i < n; i++) y[i] = tanh_one(x[i]);
}

static void from_bf16(float *y, const uint16_t *x, int64_t n) {
  uint32_t *bits = (uint32_t *)(void *)y;
  typedef uint32_t __attribute__((may_alias)) word;
  word *out = (word *)bits;
#pragma GCC ivdep
  for (int64_t i = 0; i < n; i++) out[i] = (uint32_t)x[i] << 16;
}

/* Round to nearest, ties to even; a NaN stays a (quiet) NaN instead of rounding up to infinity. */
static void to_bf16(uint16_t *y, const float *x, int64_t n) {
  typedef uint32_t __attribute__((may_alias)) word;
  const word *in = (const word *)(const void *)x;
#pragma GCC ivdep
  for (int64_t i = 0; i < n; i++) {
    uint32_t u = in[i], rounded = (u + 0x7fffu + ((u >> 16) & 1u)) >> 16;
    y[i] = (uint16_t)((u & 0x7fffffffu) > 0x7f800000u ? (u >> 16) | 0x40u : rounded);
  }
}

/* sum of (x - m)^2 */
static float square_around(const float *x, float m, int64_t n) {
#define STEP(s, i) do { vec d_ = load(x + (i)) - m; s += d_ * d_; } while (0)
#define LAST(s, i, c) do { vec d_ = load_part(x + (i), c, m) - m; s += d_ * d_; } while (0)
  REDUCE(n, a, STEP, LAST);
#undef STEP
#undef LAST
  return fold(a);
}

/* ---- rows of norms --------------------------------------------------------------------------------------------
 * Each row is read from memory and written once. The sums over a row delay the loads of the next one, and the memory
 * would be idle meanwhile; so every pass prefetches AHEAD numbers ahead, a stretch at a time: x (and dy) for reading, y
 * for writing. Prefetching a whole row is worse: a long row's own numbers are then evicted before they are used.
 * Addresses past the end do no harm. If two passes read x and dy, the first prefetches x and the second dy of the next
 * row, so that the memory is busy in both. */
enum { STRETCH = 128, AHEAD = 1024 };

static inline void ask(const float *x, int64_t n) {
  for (int64_t i = 0; i < n; i += LANES) __builtin_prefetch(x + AHEAD + i);
}
/* ask(x + beyond(n)): for the next row */
static inline int64_t beyond(int64_t n) { return n > AHEAD ? n - AHEAD : 0; }
static inline void ask_to_write(const float *y, int64_t n) {
  for (int64_t i = 0; i < n; i += LANES) __builtin_prefetch(y + AHEAD + i, 1);
}

/* DO(offset, count) over the row; with a constant count gcc makes a loop without a rest of it. */
#define STRETCHES(n, DO)                                                      \
  int64_t at_ = 0;                                                            \
  for (; at_ + STRETCH <= (n); at_ += STRETCH) DO(at_, (int64_t)STRETCH);     \
  if (at_ < (n)) DO(at_, (n) - at_)

static inline void rms_stretch(float *y, const float *x, const float *g, float r, int64_t n) {
  ask_to_write(y, n);
#pragma GCC ivdep
  for (int64_t i = 0; i < n; i++) y[i] = x[i] * r * g[i];
}

static float rms_row(float *y, const float *x, const float *g, float eps, int64_t n) {
#define STEP(s, i) do { vec x_ = load(x + (i)); ask(x + (i), 1); s += x_ * x_; } while (0)
#define LAST(s, i, c) do { vec x_ = load_part(x + (i), c, 0); s += x_ * x_; } while (0)
  REDUCE(n, a, STEP, LAST);
#undef STEP
#undef LAST
  float r = 1.0f / sqrtf(fold(a) / (float)n + eps);
#define DO(at, count) rms_stretch(y + (at), x + (at), g + (at), r, count)
  STRETCHES(n, DO);
#undef DO
  return r;
}

static inline void rms_grad_stretch(float *dx, float *dg, const float *x, const float *g, const float *dy, float r,
                                    float c, int64_t far, int64_t n) {
  ask(dy + far, n);
  ask_to_write(dx, n);
#pragma GCC ivdep
  for (int64_t i = 0; i < n; i++) {
    float d = dy[i] * r;
    dg[i] += d * x[i];
    dx[i] = d * g[i] - c * x[i];
  }
}

static void rms_row_grad(float *dx, float *dg, const float *x, const float *g, const float *dy, float r,
                         int64_t n) {
#define STEP(s, i) \
  do { ask(x + (i), 1); s += load(g + (i)) * load(dy + (i)) * load(x + (i)); } while (0)
#define LAST(s, i, c) s += load_part(g + (i), c, 0) * load_part(dy + (i), c, 0) * load_part(x + (i), c, 0)
  REDUCE(n, a, STEP, LAST);
#undef STEP
#undef LAST
  float c = r * r * r * fold(a) / (float)n;
  const int64_t far = beyond(n);
#define DO(at, count) rms_grad_stretch(dx + (at), dg + (at), x + (at), g + (at), dy + (at), r, c, far, count)
  STRETCHES(n, DO);
#undef DO
}

static inline void layer_stretch(float *y, const float *x, const float *g, const float *b, float m, float r,
                                 int64_t n) {
  ask_to_write(y, n);
#pragma GCC ivdep
  for (int64_t i = 0; i < n; i++) y[i] = (x[i] - m) * r * g[i] + b[i];
}

/* The variance is the mean of squared differences (two passes): the difference of two large sums would
 * cancel. */
static void layer_row(float *y, const float *x, const float *g, const float *b, float eps, int64_t n,
                      float *mean, float *r) {
#define STEP(s, i) do { ask(x + (i), 1); s += load(x + (i)); } while (0)
#define LAST(s, i, c) s += load_part(x + (i), c, 0)
  REDUCE(n, first, STEP, LAST);
#undef STEP
#undef LAST
  float m = fold(first) / (float)n;
  float s = 1.0f / sqrtf(square_around(x, m, n) / (float)n + eps);
#define DO(at, count) layer_stretch(y + (at), x + (at), g + (at), b + (at), m, s, count)
  STRETCHES(n, DO);
#undef DO
  *mean = m;
  *r = s;
}

static inline void layer_grad_stretch(float *dx, float *dg, float *db, const float *x, const float *g, const float *dy,
                                      const float stat[4], int64_t far, int64_t n) {
  const float mean = stat[0], r = stat[1], s1 = stat[2], s2 = stat[3];
  ask(dy + far, n);
  ask_to_write(dx, n);
#pragma GCC ivdep
  for (int64_t i = 0; i < n; i++) {
    float h = (x[i] - mean) * r, d = dy[i];
    dg[i] += d * h;
    db[i] += d;
    dx[i] = r * (g[i] * d - s1 - h * s2);
  }
}

/* With h = (x - mean) r:  dx = r (g dy - mean(g dy) - h mean(g dy h)). Both means in one pass. */
static void layer_row_grad(float *dx, float *dg, float *db, const float *x, const float *g, const float *dy,
                           float mean, float r, int64_t n) {
  vec gdy[VECS] = {{0}};
#define STEP(s, i)                                   \
  do {                                               \
    vec d_ = load(g + (i)) * load(dy + (i));         \
    ask(x + (i), 1);                                 \
    gdy[v_] += d_;                                   \
    s += d_ * (load(x + (i)) - mean);                \
  } while (0)
#define LAST(s, i, c)                                          \
  do {                                                         \
    vec d_ = load_part(g + (i), c, 0) * load_part(dy + (i), c, 0); \
    gdy[v_] += d_;                                             \
    s += d_ * (load_part(x + (i), c, mean) - mean);            \
  } while (0)
  REDUCE(n, a, STEP, LAST);
#undef STEP
#undef LAST
  const int64_t far = beyond(n);
  const float stat[4] = {mean, r, fold(gdy) / (float)n, fold(a) * r / (float)n};
#define DO(at, count)                                                                                                  \
  layer_grad_stretch(dx + (at), dg + (at), db + (at), x + (at), g + (at), dy + (at), stat, far, count)
  STRETCHES(n, DO);
#undef DO
}

static void turn(float *y, const float *x, const float *c, const float *s, int64_t half) {
#pragma GCC ivdep
  for (int64_t j = 0; j < half; j++) {
    float a = x[j], b = x[j + half];
    y[j] = a * c[j] - b * s[j];
    y[j + half] = b * c[j] + a * s[j];
  }
}

/* Loads and stores of rows that are in memory go on while tanh is computed. */
static inline void tanh_stretch(float *y, const float *x, const float *g, float a, int64_t n) {
  ask(x, n);
  ask_to_write(y, n);
#pragma GCC ivdep
  for (int64_t i = 0; i < n; i++) y[i] = g[i] * tanh_one(a * x[i]);
}

static void tanh_row(float *y, const float *x, const float *g, float a, int64_t n) {
#define DO(at, count) tanh_stretch(y + (at), x + (at), g + (at), a, count)
  STRETCHES(n, DO);
#undef DO
}

static inline float tanh_grad_stretch(float *dx, float *dg, const float *x, const float *g, const float *dy, float a,
                                      int64_t n) {
  /* gcc 14 does not see that nothing is left behind a whole stretch, and warns of dot's rest */
  float u[STRETCH + STRIDE];
  ask(x, n);
  ask(dy, n);
  ask_to_write(dx, n);
#pragma GCC ivdep
  for (int64_t i = 0; i < n; i++) {
    float t = tanh_one(a * x[i]), d = dy[i] * t;
    dg[i] += d;
    u[i] = g[i] * (dy[i] - d * t);
    dx[i] = a * u[i];
  }
  return dot(u, x, n);
}

static float tanh_row_grad(float *dx, float *dg, const float *x, const float *g, const float *dy, float a, int64_t n) {
  float da = 0;
#define DO(at, count) da += tanh_grad_stretch(dx + (at), dg + (at), x + (at), g + (at), dy + (at), a, count)
  STRETCHES(n, DO);
#undef DO
  return da;
}

static inline void erf_stretch(float *y, const float *x, const float *g, const float *b, float a, float s, int64_t n) {
  ask(x, n);
  ask_to_write(y, n);
#pragma GCC ivdep
  for (int64_t i = 0; i < n; i++) y[i] = g[i] * erf_one(a * x[i] + s) + b[i];
}

static void erf_row(float *y, const float *x, const float *g, const float *b, float a, float s, int64_t n) {
#define DO(at, count) erf_stretch(y + (at), x + (at), g + (at), b + (at), a, s, count)
  STRETCHES(n, DO);
#undef DO
}

static inline void erf_grad_stretch(float *dx, float *dg, float *db, float *das, const float *x, const float *g,
                                    const float *dy, float a, float s, int64_t n) {
  float u[STRETCH + STRIDE];   /* as in tanh_grad_stretch */
  ask(x, n);
  ask(dy, n);
  ask_to_write(dx, n);
#pragma GCC ivdep
  for (int64_t i = 0; i < n; i++) {
    float z = a * x[i] + s;
    dg[i] += dy[i] * erf_one(z);
    db[i] += dy[i];
    u[i] = g[i] * dy[i] * erf_slope(z);
    dx[i] = a * u[i];
  }
  das[0] += dot(u, x, n);
  das[1] += sum(u, n);
}

static void erf_row_grad(float *dx, float *dg, float *db, float *das, const float *x, const float *g, const float *dy,
                         float a, float s, int64_t n) {
#define DO(at, count) erf_grad_stretch(dx + (at), dg + (at), db + (at), das, x + (at), g + (at), dy + (at), a, s, count)
  STRETCHES(n, DO);
#undef DO
}

static float exp_sum(float *y, const float *x, float shift, int64_t n) {
#define STEP(s, i)                          \
  do {                                      \
    vec e_ = exp_of(load(x + (i)) - shift); \
    store(y + (i), e_);                     \
    s += e_;                                \
  } while (0)
#define LAST(s, i, c)                                                   \
  do {                                                                  \
    vec e_ = exp_of(load_part(x + (i), c, -__builtin_inff()) - shift);  \
    store_part(y + (i), e_, c);                                         \
    s += e_;                                                            \
  } while (0)
  REDUCE(n, a, STEP, LAST);
#undef STEP
#undef LAST
  return fold(a);
}

/* ---- products of a vector with rows of a matrix ------------------------------------------------------------------
 * The rows come from memory and pass once. The hardware looks ahead within a page only, so the row that begins some
 * AHEAD_BYTES further is prefetched; several rows side by side were no faster. */

enum { AHEAD_BYTES = 8192 };

static inline int64_t rows_ahead(int64_t ld, size_t size) {
  int64_t bytes = ld * (int64_t)size;
  return bytes > 0 ? (AHEAD_BYTES + bytes - 1) / bytes : 0;
}

static void dots(float *y, const float *x, const float *w, int64_t ld, int64_t rows, int64_t n) {
  const int64_t ahead = rows_ahead(ld, sizeof *w) * ld;
  for (int64_t j = 0; j < rows; j++) {
    const float *row = w + j * ld;
#define STEP(s, i)                        \
  do {                                    \
    __builtin_prefetch(row + ahead + (i)); \
    s += load(x + (i)) * load(row + (i)); \
  } while (0)
#define LAST(s, i, c) s += load_part(x + (i), c, 0) * load_part(row + (i), c, 0)
    REDUCE(n, a, STEP, LAST);
#undef STEP
#undef LAST
    y[j] = fold(a);
  }
}

/* The sums stay in registers while the rows pass: WEIGH columns at a time. */
static void weigh(float *y, const float *p, const float *w, int64_t ld, int64_t rows, int64_t n) {
  enum { COLUMNS = 4, WEIGH = COLUMNS * LANES };
  int64_t i = 0;
  for (; i + WEIGH <= n; i += WEIGH) {
    vec a[COLUMNS] = {{0}};
    for (int64_t j = 0; j < rows; j++)
      for (int k = 0; k < COLUMNS; k++) a[k] += p[j] * load(w + j * ld + i + k * LANES);
    for (int k = 0; k < COLUMNS; k++) store(y + i + k * LANES, a[k]);
  }
  for (; i < n; i += LANES) {
    int64_t left = n - i < LANES ? n - i : LANES;
    vec a = {0};
    for (int64_t j = 0; j < rows; j++) a += p[j] * load_part(w + j * ld + i, left, 0);
    store_part(y + i, a, left);
  }
}

/* A word holds two bf16: the lower half is an even element, the upper an odd one. Taking both from one load is
 * several times as fast as widening, and a sum may go over the even and the odd ones apart. */
static inline vec even_of(word w) { return (vec)(w << 16); }
static inline vec odd_of(word w) { return (vec)(w & 0xffff0000u); }

/* Zeros behind the first n < 2 LANES numbers. */
static inline word words_part(const uint16_t *x, int64_t n) {
  uint16_t t[2 * LANES] = {0};
  memcpy(t, x, (size_t)n * sizeof *x);
  return *(const uword *)t;
}

static void dots_bf16(float *y, const uint16_t *x, const uint16_t *w, int64_t ld, int64_t rows, int64_t n) {
  const int64_t ahead = rows_ahead(ld, sizeof *w) * ld;
  for (int64_t j = 0; j < rows; j++) {
    const uint16_t *row = w + j * ld;
    vec odd[VECS] = {{0}};
#define ADD(s, u, v)                  \
  do {                                \
    s += even_of(u) * even_of(v);     \
    odd[v_] += odd_of(u) * odd_of(v); \
  } while (0)
#define STEP(s, i)                                                                        \
  do {                                                                                    \
    word u_ = *(const uword *)(x + 2 * (i)), w_ = *(const uword *)(row + 2 * (i));        \
    __builtin_prefetch(row + ahead + 2 * (i));                                            \
    ADD(s, u_, w_);                                                                       \
  } while (0)
#define LAST(s, i, c)                                                                     \
  do {                                                                                    \
    word u_ = words_part(x + 2 * (i), 2 * (c)), w_ = words_part(row + 2 * (i), 2 * (c));  \
    ADD(s, u_, w_);                                                                       \
  } while (0)
    REDUCE(n / 2, even, STEP, LAST);
#undef STEP
#undef LAST
#undef ADD
    if (n % 2) even[0] += even_of(words_part(x + n - 1, 1)) * even_of(words_part(row + n - 1, 1));
    for (int k = 0; k < VECS; k++) even[k] += odd[k];
    y[j] = fold(even);
  }
}

#if defined(__AVX512F__) && defined(HAVE_ISA_AMX)
#define MICRO(hardware) (hardware == SONDE_BF16_AMX ? sonde_micro_amx() : sonde_micro_avx512(hardware))
#elif defined(__AVX512F__)
#define MICRO(hardware) sonde_micro_avx512(hardware)
#else
#define MICRO(hardware) ((void)hardware, ISA_NAME(sonde_micro_vec)())
#endif

const sonde_simd_table *ISA_NAME(sonde_simd)(int bf16) {
  static sonde_simd_table table[3];
  sonde_simd_table *t = &table[bf16];
  *t = (sonde_simd_table){
      .common = {sizeof(sonde_simd), sum, dot, max, axpy, scale, mul, vexp, vtanh, from_bf16, to_bf16,
                 tanh_row, tanh_row_grad, erf_row, erf_row_grad},
      .isa = bf16 == SONDE_BF16_AMX ? "amx" : ISA_TEXT(SONDE_ISA),
      .bf16 = bf16,
      .rms_row = rms_row,
      .rms_row_grad = rms_row_grad,
      .layer_row = layer_row,
      .layer_row_grad = layer_row_grad,
      .turn = turn,
      .exp_sum = exp_sum,
      .dots = dots,
      .weigh = weigh,
      .dots_bf16 = dots_bf16,
      .micro = MICRO(bf16),
      .vec = ISA_NAME(sonde_vec_find)};
  ISA_NAME(sonde_blocks)(t);
  return t;
}
