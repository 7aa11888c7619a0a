/* registry_test.c - what is registered and how it is found, what a site gives and refuses, modules that talk. */
#include "config.h"

#include <math.h>
#include <sys/stat.h>
#include "../base/testing.h"
#include "base/mem.h"
#include "graph/graph.h"
#include "plugin/registry.h"

static sonde_ctx *ctx;
static sonde_registry *registry;

static int setup(void **state) {
  sonde_error err = {0};
  (void)state;
  ctx = sonde_ctx_new(1, &err);
  registry = ctx ? sonde_registry_of(ctx, &err) : NULL;
  return registry == NULL;
}

static int teardown(void **state) {
  (void)state;
  sonde_ctx_free(ctx);
  return 0;
}

static const char *built(const char *file) {
  static char path[4000];
  snprintf(path, sizeof path, "%s/tests/plugin/%s", getenv("abs_builddir"), file);
  return path;
}

static const sonde_entry *entry(const char *kind, const char *name) {
  sonde_error err = {0};
  const sonde_entry *e = sonde_registry_find(registry, kind, name, &err);
  if (!e) fail_msg("%s", err.text);
  return e;
}

/* ---- registry ------------------------------------------------------------------------------------------------ */

static void the_search_path_is_listed_in_order(void **state) {
  (void)state;
  static const char *const expected[] = {"attention/causal", "ffn/mlp",         "ffn/swiglu",   "norm/layernorm",
                                         "norm/rmsnorm",     "optimizer/adamw", "optimizer/sgd"};
  size_t seen = 0;
  char name[200], last[200] = "";
  for (int64_t k = 0; k < sonde_registry_count(registry); k++) {
    const sonde_entry *e = sonde_registry_at(registry, k);
    snprintf(name, sizeof name, "%s/%s", e->kind, e->name);
    if (!e->skipped) assert_true(strcmp(last, name) < 0);
    if (seen < 7 && !strcmp(name, expected[seen])) seen++;
    strcpy(last, name);
  }
  assert_int_equal(seen, 7);
  assert_ptr_equal(sonde_registry_of(ctx, NULL), registry);
}

static void a_name_that_is_not_there_gets_a_hint(void **state) {
  (void)state;
  sonde_error err = {0};
  assert_null(sonde_registry_find(registry, "norm", "rmsnrom", &err));
  assert_int_equal(err.code, SONDE_ENOENT);
  assert_string_equal(err.text, "unknown norm 'rmsnrom'; did you mean 'rmsnorm'?");
  assert_null(sonde_registry_find(registry, "norm", "swiglu", &err));
  assert_non_null(strstr(err.text, "unknown norm 'swiglu'; there are: "));
  assert_null(sonde_registry_find(registry, "backend", "cpu", &err));
  assert_non_null(strstr(err.text, "there are: none"));
  assert_ptr_equal(sonde_registry_find(registry, NULL, "adamw", &err), entry("optimizer", "adamw"));
}

static void a_second_of_one_name_is_refused_with_both_paths(void **state) {
  (void)state;
  sonde_error err = {0};
  int64_t before = sonde_registry_count(registry);
  assert_int_equal(sonde_registry_load(registry, built("broken/twin.so"), NULL, &err), SONDE_EINVAL);
  assert_non_null(strstr(err.text, "broken/twin.so: norm 'rmsnorm' is there already, from "));
  assert_non_null(strstr(err.text, entry("norm", "rmsnorm")->path));
  assert_int_equal(sonde_registry_count(registry), before);
  const sonde_entry *again = NULL;
  assert_int_equal(sonde_registry_load(registry, entry("norm", "rmsnorm")->path, &again, &err), 0);
  assert_ptr_equal(again, entry("norm", "rmsnorm"));
}

/* Copies of files, so that the folder holds what the test says. */
static void copy_to(const char *folder, const char *file) {
  char *data, to[4000];
  int64_t size;
  sonde_error err = {0};
  assert_int_equal(sonde_file_read(built(file), 0, &data, &size, &err), 0);
  snprintf(to, sizeof to, "%s%s", folder, strrchr(file, '/'));
  assert_int_equal(sonde_file_write(to, data, size, &err), 0);
  sonde_release(data);
}

static void a_folder_with_bad_files_is_loaded_around_them(void **state) {
  (void)state;
  char folder[200], path[300];
  sonde_error err = {0};
  test_folder(folder, sizeof folder);
  copy_to(folder, "broken/wrong_major.so");
  copy_to(folder, "broken/idle_option.so");
  snprintf(path, sizeof path, "%s/text.so", folder);
  assert_int_equal(sonde_file_write(path, "no ELF", 6, &err), 0);
  snprintf(path, sizeof path, "%s/README", folder);
  assert_int_equal(sonde_file_write(path, "no plugin", 9, &err), 0);

  sonde_ctx *own = sonde_ctx_new(1, &err);
  sonde_registry *r = sonde_registry_new(own, &err);
  assert_int_equal(sonde_registry_load_folder(r, folder, &err), 0);
  assert_int_equal(sonde_registry_load_folder(r, folder, &err), 0);   /* nothing twice */
  assert_int_equal(sonde_registry_count(r), 3);
  assert_null(sonde_registry_at(r, 0)->skipped);
  assert_string_equal(sonde_registry_at(r, 0)->name, "idle_option");
  assert_non_null(strstr(sonde_registry_at(r, 1)->skipped, "is no shared object that can be loaded"));
  assert_non_null(strstr(sonde_registry_at(r, 2)->skipped, "plugin interface 2.0"));
  assert_null(sonde_registry_find(r, "norm", "wrong_major", &err));
  assert_non_null(strstr(err.text, "there is no norm 'wrong_major'; a file of that name was skipped: "));
  assert_int_equal(sonde_registry_load_folder(r, "/nonexistent/plugins", &err), SONDE_ENOENT);
  sonde_ctx_free(own);
  test_folder_drop(folder);
}

/* Cut anywhere: in the headers, in a segment, before the section headers. One that dlopen maps past its end kills. */
static void a_plugin_cut_short_is_refused(void **state) {
  (void)state;
  char folder[200], path[300], *data;
  int64_t size;
  sonde_error err = {0};
  snprintf(path, sizeof path, "%s/cut.so", test_folder(folder, sizeof folder));
  assert_int_equal(sonde_file_read(built("broken/idle_option.so"), 0, &data, &size, &err), 0);
  for (int64_t n = 0; n < size; n += n < 1024 ? 61 : size / 64 + 1) {
    assert_int_equal(sonde_file_write(path, data, n, &err), 0);
    assert_int_equal(sonde_registry_load(registry, path, NULL, &err), SONDE_EFORMAT);
    const char *says = n < 64 ? "is no shared object that can be loaded" : "is cut short";
    if (!strstr(err.text, says)) fail_msg("of %lld bytes %lld: %s", (long long)size, (long long)n, err.text);
  }
  assert_int_equal(sonde_file_write(path, data, size - 1, &err), 0);
  assert_int_equal(sonde_registry_load(registry, path, NULL, &err), SONDE_EFORMAT);
  assert_non_null(strstr(err.text, "is cut short"));
  assert_int_equal(remove(path), 0);
  assert_int_equal(mkfifo(path, 0600), 0);
  assert_int_equal(sonde_registry_load(registry, path, NULL, &err), SONDE_EINVAL);
  assert_non_null(strstr(err.text, "it is a pipe"));
  sonde_release(data);
  test_folder_drop(folder);
}

static void a_scripts_module_stands_beside_the_others(void **state) {
  (void)state;
  sonde_error err = {0};
  sonde_option option = {"strength", 'f', "0.5", 0, 1, NULL, "how much"};
  sonde_entry e = {.kind = "norm", .name = "mine", .version = "1.0", .summary = "a norm of a script", .citation = "",
                   .path = "x.lua:3", .language = "lua", .options = &option, .n_options = 1, .handle = 42};
  const sonde_entry *made = NULL;
  assert_int_equal(sonde_registry_add(registry, &e, &made, &err), 0);
  option.name = "gone";
  assert_ptr_equal(entry("norm", "mine"), made);
  assert_string_equal(made->options[0].name, "strength");
  assert_int_equal(made->handle, 42);
  option.name = "strength";
  assert_int_equal(sonde_registry_add(registry, &e, &made, &err), SONDE_EINVAL);
  assert_string_equal(err.text, "norm 'mine' is there already, from x.lua:3; give one of them another name");
  e.name = "other";
  option.preset = "7";
  assert_int_equal(sonde_registry_add(registry, &e, &made, &err), SONDE_EINVAL);
  e.kind = "optimizer";
  assert_int_equal(sonde_registry_add(registry, &e, &made, &err), SONDE_EINVAL);
  assert_non_null(strstr(err.text, "is no kind of module"));
}

static void an_entry_describes_itself(void **state) {
  (void)state;
  json_t *j = sonde_entry_json(entry("ffn", "mlp"));
  assert_non_null(j);
  assert_string_equal(json_string_value(json_object_get(j, "status")), "loaded");
  json_t *o = json_array_get(json_object_get(j, "options"), 1);
  assert_string_equal(json_string_value(json_object_get(o, "name")), "activation");
  assert_string_equal(json_string_value(json_object_get(o, "takes")),
                      "one of silu, gelu, gelu_tanh, quick_gelu, relu, relu2, tanh, sigmoid, linear, mish, gelu_10");
  json_decref(j);
  j = sonde_entry_json(entry("norm", "dyt"));
  assert_non_null(j);
  assert_string_equal(json_string_value(json_array_get(json_object_get(j, "ops"), 0)), "dyt.forward");
  json_decref(j);
}

/* ---- sites --------------------------------------------------------------------------------------------------- */

typedef struct place {
  sonde_graph *g;
  sonde_params *params;
  sonde_block *block;
  sonde_node *x;
} place;

static place place_make(int64_t width) {
  sonde_error err = {0};
  sonde_shape s = {SONDE_F32, 3, {2, 3, width, 1, 1}};
  place p = {sonde_graph_new(ctx, &err), sonde_params_new(1, &err), sonde_block_new(&err), NULL};
  p.x = sonde_input(p.g, "x", &s);
  assert_non_null(p.x);
  return p;
}

static void place_drop(place *p) {
  sonde_graph_free(p->g);
  sonde_params_free(p->params);
  sonde_block_free(p->block);
}

static sonde_site *site_at(place *p, const char *slot, const char *prefix) {
  sonde_error err = {0};
  sonde_shape s = sonde_node_shape(p->x);
  sonde_site_spec spec = {.graph = p->g, .params = p->params, .policy = sonde_policy_normal(0.02), .block = p->block,
                          .layer = 3, .depth = 6, .slot = slot, .prefix = prefix, .width = s.dim[2],
                          .batch = s.dim[0], .context = s.dim[1]};
  spec.policy.init[SONDE_ROLE_ATTN_OUT] = (sonde_init){SONDE_INIT_NORMAL, 0.005, 0};
  sonde_site *site = sonde_site_new(&spec, &err);
  assert_non_null(site);
  return site;
}

/* Builds a module at its place; NULL with the graph's error in text. */
static sonde_node *build(place *p, const char *kind, const char *name, const char *slot, const char *prefix,
                         json_t *options, sonde_node *x, sonde_error *err) {
  sonde_site *site = site_at(p, slot, prefix);
  const sonde_entry *e = entry(kind, name);
  sonde_value *v = sonde_entry_values(e, options, err);
  assert_non_null(v);
  sonde_node *y = sonde_entry_build(e, site, v, x);
  if (!y) sonde_graph_error(p->g, err);
  sonde_release(v);
  sonde_site_free(site);
  json_decref(options);
  return y;
}

static void parameters_bear_the_names_and_shapes_of_llama(void **state) {
  (void)state;
  static const struct { const char *name; int64_t rows, cols; int role; } expected[] = {
      {"model.layers.2.input_layernorm.weight", 8, 1, SONDE_ROLE_GAIN},
      {"model.layers.2.self_attn.q_proj.weight", 16, 8, SONDE_ROLE_QK},
      {"model.layers.2.self_attn.k_proj.weight", 8, 8, SONDE_ROLE_QK},
      {"model.layers.2.self_attn.v_proj.weight", 8, 8, SONDE_ROLE_V},
      {"model.layers.2.self_attn.o_proj.weight", 8, 16, SONDE_ROLE_ATTN_OUT},
      {"model.layers.2.mlp.gate_proj.weight", 24, 8, SONDE_ROLE_FFN_IN},
      {"model.layers.2.mlp.up_proj.weight", 24, 8, SONDE_ROLE_FFN_IN},
      {"model.layers.2.mlp.down_proj.weight", 8, 24, SONDE_ROLE_FFN_OUT},
  };
  sonde_error err = {0};
  place p = place_make(8);
  sonde_node *y = build(&p, "norm", "rmsnorm", "attn", "model.layers.2.input_layernorm.", NULL, p.x, &err);
  y = build(&p, "attention", "causal", "attention", "model.layers.2.self_attn.",
            json_pack("{s:i, s:i, s:i}", "heads", 4, "kv_heads", 2, "head_dim", 4), y, &err);
  y = build(&p, "ffn", "swiglu", "ffn", "model.layers.2.mlp.", NULL, y, &err);
  if (!y) fail_msg("%s", err.text);
  assert_int_equal(sonde_params_count(p.params), 8);
  for (int k = 0; k < 8; k++) {
    const sonde_param *q = sonde_params_at(p.params, k);
    sonde_shape s = sonde_tensor_shape(q->value);
    assert_string_equal(q->name, expected[k].name);
    assert_true(s.dim[0] == expected[k].rows && s.dim[1] == expected[k].cols);
    assert_int_equal(q->role, expected[k].role);
    assert_int_equal(q->block, 2);
    assert_true(q->init.kind == (q->role == SONDE_ROLE_GAIN ? SONDE_INIT_FILL : SONDE_INIT_NORMAL));
    assert_true(q->init.a == (q->role == SONDE_ROLE_GAIN ? 1 : q->role == SONDE_ROLE_ATTN_OUT ? 0.005 : 0.02));
  }
  place_drop(&p);
}

static void a_parameter_is_one_leaf_and_keeps_its_shape(void **state) {
  (void)state;
  sonde_error err = {0};
  place p = place_make(8);
  sonde_site *site = site_at(&p, "attn", "n.");
  sonde_site_enter(site, "norm", "mine");
  int64_t eight = 8, nine = 9, none = 0;
  sonde_node *a = sonde_site_param(site, "weight", &eight, 1, SONDE_ROLE_GAIN, 1);
  assert_non_null(a);
  assert_ptr_equal(sonde_site_param(site, "weight", &eight, 1, SONDE_ROLE_GAIN, 1), a);
  assert_ptr_equal(sonde_find(p.g, "n.weight"), a);
  assert_null(sonde_site_param(site, "weight", &nine, 1, SONDE_ROLE_GAIN, 1));
  assert_int_equal(sonde_graph_error(p.g, &err), SONDE_EINVAL);
  assert_string_equal(
      err.text, "block 2, norm 'attn' (mine): parameter 'n.weight' is f32 [8]; here it is asked for as f32 [9]");
  sonde_site_free(site);
  place_drop(&p);

  p = place_make(8);
  site = site_at(&p, "final", "n.");
  sonde_site_enter(site, "norm", "mine");
  assert_null(sonde_site_param(site, "weight", &none, 1, SONDE_ROLE_GAIN, 1));
  sonde_graph_error(p.g, &err);
  assert_string_equal(err.text,
                      "block 2, norm 'final' (mine): parameter 'n.weight': dim 1 is 0; it must be at least 1");
  sonde_site_free(site);
  place_drop(&p);
}

static void refusals_say_where(void **state) {
  (void)state;
  sonde_error err = {0};
  place p = place_make(10);
  assert_null(build(&p, "attention", "causal", "attention", "a.", json_pack("{s:i}", "heads", 4), p.x, &err));
  assert_string_equal(
      err.text,
      "block 2, attention (causal): the width 10 is no multiple of heads 4; choose other heads, or set head_dim");
  place_drop(&p);

  p = place_make(10);
  assert_null(build(&p, "attention", "causal", "attention", "a.", json_pack("{s:i}", "heads", 2), p.x, &err));
  assert_string_equal(err.text,
                      "block 2, attention (causal): the head width 5 is odd; rotary positions need an even one");
  place_drop(&p);

  p = place_make(8);
  int64_t flat[2] = {6, 8};
  assert_null(build(&p, "norm", "rmsnorm", "ffn", "n.", NULL, sonde_reshape(p.x, flat, 2), &err));
  assert_string_equal(err.text, "block 2, norm 'ffn' (rmsnorm): its input is f32 [6, 8]; here it must be [2, 3, 8]");
  place_drop(&p);
}

/* ---- modules that talk --------------------------------------------------------------------------------------- */

static const float *values_of(place *p, const char *name) {
  return sonde_tensor_write(sonde_params_find(p->params, name)->value, NULL);
}

/* |W_o W_v|^2 */
static double product_norm(const float *wo, const float *wv, int64_t d) {
  double sum = 0;
  for (int64_t i = 0; i < d; i++)
    for (int64_t j = 0; j < d; j++) {
      double s = 0;
      for (int64_t k = 0; k < d; k++) s += (double)wo[i * d + k] * (double)wv[k * d + j];
      sum += s * s;
    }
  return sum;
}

static void modules_of_a_block_find_each_other_by_name(void **state) {
  (void)state;
  enum { D = 8, N = 2 * 3 * D };
  sonde_error err = {0};
  assert_int_equal(sonde_registry_load(registry, built("modules/bounded.so"), NULL, &err), 0);
  place p = place_make(D);
  sonde_node *h = build(&p, "norm", "bounded", "attn", "n1.", NULL, p.x, &err);
  h = build(&p, "attention", "causal", "attention", "a.", json_pack("{s:i}", "heads", 2), h, &err);
  sonde_node *r = sonde_add(p.x, h), *y = build(&p, "norm", "bounded", "ffn", "n2.", NULL, r, &err);
  if (!y) fail_msg("%s", err.text);
  sonde_node *out[2] = {y, r};
  float x[N];
  for (int k = 0; k < N; k++) x[k] = (float)sin(1 + k);
  sonde_params_init(p.params, ctx);
  sonde_plan *plan = sonde_plan_new(p.g, out, NULL, 2, NULL, &err);
  assert_non_null(plan);
  assert_int_equal(sonde_plan_set_input(plan, "x", x, &err), 0);
  assert_int_equal(sonde_plan_run(plan, &err), 0);
  const float *got = sonde_plan_output(plan, 0), *in = sonde_plan_output(plan, 1);
  double c = product_norm(values_of(&p, "a.o_proj.weight"), values_of(&p, "a.v_proj.weight"), D) / (3 * D);
  for (int t = 0; t < N / D; t++) {
    double s = 0;
    for (int k = 0; k < D; k++) s += (double)x[t * D + k] * (double)x[t * D + k] / D;
    for (int k = 0; k < D; k++)
      assert_true(fabs((double)got[t * D + k] - tanh(0.1 * (double)in[t * D + k] / sqrt(s + c + 1e-6))) < 1e-6);
  }
  sonde_plan_free(plan);
  place_drop(&p);

  p = place_make(D);
  assert_null(build(&p, "norm", "bounded", "ffn", "n2.", NULL, p.x, &err));
  assert_non_null(strstr(err.text, "block 2, norm 'ffn' (bounded): it needs itself in front of the attention"));
  place_drop(&p);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(the_search_path_is_listed_in_order),
      cmocka_unit_test(a_name_that_is_not_there_gets_a_hint),
      cmocka_unit_test(a_second_of_one_name_is_refused_with_both_paths),
      cmocka_unit_test(a_folder_with_bad_files_is_loaded_around_them),
      cmocka_unit_test(a_plugin_cut_short_is_refused),
      cmocka_unit_test(a_scripts_module_stands_beside_the_others),
      cmocka_unit_test(an_entry_describes_itself),
      cmocka_unit_test(parameters_bear_the_names_and_shapes_of_llama),
      cmocka_unit_test(a_parameter_is_one_leaf_and_keeps_its_shape),
      cmocka_unit_test(refusals_say_where),
      cmocka_unit_test(modules_of_a_block_find_each_other_by_name),
  };
  return cmocka_run_group_tests(tests, setup, teardown);
}
