/* picture_test.c - the same seed gives the same frames, in any thread and with any compiler options; the truth fits the
 * frames. */
#include "config.h"

#include <pthread.h>

#include "../base/testing.h"
#include "base/mem.h"
#include "base/sha256.h"
#include "drive/picture.h"

enum { W = 64, H = 36, SEED = 5 };

static sonde_textures *textures;

typedef struct clip {
  sonde_traffic traffic;
  sonde_scene scene;
} clip;

static void open_clip(clip *c, int seed, int class_, int domain) {
  sonde_sim_spec spec = {(uint64_t)seed, class_, domain, 3, 1.35, 2.76};
  sonde_look look;
  sonde_look_draw(&look, (uint64_t)seed, domain);
  assert_int_equal(sonde_traffic_make(&spec, &c->traffic, NULL), 0);
  assert_int_equal(sonde_scene_make(&c->scene, &c->traffic, textures, &look, (uint64_t)seed, NULL), 0);
}

static void close_clip(clip *c) {
  sonde_scene_free(&c->scene);
  sonde_traffic_free(&c->traffic);
}

/* The hash of three frames of each of four clips: day and night, dry and wet, both domains. */
static void *hash_frames(void *out) {
  uint8_t rgb[W * H * 3];
  sonde_sha256 hash;
  sonde_sha256_init(&hash);
  sonde_painter *p = sonde_painter_new(W, H, 2, NULL);
  for (int i = 0; p && i < 4; i++) {
    clip c;
    open_clip(&c, SEED + i, (2 * i) % SONDE_CLIP_CLASSES, i % 2);
    for (int k = 0; k < 3; k++) {
      if (sonde_painter_frame(p, &c.scene, 0.4 + 0.9 * k, k, SEED, rgb, NULL) < 0) abort();
      sonde_sha256_add(&hash, rgb, sizeof rgb);
    }
    close_clip(&c);
  }
  sonde_painter_free(p);
  sonde_sha256_hex(&hash, out);
  return NULL;
}

static void frames_do_not_depend_on_threads(void **state) {
  (void)state;
  char alone[65], both[2][65];
  pthread_t thread[2];
  hash_frames(alone);
  for (int i = 0; i < 2; i++) assert_int_equal(pthread_create(&thread[i], NULL, hash_frames, both[i]), 0);
  for (int i = 0; i < 2; i++) pthread_join(thread[i], NULL);
  for (int i = 0; i < 2; i++) assert_string_equal(both[i], alone);
}

/* Any build gives these bytes: -O0 and -O3, with and without -march=native, sanitizers, gcc and clang. Where the
 * simulator or its looks change on purpose, so does this value. */
static void frames_do_not_depend_on_the_build(void **state) {
  (void)state;
  char hash[65];
  hash_frames(hash);
  assert_string_equal(hash, "b6f1ca8f801269fffde33f3c9cfb1f4cae3f403dda4a8a585a45f5512ebda88f");
}

static void a_frame_has_a_road_and_a_sky(void **state) {
  (void)state;
  clip c;
  open_clip(&c, 2, SONDE_BACKGROUND, 0);
  sonde_painter *p = sonde_painter_new(W, H, 2, NULL);
  uint8_t rgb[W * H * 3], shows[W * H];
  float depth[W * H];
  assert_int_equal(sonde_painter_frame(p, &c.scene, 1, 0, 1, rgb, NULL), 0);
  sonde_painter_truth(p, &c.scene, 1, 0.1, shows, depth, NULL);
  int road = 0, sky = 0;
  for (int x = 0; x < W; x++) {
    road += shows[(H - 1) * W + x] == SONDE_SHOWS_GROUND;
    for (int y = 0; y < H / 4; y++) sky += shows[y * W + x] == SONDE_SHOWS_SKY;
  }
  assert_true(road > W / 2);
  assert_true(sky > W);
  for (int i = 0; i < W * H; i++)
    assert_true(shows[i] == SONDE_SHOWS_SKY ? isinf(depth[i]) : depth[i] > 0.2f && depth[i] < 800);
  sonde_painter_free(p);
  close_clip(&c);
}

/* Where a point goes, the next frame shows the same body, at the distance that the motion gives: all but what comes to
 * lie behind something else. */
static void flow_leads_to_the_same_body(void **state) {
  (void)state;
  enum { BIG_W = 240, BIG_H = 136, N = BIG_W * BIG_H };
  clip c;
  open_clip(&c, 4, 4, 0);
  sonde_painter *p = sonde_painter_new(BIG_W, BIG_H, 2, NULL);
  uint8_t *rgb = sonde_alloc(N * 3), *now = sonde_alloc(N), *next = sonde_alloc(N);
  float *flow = sonde_alloc(sizeof *flow * N * 2);
  double dt = 1.0 / 15;
  int64_t all[2] = {0, 0}, good[2] = {0, 0};
  float most = 0;
  for (int k = 0; k < 4; k++) {
    double t = 0.5 + 0.5 * k;
    assert_int_equal(sonde_painter_frame(p, &c.scene, t, 0, 1, rgb, NULL), 0);
    sonde_painter_truth(p, &c.scene, t, dt, now, NULL, flow);
    assert_int_equal(sonde_painter_frame(p, &c.scene, t + dt, 0, 1, rgb, NULL), 0);
    sonde_painter_truth(p, &c.scene, t + dt, dt, next, NULL, NULL);
    for (int i = 0; i < N; i++) {
      float x = (float)(i % BIG_W) + flow[2 * i], y = (float)(i / BIG_W) + flow[2 * i + 1];
      int ix = (int)(x + 0.5f), iy = (int)(y + 0.5f), body = now[i] >= SONDE_SHOWS_BODY;
      if (now[i] == SONDE_SHOWS_SKY || x < 0 || y < 0 || ix >= BIG_W || iy >= BIG_H) continue;
      all[body]++, good[body] += next[iy * BIG_W + ix] == now[i];
      if (fabsf(flow[2 * i]) > most) most = fabsf(flow[2 * i]);
    }
  }
  assert_true(all[0] > N && all[1] > 200);
  assert_true(good[0] > 0.93 * (double)all[0]);
  assert_true(good[1] > 0.80 * (double)all[1]);
  assert_true(most > 3); /* something moves */
  sonde_release(rgb), sonde_release(now), sonde_release(next), sonde_release(flow);
  sonde_painter_free(p);
  close_clip(&c);
}

static int set_up(void **state) {
  (void)state;
  return (textures = sonde_textures_new(NULL)) ? 0 : -1;
}
static int tear_down(void **state) {
  (void)state;
  sonde_textures_free(textures);
  return sonde_alloc_live() == 0 ? 0 : -1;
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(frames_do_not_depend_on_threads), cmocka_unit_test(frames_do_not_depend_on_the_build),
      cmocka_unit_test(a_frame_has_a_road_and_a_sky), cmocka_unit_test(flow_leads_to_the_same_body)};
  return cmocka_run_group_tests(tests, set_up, tear_down);
}
