/* range_test.c - every function of one number that the kernels compute, over all f32, on every instruction set: the
 * error against double precision, whether it is monotone where the function is, what it gives at the ends and of no
 * number.
 *
 * Blocks of neighbours are tried, so far apart that a run takes a second. SONDE_RANGE_STEP=1 tries all 2^32 numbers and
 * prints what was found (minutes for each function); an argument is the name of one function. */
#include "config.h"
#include "naive.h"

#include <stdio.h>

enum { BLOCK = 512, USUAL_STEP = 6007 };

/* ---- the functions in double precision --------------------------------------------------------------------------- */

static const double C = 0.79788456080286536, K = 0.044715;   /* of GELU's tanh form; C = sqrt(2 / pi) */

static double neg(double x) { return -x; }
static double square(double x) { return x * x; }
static double reciprocal(double x) { return 1 / x; }
static double rsqrt(double x) { return 1 / sqrt(x); }
static double sign(double x) { return x > 0 ? 1 : x < 0 ? -1 : x; }
static double relu(double x) { return x > 0 ? x : 0; }
static double relu2(double x) { return x > 0 ? x * x : 0; }
static double sigmoid(double x) { return 1 / (1 + exp(-x)); }
static double silu(double x) { return x / (1 + exp(-x)); }
static double silu_slope(double x) { return sigmoid(x) * (1 + x * sigmoid(-x)); }
static double normal(double x) { return 0.5 * erfc(-x * M_SQRT1_2); }
static double gelu(double x) { return x * normal(x); }
static double gelu_slope(double x) { return normal(x) + x * exp(-0.5 * x * x) * C / 2; }
static double gelu_tanh(double x) { return x * sigmoid(2 * C * (x + K * x * x * x)); }
static double gelu_tanh_slope(double x) {
  double s = sigmoid(2 * C * (x + K * x * x * x)), rest = sigmoid(-2 * C * (x + K * x * x * x));
  return s + (rest > 0 ? 2 * C * x * s * rest * (1 + 3 * K * x * x) : 0);
}
static double tanh_slope(double y) { return (1 - y) * (1 + y); }
static double sigmoid_slope(double y) { return y * (1 - y); }

/* ---- what is asked of each ----------------------------------------------------------------------------------- */

/* Of errors: `ulps` units in the last place of the result, and `share` of 2^-24 |x| besides, for differences of numbers
 * near each other. A result (or a factor of x in it) below 2^-126 may be 0. Between neighbours below `turn` and above
 * it the result may go against the function's direction (1 rises, -1 falls, 0 is not said) by `slip` units in the last
 * place. Where lo is -3e38, a factor 0 meets -infinity in the formula, and the result is NaN as it is in PyTorch. */
typedef struct range {
  const char *name;
  double (*f)(double);
  float lo, hi;
  double ulps, share, turn;
  int below, above;
  double slip;
  float at_low, at_high;      /* at lo and hi, exactly */
} range;

#define ALL -INFINITY, INFINITY
#define FLIP 0x7fffffff

static const range ranges[] = {
    {"neg", neg, ALL, 0, 0, 0, -1, -1, 0, INFINITY, -INFINITY},
    {"abs", fabs, ALL, 0, 0, 0, -1, 1, 0, INFINITY, INFINITY},
    {"sign", sign, ALL, 0, 0, 0, 1, 1, 0, -1, 1},
    {"relu", relu, ALL, 0, 0, 0, 1, 1, 0, 0, INFINITY},
    {"relu2", relu2, ALL, 0.5, 0, 0, 1, 1, 0, 0, INFINITY},
    {"square", square, ALL, 0.5, 0, 0, -1, 1, 0, INFINITY, INFINITY},
    {"reciprocal", reciprocal, ALL, 0.5, 0, 0, 0, 0, 0, -0.0f, 0},
    {"sqrt", sqrt, 0, INFINITY, 0.5, 0, 0, 1, 1, 0, 0, INFINITY},
    {"rsqrt", rsqrt, 0, INFINITY, 1.5, 0, 0, -1, -1, 0, INFINITY, 0},
    {"exp", exp, ALL, 1.1, 0, 0, 1, 1, 1, 0, INFINITY},
    {"exp_sum", exp, ALL, 1.1, 0, 0, 1, 1, 1, 0, INFINITY},
    {"log", log, 0, INFINITY, 4, 0, 0, 1, 1, 4, -INFINITY, INFINITY},
    {"tanh", tanh, ALL, 6, 0, 0, 1, 1, 8, -1, 1},
    {"erf", erf, ALL, 8, 0, 0, 1, 1, 10, -1, 1},
    {"sigmoid", sigmoid, ALL, 4, 0, 0, 1, 1, 4, 0, 1},
    {"silu", silu, -3e38f, INFINITY, 5, 0, -1.2784645427610738, -1, 1, 5, -0.0f, INFINITY},
    {"silu_grad", silu_slope, -3e38f, 3e38f, 5, 2, 0, 0, 0, 0, -0.0f, 1},
    {"gelu", gelu, -3e38f, INFINITY, 4, 2, -0.7517915246935645, 0, 1, 4, -0.0f, INFINITY},
    {"gelu_grad", gelu_slope, -3e38f, 3e38f, 4, 4, 0, 0, 0, 0, 0, 1},
    {"gelu_tanh", gelu_tanh, -3e38f, INFINITY, 200, 0, -0.7524614220710162, -1, 1, 200, -0.0f, INFINITY},
    {"gelu_tanh_grad", gelu_tanh_slope, -3e38f, 3e38f, 6, 4, 0, 0, 0, 0, 0, 1},
    {"tanh_grad", tanh_slope, -1, 1, 1, 1, 0, 1, -1, 1, 0, 0},
    {"sigmoid_grad", sigmoid_slope, 0, 1, 2, 0, 0.5, 1, -1, 1, 0, 0},
    {"sin", sin, -3e38f, 3e38f, 4, 0, 0, 0, 0, 0, NAN, NAN},
    {"cos", cos, -3e38f, 3e38f, 4, 0, 0, 0, 0, 0, NAN, NAN},
};
enum { RANGES = sizeof ranges / sizeof *ranges };

/* ---- numbers in their order ---------------------------------------------------------------------------------- */

static int64_t place_of(float x) {
  int32_t i;
  memcpy(&i, &x, sizeof i);
  return i < 0 ? -(int64_t)(i & FLIP) : i;
}

static float at_place(int64_t place) {
  uint32_t u = place < 0 ? (uint32_t)-place | 0x80000000u : (uint32_t)place;
  float x;
  memcpy(&x, &u, sizeof x);
  return x;
}

static double ulp_of(double x) { return ldexp(1, fabs(x) >= 0x1p-126 ? ilogb(x) - 23 : -149); }

/* ---- the test ------------------------------------------------------------------------------------------------ */

typedef struct finding { double error, fall; float error_at, fall_at; } finding;

static void evaluate(const sonde_simd_table *t, const range *r, float *y, const float *x, int64_t n) {
  static float ones[BLOCK + 1];
  if (!strcmp(r->name, "exp_sum")) {
    t->exp_sum(y, x, 0, n);
    return;
  }
  for (int k = 0; k <= BLOCK; k++) ones[k] = 1;
  sonde_vec v = {.n = n, .out = y, .in = {x, ones, ones}};
  t->vec(r->name)(&v);
}

static void look_at_error(const range *r, float x, float got, double want, finding *f) {
  if (fabs(want) > 3.4028235677973366e38) want = copysign(INFINITY, want);
  if ((double)got == want || (got == 0 && fabs(want) < 0x1p-126 * fmax(1, fabs((double)x)))) return;
  double error = (fabs((double)got - want) - r->share * 0x1p-24 * fabs((double)x)) / ulp_of(want);
  if (error <= f->error) return;
  f->error = error;                         /* also of NaN */
  f->error_at = x;
}

static void look_at_step(const range *r, float x0, float x1, float y0, float y1, finding *f) {
  int way = x1 <= r->turn ? r->below : x0 >= r->turn ? r->above : 0;
  if (!way || isinf(y0) || isinf(y1)) return;
  double fall = way * ((double)y0 - (double)y1) / ulp_of(fmax(fabs((double)y0), fabs((double)y1)));
  if (fall > f->fall) f->fall = fall, f->fall_at = x1;
}

static const char *only;      /* the function to test; NULL: all */

static int64_t step_asked(void) {
  const char *text = getenv("SONDE_RANGE_STEP");
  return text ? atoll(text) : USUAL_STEP;
}

static void over_range(const range *r, const sonde_simd_table *const *t, int n, finding *found) {
  int64_t first = place_of(r->lo), last = place_of(r->hi), step = step_asked();
  float x[BLOCK + 1], y[BLOCK + 1];
  double want[BLOCK + 1];
  for (int64_t at = first; at <= last; at += BLOCK * step) {
    int64_t count = last - at + 1 < BLOCK + 1 ? last - at + 1 : BLOCK + 1;      /* one more: where blocks meet */
    for (int64_t k = 0; k < count; k++) x[k] = at_place(at + k), want[k] = r->f((double)x[k]);
    for (int s = 0; s < n; s++) {
      evaluate(t[s], r, y, x, count);
      for (int64_t k = 0; k < count; k++) {
        if (isnan(want[k])) continue;
        look_at_error(r, x[k], y[k], want[k], &found[s]);
        if (k) look_at_step(r, x[k - 1], x[k], y[k - 1], y[k], &found[s]);
      }
    }
  }
}

static int same(float a, float b) { return a == b || (isnan(a) && isnan(b)); }

static void at_ends(const range *r, const sonde_simd_table *t) {
  float x[3] = {r->lo, r->hi, NAN}, y[3];
  evaluate(t, r, y, x, 3);
  if (!isnan(y[2])) fail_msg("%s of NaN is %g (%s)", r->name, (double)y[2], t->isa);
  if (isnan(r->at_low)) return;
  for (int k = 0; k < 2; k++)
    if (!same(y[k], k ? r->at_high : r->at_low))
      fail_msg("%s(%g) is %.9g, not %g (%s)", r->name, (double)x[k], (double)y[k], (double)(k ? r->at_high : r->at_low),
               t->isa);
}

static void test_ranges(void **state) {
  (void)state;
  const sonde_simd_table *t[SONDE_LEVELS];
  int n = tables(t), bad = 0;
  for (int k = 0; k < RANGES; k++) {
    const range *r = &ranges[k];
    if (only && strcmp(only, r->name)) continue;
    finding found[SONDE_LEVELS] = {{0}};
    over_range(r, t, n, found);
    for (int s = 0; s < n; s++) {
      int wrong = !(found[s].error <= r->ulps) || found[s].fall > r->slip;
      if (wrong || getenv("SONDE_RANGE_STEP"))
        printf("# %s, %s: %.2f ulp at %.9g; against its direction by %.1f ulp at %.9g\n", r->name, t[s]->isa,
               found[s].error, (double)found[s].error_at, found[s].fall, (double)found[s].fall_at);
      bad += wrong;
      at_ends(r, t[s]);
    }
  }
  assert_int_equal(bad, 0);
}

int main(int argc, char **argv) {
  only = argc > 1 ? argv[1] : NULL;
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_ranges)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
