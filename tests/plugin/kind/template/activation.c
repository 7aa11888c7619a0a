/* template.c - ln(1 + e^(b x)) / b */
#include <math.h>

#include "activation.h"

static const sonde_option options[] = {{"beta", 'f', "1", 0.01, 100, NULL, "how sharp the bend is"}};

static double value(double x, const sonde_value *opt) {
  double b = opt[0].f;
  return fmax(x, 0) + log1p(exp(-fabs(b * x))) / b;
}

#ifndef FIRST_RELEASE
static double slope(double x, const sonde_value *opt) { return 1 / (1 + exp(-opt[0].f * x)); }
static const test_activation functions = {sizeof functions, value, slope};
#else
static const struct { uint32_t size; double (*value)(double, const sonde_value *); uint64_t garbage; } functions = {
    offsetof(test_activation, slope), value, 0x0bad0bad0bad0badu};
#endif

static const sonde_plugin plugin = {
    .abi_major = SONDE_ABI_MAJOR,
    .abi_minor = SONDE_ABI_MINOR,
    .size = sizeof plugin,
    .name = "template",
    .kind = "activation",
    .version = "0.1",
    .build = SONDE_BUILD,
    .summary = "ln(1 + e^(beta x)) / beta",
    .citation = "Dugas et al., 2000",
    .options = options,
    .n_options = sizeof options / sizeof options[0],
    .functions = &functions,
};
SONDE_PLUGIN(plugin)
