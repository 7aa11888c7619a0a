/* features_test.c - files of features: made of a raw video, read back, current or not, damaged; a sweep of clips, one
 * of which is none. */
#include "config.h"

#include <signal.h>
#include "../base/testing.h"
#include "base/mem.h"
#include "make_video.h"
#include "video/sweep.h"

#ifdef HAVE_FFMPEG

static char folder[200], clip[300], file[300];

static int set_up(void **state) {
  (void)state;
  test_folder(folder, sizeof folder);
  snprintf(clip, sizeof clip, "%s/clip.y4m", folder);
  snprintf(file, sizeof file, "%s/clip.feat", folder);
  make_y4m(clip, &(made_video){.width = 64, .height = 48, .frames = 9, .rate = 10, .u = 2, .v = -1});
  return 0;
}

static int tear_down(void **state) {
  (void)state;
  test_folder_drop(folder);
  return 0;
}

static sonde_feature_opts opts(void) {
  sonde_feature_opts o = sonde_feature_defaults();
  o.analysis.video.width = 64;
  o.analysis.grid_width = 4, o.analysis.grid_height = 3;
  return o;
}

static void count(void *arg) { ++*(int *)arg; }

static void make(const sonde_feature_opts *o) {
  sonde_error err = {0};
  int rows = 0, rc = sonde_features_make(file, clip, o, count, &rows, &err);
  if (rc) print_message("# %s\n", err.text);
  assert_int_equal(rc, 0);
  assert_true(rows > 0);
}

static void a_file_has_the_rows_of_the_analysis(void **state) {
  sonde_feature_opts o = opts();
  sonde_error err = {0};
  (void)state;
  make(&o);
  sonde_features *f = sonde_features_open(file, &err);
  assert_non_null(f);
  const sonde_features_info *i = sonde_features_about(f);
  assert_true(i->rows == 9 && i->columns == sonde_analysis_columns(&o.analysis) && i->width == 64 && i->height == 48);
  assert_true(i->grid_width == 4 && i->grid_height == 3 && i->thumb_width == 32 && i->thumb_bytes == 1);
  assert_true(i->damaged == 0);
  assert_true(fabs(i->rate - 10) < 1e-9 && !strcmp(i->codec, "rawvideo") && strlen(i->clip) == 64);
  sonde_video *v = sonde_video_open(clip, &o.analysis.video, &err);
  sonde_analysis *a = sonde_analysis_new(&o.analysis, 64, 48, &err);
  float *row = calloc((size_t)i->columns, sizeof *row);
  sonde_frame frame;
  for (int k = 0; sonde_video_next(v, &frame, &err) > 0; k++) {
    sonde_analysis_push(a, &frame, NULL, row);
    assert_memory_equal(row, sonde_features_row(f, k), (size_t)i->columns * sizeof *row);
  }
  assert_true(fabs(row[8] - 2.0 / 64 / 0.1) < 0.02 && fabs(row[11] + 1.0 / 64 / 0.1) < 0.02);   /* a0 and a3 */
  free(row);
  sonde_analysis_free(a);
  sonde_video_close(v);
  sonde_features_close(f);
}

static void a_part_of_a_clip(void **state) {
  sonde_feature_opts o = opts();
  sonde_error err = {0};
  (void)state;
  o.start = 0.25, o.end = 0.7;
  make(&o);
  sonde_features *f = sonde_features_open(file, &err);
  assert_int_equal(sonde_features_about(f)->rows, 4);           /* 0.3, 0.4, 0.5, 0.6 */
  assert_true(fabs(sonde_features_row(f, 0)[0] - 0.3) < 1e-6 && sonde_features_row(f, 0)[1] == 0);
  sonde_features_close(f);
  o.start = 5, o.end = 6;
  assert_int_equal(sonde_features_make(file, clip, &o, count, &(int){0}, &err), SONDE_EFORMAT);
  assert_non_null(strstr(err.text, "no frame from 5 to 6"));
  o = opts(), o.max_rows = 4;
  assert_int_equal(sonde_features_make(file, clip, &o, count, &(int){0}, &err), SONDE_ELIMIT);
}

static void a_file_is_current_for_its_clip_and_options(void **state) {
  sonde_feature_opts o = opts(), other = opts();
  sonde_error err = {0};
  (void)state;
  unlink(file);
  assert_int_equal(sonde_features_current(file, clip, &o, &err), 0);
  make(&o);
  assert_int_equal(sonde_features_current(file, clip, &o, &err), 1);
  other.analysis.planar.affine = 1;
  assert_int_equal(sonde_features_current(file, clip, &other, &err), 0);
  other = opts(), other.start = 0.1;
  assert_int_equal(sonde_features_current(file, clip, &other, &err), 0);
  other = opts(), other.analysis.video.threads = 2;             /* no row depends on it */
  assert_int_equal(sonde_features_current(file, clip, &other, &err), 1);
  made_video m = {.width = 64, .height = 48, .frames = 9, .rate = 10, .u = 2, .v = -1};
  make_y4m(clip, &m);                                           /* newer, with the same content */
  assert_int_equal(sonde_features_current(file, clip, &o, &err), 1);
  m.u = 3;
  make_y4m(clip, &m);
  assert_int_equal(sonde_features_current(file, clip, &o, &err), 0);
  assert_true(sonde_features_current(file, "/nowhere", &o, &err) < 0);
}

static void damaged_files_are_refused(void **state) {
  sonde_feature_opts o = opts();
  char *data, bad[300];
  int64_t size;
  (void)state;
  make(&o);
  snprintf(bad, sizeof bad, "%s/bad.feat", folder);
  assert_int_equal(sonde_file_read(file, 0, &data, &size, NULL), 0);
  for (int k = 0; k < 400; k++) {
    sonde_error err = {0};
    int64_t n = k < 100 ? size * k / 100 : size, at = k < 300 ? k - 100 : (k - 300) * size / 100;
    if (k >= 100) data[at] ^= 64;
    assert_int_equal(sonde_file_write(bad, data, n, &err), 0);
    if (k >= 100) data[at] ^= 64;
    assert_null(sonde_features_open(bad, &err));
    assert_true(err.code == SONDE_EFORMAT && err.text[0]);
  }
  sonde_release(data);
}

static void a_sweep_goes_on_behind_a_bad_clip(void **state) {
  sonde_feature_opts o = opts();
  sonde_error err = {0};
  sonde_sweep_result r;
  char out[4][300], bad[300];
  int failed = 0, done = 0;
  (void)state;
  snprintf(bad, sizeof bad, "%s/bad.mp4", folder);
  assert_int_equal(sonde_file_write(bad, "no video", 8, &err), 0);
  sonde_sweep *s = sonde_sweep_new(&o, 2, &err);
  assert_non_null(s);
  for (int k = 0; k < 4; k++) {
    snprintf(out[k], sizeof out[k], "%s/sweep%d.feat", folder, k);
    assert_int_equal(sonde_sweep_add(s, k == 1 ? bad : clip, out[k], 0, INFINITY, &err), 0);
  }
  for (int tries = 0; sonde_sweep_left(s) > 0 && tries < 600; tries++) {
    if (!sonde_sweep_next(s, 0.5, &r)) continue;
    done++;
    failed += r.error.code != 0;
    assert_true((r.error.code != 0) == (r.job == 1));
    if (r.job == 1) assert_non_null(strstr(r.error.text, "bad.mp4"));
  }
  assert_true(done == 4 && failed == 1 && sonde_sweep_rows(s) == 27);
  assert_int_equal(sonde_sweep_next(s, 0, &r), 0);
  sonde_sweep_free(s);
  char one[65], other[65];
  assert_int_equal(sonde_file_sha256(out[0], one, &err), 0);
  assert_int_equal(sonde_file_sha256(out[3], other, &err), 0);
  assert_string_equal(one, other);
  assert_false(sonde_path_exists(out[1]));
}

/* The processes that this one has started and not waited for; their number. */
static int children(pid_t *pid, int most) {
  char at[64];
  int n = 0;
  snprintf(at, sizeof at, "/proc/self/task/%d/children", (int)getpid());
  FILE *f = fopen(at, "r");
  while (f && n < most && fscanf(f, "%d", &pid[n]) == 1) n++;
  if (f) fclose(f);
  return n;
}

/* A decoder that is killed while it works, as by a crash: its clip fails by name, the next one is made. */
static void a_decoder_that_dies_takes_its_clip_only(void **state) {
  sonde_feature_opts o = opts();
  sonde_error err = {0};
  sonde_sweep_result r;
  char large[300], out[2][300];
  pid_t pid = 0;
  int killed = 0, done = 0;
  (void)state;
  snprintf(large, sizeof large, "%s/large.y4m", folder);
  make_y4m(large, &(made_video){.width = 160, .height = 96, .frames = 300, .rate = 10, .u = 1});
  sonde_sweep *s = sonde_sweep_new(&o, 1, &err);
  for (int k = 0; k < 2; k++) {
    snprintf(out[k], sizeof out[k], "%s/dies%d.feat", folder, k);
    assert_int_equal(sonde_sweep_add(s, k ? clip : large, out[k], 0, INFINITY, &err), 0);
  }
  for (int tries = 0; sonde_sweep_left(s) > 0 && tries < 6000; tries++) {
    int ended = sonde_sweep_next(s, 0.005, &r);
    if (!killed && !ended && sonde_sweep_rows(s) > 0 && children(&pid, 1) == 1) killed = !kill(pid, SIGSEGV);
    if (!ended) continue;
    done++;
    if (r.job == 0 && killed) assert_non_null(strstr(r.error.text, "large.y4m': the decoder died of signal 11"));
    if (r.job == 1) assert_int_equal(r.error.code, 0);
  }
  assert_int_equal(done, 2);
  if (!killed) print_message("# it could not be killed in time\n");
  assert_true(sonde_path_exists(out[1]) && sonde_path_exists(out[0]) != killed);
  sonde_sweep_free(s);
  s = sonde_sweep_new(&o, 1, &err);            /* one that is given up ends its process */
  assert_int_equal(sonde_sweep_add(s, large, out[0], 0, INFINITY, &err), 0);
  sonde_sweep_next(s, 0.01, &r);
  sonde_sweep_free(s);
  assert_int_equal(children(&pid, 1), 0);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(a_decoder_that_dies_takes_its_clip_only),
      cmocka_unit_test(a_file_has_the_rows_of_the_analysis),
      cmocka_unit_test(a_part_of_a_clip),
      cmocka_unit_test(a_file_is_current_for_its_clip_and_options),
      cmocka_unit_test(damaged_files_are_refused),
      cmocka_unit_test(a_sweep_goes_on_behind_a_bad_clip),
  };
  return cmocka_run_group_tests_name("features", tests, set_up, tear_down);
}

#else

int main(void) {
  printf("1..0 # SKIP this build has no FFmpeg\n");
  return 0;
}

#endif
