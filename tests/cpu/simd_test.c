/* simd_test.c - the inner loops of every instruction set against plain loops in double precision: every
 * length up to some whole vectors and tails, NaN, infinities, rounding. */
#include "config.h"
#include "naive.h"

enum { MOST = 133 };
static const double REAL = 2e-6;     /* relative to 1 or the value: a few units in the last place of f32 */

typedef void (*with_table)(const sonde_simd_table *t);

static void for_each(with_table test) {
  const sonde_simd_table *t[SONDE_LEVELS];
  int n = tables(t);
  for (int k = 0; k < n; k++) test(t[k]);
}

/* ---- sums, dots, copies -------------------------------------------------------------------------- */

static void reductions(const sonde_simd_table *t) {
  float x[MOST], y[MOST];
  numbers(x, MOST, 1), numbers(y, MOST, 2);
  for (int n = 0; n <= MOST; n++) {
    double sum = 0, dot = 0, max = -INFINITY;
    for (int k = 0; k < n; k++) {
      sum += x[k], dot += (double)x[k] * y[k];
      if (x[k] > max) max = x[k];
    }
    assert_near(t->common.sum(x, n), sum, REAL, "sum", n);
    assert_near(t->common.dot(x, y, n), dot, REAL, "dot", n);
    assert_true((double)t->common.max(x, n) == max);
  }
}
static void test_reductions(void **state) { (void)state; for_each(reductions); }

/* A vector with rows of a matrix: dot products, and sums weighted by p. */
static void matrix_rows(const sonde_simd_table *t) {
  enum { ROWS = 5, LD = MOST + 3 };
  static float w[ROWS * LD], x[MOST], y[MOST + 1], p[ROWS] = {0.5f, -2, 0, 3, 0.25f};
  static uint16_t hw[ROWS * LD], hx[MOST];
  numbers(w, ROWS * LD, 6), numbers(x, MOST, 7);
  for (int k = 0; k < ROWS * LD; k++) hw[k] = to_half(w[k]);
  for (int k = 0; k < MOST; k++) hx[k] = to_half(x[k]);
  for (int n = 0; n <= MOST; n++) {
    float sums[ROWS + 1], halves[ROWS + 1];
    sums[ROWS] = halves[ROWS] = y[n] = 7;
    t->dots(sums, x, w, LD, ROWS, n);
    t->dots_bf16(halves, hx, hw, LD, ROWS, n);
    for (int j = 0; j < ROWS; j++) {
      double half = 0;
      for (int k = 0; k < n; k++) half += (double)from_half(hx[k]) * from_half(hw[j * LD + k]);
      assert_true(sums[j] == t->common.dot(x, w + j * LD, n));
      assert_near(halves[j], half, REAL * (n + 1), "dots_bf16", j);
    }
    t->weigh(y, p, w, LD, ROWS, n);
    for (int k = 0; k < n; k++) {
      double sum = 0;
      for (int j = 0; j < ROWS; j++) sum += (double)p[j] * w[j * LD + k];
      assert_near(y[k], sum, REAL, "weigh", k);
    }
    assert_true(sums[ROWS] == 7 && halves[ROWS] == 7 && y[n] == 7);
  }
}
static void test_matrix_rows(void **state) { (void)state; for_each(matrix_rows); }

static void nan_in_max(const sonde_simd_table *t) {
  float x[MOST];
  for (int at = 0; at < MOST; at++) {
    numbers(x, MOST, 3);
    x[at] = NAN;
    assert_true(isnan(t->common.max(x, MOST)));
    assert_true(isnan(t->common.sum(x, MOST)));
  }
}
static void test_nan_in_max(void **state) { (void)state; for_each(nan_in_max); }

static void copies(const sonde_simd_table *t) {
  float x[MOST], y[MOST + 1], z[MOST];
  numbers(x, MOST, 4), numbers(z, MOST, 5);
  for (int n = 0; n <= MOST; n++) {
    y[n] = 7;
    memcpy(y, z, (size_t)n * 4);
    t->common.axpy(y, x, 0.5f, n);
    for (int k = 0; k < n; k++) assert_near(y[k], z[k] + 0.5 * x[k], REAL, "axpy", k);
    t->common.scale(y, x, -3, n);
    for (int k = 0; k < n; k++) assert_near(y[k], -3.0 * x[k], REAL, "scale", k);
    t->common.mul(y, x, z, n);
    for (int k = 0; k < n; k++) assert_near(y[k], (double)x[k] * z[k], REAL, "mul", k);
    t->common.exp(y, x, n);
    for (int k = 0; k < n; k++) assert_near(y[k], exp(x[k]), REAL, "exp", k);
    t->common.tanh(y, x, n);
    for (int k = 0; k < n; k++) assert_near(y[k], tanh(x[k]), REAL, "tanh", k);
    double sum = 0;
    for (int k = 0; k < n; k++) sum += exp((double)x[k] - 0.25);
    assert_near(t->exp_sum(y, x, 0.25f, n), sum, REAL, "exp_sum", n);
    assert_true(y[n] == 7);
  }
}
static void test_copies(void **state) { (void)state; for_each(copies); }

static void far_exponents(const sonde_simd_table *t) {
  float x[20], y[20];
  for (int k = 0; k < 20; k++) x[k] = k % 2 ? -INFINITY : -1000.0f;
  t->common.exp(y, x, 20);
  for (int k = 0; k < 20; k++) assert_true(y[k] == 0);
  for (int k = 0; k < 20; k++) x[k] = k % 2 ? INFINITY : 1000.0f;
  t->common.exp(y, x, 20);
  for (int k = 0; k < 20; k++) assert_true(isinf(y[k]));
  x[3] = NAN;
  t->common.exp(y, x, 20);
  assert_true(isnan(y[3]) && !isnan(y[2]));
}
static void test_far_exponents(void **state) { (void)state; for_each(far_exponents); }

static void bf16(const sonde_simd_table *t) {
  static const uint32_t bits[] = {0x3f808000, 0x3f818000, 0x3f808001, 0x3f807fff, 0x7f7fffff, 0x7f800000,
                                  0xff800000, 0x7f800001, 0x7fffffff, 0xffffffff, 0x00000001, 0x80000000,
                                  0x00008000, 0x00018000, 0x007fffff, 0xbf80c000};
  enum { SPECIAL = sizeof bits / sizeof *bits };
  float x[MOST], back[MOST];
  uint16_t h[MOST + 1];
  numbers(x, MOST, 6);
  memcpy(x, bits, sizeof bits);
  for (int n = 0; n <= MOST; n++) {
    h[n] = 0x1234;
    t->common.to_bf16(h, x, n);
    for (int k = 0; k < n; k++) assert_int_equal(h[k], k == 4 ? 0x7f80 : to_half(x[k]));
    assert_int_equal(h[n], 0x1234);
    t->common.from_bf16(back, h, n);
    for (int k = 0; k < n; k++) assert_true(from_half(h[k]) == back[k] || isnan(back[k]));
  }
}
static void test_bf16(void **state) { (void)state; for_each(bf16); }

/* ---- rows of norms ------------------------------------------------------------------------------- */

typedef struct rows {
  float x[MOST], g[MOST], b[MOST], dy[MOST], y[MOST], dx[MOST], dg[MOST], db[MOST];
} rows;

static void make_rows(rows *r) {
  memset(r, 0, sizeof *r);
  numbers(r->x, MOST, 7), numbers(r->g, MOST, 8), numbers(r->b, MOST, 9), numbers(r->dy, MOST, 10);
  for (int k = 0; k < MOST; k++) r->x[k] += 3, r->dg[k] = 1, r->db[k] = 2;
}

static void norms(const sonde_simd_table *t) {
  static rows r;
  for (int n = 1; n <= MOST; n += n < 40 ? 1 : 31) {
    double squares = 0, sum = 0, var = 0, gdx = 0, gd = 0, gdh = 0, eps = 1e-3;
    make_rows(&r);
    for (int k = 0; k < n; k++) squares += (double)r.x[k] * r.x[k], sum += r.x[k];
    double s = 1 / sqrt(squares / n + eps), m = sum / n;
    for (int k = 0; k < n; k++) var += (r.x[k] - m) * (r.x[k] - m) / n;
    double q = 1 / sqrt(var + eps);
    for (int k = 0; k < n; k++) {
      gdx += (double)r.g[k] * r.dy[k] * r.x[k];
      gd += (double)r.g[k] * r.dy[k] / n, gdh += (double)r.g[k] * r.dy[k] * (r.x[k] - m) * q / n;
    }
    assert_near(t->rms_row(r.y, r.x, r.g, (float)eps, n), s, REAL, "rms", n);
    for (int k = 0; k < n; k++) assert_near(r.y[k], r.x[k] * s * r.g[k], REAL, "rms_row", k);
    t->rms_row_grad(r.dx, r.dg, r.x, r.g, r.dy, (float)s, n);
    for (int k = 0; k < n; k++) {
      assert_near(r.dx[k], s * r.g[k] * r.dy[k] - s * s * s / n * gdx * r.x[k], 1e-5, "rms_row_grad dx", k);
      assert_near(r.dg[k], 1 + s * r.x[k] * r.dy[k], 1e-5, "rms_row_grad dg", k);
    }
    make_rows(&r);
    float mean, scale;
    t->layer_row(r.y, r.x, r.g, r.b, (float)eps, n, &mean, &scale);
    assert_near(mean, m, REAL, "mean", n);
    assert_near(scale, q, 1e-5, "scale", n);
    for (int k = 0; k < n; k++) assert_near(r.y[k], (r.x[k] - m) * q * r.g[k] + r.b[k], 2e-5, "layer_row", k);
    t->layer_row_grad(r.dx, r.dg, r.db, r.x, r.g, r.dy, (float)m, (float)q, n);
    for (int k = 0; k < n; k++) {
      double h = (r.x[k] - m) * q;
      assert_near(r.dx[k], q * (r.g[k] * r.dy[k] - gd - h * gdh), 2e-4, "layer_row_grad dx", k);
      assert_near(r.dg[k], 1 + r.dy[k] * h, 2e-5, "layer_row_grad dg", k);
      assert_near(r.db[k], 2.0 + r.dy[k], REAL, "layer_row_grad db", k);
    }
  }
}
static void test_norms(void **state) { (void)state; for_each(norms); }

static void tanh_rows(const sonde_simd_table *t) {
  static rows r;
  const float a = 0.7f;
  for (int n = 0; n <= MOST; n += n < 40 ? 1 : 31) {
    double da = 0;
    make_rows(&r);
    for (int k = 0; k < n; k++) r.x[k] -= 3;              /* around 0, where tanh bends */
    r.y[n < MOST ? n : 0] = 77;
    t->common.tanh_row(r.y, r.x, r.g, a, n);
    float got = t->common.tanh_row_grad(r.dx, r.dg, r.x, r.g, r.dy, a, n);
    for (int k = 0; k < n; k++) {
      double h = tanh((double)a * r.x[k]), u = (double)r.dy[k] * r.g[k] * (1 - h * h);
      assert_near(r.y[k], r.g[k] * h, 2e-6, "tanh_row", k);
      assert_near(r.dx[k], a * u, 2e-6, "tanh_row_grad dx", k);
      assert_near(r.dg[k], 1 + r.dy[k] * h, 2e-6, "tanh_row_grad dg", k);
      da += u * r.x[k];
    }
    assert_near(got, da, 1e-5 * (n + 1), "tanh_row_grad da", n);
    if (n < MOST) assert_true(r.y[n] == 77);
  }
}
static void erf_rows(const sonde_simd_table *t) {
  static rows r;
  const float a = 0.7f, s = 0.4f;
  for (int n = 0; n <= MOST; n += n < 40 ? 1 : 31) {
    double da = 0, ds = 0;
    float das[2] = {3, 4};
    make_rows(&r);
    for (int k = 0; k < n; k++) r.x[k] -= 3;              /* around 0, where erf bends */
    r.y[n < MOST ? n : 0] = 77;
    t->common.erf_row(r.y, r.x, r.g, r.b, a, s, n);
    t->common.erf_row_grad(r.dx, r.dg, r.db, das, r.x, r.g, r.dy, a, s, n);
    for (int k = 0; k < n; k++) {
      double z = (double)a * r.x[k] + s, u = (double)r.dy[k] * r.g[k] * M_2_SQRTPI * exp(-z * z);
      assert_near(r.y[k], r.g[k] * erf(z) + r.b[k], 2e-6, "erf_row", k);
      assert_near(r.dx[k], a * u, 2e-6, "erf_row_grad dx", k);
      assert_near(r.dg[k], 1 + r.dy[k] * erf(z), 2e-6, "erf_row_grad dg", k);
      assert_near(r.db[k], 2.0 + r.dy[k], REAL, "erf_row_grad db", k);
      da += u * r.x[k], ds += u;
    }
    assert_near(das[0], 3 + da, 1e-5 * (n + 1), "erf_row_grad da", n);
    assert_near(das[1], 4 + ds, 1e-5 * (n + 1), "erf_row_grad ds", n);
    if (n < MOST) assert_true(r.y[n] == 77);
  }
}
static void test_erf_rows(void **state) { (void)state; for_each(erf_rows); }

/* Where tanh is 1 in f32 nothing flows back: one ulp less would be a gradient for ever, of which Adam makes full
 * steps. */
static void saturated_rows(const sonde_simd_table *t) {
  static rows r;
  make_rows(&r);
  memset(r.dg, 0, sizeof r.dg);
  for (int k = 0; k < MOST; k++) r.x[k] = (k % 2 ? -1 : 1) * (k % 3 ? 9.02f + (float)(k * k) : 1e30f);
  assert_true(t->common.tanh_row_grad(r.dx, r.dg, r.x, r.g, r.dy, 1, MOST) == 0);
  for (int k = 0; k < MOST; k++) assert_true(r.dx[k] == 0 && r.dg[k] == (k % 2 ? -r.dy[k] : r.dy[k]));
}
static void test_saturated_rows(void **state) { (void)state; for_each(saturated_rows); }

static void test_tanh_rows(void **state) { (void)state; for_each(tanh_rows); }

/* ---- elementwise ops ----------------------------------------------------------------------------- */

static double sigmoid(double x) { return 1 / (1 + exp(-x)); }
static double cube(double x) { return sqrt(2 / M_PI) * (x + 0.044715 * x * x * x); }
#define F(name) static double name(double x, double y, double z)
#define UNUSED (void)x, (void)y, (void)z
F(f_neg) { UNUSED; return -x; }
F(f_exp) { UNUSED; return exp(x); }
F(f_log) { UNUSED; return log(x); }
F(f_sqrt) { UNUSED; return sqrt(x); }
F(f_rsqrt) { UNUSED; return 1 / sqrt(x); }
F(f_square) { UNUSED; return x * x; }
F(f_reciprocal) { UNUSED; return 1 / x; }
F(f_abs) { UNUSED; return fabs(x); }
F(f_sign) { UNUSED; return (x > 0) - (x < 0); }
F(f_tanh) { UNUSED; return tanh(x); }
F(f_erf) { UNUSED; return erf(x); }
F(f_sigmoid) { UNUSED; return sigmoid(x); }
F(f_silu) { UNUSED; return x * sigmoid(x); }
F(f_gelu) { UNUSED; return x / 2 * (1 + erf(x / sqrt(2))); }
F(f_gelu_tanh) { UNUSED; return x / 2 * (1 + tanh(cube(x))); }
F(f_relu) { UNUSED; return x > 0 ? x : 0; }
F(f_relu2) { UNUSED; return x > 0 ? x * x : 0; }
F(f_sin) { UNUSED; return sin(x); }
F(f_cos) { UNUSED; return cos(x); }
F(f_affine) { UNUSED; return 1.5 * x - 0.25; }
F(f_add) { UNUSED; return x + y; }
F(f_sub) { UNUSED; return x - y; }
F(f_mul) { UNUSED; return x * y; }
F(f_div) { UNUSED; return x / y; }
F(f_max) { UNUSED; return x > y ? x : y; }
F(f_min) { UNUSED; return x < y ? x : y; }
F(f_greater) { UNUSED; return x > y; }
F(f_where) { UNUSED; return x != 0 ? y : z; }
F(f_swiglu) { UNUSED; return x * sigmoid(x) * y; }

/* The slopes are central differences of the functions above: no formula is written twice. */
static double slope(double (*f)(double, double, double), double x) {
  return (f(x + 1e-6, 0, 0) - f(x - 1e-6, 0, 0)) / 2e-6;
}
F(f_silu_grad) { UNUSED; return y * slope(f_silu, x); }
F(f_gelu_grad) { UNUSED; return y * slope(f_gelu, x); }
F(f_gelu_tanh_grad) { UNUSED; return y * slope(f_gelu_tanh, x); }
F(f_tanh_grad) { UNUSED; return y * slope(f_tanh, atanh(x)); }
F(f_sigmoid_grad) { UNUSED; return y * slope(f_sigmoid, log(x / (1 - x))); }
F(f_relu_grad) { UNUSED; return y * slope(f_relu, x); }
F(f_relu2_grad) { UNUSED; return y * slope(f_relu2, x); }
F(f_swiglu_dgate) { UNUSED; return z * y * slope(f_silu, x); }
F(f_swiglu_dup) { UNUSED; return f_silu(x, 0, 0) * y; }

static const struct {
  const char *name;
  double (*f)(double, double, double);
  double lo, hi;
} formulas[] = {
    {"neg", f_neg, -3, 3}, {"exp", f_exp, -8, 3}, {"log", f_log, 0.01, 9}, {"sqrt", f_sqrt, 0, 9},
    {"rsqrt", f_rsqrt, 0.1, 9}, {"square", f_square, -3, 3}, {"reciprocal", f_reciprocal, 0.5, 3},
    {"abs", f_abs, -3, 3}, {"sign", f_sign, -1, 1}, {"tanh", f_tanh, -6, 6}, {"erf", f_erf, -4, 4},
    {"sigmoid", f_sigmoid, -9, 9}, {"silu", f_silu, -9, 9}, {"gelu", f_gelu, -5, 5},
    {"gelu_tanh", f_gelu_tanh, -5, 5}, {"relu", f_relu, -3, 3}, {"relu2", f_relu2, -3, 3},
    {"sin", f_sin, -9, 9}, {"cos", f_cos, -9, 9}, {"affine", f_affine, -3, 3}, {"add", f_add, -3, 3},
    {"sub", f_sub, -3, 3}, {"mul", f_mul, -3, 3}, {"div", f_div, 0.5, 3}, {"max", f_max, -3, 3},
    {"min", f_min, -3, 3}, {"greater", f_greater, -3, 3}, {"where", f_where, -1, 1},
    {"swiglu", f_swiglu, -5, 5}, {"silu_grad", f_silu_grad, -5, 5}, {"gelu_grad", f_gelu_grad, -5, 5},
    {"gelu_tanh_grad", f_gelu_tanh_grad, -5, 5}, {"tanh_grad", f_tanh_grad, -0.9, 0.9},
    {"sigmoid_grad", f_sigmoid_grad, 0.1, 0.9}, {"relu_grad", f_relu_grad, -3, 3},
    {"relu2_grad", f_relu2_grad, -3, 3}, {"swiglu_dgate", f_swiglu_dgate, -5, 5},
    {"swiglu_dup", f_swiglu_dup, -5, 5}};
enum { FORMULAS = sizeof formulas / sizeof *formulas };

static void elementwise(const sonde_simd_table *t) {
  const sonde_attr at = {{1.5, -0.25}, {0}};
  float in[3][MOST], out[MOST + 1];
  for (int f = 0; f < FORMULAS; f++) {
    void (*run)(const sonde_vec *) = t->vec(formulas[f].name);
    assert_non_null(run);
    for (int q = 0; q < 3; q++) {
      numbers(in[q], MOST, 20 + (uint32_t)q);
      for (int k = 0; k < MOST; k++)
        in[q][k] = (float)(formulas[f].lo + (in[q][k] + 1) / 2 * (formulas[f].hi - formulas[f].lo));
    }
    if (!strcmp(formulas[f].name, "where"))
      for (int k = 0; k < MOST; k += 3) in[0][k] = 0;
    for (int n = 0; n <= MOST; n += n < 36 ? 1 : 24) {
      sonde_vec v = {.n = n, .out = out, .in = {in[0], in[1], in[2]}, .attr = &at};
      out[n] = 7;
      run(&v);
      assert_true(out[n] == 7);
      for (int k = 0; k < n; k++)
        assert_near(out[k], formulas[f].f(in[0][k], in[1][k], in[2][k]), 5e-6, formulas[f].name, k);
    }
  }
  assert_null(t->vec("no such op"));
}
static void test_elementwise(void **state) { (void)state; for_each(elementwise); }

/* The result may take the place of an input, and NaN in an input is NaN in the result. */
static void in_place_and_nan(const sonde_simd_table *t) {
  const sonde_attr at = {{1.5, -0.25}, {0}};
  float in[3][MOST], out[MOST];
  for (int f = 0; f < FORMULAS; f++) {
    void (*run)(const sonde_vec *) = t->vec(formulas[f].name);
    for (int q = 0; q < 3; q++) {
      numbers(in[q], MOST, 30 + (uint32_t)q);
      for (int k = 0; k < MOST; k++) in[q][k] = fabsf(in[q][k]) / 2 + 0.25f;
    }
    in[0][5] = in[0][MOST - 1] = NAN;
    sonde_vec v = {.n = MOST, .out = out, .in = {in[0], in[1], in[2]}, .attr = &at};
    run(&v);
    if (formulas[f].f != f_greater && formulas[f].f != f_where)
      assert_true(isnan(out[5]) && isnan(out[MOST - 1]));
    v.out = in[0];
    run(&v);
    for (int k = 0; k < MOST; k++) assert_true(out[k] == in[0][k] || (isnan(out[k]) && isnan(in[0][k])));
  }
}
static void test_in_place_and_nan(void **state) { (void)state; for_each(in_place_and_nan); }

/* ---- dropout ------------------------------------------------------------------------------------- */

enum { DROPS = 60000 };

static void dropped(const sonde_simd_table *t, float *out, double p, int64_t seed, uint64_t step,
                    uint64_t index, int64_t n) {
  static float ones[DROPS];
  const sonde_attr at = {{p}, {seed}};
  for (int k = 0; k < DROPS; k++) ones[k] = 1;
  const sonde_step_block block = {.size = sizeof block, .number = step};
  sonde_vec v = {.n = n, .out = out, .in = {ones}, .attr = &at, .index = index, .step = step, .block = &block};
  t->vec("dropout")(&v);
}

/* Share of elements where two masks agree, of `n`. */
static double agreement(const float *a, const float *b, int n) {
  int same = 0;
  for (int k = 0; k < n; k++) same += (a[k] != 0) == (b[k] != 0);
  return (double)same / n;
}

static void dropout(const sonde_simd_table *t) {
  static float a[DROPS], b[DROPS], reference[DROPS];
  const double p = 0.3, sd = sqrt(p * (1 - p) / DROPS), chance = p * p + (1 - p) * (1 - p);
  dropped(t, a, p, 1, 5, 0, DROPS);
  int kept = 0;
  for (int k = 0; k < DROPS; k++) {
    kept += a[k] != 0;
    assert_true(a[k] == 0 || fabs(a[k] - 1 / (1 - p)) < 1e-6);
  }
  assert_true(fabs((double)kept / DROPS - (1 - p)) < 5 * sd);
  assert_true(fabs(agreement(a, a + 1, DROPS - 1) - chance) < 0.015);     /* neighbours are independent */
  dropped(t, b, p, 2, 5, 0, DROPS);
  assert_true(fabs(agreement(a, b, DROPS) - chance) < 0.015);
  dropped(t, b, p, 1, 6, 0, DROPS);
  assert_true(fabs(agreement(a, b, DROPS) - chance) < 0.015);
  dropped(t, b, p, 1, 5, 1000, DROPS - 1000); /* a stretch is a part of the whole */
  assert_memory_equal(a + 1000, b, (DROPS - 1000) * sizeof *a);
  dropped(sonde_simd_level(0), reference, p, 1, 5, 0, DROPS);             /* the same on every machine */
  assert_memory_equal(a, reference, sizeof a);
  dropped(t, a, p, 1, 5, 0xfffffff0u, 100);                               /* across 2^32 */
  dropped(t, b, p, 1, 5, 0x100000000u, 50);
  assert_memory_equal(a + 16, b, 50 * sizeof *a);
  dropped(t, b, p, 1, 5, 0, 50);
  assert_true(memcmp(a + 16, b, 50 * sizeof *a));
  dropped(t, a, 0, 1, 5, 0, 100);
  for (int k = 0; k < 100; k++) assert_true(a[k] == 1);
  dropped(t, a, 1, 1, 5, 0, DROPS);
  for (int k = 0; k < DROPS; k++) assert_true(a[k] == 0);
}
static void test_dropout(void **state) { (void)state; for_each(dropout); }

/* ---- the choice ---------------------------------------------------------------------------------- */

static void test_choice(void **state) {
  (void)state;
  static const char *const names[SONDE_LEVELS] = {"base", "avx2", "avx512", "amx"};
  for (int level = 0; level < SONDE_LEVELS; level++) {
    const sonde_simd_table *t = sonde_simd_level(level);
    int known = 0;
    for (int k = 0; k <= level; k++) known |= !strcmp(t->isa, names[k]);
    assert_true(known);
    assert_int_equal(t->common.size, sizeof(sonde_simd));
  }
  assert_string_equal(sonde_simd_level(0)->isa, "base");
  sonde_simd_use(sonde_simd_level(0));
  assert_string_equal(sonde_simd_get()->isa, "base");
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_reductions),  cmocka_unit_test(test_matrix_rows),
      cmocka_unit_test(test_nan_in_max),
      cmocka_unit_test(test_copies),      cmocka_unit_test(test_far_exponents),
      cmocka_unit_test(test_bf16),        cmocka_unit_test(test_norms),
      cmocka_unit_test(test_tanh_rows),   cmocka_unit_test(test_erf_rows),
      cmocka_unit_test(test_saturated_rows),
      cmocka_unit_test(test_elementwise), cmocka_unit_test(test_in_place_and_nan),
      cmocka_unit_test(test_dropout),     cmocka_unit_test(test_choice)};
  return cmocka_run_group_tests_name("inner loops", tests, NULL, NULL);
}
