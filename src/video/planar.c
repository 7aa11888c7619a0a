/* planar.c - see planar.h. */
#include "config.h"

#include "video/planar.h"

#include <math.h>
#include <stdint.h>
#include <string.h>

enum { ROUNDS = 20, BINS = 4096, BINS_A_PIXEL = 32, SAMPLES = 48, OF_SAMPLE = 4, LOOKED_AT = 400 };

static const double TUKEY = 4.685, TO_SIGMA = 1.4826;
static const double SETTLED = 1e-3;      /* pixels: a round that changes no parameter by more is the last */

/* Weighted sums over the blocks: of x^i y^j up to i + j = 4, and of u and v times what their equations have. */
typedef struct sums {
  double x[5][5], u[5], v[5];            /* u: 1, x, y, x^2, xy; v: 1, x, y, xy, y^2 */
} sums;

static void add(sums *s, const sonde_flow *f, double w) {
  double x = f->x, y = f->y, px = w;
  for (int i = 0; i <= 4; i++, px *= x) {
    double p = px;
    for (int j = 0; i + j <= 4; j++, p *= y) s->x[i][j] += p;
  }
  const double of_u[5] = {1, x, y, x * x, x * y}, of_v[5] = {1, x, y, x * y, y * y};
  for (int k = 0; k < 5; k++) {
    s->u[k] += w * f->u * of_u[k];
    s->v[k] += w * f->v * of_v[k];
  }
}

/* The powers of x and y that parameter k has in the equations of u and of v; -1: none. */
static const signed char POWER_U[SONDE_PLANAR][2] = {{0, 0}, {1, 0}, {0, 1}, {-1, 0}, {-1, 0}, {-1, 0}, {2, 0}, {1, 1}};
static const signed char POWER_V[SONDE_PLANAR][2] = {{-1, 0}, {-1, 0}, {-1, 0}, {0, 0}, {1, 0}, {0, 1}, {1, 1}, {0, 2}};
static const signed char TERM[SONDE_PLANAR][2] = {{0, -1}, {1, -1}, {2, -1}, {-1, 0}, {-1, 1}, {-1, 2}, {3, 3}, {4, 4}};

static double product(const sums *s, const signed char a[2], const signed char b[2]) {
  return a[0] < 0 || b[0] < 0 ? 0 : s->x[a[0] + b[0]][a[1] + b[1]];
}

/* Normal equations of the first n parameters by Cholesky; a trace of ridge keeps blocks on one line solvable. */
static void solve(const sums *s, int n, double a[SONDE_PLANAR]) {
  double m[SONDE_PLANAR][SONDE_PLANAR], b[SONDE_PLANAR], ridge = 1e-9 * s->x[0][0] + 1e-30;
  for (int i = 0; i < n; i++) {
    b[i] = (TERM[i][0] < 0 ? 0 : s->u[TERM[i][0]]) + (TERM[i][1] < 0 ? 0 : s->v[TERM[i][1]]);
    for (int j = 0; j <= i; j++)
      m[i][j] = product(s, POWER_U[i], POWER_U[j]) + product(s, POWER_V[i], POWER_V[j]) + (i == j ? ridge : 0);
  }
  for (int i = 0; i < n; i++)
    for (int j = 0; j <= i; j++) {
      double t = m[i][j];
      for (int k = 0; k < j; k++) t -= m[i][k] * m[j][k];
      m[i][j] = i == j ? sqrt(t > ridge * 1e-3 ? t : ridge * 1e-3) : t / m[j][j];
    }
  for (int i = 0; i < n; i++) {
    for (int k = 0; k < i; k++) b[i] -= m[i][k] * b[k];
    b[i] /= m[i][i];
  }
  for (int i = n - 1; i >= 0; i--) {
    for (int k = i + 1; k < n; k++) b[i] -= m[k][i] * a[k];
    a[i] = b[i] / m[i][i];
  }
}

static double residual(const sonde_planar *p, const sonde_flow *f) {
  double u, v;
  sonde_planar_at(p, f->x, f->y, &u, &v);
  return sqrt((f->u - u) * (f->u - u) + (f->v - v) * (f->v - v));
}

/* The weighted median of the residuals of every `step`-th block, from a histogram: the middle of its bin. */
static double median_residual(const sonde_planar *p, const sonde_flow *flow, int n, int step) {
  float bin[BINS] = {0};
  double all = 0, sum = 0;
  for (int k = 0; k < n; k += step) {
    if (flow[k].weight <= 0) continue;
    double at = residual(p, &flow[k]) * BINS_A_PIXEL;
    bin[at < BINS - 1 ? (int)at : BINS - 1] += flow[k].weight;
    all += (double)flow[k].weight;
  }
  int k = 0;
  while (k < BINS - 1 && (sum += (double)bin[k]) < all / 2) k++;
  return k ? (k + 0.5) / BINS_A_PIXEL : 0;   /* of a field that fits exactly: 0 */
}

/* The affine fit to a few blocks that a generator of whole numbers chooses: the same ones each time. */
static void fit_sample(sonde_planar *p, const sonde_flow *flow, int n, uint32_t *state) {
  sums s;
  memset(&s, 0, sizeof s);
  for (int k = 0; k < OF_SAMPLE; k++) {
    *state = *state * 1664525u + 1013904223u;
    int at = (int)((*state >> 8) % (uint32_t)n);
    for (int tried = 0; tried < n && flow[at].weight <= 0; tried++) at = (at + 1) % n;
    add(&s, &flow[at], 1);
  }
  *p = (sonde_planar){.rounds = 0};
  solve(&s, 6, p->a);
}

/* Where the rounds start: least squares on all blocks would be drawn to a group of outliers, and stay there. */
static void start(sonde_planar *p, const sonde_flow *flow, int n, int parameters) {
  sums s;
  uint32_t state = 1;
  int step = n / LOOKED_AT + 1;
  memset(&s, 0, sizeof s);
  for (int k = 0; k < n; k++)
    if (flow[k].weight > 0) add(&s, &flow[k], (double)flow[k].weight);
  solve(&s, parameters, p->a);
  double least = median_residual(p, flow, n, step);
  for (int k = 0; k < SAMPLES; k++) {
    sonde_planar other;
    fit_sample(&other, flow, n, &state);
    double median = median_residual(&other, flow, n, step);
    if (median < least) least = median, memcpy(p->a, other.a, sizeof p->a);
  }
}

sonde_planar sonde_planar_fit(const sonde_flow *flow, int n, const sonde_planar_opts *opts) {
  sonde_planar p = {.sigma = opts->floor};
  int parameters = opts->affine ? 6 : SONDE_PLANAR;
  double all = 0;
  for (int k = 0; k < n; k++) all += (double)flow[k].weight;
  if (!(all >= 2 * parameters)) return p;
  start(&p, flow, n, parameters);
  for (;;) {
    sums s;
    double before[SONDE_PLANAR], change = 0;
    p.median = median_residual(&p, flow, n, 1);
    p.sigma = fmax(TO_SIGMA * p.median, opts->floor);
    if (p.rounds == ROUNDS) return p;
    memset(&s, 0, sizeof s);
    memcpy(before, p.a, sizeof before);
    for (int k = 0; k < n; k++) {
      double w = flow[k].weight, far = residual(&p, &flow[k]) / (TUKEY * p.sigma);
      if (w > 0 && far < 1) add(&s, &flow[k], w * (1 - far * far) * (1 - far * far));
    }
    solve(&s, parameters, p.a);
    p.rounds++;
    for (int k = 0; k < parameters; k++) change = fmax(change, fabs(p.a[k] - before[k]));
    if (change < SETTLED) return p;
  }
}
