/* reference_test.c - the modules and optimizers that Sonde brings, against PyTorch's values (tests/reference/
 * make_plugins.py, which also says how the inputs are made). */
#include "config.h"

#include <jansson.h>
#include <math.h>
#include "../base/testing.h"
#include "base/mem.h"
#include "graph/graph.h"
#include "plugin/registry.h"

static sonde_ctx *ctx;
static sonde_registry *registry;
static json_t *reference;

static int setup(void **state) {
  sonde_error err = {0};
  char path[4000];
  (void)state;
  snprintf(path, sizeof path, "%s/tests/reference/plugins.json", getenv("abs_srcdir"));
  reference = json_load_file(path, 0, NULL);
  ctx = sonde_ctx_new(2, &err);
  registry = ctx ? sonde_registry_of(ctx, &err) : NULL;
  return !registry || !reference;
}

static int teardown(void **state) {
  (void)state;
  sonde_ctx_free(ctx);
  json_decref(reference);
  return 0;
}

static void wave(double start, float *x, int64_t n) {
  for (int64_t k = 0; k < n; k++) x[k] = (float)sin(start + 0.7 * (double)k);
}

static int64_t whole(const json_t *j, const char *key) { return json_integer_value(json_object_get(j, key)); }
static const char *text(const json_t *j, const char *key) { return json_string_value(json_object_get(j, key)); }
static double number(const json_t *list, int64_t k) { return json_number_value(json_array_get(list, (size_t)k)); }

/* Values of a list of numbers, within a relative error of their largest. */
static void same(const char *what, const float *got, const json_t *expected, double bound) {
  double size = 0;
  int64_t n = (int64_t)json_array_size(expected);
  assert_true(n > 0);
  for (int64_t k = 0; k < n; k++) size = fmax(size, fabs(number(expected, k)));
  for (int64_t k = 0; k < n; k++)
    if (!(fabs((double)got[k] - number(expected, k)) <= bound * size))
      fail_msg("%s: element %lld is %.9g, not %.9g", what, (long long)k, (double)got[k], number(expected, k));
}

static const sonde_entry *entry(const char *kind, const char *name) {
  sonde_error err = {0};
  const sonde_entry *e = sonde_registry_find(registry, kind, name, &err);
  if (!e) fail_msg("%s", err.text);
  return e;
}

static void one_module(const json_t *c) {
  sonde_error err = {0};
  sonde_shape s = {
      SONDE_F32, 3, {whole(reference, "batch"), whole(reference, "context"), whole(reference, "width"), 1, 1}};
  sonde_graph *g = sonde_graph_new(ctx, &err);
  sonde_params *params = sonde_params_new(1, &err);
  sonde_site_spec spec = {.graph = g, .params = params, .policy = sonde_policy_normal(0.02), .layer = 1, .depth = 1,
                          .slot = "attn", .prefix = "", .width = s.dim[2], .batch = s.dim[0], .context = s.dim[1]};
  sonde_site *site = sonde_site_new(&spec, &err);
  const sonde_entry *e = entry(text(c, "kind"), text(c, "name"));
  sonde_value *v = sonde_entry_values(e, json_object_get(c, "options"), &err);
  sonde_node *y = v ? sonde_entry_build(e, site, v, sonde_input(g, "x", &s)) : NULL;
  if (!y) sonde_graph_error(g, &err);
  if (!y) fail_msg("%s", err.text);

  const json_t *names = json_object_get(c, "params");
  assert_int_equal(sonde_params_count(params), json_array_size(names));
  for (size_t k = 0; k < json_array_size(names); k++) {
    const sonde_param *p = sonde_params_find(params, json_string_value(json_array_get(names, k)));
    assert_non_null(p);
    wave(0.5 + 13.0 * (double)k, sonde_tensor_write(p->value, NULL), sonde_shape_count(&p->value->shape));
  }
  float *x = sonde_alloc((size_t)sonde_shape_count(&s) * sizeof *x);
  wave(1, x, sonde_shape_count(&s));
  sonde_plan *plan = sonde_plan_new(g, &y, NULL, 1, NULL, &err);
  if (!plan || sonde_plan_set_input(plan, "x", x, &err) || sonde_plan_run(plan, &err)) fail_msg("%s", err.text);
  same(e->name, sonde_plan_output(plan, 0), json_object_get(c, "y"), 3e-6);
  sonde_plan_free(plan);
  sonde_release(x);
  sonde_release(v);
  sonde_site_free(site);
  sonde_graph_free(g);
  sonde_params_free(params);
}

static void modules_give_pytorchs_values(void **state) {
  (void)state;
  size_t k;
  json_t *c;
  assert_true(json_array_size(json_object_get(reference, "modules")) >= 12);
  json_array_foreach(json_object_get(reference, "modules"), k, c) one_module(c);
}

/* The case's parameter: its shape, and its role by the name that make_plugins.py gives it. */
static sonde_parameter parameter_of(const json_t *c) {
  static const struct { const char *name; int role;
  } roles[] = {
      {"gain", SONDE_ROLE_GAIN}, {"embed", SONDE_ROLE_EMBED}, {"head", SONDE_ROLE_HEAD}, {"ffn_in", SONDE_ROLE_FFN_IN}};
  const json_t *dims = json_object_get(c, "shape");
  sonde_parameter p = {sizeof p, -1, "weight", {SONDE_F32, (int32_t)json_array_size(dims), {1, 1, 1, 1, 1}}};
  for (int k = 0; k < p.shape.rank; k++) p.shape.dim[k] = (int64_t)number(dims, k);
  for (size_t k = 0; k < sizeof roles / sizeof *roles; k++)
    if (!strcmp(text(c, "role"), roles[k].name)) p.role = roles[k].role;
  assert_true(p.role >= 0);
  return p;
}

static void one_optimizer(const json_t *c) {
  enum { MOST = 64 };
  sonde_error err = {0};
  const sonde_parameter p = parameter_of(c);
  int64_t n = sonde_shape_count(&p.shape);
  assert_true(n <= MOST);
  float w[MOST], g[MOST], first[MOST] = {0}, second[MOST] = {0}, *state[2] = {first, second};
  _Alignas(64) static char scratch[1 << 16];
  const sonde_entry *e = entry("optimizer", text(c, "name"));
  const sonde_optimizer *o = sonde_entry_functions(e, "optimizer", &err);
  sonde_value *v = sonde_entry_values(e, json_object_get(c, "options"), &err);
  if (!v) fail_msg("%s", err.text);
  assert_true(o->states <= 2 && (!o->scratch || o->scratch(&p, v) <= (int64_t)sizeof scratch));
  wave(2, w, n);
  const json_t *steps = json_object_get(c, "w");
  for (size_t step = 0; step < json_array_size(steps); step++) {
    wave(3 + (double)step, g, n);
    for (int64_t k = 0; k < n; k++) g[k] *= 8;   /* grad_scale takes it back */
    sonde_update u = {.size = sizeof u,
                      .n = n,
                      .w = w,
                      .g = g,
                      .state = state,
                      .grad_scale = 0.125,
                      .lr = json_number_value(json_object_get(c, "lr")),
                      .weight_decay = json_number_value(json_object_get(c, "weight_decay")),
                      .step = (int64_t)step + 1,
                      .parameter = &p,
                      .scratch = scratch};
    o->update(&u, v);
    same(e->name, w, json_array_get(steps, step), 1e-6);
  }
  sonde_release(v);
}

static void optimizers_give_pytorchs_weights(void **state) {
  (void)state;
  size_t k;
  json_t *c;
  assert_true(json_array_size(json_object_get(reference, "optimizers")) >= 22);
  json_array_foreach(json_object_get(reference, "optimizers"), k, c) one_optimizer(c);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(modules_give_pytorchs_values),
      cmocka_unit_test(optimizers_give_pytorchs_weights),
  };
  return cmocka_run_group_tests(tests, setup, teardown);
}
