/* file_test.c - files are whole or absent: under failure, over links, on devices, with hostile names. */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include "testing.h"
#include "base/mem.h"
#include "base/temp.h"

static char folder[256], path[512];

static int setup(void **state) {
  (void)state;
  test_folder(folder, sizeof folder);
  snprintf(path, sizeof path, "%s/file", folder);
  return 0;
}

static int teardown(void **state) {
  (void)state;
  test_folder_drop(folder);
  return 0;
}

static void expect_text(const char *name, const char *want) {
  char *data;
  int64_t size;
  assert_int_equal(sonde_file_read(name, 0, &data, &size, NULL), 0);
  assert_int_equal(size, strlen(want));
  assert_string_equal(data, want);   /* there is a NUL behind the bytes */
  sonde_release(data);
}

static int entries(void) {
  char command[600];
  snprintf(command, sizeof command, "ls -A '%s' | wc -l", folder);
  FILE *p = popen(command, "r");
  int n = -1;
  assert_int_equal(fscanf(p, "%d", &n), 1);
  pclose(p);
  return n;
}

static void write_then_read(void **state) {
  (void)state;
  assert_int_equal(sonde_file_write(path, "hello", 5, NULL), 0);
  expect_text(path, "hello");
  assert_int_equal(sonde_file_write(path, "", 0, NULL), 0);
  expect_text(path, "");
  assert_int_equal(entries(), 1);
}

static void mode_follows_umask_and_the_old_file(void **state) {
  (void)state;
  struct stat st;
  mode_t old = umask(027);
  assert_int_equal(sonde_file_write(path, "1", 1, NULL), 0);
  umask(old);
  assert_int_equal(stat(path, &st), 0);
  assert_int_equal(st.st_mode & 0777, 0640);
  assert_int_equal(chmod(path, 0600), 0);
  assert_int_equal(sonde_file_write(path, "2", 1, NULL), 0);
  assert_int_equal(stat(path, &st), 0);
  assert_int_equal(st.st_mode & 0777, 0600);
}

static void a_link_stays_a_link(void **state) {
  (void)state;
  char link[600];
  struct stat st;
  snprintf(link, sizeof link, "%s/link", folder);
  assert_int_equal(sonde_file_write(path, "old", 3, NULL), 0);
  assert_int_equal(symlink(path, link), 0);
  assert_int_equal(sonde_file_write(link, "new", 3, NULL), 0);
  assert_int_equal(lstat(link, &st), 0);
  assert_true(S_ISLNK(st.st_mode));
  expect_text(path, "new");
}

static void errors_name_the_file(void **state) {
  (void)state;
  sonde_error e;
  char *data, name[600];
  int64_t size;
  sonde_mapping m;
  assert_int_equal(sonde_file_read(path, 0, &data, &size, &e), SONDE_ENOENT);
  assert_non_null(strstr(e.text, path));
  assert_non_null(strstr(e.text, "No such file"));
  assert_int_equal(sonde_file_read(folder, 0, &data, &size, &e), SONDE_EINVAL);
  assert_non_null(strstr(e.text, "folder"));
  assert_int_equal(sonde_map_file(folder, &m, &e), SONDE_EINVAL);
  assert_int_equal(sonde_file_write(folder, "x", 1, &e), SONDE_EINVAL);
  snprintf(name, sizeof name, "%s/none/file", folder);
  assert_int_equal(sonde_file_write(name, "x", 1, &e), SONDE_EIO);
  assert_non_null(strstr(e.text, name));
  assert_int_equal(sonde_file_write("", "x", 1, &e), SONDE_EIO);
}

static void too_large_is_refused(void **state) {
  (void)state;
  sonde_error e;
  char *data;
  int64_t size;
  assert_int_equal(sonde_file_write(path, "0123456789", 10, NULL), 0);
  assert_int_equal(sonde_file_read(path, 10, &data, &size, NULL), 0);
  assert_int_equal(size, 10);
  sonde_release(data);
  assert_int_equal(sonde_file_read(path, 9, &data, &size, &e), SONDE_ELIMIT);
  assert_non_null(strstr(e.text, "larger than the 9 bytes"));
  assert_int_equal(sonde_file_read("/dev/zero", 100000, &data, &size, &e), SONDE_ELIMIT);
}

static void files_without_a_size_are_read_to_their_end(void **state) {
  (void)state;
  char *data;
  int64_t size;
  assert_int_equal(sonde_file_read("/proc/self/status", 0, &data, &size, NULL), 0);
  assert_true(size > 100 && strstr(data, "Pid:"));
  sonde_release(data);
  int fd[2];
  char name[64], *block = calloc(200000, 1);
  assert_int_equal(pipe(fd), 0);
  pid_t child = fork();
  if (!child) {
    close(fd[0]);
    for (int done = 0; done < 200000; done += 1000)
      if (write(fd[1], block + done, 1000) != 1000) _exit(1);
    _exit(0);
  }
  close(fd[1]);
  snprintf(name, sizeof name, "/dev/fd/%d", fd[0]);
  assert_int_equal(sonde_file_read(name, 0, &data, &size, NULL), 0);
  assert_int_equal(size, 200000);
  sonde_release(data);
  waitpid(child, NULL, 0);
  close(fd[0]);
  free(block);
}

/* In a child that an alarm ends: an opening that waits for a writer must fail the test, not hang it. */
static void a_named_pipe_is_refused_at_once(void **state) {
  (void)state;
  assert_int_equal(mkfifo(path, 0600), 0);
  pid_t child = fork();
  if (!child) {
    sonde_error e = {0};
    char *data;
    int64_t size;
    sonde_mapping m;
    alarm(300);
    int bad = sonde_file_read(path, 0, &data, &size, &e) != SONDE_EINVAL || !strstr(e.text, "it is a pipe");
    bad |= sonde_map_file(path, &m, &e) != SONDE_EINVAL || !strstr(e.text, "it is a pipe");
    bad |= sonde_file_open(path, NULL, &e) != -1 || !strstr(e.text, "it is a pipe");
    _exit(bad);
  }
  int status = 0;
  assert_int_equal(waitpid(child, &status, 0), child);
  assert_int_equal(status, 0);
}

static void a_place_is_tried_and_left_as_it_was(void **state) {
  (void)state;
  sonde_error e;
  char name[600];
  assert_int_equal(sonde_file_check(path, NULL), 0);
  assert_int_equal(entries(), 0);
  assert_int_equal(sonde_file_write(path, "old", 3, NULL), 0);
  assert_int_equal(sonde_file_check(path, NULL), 0);
  expect_text(path, "old");
  assert_int_equal(sonde_file_check(folder, &e), SONDE_EINVAL);
  assert_int_equal(sonde_file_check("", &e), SONDE_EIO);
  assert_int_equal(sonde_file_check("/dev/null", &e), 0);
  snprintf(name, sizeof name, "%s/none/file", folder);
  assert_int_equal(sonde_file_check(name, &e), SONDE_EIO);
  assert_non_null(strstr(e.text, name));
  assert_int_equal(sonde_folder_check(name, &e), 0);            /* with the one above it */
  assert_int_equal(sonde_folder_check(folder, &e), 0);
  snprintf(name, sizeof name, "%s/file/none/folder/", folder);
  assert_int_equal(sonde_folder_check(name, &e), SONDE_EIO);
  assert_non_null(strstr(e.text, name));
  assert_int_equal(entries(), 1);
  snprintf(name, sizeof name, "%s/pipe", folder);
  assert_int_equal(mkfifo(name, 0600), 0);
  alarm(300);
  assert_int_equal(sonde_file_check(name, &e), 0);              /* without waiting for a reader */
  alarm(0);
}

static void abandon_leaves_the_old_file(void **state) {
  (void)state;
  assert_int_equal(sonde_file_write(path, "old", 3, NULL), 0);
  sonde_outfile *f = sonde_outfile_open(path, NULL);
  assert_non_null(f);
  fputs("half of a new", sonde_outfile_stream(f));
  assert_int_equal(entries(), 2);
  sonde_outfile_abandon(f);
  sonde_outfile_abandon(NULL);
  expect_text(path, "old");
  assert_int_equal(entries(), 1);
}

static void the_old_file_stands_until_commit(void **state) {
  (void)state;
  assert_int_equal(sonde_file_write(path, "old", 3, NULL), 0);
  sonde_outfile *f = sonde_outfile_open(path, NULL);
  for (int i = 0; i < 10000; i++) fputs("new ", sonde_outfile_stream(f));
  fflush(sonde_outfile_stream(f));
  expect_text(path, "old");
  assert_int_equal(sonde_outfile_commit(f, NULL), 0);
  struct stat st;
  assert_int_equal(stat(path, &st), 0);
  assert_int_equal(st.st_size, 40000);
}

/* RLIMIT_FSIZE stands for the full disk: writes fail in the middle. */
static void with_a_full_disk(int64_t size, int streamed) {
  sonde_error e = {0};
  struct rlimit old, small = {4096, RLIM_INFINITY};
  char *big = calloc((size_t)size, 1);
  assert_int_equal(sonde_file_write(path, "old", 3, NULL), 0);
  getrlimit(RLIMIT_FSIZE, &old);
  signal(SIGXFSZ, SIG_IGN);
  small.rlim_max = old.rlim_max;
  assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
  int rc;
  if (streamed) {
    sonde_outfile *f = sonde_outfile_open(path, &e);
    fwrite(big, 1, (size_t)size, sonde_outfile_stream(f));
    rc = sonde_outfile_commit(f, &e);
  } else {
    rc = sonde_file_write(path, big, size, &e);
  }
  setrlimit(RLIMIT_FSIZE, &old);
  free(big);
  assert_int_equal(rc, SONDE_EIO);
  assert_non_null(strstr(e.text, path));
  if (!streamed) assert_non_null(strstr(e.text, "File too large"));
  expect_text(path, "old");
  assert_int_equal(entries(), 1);
}

static void a_full_disk_leaves_the_old_file(void **state) {
  (void)state;
  with_a_full_disk(100000, 0);
  with_a_full_disk(100000, 1);
  with_a_full_disk(4100, 1);
}

static void a_full_device_is_an_error(void **state) {
  (void)state;
  sonde_error e;
  assert_int_equal(sonde_file_write("/dev/full", "x", 1, &e), SONDE_EIO);
  assert_non_null(strstr(e.text, "No space left"));
  sonde_outfile *f = sonde_outfile_open("/dev/full", NULL);
  fputs("x", sonde_outfile_stream(f));
  assert_int_equal(sonde_outfile_commit(f, &e), SONDE_EIO);
  assert_int_equal(sonde_file_write("/dev/null", "x", 1, NULL), 0);
  struct stat st;
  assert_int_equal(stat("/dev/null", &st), 0);
  assert_true(S_ISCHR(st.st_mode));   /* not replaced by a file */
}

/* Each allocation fails in turn: an error, the old file, no temporary file, no leak. */
static void each_allocation_may_fail(void **state) {
  (void)state;
  int failures = 0;
  assert_int_equal(sonde_file_write(path, "old", 3, NULL), 0);
  int64_t live = sonde_alloc_live();
  for (int64_t nth = 1;; nth++) {
    sonde_error e = {0};
    sonde_alloc_fail_at(nth);
    int rc = sonde_file_write(path, "new", 3, &e);
    sonde_alloc_fail_at(0);
    assert_int_equal(sonde_alloc_live(), live);
    assert_int_equal(entries(), 1);
    if (!rc) break;
    assert_true(e.code < 0 && *e.text);
    failures++;
  }
  assert_true(failures >= 3);
  expect_text(path, "new");
}

static void folders_come_and_go(void **state) {
  (void)state;
  sonde_error e;
  char deep[600], file[700], outside[600];
  snprintf(deep, sizeof deep, "%s/a/b//c/", folder);
  assert_int_equal(sonde_mkdirs(deep, NULL), 0);
  assert_int_equal(sonde_mkdirs(deep, NULL), 0);
  assert_true(sonde_path_exists(deep));
  snprintf(file, sizeof file, "%s/a/b/file", folder);
  assert_int_equal(sonde_file_write(file, "x", 1, NULL), 0);
  strcat(file, "/d");
  assert_int_equal(sonde_mkdirs(file, &e), SONDE_EIO);
  assert_non_null(strstr(e.text, "/a/b/file"));
  snprintf(outside, sizeof outside, "%s/outside", folder);
  assert_int_equal(sonde_file_write(outside, "x", 1, NULL), 0);
  snprintf(file, sizeof file, "%s/a/link", folder);
  assert_int_equal(symlink(outside, file), 0);
  snprintf(deep, sizeof deep, "%s/a", folder);
  assert_int_equal(sonde_remove_tree(deep, NULL), 0);
  assert_false(sonde_path_exists(deep));
  assert_true(sonde_path_exists(outside));   /* links are removed, not followed */
  assert_int_equal(sonde_remove_tree(deep, NULL), 0);
}

static void mapping(void **state) {
  (void)state;
  sonde_mapping m;
  assert_int_equal(sonde_map_file(path, &m, NULL), SONDE_ENOENT);
  assert_int_equal(sonde_file_write(path, "", 0, NULL), 0);
  assert_int_equal(sonde_map_file(path, &m, NULL), 0);
  assert_int_equal(m.size, 0);
  sonde_unmap_file(&m);
  assert_int_equal(sonde_file_write(path, "mapped", 6, NULL), 0);
  assert_int_equal(sonde_map_file(path, &m, NULL), 0);
  assert_int_equal(m.size, 6);
  assert_memory_equal(m.data, "mapped", 6);
  assert_int_equal(sonde_file_write(path, "another", 7, NULL), 0);
  assert_memory_equal(m.data, "mapped", 6);   /* a rename does not pull the mapping away */
  sonde_unmap_file(&m);
  sonde_unmap_file(&m);
}

/* ---- what killed processes leave ---- */

static void make_file(const char *name) {
  char file[600];
  snprintf(file, sizeof file, "%s/%s", folder, name);
  close(open(file, O_CREAT | O_WRONLY, 0666));
}

static int is_there(const char *name) {
  char file[600];
  snprintf(file, sizeof file, "%s/%s", folder, name);
  return sonde_path_exists(file);
}

static void what_nobody_holds_is_removed_by_the_next(void **state) {
  (void)state;
  static const char *const others[] = {"file.tmp-1-2.bak", "file.tmp-a-2", "file.tmp-12", "file2.tmp-1-2", "tmp-1-2"};
  char held[600];
  make_file("file.tmp-1-2");
  make_file("file.tmp-99999999-4");
  make_file("file.tmp-7-7");
  for (size_t k = 0; k < sizeof others / sizeof *others; k++) make_file(others[k]);
  snprintf(held, sizeof held, "%s/file.tmp-7-7", folder);
  int fd = open(held, O_RDONLY | O_CLOEXEC);
  assert_int_equal(flock(fd, LOCK_EX | LOCK_NB), 0);
  assert_int_equal(sonde_file_write(path, "x", 1, NULL), 0);
  assert_false(is_there("file.tmp-1-2") || is_there("file.tmp-99999999-4"));
  assert_true(is_there("file.tmp-7-7"));
  for (size_t k = 0; k < sizeof others / sizeof *others; k++) assert_true(is_there(others[k]));
  close(fd);
  sonde_temp_sweep(folder);   /* whatever they were to become */
  assert_false(is_there("file.tmp-7-7") || is_there("file2.tmp-1-2"));
  assert_true(is_there("file.tmp-1-2.bak") && is_there("file"));
}

static void a_writer_that_was_killed_leaves_nothing_for_long(void **state) {
  (void)state;
  for (int folders = 0; folders < 2; folders++) {
    int ready[2];
    char c;
    assert_int_equal(pipe(ready), 0);
    pid_t pid = fork();
    if (!pid) {
      sonde_temp t;
      if (folders ? sonde_temp_folder(path, &t) : !sonde_outfile_open(path, NULL)) _exit(1);
      for (; write(ready[1], "r", 1) == 1; ) pause();
    }
    assert_int_equal(read(ready[0], &c, 1), 1);
    assert_int_equal(entries(), 1);
    sonde_temp mine;
    assert_int_equal(sonde_temp_file(path, 0666, &mine), 0);   /* it lives: nothing is removed */
    assert_int_equal(entries(), 2);
    unlink(mine.path);
    sonde_temp_end(&mine);
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
    assert_int_equal(entries(), 1);
    assert_int_equal(sonde_file_write(path, "y", 1, NULL), 0);
    assert_int_equal(entries(), 1);
    assert_int_equal(unlink(path), 0);
    close(ready[0]), close(ready[1]);
  }
}

/* Each takes the others' files for abandoned if it ever can. */
static void writers_of_one_file_do_not_meet(void **state) {
  (void)state;
  enum { WRITERS = 6, ROUNDS = 60 };
  pid_t pid[WRITERS];
  for (int w = 0; w < WRITERS; w++)
    if (!(pid[w] = fork())) {
      int failed = 0;
      for (int k = 0; k < ROUNDS && !failed; k++) {
        sonde_temp t;
        char inside[700];
        failed = sonde_file_write(path, "together", 8, NULL) != 0 || sonde_temp_folder(path, &t) != 0;
        if (failed) break;
        snprintf(inside, sizeof inside, "%s/x", t.path);
        failed = sonde_file_write(inside, "x", 1, NULL) != 0 || !sonde_path_exists(inside);
        sonde_remove_tree(t.path, NULL);
        sonde_temp_end(&t);
      }
      _exit(failed);
    }
  for (int w = 0; w < WRITERS; w++) {
    int status;
    waitpid(pid[w], &status, 0);
    assert_int_equal(status, 0);
  }
  expect_text(path, "together");
  assert_int_equal(entries(), 1);
}

int main(void) {
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
  const struct CMUnitTest tests[] = {
    T(write_then_read), T(mode_follows_umask_and_the_old_file), T(a_link_stays_a_link), T(errors_name_the_file),
    T(too_large_is_refused), T(files_without_a_size_are_read_to_their_end),
    T(a_named_pipe_is_refused_at_once), T(a_place_is_tried_and_left_as_it_was), T(abandon_leaves_the_old_file),
    T(the_old_file_stands_until_commit), T(a_full_disk_leaves_the_old_file), T(a_full_device_is_an_error),
    T(each_allocation_may_fail), T(folders_come_and_go), T(mapping),
    T(what_nobody_holds_is_removed_by_the_next), T(a_writer_that_was_killed_leaves_nothing_for_long),
    T(writers_of_one_file_do_not_meet),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
