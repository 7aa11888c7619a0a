/* kind_activation.c - a kind of plugins in one file: its row, the checks of its functions, and its part of the kit.
 * Linked to the objects of the program, it makes a `sonde` that lists, describes, starts and tests activations. */
#include "activation.h"
#include "plugin/kind.h"
#include "plugin/kit.h"

#include <math.h>

static int check(const void *functions, sonde_error *err) {
  const test_activation *a = functions;
  return a->value ? 0 : sonde_fail(err, SONDE_EINVAL, "its test_activation has no value function");
}

/* ---- the kit ---- */

static const kit_place places[] = {{.text = "x from -1 to 1"}, {.text = "x from -100 to 100"}};

static const test_activation *functions(const kit *k) { return k->entry->plugin->functions; }

/* The j-th of 101 points of the place. */
static double point(const kit *k, int j) { return (j - 50) * (k->place ? 2 : 0.02); }

static int check_values(kit *k) {
  for (int j = 0; j <= 100; j++)
    if (!isfinite(functions(k)->value(point(k, j), k->values))) return kit_fail(k, "f(%g) is not finite", point(k, j));
  return SONDE_PASS;
}

static int check_slope(kit *k) {
  if (!functions(k)->slope) return kit_skip(k, "it has no slope");
  for (int j = 0; j <= 100; j++) {
    double x = point(k, j), h = 1e-5;
    double s = (functions(k)->value(x + h, k->values) - functions(k)->value(x - h, k->values)) / (2 * h);
    if (!(fabs(s - functions(k)->slope(x, k->values)) < 1e-4)) return kit_fail(k, "the slope at %g is %g", x, s);
  }
  return SONDE_PASS;
}

static int bits(kit *k, const sonde_value *values, uint64_t *all, sonde_error *err) {
  (void)err;
  for (int j = 0; j <= 100; j++) *all = kit_mix(*all, (uint64_t)(1e9 * functions(k)->value(point(k, j), values)));
  return 0;
}

static double ms(const kit *k) {
  volatile double sum = 0;
  double start = kit_now_ms();
  for (int j = 0; j < 1 << 20; j++) sum = sum + functions(k)->value(point(k, j % 101), k->values);
  return kit_now_ms() - start;
}

static const kit_named checks[] = {
    {"schema", check_schema, KIT_ONCE, 0},
    {"run", check_values, KIT_VARIANTS, 1},
    {"options", check_options, KIT_ONCE, 0},
    {"slope", check_slope, KIT_VARIANTS, 0},
    {NULL, NULL, KIT_ONCE, 0},
};

static const kit_kind kit_of = {
    .checks = checks, .place = places, .places = 2, .bits = bits, .ms = ms, .work = "2^20 values",
};

/* ---- the row ---- */

static const sonde_kind row = {
    .name = "activation",
    .doc = "a function of a number",
    .preset = "softplus",
    .functions = "test_activation",
    .size = sizeof(test_activation),
    .least = SONDE_SIZE_WITH(test_activation, value),
    .check = check,
    .kit = &kit_of,
};

__attribute__((constructor)) static void add(void) {
  sonde_error err = {0};
  sonde_kind_add(&row, &err);
}
