/* checkpoint_test.c - runs of the trainer: stopping and resuming, and checkpoints that meet a full disk, come back
 * damaged or are removed. */
#include "tiny.h"

#include "../base/root.h"
#include "io/json.h"

#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

static int setup(void **state) {
  signal(SIGXFSZ, SIG_IGN);
  return root_setup(state);
}

static sonde_run *open_run(const char *name) {
  sonde_error err = {0};
  sonde_run *r = sonde_run_open(root, name, &err);
  if (!r) fail_msg("%s", err.text);
  return r;
}

/* ---- stopping, resuming, disks -------------------------------------------------------------------- */

static volatile int stop;

/* Trains in run folder `name`, stopping after the step `stop_at` (0: not at all). */
static sonde_train_event train_in(const char *name, int64_t stop_at, int accumulate, char hex[65]) {
  tiny m;
  sonde_error err = {0};
  sonde_train_event e;
  sonde_run *run = open_run(name);
  tiny_make(&m, 2, 4);
  tiny_buffer(&m);
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
  tiny_sha256(&m, hex);
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
  tiny_buffer(&m);
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
  tiny_buffer(&m);
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
    tiny_buffer(&m);
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
  tiny_buffer(&m);
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
    /* a link to nothing */
    if (damage == 2) assert_int_equal(sonde_remove_tree(in_root("harmed/checkpoint-9"), &err), 0);
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
  tiny_buffer(&m);
  m.opts.run = run;
  assert_null(sonde_trainer_new(m.ctx, &m.opts, &err));
  assert_non_null(strstr(err.text, "optimizer.safetensors: is not what was written"));
  tiny_free(&m);
  sonde_run_close(run);
}

int main(void) {
  const struct CMUnitTest tests[] = {
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
  return cmocka_run_group_tests(tests, setup, root_teardown);
}
