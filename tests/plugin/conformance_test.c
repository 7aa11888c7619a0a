/* conformance_test.c - the conformance kit over Sonde's own plugins and templates, which pass every check, and over
 * plugins that are broken on purpose, of which each is caught by the check that is made for it. */
#include "config.h"

#include <dirent.h>
#include "../base/testing.h"
#include "plugin/conformance.h"
#include "plugin/registry.h"

#if defined(__SANITIZE_ADDRESS__)
/* The sanitizer replaces malloc, so it alone finds what a plugin leaks of its own; and a sanitized process is slow to
 * fork, which the kit does for each check: one plugin of each kind must do. */
enum { SANITIZED = 1 };
#else
enum { SANITIZED = 0 };
#endif

static void conform(const char *path, int seconds, const char *only, sonde_conformance *out) {
  sonde_conform_opts opts = {.seconds = seconds, .only = only};
  sonde_error err = {0};
  if (sonde_conform(path, &opts, out, &err)) fail_msg("%s: %s", path, err.text);
}

static void passes(const char *path) {
  sonde_conformance c;
  conform(path, 0, NULL, &c);
  for (int k = 0; k < c.n; k++)
    if (c.check[k].outcome == SONDE_FAIL) fail_msg("%s: %s: %s", path, c.check[k].name, c.check[k].text);
  assert_true(c.n >= 9);
  assert_string_equal(c.check[0].name, "load");
  assert_string_equal(c.check[c.n - 1].name, "silent");
}

static void our_plugins_pass(void **state) {
  (void)state;
  sonde_error err = {0};
  sonde_ctx *ctx = sonde_ctx_new(1, &err);
  assert_non_null(ctx);
  sonde_registry *r = sonde_registry_of(ctx, &err);
  assert_non_null(r);
  assert_true(sonde_registry_count(r) >= 7);
  const char *kind = "";   /* entries are sorted by it */
  for (int64_t k = 0; k < sonde_registry_count(r); k++) {
    const sonde_entry *e = sonde_registry_at(r, k);
    if (e->skipped) fail_msg("%s", e->skipped);
    if (SANITIZED && !strcmp(e->kind, kind)) continue;
    kind = e->kind;
    passes(e->path);
  }
  sonde_ctx_free(ctx);
}

static void module_passes(const char *file) {
  char path[4000];
  snprintf(path, sizeof path, "%s/tests/plugin/modules/%s", getenv("abs_builddir"), file);
  passes(path);
}

static void modules_that_talk_pass_as_a_pair(void **state) {
  (void)state;
  module_passes("bounded.so");
}

static void larger_structs_are_taken_as_far_as_they_are_known(void **state) {
  (void)state;
  module_passes("larger.so");
}

static void the_templates_pass(void **state) {
  (void)state;
  char folder[3000], path[4000];
  int n = 0;
  snprintf(folder, sizeof folder, "%s/tests/plugin/template", getenv("abs_builddir"));
  DIR *d = opendir(folder);
  assert_non_null(d);
  for (struct dirent *e; (e = readdir(d));) {
    if (!strstr(e->d_name, ".so")) continue;
    snprintf(path, sizeof path, "%s/%s", folder, e->d_name);
    if (!SANITIZED) passes(path);
    n++;
  }
  closedir(d);
  assert_int_equal(n, 8);
}

typedef struct broken {
  const char *file, *check, *says;   /* says: a part of the finding */
  int alone;                         /* 1: no other check may fail */
} broken;

static const broken plugins[] = {
    {"wrong_major", "load", "2.0, this Sonde 1.4: the major numbers differ", 1},
    {"newer_minor", "load", "needs plugin interface 1.5, this Sonde has 1.4", 1},
    {"short_descriptor", "load", "set .size = sizeof(sonde_plugin)", 1},
    {"other_build", "load", "built for 'real=f64', this Sonde has 'real=f32'", 1},
    {"no_entry", "load", "exports no 'sonde_plugin_entry'", 1},
    {"missing_symbol", "load", "undefined symbol: sonde_silu_of_the_library", 1},
    {"no_functions", "load", "ffn 'no_functions': its sonde_module has no build function", 1},
    {"unknown_kind", "load", "unknown kind 'nrom'; did you mean 'norm'?", 1},
    {"bad_default", "load", "option 'eps' is 2.0; it takes: number, 0 to 1", 1},
    {"foreign_op", "load", "op 1 is called 'silu'", 1},
    {"dies_at_load", "load", "it crashed: Segmentation fault", 1},
    {"twin", "name", "norm 'rmsnorm' is there already, from ", 1},
    {"op_without_doc", "schema", "op 'op_without_doc.twice': its doc must be one line", 1},
    {"no_range", "schema", "option 'strength' is a number without a range", 1},
    {"crash_in_build", "build", "it crashed: Segmentation fault", 1},
    {"endless", "build", "it crashed: Segmentation fault", 1},
    {"exits", "build", "it ended the whole process (exit status 3)", 1},
    {"hangs", "build", "it hangs: no end after 2 seconds", 1},
    {"crash_in_run", "run", "it crashed: Segmentation fault", 1},
    {"wrong_shape", "shapes", "its result is f32 [1, 1]; it must have the shape of its input", 1},
    {"no_reason", "shapes", "it gave no result and no reason", 1},
    {"identity", "effect", "its result is its input", 1},
    {"idle_weight", "effect", "parameter 'bias' has no effect", 1},
    {"idle_option", "options", "option 'strength' has no effect", 1},
    {"wrong_gradient", "gradient", "right for a constant upstream gradient only", 0},
    {"one_column", "shapes", "for x [1, 1, 1] d/d(weight) is off by", 1},
    {"wide_tail", "shapes", "for x [2, 3, 512] d/d(", 1},
    {"late_rows", "shapes", "for x [2, 130, 64] d/d(", 1},
    {"odd_tail", "shapes", "for x [1, 1, 1] d/d(weight) is off by", 1},
    {"untrained_gain", "gradient", "'scale' moves the result, but gets no gradient", 1},
    {"leaks_over_batch", "batch", "sample 1 of the batch changes the result of sample 0", 1},
    {"grows_with_context", "batch", "the same tokens get one result among 3 samples of 70 and another among 2 of 5", 1},
    {"odd_context", "batch", "'up.weight' has another shape for 3 samples of 70 tokens than for 2 of 5", 1},
    {"no_gradient", "gradient", "op 'no_gradient.twice' has no gradient rule", 1},
    {"looks_ahead", "causal", "it looks ahead", 0},
    {"looks_ahead_last", "causal", "with slot = final: it looks ahead", 0},
    {"thread_dependent", "threads", "bits", 1},
    {"little_scratch", "run", "little_scratch.copy: a kernel sums 1 numbers over 10 rows of 24 with 0 bytes of scratch",
     0},
    {"lost_scale", "reload", "made anew in the same process, the module starts differently", 1},
    {"shared_state", "reload", "after another block was built", 1},
    {"overrun", "guards", "op 'overrun.twice' writes 20 bytes past the end of output 0", 1},
    {"reads_past", "guards", "op 'reads_past.smooth' reads outside its inputs", 0},
    {"adds_up", "guards", "does not overwrite its outputs", 0},
    {"wrong_bf16", "bf16", "past the end of bf16 output 0", 1},
    {"leaks", "leaks", "it loses memory", 1},
    {"swallows_nan", "nan", "it swallows NaN", 1},
    {"prints", "silent", "building for width", 1},
    {"climbs", "descent", "100 steps on a quadratic bowl", 1},
    {"moves_at_rest", "rest", "weights without gradient and weight decay move", 1},
    {"ignores_scale", "scale", "grad_scale", 1},
    {"ignores_scale_ahead", "scale", "with nesterov = true: grad_scale has no", 1},
    {"ignores_decay_whole", "decay", "weight_decay 0.1", 1},
    {"ignores_decay", "decay", "weight_decay 0.1", 1},
    {"own_rate", "rest", "a learning rate four times as high takes 1 times the step", 1},
    {"skips_head", "descent", "parameter = lm_head.weight", 0},
    {"large_tile", "tiles", "a tile of 20000 numbers gets other bits than tiles of 1000", 1},
    {"tile_dependent", "tiles", "how the parameter is cut into tiles", 0},
    {"hidden_state", "reload", "something is kept outside the states", 0},
    {"scratch_overrun", "guards", "it writes outside its scratch", 1},
    {"stale_scratch", "reload", "depends on what its scratch held before", 1},
    {"score_and_prune", "load", "its sonde_sparsity has both score and prune", 1},
    {"dead_inputs", "dead", "is not finite", 1},
    {"all_alike", "effect", "all weights have one score", 1},
    {"keeps_too_many", "pattern", "where 0.5 of them must be", 1},
    {"ungrouped", "pattern", "are kept, 2 of 4 may be", 1},
    {"forgets_sums", "gather", "it must add to the sum", 1},
    {"worker_scores", "threads", "other bits with 2 threads than with one", 0},
    {"moving_average", "reload", "something is kept outside the arguments", 0},
    {"outside_scores", "guards", "it writes outside the scores", 1},
    {"changes_weights", "guards", "it changes the weights that it is given", 0},
    {"leaks_scores", "leaks", "it loses memory", 1},
    {"counts_terms", "threads", "its bits depend on what was computed before", 0},
    {"leaks_terms", "leaks", "it loses memory", 1},
    {"state_overrun", "guards", "it writes past the end of momentum", 0},
};

static void each_broken_plugin_is_caught_by_its_check(void **state) {
  (void)state;
  char path[4000];
  for (size_t k = 0; k < sizeof plugins / sizeof plugins[0]; k++) {
    const broken *b = &plugins[k];
    sonde_conformance c;
    int caught = 0;
    if (SANITIZED && !strncmp(b->file, "leaks", 5) && !strcmp(b->check, "leaks")) continue;
    snprintf(path, sizeof path, "%s/tests/plugin/broken/%s.so", getenv("abs_builddir"), b->file);
    /* "silent" looks at all the others. */
    const char *only = SANITIZED && strcmp(b->check, "silent") ? b->check : NULL;
    conform(path, strcmp(b->file, "hangs") ? 0 : 2, only, &c);
    for (int j = 0; j < c.n; j++) {
      if (c.check[j].outcome != SONDE_FAIL) continue;
      if (!strcmp(c.check[j].name, b->check)) {
        caught = 1;
        if (!strstr(c.check[j].text, b->says))
          fail_msg("%s: %s says '%s', not '%s'", b->file, b->check, c.check[j].text, b->says);
      } else if (b->alone) fail_msg("%s: '%s' fails as well: %s", b->file, c.check[j].name, c.check[j].text);
    }
    if (!caught) fail_msg("%s is not caught by '%s'", b->file, b->check);
  }
}

static void one_check_can_be_asked_for(void **state) {
  (void)state;
  char path[4000];
  sonde_conformance c;
  sonde_error err = {0};
  sonde_conform_opts opts = {.only = "gradient"};
  snprintf(path, sizeof path, "%s/tests/plugin/broken/wrong_gradient.so", getenv("abs_builddir"));
  assert_int_equal(sonde_conform(path, &opts, &c, &err), 0);
  assert_int_equal(c.n, 2);
  assert_string_equal(c.check[1].name, "gradient");
  assert_int_equal(c.check[1].outcome, SONDE_FAIL);
  opts.only = "gradeint";
  assert_int_equal(sonde_conform(path, &opts, &c, &err), SONDE_EINVAL);
  assert_non_null(strstr(err.text, "did you mean 'gradient'?"));
}

static void options_reach_the_plugin(void **state) {
  (void)state;
  char path[4000];
  sonde_conformance c;
  sonde_error err = {0};
  const char *pair[] = {"strength=20"};
  sonde_conform_opts opts = {.pair = pair, .n_pair = 1};
  snprintf(path, sizeof path, "%s/tests/plugin/broken/idle_option.so", getenv("abs_builddir"));
  assert_int_equal(sonde_conform(path, &opts, &c, &err), 0);
  assert_int_equal(c.check[0].outcome, SONDE_FAIL);
  assert_non_null(strstr(c.check[0].text, "option 'strength' is 20.0; it takes: number, 0.1 to 10"));
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(our_plugins_pass),
      cmocka_unit_test(modules_that_talk_pass_as_a_pair),
      cmocka_unit_test(larger_structs_are_taken_as_far_as_they_are_known),
      cmocka_unit_test(the_templates_pass),
      cmocka_unit_test(each_broken_plugin_is_caught_by_its_check),
      cmocka_unit_test(one_check_can_be_asked_for),
      cmocka_unit_test(options_reach_the_plugin),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
