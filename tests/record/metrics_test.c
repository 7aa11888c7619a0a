/* metrics_test.c - metrics.jsonl and the lock: whole lines, cutting back, a disk that is full, two processes. */
#include <math.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/file.h"
#include "base/mem.h"
#include "record/lock.h"
#include "record/metrics.h"

static char dir[] = "/tmp/sonde-metrics-XXXXXX", path[64], lock[64];

static int setup(void **state) {
  (void)state;
  if (!mkdtemp(dir)) return 1;
  snprintf(path, sizeof path, "%s/metrics.jsonl", dir);
  snprintf(lock, sizeof lock, "%s/lock", dir);
  return 0;
}

static int teardown(void **state) {
  sonde_error err;
  (void)state;
  return sonde_remove_tree(dir, &err);
}

static void line(sonde_metrics *m, int64_t step, double loss) {
  const double block[] = {1.5, NAN, 3};
  sonde_error err = {0};
  sonde_metrics_begin(m);
  sonde_metrics_integer(m, "step", step);
  sonde_metrics_number(m, "train/loss", loss);
  sonde_metrics_numbers(m, "block", block, 3);
  assert_int_equal(sonde_metrics_end(m, &err), SONDE_OK);
}

static void holds(const char *want) {
  sonde_error err;
  char *text;
  int64_t size;
  assert_int_equal(sonde_file_read(path, 0, &text, &size, &err), SONDE_OK);
  assert_string_equal(text, want);
  sonde_release(text);
}

static void lines_are_appended_and_cut_back(void **state) {
  (void)state;
  sonde_error err = {0};
  sonde_metrics *m = sonde_metrics_open(path, 200, &err);
  line(m, 1, 2.5);
  int64_t at = sonde_metrics_size(m);
  line(m, 2, INFINITY);
  holds("{\"step\":1,\"train/loss\":2.5,\"block\":[1.5,null,3]}\n{\"step\":2,\"train/"
        "loss\":null,\"block\":[1.5,null,3]}\n");
  sonde_metrics_close(m);
  m = sonde_metrics_open(path, 200, &err);                       /* as after a crash */
  assert_int_equal(sonde_metrics_rewind(m, at, &err), SONDE_OK);
  line(m, 3, 0.125);
  holds("{\"step\":1,\"train/loss\":2.5,\"block\":[1.5,null,3]}\n{\"step\":3,\"train/"
        "loss\":0.125,\"block\":[1.5,null,3]}\n");
  sonde_metrics_close(m);
}

static void a_file_shorter_than_its_checkpoint_is_refused(void **state) {
  (void)state;
  sonde_error err = {0};
  sonde_metrics *m = sonde_metrics_open(path, 200, &err);
  assert_int_equal(sonde_metrics_rewind(m, sonde_metrics_size(m) + 1, &err), SONDE_EFORMAT);
  assert_non_null(strstr(err.text, path));
  sonde_metrics_close(m);
}

static void a_line_beyond_its_room_is_refused_whole(void **state) {
  (void)state;
  sonde_error err = {0};
  sonde_metrics *m = sonde_metrics_open(path, 20, &err);
  int64_t before = sonde_metrics_size(m);
  sonde_metrics_begin(m);
  for (int k = 0; k < 10; k++) sonde_metrics_integer(m, "step", k);
  assert_int_equal(sonde_metrics_end(m, &err), SONDE_EBUG);
  assert_int_equal(sonde_metrics_size(m), before);
  sonde_metrics_close(m);
}

static void a_full_disk_leaves_whole_lines_only(void **state) {
  (void)state;
  sonde_error err = {0};
  sonde_metrics *m = sonde_metrics_open(path, 200, &err);
  assert_int_equal(sonde_metrics_rewind(m, 0, &err), SONDE_OK);
  line(m, 1, 2.5);
  struct rlimit old, tight;
  getrlimit(RLIMIT_FSIZE, &old);
  tight = old;
  tight.rlim_cur = (rlim_t)sonde_metrics_size(m) + 10;           /* room for a part of the next line */
  signal(SIGXFSZ, SIG_IGN);
  setrlimit(RLIMIT_FSIZE, &tight);
  sonde_metrics_begin(m);
  sonde_metrics_number(m, "train/loss", 3.25);
  int code = sonde_metrics_end(m, &err);
  setrlimit(RLIMIT_FSIZE, &old);
  assert_int_equal(code, SONDE_EIO);
  assert_non_null(strstr(err.text, path));
  holds("{\"step\":1,\"train/loss\":2.5,\"block\":[1.5,null,3]}\n");
  line(m, 2, 1);                                                 /* room again: it goes on */
  sonde_metrics_close(m);
}

static void the_lock_names_its_holder_and_falls_with_it(void **state) {
  (void)state;
  sonde_error err = {0};
  int go[2], ready[2], fd = -1;
  char byte = 0, pid[32];
  assert_int_equal(pipe(go) | pipe(ready), 0);
  pid_t child = fork();
  if (child == 0) {
    int ok = sonde_lock_take(lock, &fd, &err) == SONDE_OK && write(ready[1], "x", 1) == 1 &&
             read(go[0], &byte, 1) >= 0;
    _exit(!ok);
  }
  assert_int_equal(read(ready[0], &byte, 1), 1);
  assert_int_equal(sonde_lock_take(lock, &fd, &err), SONDE_ELOCK);
  snprintf(pid, sizeof pid, "process %d ", (int)child);
  assert_non_null(strstr(err.text, pid));
  assert_true(sonde_lock_is_held(lock));
  kill(child, SIGKILL);
  waitpid(child, NULL, 0);
  assert_false(sonde_lock_is_held(lock));
  assert_int_equal(sonde_lock_take(lock, &fd, &err), SONDE_OK);
  int again = -1;
  assert_int_equal(sonde_lock_take(lock, &again, &err), SONDE_ELOCK);   /* in the same process too */
  sonde_lock_drop(fd);
  for (int k = 0; k < 2; k++) close(go[k]), close(ready[k]);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(lines_are_appended_and_cut_back),
      cmocka_unit_test(a_file_shorter_than_its_checkpoint_is_refused),
      cmocka_unit_test(a_line_beyond_its_room_is_refused_whole),
      cmocka_unit_test(a_full_disk_leaves_whole_lines_only),
      cmocka_unit_test(the_lock_names_its_holder_and_falls_with_it),
  };
  return cmocka_run_group_tests(tests, setup, teardown);
}
