/* decode_test.c - frames of files that are made here: containers, rates, rotation, sizes, depth, folders of images,
 * seeking; and of files that are damaged, empty, too large or no video. */
#include "config.h"

#include "../base/testing.h"
#include "make_video.h"
#include "base/clock.h"
#include "base/mem.h"
#include "video/decode.h"

#ifdef HAVE_FFMPEG

static char folder[200], path[300];

static int set_up(void **state) {
  (void)state;
  test_folder(folder, sizeof folder);
  return 0;
}

static int tear_down(void **state) {
  (void)state;
  test_folder_drop(folder);
  return 0;
}

static const char *in_folder(const char *name) {
  snprintf(path, sizeof path, "%s/%s", folder, name);
  return path;
}

static const made_video PLAIN = {.codec = "mpeg4", .width = 96, .height = 64, .frames = 12, .rate = 10, .u = 3, .v = 1};

static sonde_video_opts opts(void) {
  sonde_video_opts o = sonde_video_defaults;
  o.width = 96;
  o.rate = 0;
  return o;
}

static sonde_video *open_video(const char *at, const sonde_video_opts *o) {
  sonde_error err = {0};
  sonde_video *v = sonde_video_open(at, o, &err);
  if (!v) print_message("# %s\n", err.text);
  assert_non_null(v);
  return v;
}

/* The mean difference of a frame from the one that was coded, in grey levels. */
static double difference(const sonde_frame *f, const made_video *m, int k) {
  double sum = 0;
  for (int y = 0; y < f->height; y++)
    for (int x = 0; x < f->width; x++) sum += abs(f->luma[y * f->width + x] - texture(x - m->u * k, y - m->v * k));
  return sum / (f->width * f->height);
}

static void containers_and_codecs(void **state) {
  static const struct { const char *name; made_video m; double most; } files[] = {
      {"a.mp4", {"mpeg4", 96, 64, 12, 10, .u = 3, .v = 1}, 4},   {"a.mkv", {"ffv1", 96, 64, 12, 10, .u = 3, .v = 1}, 0},
      {"a.avi", {"mpeg4", 95, 63, 12, 10, .u = 3, .v = 1}, 4},   {"a.gif", {"gif", 96, 64, 12, 10, .u = 3, .v = 1}, 40},
      {"b.mkv", {"ffv1", 96, 64, 12, 10, .deep = 1, .u = 3, .v = 1}, 0.6},
      {"b.mp4", {"libx264", 96, 64, 12, 10, .u = 3, .v = 1}, 4},
      {"c.webm", {"libvpx", 96, 64, 12, 10, .u = 3, .v = 1}, 6}};
  (void)state;
  for (size_t k = 0; k < sizeof files / sizeof *files; k++) {
    const made_video *m = &files[k].m;
    sonde_video_opts o = opts();
    sonde_error err = {0};
    sonde_frame f;
    if (make_video(in_folder(files[k].name), m)) continue;
    o.width = m->width;
    for (o.threads = 1; o.threads <= 2; o.threads++) {
      sonde_video *v = open_video(path, &o);
      const sonde_video_info *i = sonde_video_about(v);
      assert_true(i->width == m->width && i->height == m->height && i->rotation == 0);
      assert_true(fabs(i->rate - 10) < 0.01);
      int n = 0;
      for (; sonde_video_next(v, &f, &err) > 0; n++) {
        assert_true(f.width == m->width && f.height == m->height);
        assert_true(fabs(f.time - n * 0.1) < 0.006);
        assert_true(n == 0 ? f.step == 0 : fabs(f.step - 0.1) < 0.011);
        if (difference(&f, m, n) > files[k].most)
          print_message("# %s %d: %g\n", files[k].name, n, difference(&f, m, n));
        assert_true(difference(&f, m, n) <= files[k].most);
      }
      assert_int_equal(err.code, 0);
      assert_int_equal(n, 12);
      assert_int_equal(sonde_video_next(v, &f, &err), 0);
      assert_true(sonde_video_damaged(v) == 0);
      sonde_video_close(v);
    }
  }
}

static void rotation_is_undone(void **state) {
  (void)state;
  for (int turns = 90; turns < 360; turns += 90) {
    made_video m = PLAIN;
    sonde_video_opts o = opts();
    sonde_error err = {0};
    sonde_frame f;
    m.rotation = turns, m.frames = 2, m.u = 5, m.v = 0;
    assert_int_equal(make_video(in_folder("r.mp4"), &m), 0);
    o.width = turns % 180 ? m.height : m.width;
    o.thumb_width = o.thumb_height = 8, o.thumb_rgb = 1, o.vectors = 1;
    sonde_video *v = open_video(path, &o);
    assert_int_equal(sonde_video_about(v)->rotation, turns);
    assert_int_equal(sonde_video_next(v, &f, &err), 1);
    assert_true(f.width == (turns % 180 ? 64 : 96) && f.height == (turns % 180 ? 96 : 64));
    double sum = 0;
    for (int y = 0; y < 64; y++)
      for (int x = 0; x < 96; x++) {
        int to = turns == 90 ? x * 64 + 63 - y : turns == 180 ? (63 - y) * 96 + 95 - x : (95 - x) * 64 + y;
        sum += abs(f.luma[to] - texture(x, y));
      }
    assert_true(sum / (64 * 96) < 4);
    assert_int_equal(sonde_video_next(v, &f, &err), 1);
    double u = 0, along = 0;      /* the codec's vectors turn too: 5 pixels to the right as stored */
    for (int k = 0; k < f.n_vectors; k++) u += (double)f.vectors[k].u, along += (double)f.vectors[k].v;
    double most = fabs(u) > fabs(along) ? u : along;
    assert_true(f.n_vectors > 10 && fabs(most / f.n_vectors - (turns == 90 ? 5 : -5)) < 1.5);
    assert_true((fabs(u) < fabs(along)) == (turns % 180 == 90));
    sonde_video_close(v);
  }
}

static void a_rate_passes_frames_over(void **state) {
  static const int pts[12] = {0, 1, 2, 3, 7, 8, 9, 10, 20, 21, 30, 31};
  static const struct { double rate; int n; double time[12]; } cases[] = {
      {0, 12, {0, .1, .2, .3, .7, .8, .9, 1, 2, 2.1, 3, 3.1}},
      {5, 7, {0, .2, .7, .8, 1, 2, 3}}, {1, 4, {0, 1, 2, 3}},
      {1000, 12, {0, .1, .2, .3, .7, .8, .9, 1, 2, 2.1, 3, 3.1}}};
  made_video m = PLAIN;
  (void)state;
  m.pts = pts;
  assert_int_equal(make_video(in_folder("vfr.mkv"), &m), 0);
  for (size_t c = 0; c < sizeof cases / sizeof *cases; c++) {
    sonde_video_opts o = opts();
    sonde_error err = {0};
    sonde_frame f;
    int n = 0;
    o.rate = cases[c].rate;
    sonde_video *v = open_video(path, &o);
    for (; sonde_video_next(v, &f, &err) > 0; n++)
      assert_true(n < cases[c].n && fabs(f.time - cases[c].time[n]) < 0.002);
    assert_int_equal(n, cases[c].n);
    sonde_video_close(v);
  }
}

static void seeking_gives_the_frame_of_a_time(void **state) {
  static const char *const names[] = {"s.mp4", "s.mkv", "s.gif", "s.y4m"};
  (void)state;
  for (int k = 0; k < 4; k++) {
    made_video m = PLAIN;
    sonde_video_opts o = opts();
    m.frames = 25, m.key_every = 7;
    if (k == 2) m.codec = "gif";
    if (k == 3) make_y4m(in_folder(names[k]), &m);
    else assert_int_equal(make_video(in_folder(names[k]), &m), 0);
    sonde_video *v = open_video(path, &o);
    static const double times[] = {1.3, 0.2, 2.35, 0, 2.4};
    static const int frames[] = {13, 2, 24, 0, 24};
    for (int t = 0; t < 5; t++) {
      sonde_error err = {0};
      sonde_frame f;
      assert_int_equal(sonde_video_seek(v, times[t], &err), 0);
      assert_int_equal(sonde_video_next(v, &f, &err), 1);
      assert_true(fabs(f.time - frames[t] * 0.1) < 0.006);
      assert_true(difference(&f, &m, frames[t]) < (k == 2 ? 40 : 5));
    }
    sonde_error err = {0};
    sonde_frame f;
    assert_int_equal(sonde_video_seek(v, 9, &err), 0);
    assert_int_equal(sonde_video_next(v, &f, &err), 0);
    sonde_video_close(v);
  }
}

static void a_folder_of_images_is_a_video(void **state) {
  made_video m = PLAIN;
  sonde_video_opts o = opts();
  sonde_error err = {0};
  sonde_frame f;
  char name[320];
  (void)state;
  char images[300];
  assert_non_null(mkdtemp(strcpy(images, in_folder("imgXXXXXX"))));
  for (int k = 0; k < 11; k++) {      /* img2 comes before img10; what is no image is passed over */
    snprintf(name, sizeof name, "%s/img%d.pgm", images, k);
    FILE *p = fopen(name, "wb");
    fprintf(p, "P5\n%d %d\n255\n", m.width, m.height);
    for (int y = 0; y < m.height; y++)
      for (int x = 0; x < m.width; x++) fputc(texture(x - m.u * k, y - m.v * k), p);
    fclose(p);
  }
  snprintf(name, sizeof name, "%s/notes.txt", images);
  fclose(fopen(name, "w"));
  o.image_rate = 4;
  sonde_video *v = open_video(images, &o);
  assert_true(sonde_video_about(v)->rate == 4 && fabs(sonde_video_about(v)->duration - 11 / 4.0) < 1e-9);
  int n = 0;
  for (; sonde_video_next(v, &f, &err) > 0; n++)
    assert_true(fabs(f.time - n / 4.0) < 1e-9 && difference(&f, &m, n) < 1);
  assert_int_equal(n, 11);
  assert_int_equal(sonde_video_seek(v, 2, &err), 0);
  assert_true(sonde_video_next(v, &f, &err) == 1 && difference(&f, &m, 8) < 1);
  sonde_video_close(v);
  snprintf(name, sizeof name, "%s/img5.pgm", images);
  FILE *p = fopen(name, "wb");
  fputs("P5\n96 64", p);
  fclose(p);
  v = open_video(images, &o);
  for (n = 0; sonde_video_next(v, &f, &err) > 0; n++) continue;
  assert_true(n == 5 && err.code < 0 && strstr(err.text, "img5.pgm"));
  sonde_video_close(v);
}

static void small_pictures_have_the_shown_shape(void **state) {
  made_video m = PLAIN;
  sonde_video_opts o = opts();
  sonde_error err = {0};
  sonde_frame f;
  (void)state;
  make_y4m(in_folder("p.y4m"), &m);
  o.width = 48, o.thumb_width = 12, o.thumb_height = 8;
  sonde_video *v = open_video(path, &o);
  assert_int_equal(sonde_video_next(v, &f, &err), 1);
  assert_true(f.width == 48 && f.height == 32 && f.thumb);
  double sum = 0;
  for (int y = 0; y < 8; y++)
    for (int x = 0; x < 12; x++) {
      double mean = 0;
      for (int k = 0; k < 64; k++) mean += texture(8 * x + k % 8, 8 * y + k / 8) / 64.0;
      sum += fabs(f.thumb[y * 12 + x] - mean) / 96;
    }
  assert_true(sum < 1.5);
  sonde_video_close(v);
}

/* ---- bad input ---- */

static void write_bytes(const char *at, const void *data, size_t n) {
  FILE *f = fopen(at, "wb");
  assert_int_equal(fwrite(data, 1, n, f), n);
  fclose(f);
}

static void write_text(const char *at, const char *text) { write_bytes(at, text, strlen(text)); }

static void is_refused(const char *at, const sonde_video_opts *o, int code, const char *text) {
  sonde_error err = {0};
  sonde_video *v = sonde_video_open(at, o, &err);
  if (v || err.code != code || !strstr(err.text, text)) print_message("# %d %s\n", err.code, err.text);
  assert_null(v);
  assert_int_equal(err.code, code);
  assert_non_null(strstr(err.text, text));
  assert_null(strchr(err.text, '\n'));
}

static void files_without_video_are_refused(void **state) {
  sonde_video_opts o = opts();
  unsigned char wav[44 + 8000] = "RIFF\x64\x1f\0\0WAVEfmt \x10\0\0\0\x01\0\x01\0\x40\x1f\0\0\x40\x1f\0\0\x01\0\x08\0"
                                 "data\x40\x1f\0";
  (void)state;
  is_refused(in_folder("absent.mp4"), &o, SONDE_ENOENT, "absent.mp4");
  write_text(in_folder("empty.mp4"), "");
  is_refused(path, &o, SONDE_EFORMAT, "is empty");
  write_text(in_folder("text.mp4"), "this is not a video, whatever its name says\n");
  is_refused(path, &o, SONDE_EFORMAT, "is no video");
  write_bytes(in_folder("sound.wav"), wav, sizeof wav);
  is_refused(path, &o, SONDE_EFORMAT, "has no video stream");
  write_text(in_folder("none.y4m"), "YUV4MPEG2 W64 H64 F10:1 C420jpeg\n");
  is_refused(path, &o, SONDE_EFORMAT, "no frame that can be decoded");
  write_text(in_folder("list.m3u8"), "#EXTM3U\n#EXTINF:1,\n/etc/passwd\n#EXT-X-ENDLIST\n");
  is_refused(path, &o, SONDE_EFORMAT, "list.m3u8");
  write_text(in_folder("concat.txt"), "ffconcat version 1.0\nfile s.mp4\n");
  is_refused(path, &o, SONDE_EFORMAT, "concat.txt");
  is_refused(folder, &o, SONDE_EFORMAT, "has no images");
}

static void large_pictures_are_refused(void **state) {
  made_video m = PLAIN;
  sonde_video_opts o = opts();
  char ppm[] = "P6\n60000 60000\n255\n";
  (void)state;
  make_y4m(in_folder("l.y4m"), &m);
  o.max_pixels = 96 * 64 - 1;
  is_refused(path, &o, SONDE_ELIMIT, "96 x 64");
  o.max_pixels++;
  sonde_video_close(open_video(path, &o));
  write_bytes(in_folder("huge.ppm"), ppm, sizeof ppm);
  sonde_error err = {0};
  assert_null(sonde_video_open(path, &o, &err));
  assert_true(err.code == SONDE_ELIMIT || err.code == SONDE_EFORMAT);
}

/* Every truncation and many changed bytes: frames or one line, soon. */
static void damaged_files_end_in_a_line(void **state) {
  static const char *const names[] = {"d.mp4", "d.gif", "d.avi"};
  int opened = 0, failed = 0;
  double start = sonde_clock_seconds();
  (void)state;
  for (int k = 0; k < 3; k++) {
    made_video m = PLAIN;
    char *data;
    int64_t size;
    m.frames = 6, m.width = 48, m.height = 32;
    if (k == 1) m.codec = "gif";
    assert_int_equal(make_video(in_folder(names[k]), &m), 0);
    assert_int_equal(sonde_file_read(path, 0, &data, &size, NULL), 0);
    for (int n = 0; n < 60; n++) {
      sonde_video_opts o = opts();
      sonde_error err = {0};
      sonde_frame f;
      o.width = 48;
      char *copy = malloc((size_t)size);
      memcpy(copy, data, (size_t)size);
      int64_t kept = n < 20 ? size * n / 20 : size;
      for (int b = 0; n >= 20 && b < 12; b++)
        copy[(int64_t)(texture_point(n, b + 100 * k) * (double)size)] ^= (char)(1 << b % 8);
      write_bytes(in_folder(names[k]), copy, (size_t)kept);
      sonde_video *v = sonde_video_open(path, &o, &err);
      int rc = v ? 1 : err.code, frames = 0;
      while (rc > 0 && frames++ < 10000) rc = sonde_video_next(v, &f, &err);
      assert_true(rc == 0 || (err.code < 0 && err.text[0] && !strchr(err.text, '\n')));
      opened += v != NULL, failed += v == NULL;
      sonde_video_close(v);
      free(copy);
    }
    sonde_release(data);
  }
  assert_true(opened > 20 && failed > 5);
  assert_true(sonde_clock_seconds() - start < 300);
}

/* A pipe into which nobody writes any more, without closing it. */
static void a_silent_pipe_is_given_up(void **state) {
  sonde_video_opts o = opts();
  sonde_error err = {0};
  int fd[2], in = dup(0);
  (void)state;
  o.patience = 0.3;
  assert_int_equal(pipe(fd), 0);
  dup2(fd[0], 0);
  assert_int_equal(write(fd[1], "YUV4MPEG2 W64 ", 14), 14);
  assert_null(sonde_video_open("-", &o, &err));
  assert_int_equal(err.code, SONDE_ELIMIT);
  dup2(in, 0);
  close(in), close(fd[0]), close(fd[1]);
}

static void a_pipe_is_a_video(void **state) {
  made_video m = PLAIN;
  sonde_video_opts o = opts();
  sonde_error err = {0};
  sonde_frame f;
  int in = dup(0), n = 0;
  char command[400];
  (void)state;
  make_y4m(in_folder("pipe.y4m"), &m);
  snprintf(command, sizeof command, "cat '%s'", path);
  FILE *cat = popen(command, "r");
  dup2(fileno(cat), 0);
  sonde_video *v = open_video("-", &o);
  for (; sonde_video_next(v, &f, &err) > 0; n++) assert_true(difference(&f, &m, n) == 0);
  assert_int_equal(n, 12);
  assert_int_equal(sonde_video_seek(v, 0, &err), SONDE_EUNSUP);
  sonde_video_close(v);
  dup2(in, 0);
  close(in);
  pclose(cat);
}

static void options_out_of_range_are_refused(void **state) {
  sonde_video_opts bad[6];
  (void)state;
  make_y4m(in_folder("o.y4m"), &PLAIN);
  for (int k = 0; k < 6; k++) bad[k] = opts();
  bad[0].width = 15, bad[1].thumb_width = 5, bad[2].rate = NAN;
  bad[3].patience = 0, bad[4].image_rate = 0, bad[5].threads = 0;
  for (int k = 0; k < 6; k++) is_refused(path, &bad[k], SONDE_EINVAL, "");
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(containers_and_codecs),
      cmocka_unit_test(rotation_is_undone),
      cmocka_unit_test(a_rate_passes_frames_over),
      cmocka_unit_test(seeking_gives_the_frame_of_a_time),
      cmocka_unit_test(a_folder_of_images_is_a_video),
      cmocka_unit_test(small_pictures_have_the_shown_shape),
      cmocka_unit_test(files_without_video_are_refused),
      cmocka_unit_test(large_pictures_are_refused),
      cmocka_unit_test(damaged_files_end_in_a_line),
      cmocka_unit_test(a_silent_pipe_is_given_up),
      cmocka_unit_test(a_pipe_is_a_video),
      cmocka_unit_test(options_out_of_range_are_refused),
  };
  return cmocka_run_group_tests_name("decode", tests, set_up, tear_down);
}

#else

static void a_build_without_ffmpeg_says_so(void **state) {
  sonde_error err = {0};
  (void)state;
  assert_null(sonde_video_open("a.mp4", &sonde_video_defaults, &err));
  assert_int_equal(err.code, SONDE_EUNSUP);
  assert_non_null(strstr(err.text, "apt install"));
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(a_build_without_ffmpeg_says_so)};
  return cmocka_run_group_tests_name("decode", tests, NULL, NULL);
}

#endif
