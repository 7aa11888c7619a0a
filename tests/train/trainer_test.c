/* trainer_test.c - the trainer: what must not change a result (threads, events, restarts, recomputation), evaluation,
 * divergence, stopping, budgets, and checkpoints that meet a full disk or come back damaged. */
#include "tiny.h"

#include "graph/refresh.h"
#include "io/json.h"

#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

static char root[] = "/tmp/sonde-train-XXXXXX";

static int setup(void **state) {
  (void)state;
  signal(SIGXFSZ, SIG_IGN);
  return mkdtemp(root) == NULL;
}

static int teardown(void **state) {
  sonde_error err;
  (void)state;
  return sonde_remove_tree(root, &err);
}

static const char *in_root(const char *name) {
  static char path[512];
  snprintf(path, sizeof path, "%s/%s", root, name);
  return path;
}

static sonde_run *open_run(const char *name) {
  sonde_error err = {0};
  sonde_run *r = sonde_run_open(root, name, &err);
  if (!r) fail_msg("%s", err.text);
  return r;
}

static void state_of(const tiny *m, char hex[65]) { assert_int_equal(sonde_params_sha256(m->params, hex), 0); }

/* Trains a new model as `change` asks (NULL: plainly); hex is the SHA-256 of its weights. */
static sonde_train_event train_with(int threads, void (*change)(sonde_trainer_opts *), char hex[65]) {
  tiny m;
  tiny_make(&m, threads, 4);
  if (change) change(&m.opts);
  sonde_trainer *t = tiny_trainer(&m);
  sonde_train_event e = tiny_train(t, NULL);
  e.block_norm = e.variance = NULL;
  state_of(&m, hex);
  sonde_trainer_free(t);
  tiny_free(&m);
  return e;
}

static void recompute_all(sonde_trainer_opts *o) { o->recompute = 2; }
static void quiet(sonde_trainer_opts *o) { o->log_every = 0, o->eval_every = 3, o->tick_seconds = 1e-9; }
static void in_bf16(sonde_trainer_opts *o) { o->compute = SONDE_BF16; }

static void bits_do_not_depend_on_threads_events_or_recomputation(void **state) {
  char plain[65], other[65];
  (void)state;
  sonde_train_event a = train_with(1, NULL, plain), b = train_with(3, NULL, other);
  assert_string_equal(plain, other);
  assert_true(a.val_loss == b.val_loss && a.loss == b.loss);
  train_with(2, quiet, other);
  assert_string_equal(plain, other);
  train_with(2, recompute_all, other);
  assert_string_equal(plain, other);
}

static void bf16_trains_too_with_its_own_bits(void **state) {
  char plain[65], a[65], b[65];
  (void)state;
  sonde_train_event f = train_with(2, NULL, plain), e = train_with(1, in_bf16, a);
  train_with(2, in_bf16, b);
  assert_string_equal(a, b);
  assert_string_not_equal(a, plain);
  assert_true(fabs(e.val_loss - f.val_loss) < 0.05);
  assert_true(e.val_loss < 3.5);                         /* the start is ln 61 = 4.1 */
}

static void steps_allocate_nothing(void **state) {
  (void)state;
  tiny m;
  sonde_error err = {0};
  sonde_train_event e = {0};
  tiny_make(&m, 2, 2);
  m.opts.accumulate = 2;
  m.opts.eval_every = 4;
  sonde_trainer *t = tiny_trainer(&m);
  while (e.step < 5) assert_int_equal(sonde_trainer_run(t, &e, &err), SONDE_OK);   /* each plan has run once */
  sonde_alloc_fail_at(1);
  while (e.step < 20) assert_int_equal(sonde_trainer_run(t, &e, &err), SONDE_OK);
  sonde_alloc_fail_at(0);
  sonde_trainer_free(t);
  tiny_free(&m);
}

static void each_allocation_may_fail(void **state) {
  (void)state;
  sonde_trainer *t = NULL;
  int64_t nth = 0;
  while (!t) {
    tiny m;
    sonde_error err = {0};
    tiny_make(&m, 1, 2);
    m.opts.accumulate = 2;
    sonde_alloc_fail_at(++nth);
    t = sonde_trainer_new(m.ctx, &m.opts, &err);
    sonde_alloc_fail_at(0);
    if (!t) assert_int_equal(err.code, SONDE_ENOMEM);
    sonde_trainer_free(t);
    tiny_free(&m);
  }
  assert_true(nth > 100);
  assert_int_equal(sonde_alloc_live(), 0);
}

/* ---- buffers --------------------------------------------------------------------------------------------- */

/* A buffer that follows the squares of one matrix every third update, and that the loss reads. */
static float *add_buffer(tiny *m) {
  const int64_t one = 1;
  sonde_error err = {0};
  sonde_shape shape = sonde_shape_make(SONDE_F32, 1, &one);
  const sonde_param *p = sonde_params_need(m->params, "squares", &shape, SONDE_ROLE_BUFFER,
                                           (sonde_init){SONDE_INIT_FILL, 7, 0}, 0, &err);
  sonde_node *buffer = sonde_leaf(m->graph, "squares", p->value);
  sonde_node *value = sonde_reshape(sonde_sum_all(sonde_square(sonde_find(m->graph, "blocks.0.o"))), &one, 1);
  assert_int_equal(sonde_refresh_declare(buffer, value, 3, &err), SONDE_OK);
  m->opts.loss = sonde_add(m->loss, sonde_scale(buffer, 0.01));
  return sonde_tensor_data(p->value);
}

static double squares(const tiny *m) {
  const float *w = sonde_tensor_data(sonde_params_find(m->params, "blocks.0.o")->value);
  double sum = 0;
  for (int k = 0; k < WIDTH * WIDTH; k++) sum += (double)w[k] * w[k];
  return sum;
}

static void buffers_follow_the_weights_now_and_then(void **state) {
  (void)state;
  tiny m;
  sonde_error err = {0};
  sonde_train_event e = {0};
  double due = 0;
  tiny_make(&m, 2, 4);
  float *buffer = add_buffer(&m);
  sonde_trainer *t = tiny_trainer(&m);
  assert_true(fabs(*buffer - squares(&m)) < 1e-6 * *buffer);
  while (e.step < 8) {
    due = e.step % 3 == 0 ? squares(&m) : due;
    assert_true(fabs(*buffer - due) < 1e-6 * due);
    assert_int_equal(sonde_trainer_run(t, &e, &err), SONDE_OK);
  }
  assert_true(fabs(due / squares(&m) - 1) > 1e-4);
  sonde_trainer_free(t);
  tiny_free(&m);
}

/* ---- evaluation ------------------------------------------------------------------------------------------ */

/* The mean over all predicted tokens, one window after the other, by the model traced for single rows. */
static double naive_validation(int64_t windows, int64_t *tokens) {
  tiny m;
  sonde_error err = {0};
  double sum = 0;
  tiny_make(&m, 1, 1);
  sonde_plan *plan = sonde_plan_new(m.graph, &m.loss, NULL, 1, NULL, &err);
  *tokens = 0;
  for (int64_t w = 0; w < windows; w++) {
    int32_t in[CONTEXT] = {0}, target[CONTEXT];
    int64_t n = 0;
    for (int k = 0; k < CONTEXT; k++) {
      int64_t at = w * CONTEXT + k;
      target[k] = at + 1 < VALID ? m.valid_text[at + 1] : SONDE_IGNORE;
      in[k] = at + 1 < VALID ? m.valid_text[at] : 0;
      n += at + 1 < VALID;
    }
    sonde_plan_set_input(plan, "tokens", in, &err);
    sonde_plan_set_input(plan, "targets", target, &err);
    assert_int_equal(sonde_plan_run(plan, &err), SONDE_OK);
    for (int64_t k = 0; k < n; k++) sum += ((const float *)sonde_plan_output(plan, 0))[k];
    *tokens += n;
  }
  sonde_plan_free(plan);
  tiny_free(&m);
  return sum / (double)*tokens;
}

static void evaluation_is_the_mean_over_predicted_tokens(void **state) {
  (void)state;
  const struct { int64_t eval_tokens, windows, tokens; } cases[] = {
      {0, 25, VALID - 1}, {1, 1, CONTEXT}, {80, 5, 80}, {81, 6, 96}, {100000, 25, VALID - 1}};
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    tiny m;
    double loss;
    int64_t tokens, expected;
    sonde_error err = {0};
    tiny_make(&m, 2, 4);
    m.opts.eval_tokens = cases[i].eval_tokens;
    sonde_trainer *t = tiny_trainer(&m);
    assert_int_equal(sonde_trainer_evaluate(t, &loss, &tokens, &err), SONDE_OK);
    double want = naive_validation(cases[i].windows, &expected);
    assert_int_equal(expected, cases[i].tokens);
    assert_int_equal(tokens, expected);
    assert_true(fabs(loss - want) < 1e-6 * want);
    sonde_trainer_free(t);
    tiny_free(&m);
  }
}

/* ---- ends ---------------------------------------------------------------------------------------------- */

static void divergence_is_an_event_and_changes_nothing(void **state) {
  (void)state;
  tiny m;
  char before[65], after[65];
  tiny_make(&m, 2, 4);
  float *w = sonde_tensor_data(sonde_params_find(m.params, "blocks.1.o")->value);
  w[3] = INFINITY;
  state_of(&m, before);
  sonde_trainer *t = tiny_trainer(&m);
  sonde_train_event e = tiny_train(t, NULL);
  assert_true(e.what & SONDE_TRAIN_DIVERGED);
  assert_int_equal(e.step, 0);
  assert_non_null(strstr(e.reason, "step 1"));
  state_of(&m, after);
  assert_string_equal(before, after);
  sonde_trainer_free(t);
  tiny_free(&m);
}

static void a_loss_over_its_bound_has_diverged(void **state) {
  (void)state;
  tiny m;
  tiny_make(&m, 2, 4);
  m.opts.schedule.lr = 10;                                /* climbs within a few steps */
  m.opts.loss_bound = 6;
  sonde_trainer *t = tiny_trainer(&m);
  sonde_train_event e = tiny_train(t, NULL);
  assert_true(e.what & SONDE_TRAIN_DIVERGED);
  assert_true(e.step > 0 && e.step < 20);
  assert_non_null(strstr(e.reason, "bound of 6"));
  sonde_trainer_free(t);
  tiny_free(&m);
}

static void what_does_not_fit_the_budget_is_refused_with_figures(void **state) {
  (void)state;
  const int64_t budgets[] = {1000, 250000};               /* too little for the weights; for the activations */
  for (int k = 0; k < 2; k++) {
    tiny m;
    sonde_error err = {0};
    tiny_make(&m, 1, 4);
    m.opts.memory_budget = budgets[k];
    assert_null(sonde_trainer_new(m.ctx, &m.opts, &err));
    assert_int_equal(err.code, SONDE_ELIMIT);
    assert_non_null(strstr(err.text, "memory of 0."));
    tiny_free(&m);
  }
}

static void a_parameter_that_is_not_traced_is_named(void **state) {
  (void)state;
  tiny m;
  int64_t n = 4;
  sonde_error err = {0};
  sonde_shape shape = sonde_shape_make(SONDE_F32, 1, &n);
  tiny_make(&m, 1, 4);
  sonde_params_need(m.params, "stray", &shape, SONDE_ROLE_OTHER, (sonde_init){SONDE_INIT_FILL, 0, 0}, -1, &err);
  assert_null(sonde_trainer_new(m.ctx, &m.opts, &err));
  assert_non_null(strstr(err.text, "'stray'"));
  tiny_free(&m);
}

/* ---- runs: stopping, resuming, disks -------------------------------------------------------------------- */

static volatile int stop;

/* Trains in run folder `name`, stopping after the step `stop_at` (0: not at all). */
static sonde_train_event train_in(const char *name, int64_t stop_at, int accumulate, char hex[65]) {
  tiny m;
  sonde_error err = {0};
  sonde_train_event e;
  sonde_run *run = open_run(name);
  tiny_make(&m, 2, 4);
  add_buffer(&m);
  m.opts.run = run;
  m.opts.stop = &stop;
  m.opts.accumulate = accumulate;
  m.opts.checkpoint_every = 6;
  m.opts.log_every = 4;
  m.opts.tick_seconds = 1e-9;
  sonde_trainer *t = tiny_trainer(&m);
  stop = 0;
  do {
    if (sonde_trainer_run(t, &e, &err)) fail_msg("%s", err.text);
    if (e.step == stop_at) stop = 1;
  } while (!(e.what & (SONDE_TRAIN_DONE | SONDE_TRAIN_INTERRUPTED)));
  e.block_norm = e.variance = NULL;
  state_of(&m, hex);
  sonde_trainer_free(t);
  tiny_free(&m);
  sonde_run_close(run);
  return e;
}

/* The metrics without what depends on the clock. */
static char *metrics_of(const char *name) {
  char path[300];
  sonde_error err = {0};
  char *text;
  int64_t size;
  snprintf(path, sizeof path, "%s/metrics.jsonl", name);
  assert_int_equal(sonde_file_read(in_root(path), 0, &text, &size, &err), SONDE_OK);
  json_t *all = json_array();
  for (char *line = strtok(text, "\n"); line; line = strtok(NULL, "\n")) {
    json_t *o = json_loads(line, 0, NULL);
    assert_non_null(o);
    json_object_del(o, "wall");
    json_object_del(o, "tok_per_s");
    json_array_append_new(all, o);
  }
  sonde_release(text);
  char *clean = json_dumps(all, JSON_COMPACT);
  json_decref(all);
  return clean;
}

static void a_stopped_run_ends_as_one_that_was_not(void **state) {
  (void)state;
  for (int accumulate = 1; accumulate <= 3; accumulate++) {
    char whole[65], parts[65], name[32];
    sonde_error err = {0};
    snprintf(name, sizeof name, "whole-%d", accumulate);
    sonde_train_event a = train_in(name, 0, accumulate, whole), b;
    char *metrics = metrics_of(name);
    const int64_t stops[] = {3, 7, 8, 13, 0};
    for (int k = 0; k < 5; k++) {
      b = train_in("parts", stops[k], accumulate, parts);
      if (stops[k]) assert_true((b.what & SONDE_TRAIN_INTERRUPTED) && b.step == stops[k]);
    }
    assert_string_equal(whole, parts);
    assert_true(a.val_loss == b.val_loss && a.step == b.step && a.tokens == b.tokens);
    char *other = metrics_of("parts");
    assert_string_equal(metrics, other);
    free(metrics);
    free(other);
    assert_int_equal(sonde_remove_tree(in_root("parts"), &err), SONDE_OK);
  }
}

static void a_finished_run_is_done_at_once_when_asked_again(void **state) {
  (void)state;
  char first[65], again[65];
  sonde_train_event a = train_in("twice", 0, 1, first), b = train_in("twice", 0, 1, again);
  assert_string_equal(first, again);
  assert_true((b.what & SONDE_TRAIN_DONE) && b.step == 20 && b.val_loss == a.val_loss && b.loss == a.loss);
}

static void another_accumulation_is_not_resumed(void **state) {
  (void)state;
  char hex[65];
  tiny m;
  sonde_error err = {0};
  train_in("other", 7, 1, hex);
  sonde_run *run = open_run("other");
  tiny_make(&m, 1, 4);
  add_buffer(&m);
  m.opts.run = run;
  m.opts.accumulate = 2;
  assert_null(sonde_trainer_new(m.ctx, &m.opts, &err));
  assert_int_equal(err.code, SONDE_EINVAL);
  tiny_free(&m);
  sonde_run_close(run);
}

static void a_full_disk_keeps_the_checkpoint_before(void **state) {
  (void)state;
  char hex[65], whole[65];
  tiny m;
  sonde_error err = {0};
  sonde_train_event e = {0};
  int code = SONDE_OK;
  train_in("undisturbed", 0, 1, whole);
  sonde_run *run = open_run("full");
  tiny_make(&m, 2, 4);
  add_buffer(&m);
  m.opts.run = run;
  m.opts.checkpoint_every = 6;
  m.opts.log_every = 4;
  sonde_trainer *t = tiny_trainer(&m);
  struct rlimit old, tight;
  getrlimit(RLIMIT_FSIZE, &old);
  tight = old;
  tight.rlim_cur = 40000;                                 /* less than the weights */
  while (!code && !(e.what & SONDE_TRAIN_DONE)) {
    code = sonde_trainer_run(t, &e, &err);
    if (e.what & SONDE_TRAIN_CHECKPOINT) setrlimit(RLIMIT_FSIZE, &tight);
  }
  setrlimit(RLIMIT_FSIZE, &old);
  assert_int_equal(code, SONDE_EIO);
  assert_non_null(strstr(err.text, "checkpoint-12"));
  assert_false(sonde_path_exists(in_root("full/checkpoint-12")));
  sonde_trainer_free(t);
  tiny_free(&m);
  sonde_run_close(run);
  train_in("full", 0, 1, hex);                            /* room again: the same command goes on */
  assert_string_equal(hex, whole);
}

static void cut(const char *name, off_t bytes) {
  struct stat st;
  assert_int_equal(stat(in_root(name), &st), 0);
  assert_int_equal(truncate(in_root(name), bytes < 0 ? st.st_size + bytes : bytes), 0);
}

static void a_damaged_checkpoint_is_named_and_not_used(void **state) {
  (void)state;
  const struct { const char *file; off_t bytes;
  } damage[] = {{"model.safetensors", -1},
                {"optimizer.safetensors", 100},
                {"state.json", -20},
                {"state.json", 0},
                {"model.safetensors", 0}};
  for (size_t i = 0; i < sizeof damage / sizeof *damage; i++) {
    char hex[65], path[128];
    tiny m;
    sonde_error err = {0};
    train_in("damaged", 7, 1, hex);
    snprintf(path, sizeof path, "damaged/checkpoint/%s", damage[i].file);
    cut(path, damage[i].bytes);
    sonde_run *run = open_run("damaged");
    tiny_make(&m, 1, 4);
    add_buffer(&m);
    m.opts.run = run;
    assert_null(sonde_trainer_new(m.ctx, &m.opts, &err));
    assert_non_null(strstr(err.text, damage[i].file));
    assert_non_null(strstr(err.text, "remove"));
    tiny_free(&m);
    sonde_run_close(run);
    assert_int_equal(sonde_remove_tree(in_root("damaged"), &err), SONDE_OK);
  }
}

/* ---- damaged checkpoints, and those before them ------------------------------------------------------------- */

/* Flips a bit of a file; twice gives the file back. */
static void flip(const char *name, int64_t at, int bit) {
  char *data;
  int64_t size;
  sonde_error err = {0};
  const char *path = in_root(name);
  assert_int_equal(sonde_file_read(path, 0, &data, &size, &err), SONDE_OK);
  data[at % size] ^= (char)(1 << bit);
  FILE *f = fopen(path, "wb");
  assert_true(f && fwrite(data, 1, (size_t)size, f) == (size_t)size && fclose(f) == 0);
  sonde_release(data);
}

/* The message with which the run is not gone on with; "" if it is. */
static const char *refusal(const char *name) {
  static sonde_error err;
  tiny m;
  err = (sonde_error){0};
  sonde_run *run = open_run(name);
  tiny_make(&m, 1, 4);
  add_buffer(&m);
  m.opts.run = run;
  sonde_trainer *t = sonde_trainer_new(m.ctx, &m.opts, &err);
  if (t) *err.text = 0;
  sonde_trainer_free(t);
  tiny_free(&m);
  sonde_run_close(run);
  return err.text;
}

static void a_flipped_bit_of_a_checkpoint_is_noticed(void **state) {
  (void)state;
  static const char *const files[] = {"model.safetensors", "optimizer.safetensors", "state.json", "SHA256SUMS"};
  char hex[65], path[128];
  train_in("flipped", 7, 1, hex);
  for (int k = 0; k < 4; k++) {
    snprintf(path, sizeof path, "flipped/checkpoint/%s", files[k]);
    for (int n = 0; n < 60; n++) {
      int64_t at = n < 20 ? n : (int64_t)(1e6 * hashed(5, (uint32_t)n));
      flip(path, at, n % 8);
      const char *text = refusal("flipped");
      if (!*text) fail_msg("%s: bit %d of byte %lld is flipped, and the run goes on", files[k], n % 8, (long long)at);
      if (k < 3) assert_non_null(strstr(text, files[k]));
      flip(path, at, n % 8);
    }
  }
  assert_string_equal(refusal("flipped"), "");
}

static void move(const char *from, const char *to) {
  char old[512];
  snprintf(old, sizeof old, "%s", in_root(from));
  assert_int_equal(rename(old, in_root(to)), 0);
}

/* A run at step 9 with the checkpoint of step 7 still beside that of step 9. */
static void two_checkpoints(const char *name) {
  char hex[65], link[128], seven[128], nine[128], kept[512];
  snprintf(link, sizeof link, "%s/checkpoint", name);
  snprintf(seven, sizeof seven, "%s/checkpoint-7", name);
  snprintf(nine, sizeof nine, "%s/checkpoint-9", name);
  train_in(name, 9, 1, hex);
  move(nine, "nine");
  assert_int_equal(unlink(in_root(link)), 0);
  train_in(name, 7, 1, hex);
  move("nine", nine);
  snprintf(kept, sizeof kept, "%s", in_root(link));
  assert_int_equal(unlink(kept), 0);
  assert_int_equal(symlink("checkpoint-9", kept), 0);
  assert_true(sonde_path_exists(in_root(seven)));
}

static void the_checkpoint_before_a_damaged_one_is_gone_on_with(void **state) {
  (void)state;
  char whole[65], hex[65];
  sonde_error err = {0};
  train_in("unharmed", 0, 1, whole);
  for (int damage = 0; damage < 3; damage++) {
    two_checkpoints("harmed");
    if (damage == 0) flip("harmed/checkpoint-9/model.safetensors", 4000, 3);
    if (damage == 1) flip("harmed/checkpoint-9/SHA256SUMS", 70, 0);
    if (damage == 2) assert_int_equal(sonde_remove_tree(in_root("harmed/checkpoint-9"), &err), 0);   /* a link to nothing */
    train_in("harmed", 8, 1, hex);                       /* from 7, which the step 9 of the damaged one shows */
    assert_false(sonde_path_exists(in_root("harmed/checkpoint-9")));
    train_in("harmed", 0, 1, hex);
    assert_string_equal(hex, whole);
    assert_int_equal(sonde_remove_tree(in_root("harmed"), &err), 0);
  }
}

static void a_checkpoint_without_checksums_is_read_if_it_is_old(void **state) {
  (void)state;
  char hex[65], whole[65];
  sonde_error err = {0};
  train_in("unsummed", 0, 1, whole);
  train_in("old", 7, 1, hex);
  assert_int_equal(unlink(in_root("old/checkpoint/SHA256SUMS")), 0);
  assert_non_null(strstr(refusal("old"), "SHA256SUMS: is missing"));
  json_t *o = json_load_file(in_root("old/checkpoint/state.json"), 0, NULL);
  json_object_set_new(o, "format", json_integer(1));
  static const char *const later[] = {"metrics_sha256", "best_loss", "stale", "first_sequence", "first_update"};
  for (int k = 0; k < 5; k++) json_object_del(o, later[k]);
  assert_int_equal(sonde_json_save(o, in_root("old/checkpoint/state.json"), 2, &err), 0);
  json_decref(o);
  train_in("old", 0, 1, hex);
  assert_string_equal(hex, whole);
}

/* What was removed under a training is an end with a reason, at the next line of metrics, and nothing is made anew. */
static void a_run_folder_that_is_removed_ends_the_training(void **state) {
  (void)state;
  tiny m;
  sonde_error err = {0};
  sonde_train_event e = {0};
  int code = SONDE_OK;
  sonde_run *run = open_run("removed");
  tiny_make(&m, 1, 4);
  m.opts.run = run;
  m.opts.checkpoint_every = 6;
  sonde_trainer *t = tiny_trainer(&m);
  while (!code && !(e.what & SONDE_TRAIN_DONE)) {
    code = sonde_trainer_run(t, &e, &err);
    if (e.step == 7) assert_int_equal(sonde_remove_tree(in_root("removed"), &err), SONDE_OK);
  }
  assert_int_equal(code, SONDE_ENOENT);
  assert_int_equal(sonde_trainer_step(t), 8);
  assert_non_null(strstr(err.text, "removed: the run folder was removed"));
  assert_int_equal(sonde_run_end(run, "done", "", &err), SONDE_ENOENT);
  assert_false(sonde_path_exists(in_root("removed/run.json")));
  sonde_trainer_free(t);
  tiny_free(&m);
  sonde_run_close(run);
}

static void files_of_two_checkpoints_do_not_mix(void **state) {
  (void)state;
  char hex[65], old[512];
  tiny m;
  sonde_error err = {0};
  train_in("mixed", 7, 1, hex);
  snprintf(old, sizeof old, "%s", in_root("optimizer.kept"));
  assert_int_equal(rename(in_root("mixed/checkpoint/optimizer.safetensors"), old), 0);
  assert_int_equal(sonde_remove_tree(in_root("mixed"), &err), SONDE_OK);
  train_in("mixed", 9, 1, hex);
  assert_int_equal(rename(old, in_root("mixed/checkpoint/optimizer.safetensors")), 0);
  sonde_run *run = open_run("mixed");
  tiny_make(&m, 1, 4);
  add_buffer(&m);
  m.opts.run = run;
  assert_null(sonde_trainer_new(m.ctx, &m.opts, &err));
  assert_non_null(strstr(err.text, "optimizer.safetensors: is not what was written"));
  tiny_free(&m);
  sonde_run_close(run);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(bits_do_not_depend_on_threads_events_or_recomputation),
      cmocka_unit_test(bf16_trains_too_with_its_own_bits),
      cmocka_unit_test(steps_allocate_nothing),
      cmocka_unit_test(each_allocation_may_fail),
      cmocka_unit_test(buffers_follow_the_weights_now_and_then),
      cmocka_unit_test(evaluation_is_the_mean_over_predicted_tokens),
      cmocka_unit_test(divergence_is_an_event_and_changes_nothing),
      cmocka_unit_test(a_loss_over_its_bound_has_diverged),
      cmocka_unit_test(what_does_not_fit_the_budget_is_refused_with_figures),
      cmocka_unit_test(a_parameter_that_is_not_traced_is_named),
      cmocka_unit_test(a_stopped_run_ends_as_one_that_was_not),
      cmocka_unit_test(a_finished_run_is_done_at_once_when_asked_again),
      cmocka_unit_test(another_accumulation_is_not_resumed),
      cmocka_unit_test(a_full_disk_keeps_the_checkpoint_before),
      cmocka_unit_test(a_damaged_checkpoint_is_named_and_not_used),
      cmocka_unit_test(a_flipped_bit_of_a_checkpoint_is_noticed),
      cmocka_unit_test(the_checkpoint_before_a_damaged_one_is_gone_on_with),
      cmocka_unit_test(a_checkpoint_without_checksums_is_read_if_it_is_old),
      cmocka_unit_test(a_run_folder_that_is_removed_ends_the_training),
      cmocka_unit_test(files_of_two_checkpoints_do_not_mix),
  };
  return cmocka_run_group_tests(tests, setup, teardown);
}
