/* raster_test.c - triangles cover what they should, once; depth and texture are those of the perspective. */
#include "config.h"

#include "../base/testing.h"
#include "base/mem.h"
#include "drive/raster.h"

enum { W = 96, H = 60, PIXELS = W * H + SONDE_RASTER_RUN };
static float inverse[PIXELS];
static uint32_t colour[PIXELS];
static uint8_t shows[PIXELS];

static sonde_target target(void) {
  sonde_target t = {.width = W, .height = H, .focal = 50, .cx = W / 2.0f, .cy = H / 2.0f};
  t.inverse = inverse, t.colour = colour, t.shows = shows;
  sonde_raster_clear(&t);
  return t;
}

/* In two bands, which must not be seen. */
static void draw_all(sonde_target *t) {
  sonde_raster_draw(t, 0, 17);
  sonde_raster_draw(t, 17, H);
  sonde_raster_free(t);
}

/* One level of 256 x 256 texels; the colour is the column and the row. */
static uint32_t texels[256 * 256];
static sonde_texture ruler(void) {
  for (uint32_t i = 0; i < 256 * 256; i++) texels[i] = 0xff000000u | (i & 255) << 8 | i >> 8;
  return (sonde_texture){.side = 256, .bits = 8, .levels = 1, .level = {texels}};
}

static void quad(sonde_target *t, const sonde_corner c[4], const sonde_paint *p) {
  sonde_raster_triangle(t, (sonde_corner[3]){c[0], c[1], c[2]}, p);
  sonde_raster_triangle(t, (sonde_corner[3]){c[0], c[2], c[3]}, p);
}

static void neighbours_share_no_pixel_and_leave_none(void **state) {
  (void)state;
  sonde_texture x = ruler();
  sonde_paint add = {.texture = &x, .tint = 11, .bias = 1, .mode = SONDE_POOL}; /* 255 * 11 / 256 = 10 each */
  for (int turn = 0; turn < 40; turn++) {
    sonde_target t = target();
    sonde_paint ground = {.texture = &x, .tint = 0, .bias = 1, .mode = SONDE_SOLID, .shows = SONDE_SHOWS_GROUND};
    quad(&t,
         (sonde_corner[4]){
             {-50, -50, 20, 0, 0, 0}, {50, -50, 20, 0, 0, 0}, {50, 50, 20, 0, 0, 0}, {-50, 50, 20, 0, 0, 0}},
         &ground);
    sonde_corner fan[10]; /* triangles around a point, out to beyond the picture */
    for (int i = 0; i < 9; i++) {
      double a = 6.283185307179586 * i / 8 + 0.37 * turn;
      fan[i] = (sonde_corner){(float)(30 * exact_cos(a)), (float)(30 * exact_sin(a)), 10, 0, 0, 1};
    }
    fan[8] = fan[0];
    sonde_corner middle = {0.013f * (float)turn, -0.021f * (float)turn, 10, 0, 0, 1};
    for (int i = 0; i < 8; i++) sonde_raster_triangle(&t, (sonde_corner[3]){middle, fan[i], fan[i + 1]}, &add);
    draw_all(&t);
    for (int i = 0; i < W * H; i++)
      if (colour[i] >> 24 != 10) fail_msg("turn %d, pixel %d, %d: light %u", turn, i % W, i / W, colour[i] >> 24);
  }
}

static void depth_and_texture_are_in_perspective(void **state) {
  (void)state;
  sonde_texture x = ruler();
  sonde_paint p = {.texture = &x, .tint = 0xffffff, .bias = 1, .mode = SONDE_SOLID, .shows = 7};
  sonde_target t = target();
  /* A wall that goes away to the right: x = z - 4, from z = 2 to 12; u is (z - 2) / 10. */
  sonde_corner c[4] = {{-2, -3, 2, 0, 0, 1}, {8, -3, 12, 1, 0, 1}, {8, 3, 12, 1, 1, 1}, {-2, 3, 2, 0, 1, 1}};
  quad(&t, c, &p);
  draw_all(&t);
  int seen = 0;
  for (int y = 0; y < H; y++)
    for (int col = 0; col < W; col++) {
      int i = y * W + col;
      if (shows[i] != 7) continue;
      float px = ((float)col + 0.5f - t.cx) / t.focal, z = 4 / (1 - px), u = (z - 2) / 10;
      assert_true(fabsf(1 / inverse[i] - z) < 0.001f * z);
      float got = (float)(colour[i] >> 8 & 255) / 255 * 256 / 255; /* the tint takes 255 / 256 */
      if (fabsf(got - u) > 0.03f) fail_msg("column %d: u %g, expected %g", col, (double)got, (double)u);
      seen++;
    }
  assert_true(seen > 1500);
}

static void the_nearer_one_is_seen(void **state) {
  (void)state;
  sonde_texture x = ruler();
  sonde_paint near = {.texture = &x, .tint = 0xffffff, .bias = 1, .mode = SONDE_SOLID, .shows = 8}, far = near;
  far.shows = 9;
  for (int order = 0; order < 2; order++) {
    sonde_target t = target();
    for (int k = 0; k < 2; k++) {
      float z = (k == order) ? 5 : 10;
      sonde_corner c[4] = {{-20, -20, z, 0, 0, 1}, {20, -20, z, 1, 0, 1}, {20, 20, z, 1, 1, 1}, {-20, 20, z, 0, 1, 1}};
      quad(&t, c, k == order ? &near : &far);
    }
    draw_all(&t);
    for (int i = 0; i < W * H; i++) assert_int_equal(shows[i], 8);
  }
}

/* A floor from behind the camera to the horizon is cut at the near plane. */
static void a_floor_under_the_camera(void **state) {
  (void)state;
  sonde_texture x = ruler();
  sonde_paint p = {.texture = &x, .tint = 0xffffff, .bias = 1, .mode = SONDE_SOLID, .shows = 6};
  sonde_target t = target();
  sonde_corner c[4] = {
      {-900, 1.5f, -900, 0, 0, 1}, {900, 1.5f, -900, 9, 0, 1}, {900, 1.5f, 900, 9, 9, 1}, {-900, 1.5f, 900, 0, 9, 1}};
  memset(colour, 0, sizeof colour);
  quad(&t, c, &p);
  draw_all(&t);
  for (int y = 0; y < H; y++)
    for (int col = 0; col < W; col++) {
      float down = ((float)y + 0.5f - t.cy) / t.focal;
      if (down < 0)
        assert_int_equal(shows[y * W + col], SONDE_SHOWS_SKY);
      else if (down > 0.02f)
        assert_true(fabsf(1 / inverse[y * W + col] - 1.5f / down) < 0.002f * 1.5f / down);
    }
  for (int i = W * H; i < PIXELS; i++) assert_int_equal(colour[i], 0); /* nothing is written behind the picture */
}

static void holes_and_lamps(void **state) {
  (void)state;
  sonde_texture x = ruler();
  for (int i = 0; i < 256 * 256; i++) texels[i] = i % 256 < 128 ? 0x10ffffffu : 0xffffffffu;
  sonde_corner c[4] = {
      {-20, -20, 9, 0, 0, 0.5f}, {20, -20, 9, 1, 0, 0.5f}, {20, 20, 9, 1, 1, 0.5f}, {-20, 20, 9, 0, 1, 0.5f}};
  sonde_paint p = {.texture = &x, .tint = 0xffffff, .bias = 1, .mode = SONDE_CUTOUT, .shows = 6};
  sonde_target t = target();
  quad(&t, c, &p);
  draw_all(&t);
  assert_int_equal(shows[30 * W + 10], SONDE_SHOWS_SKY);
  assert_int_equal(shows[30 * W + 80], 6);
  assert_int_equal(colour[30 * W + 80] >> 24, 64);
  p.mode = SONDE_SHINING;
  quad(&t, c, &p);
  draw_all(&t);
  assert_int_equal(colour[30 * W + 10] >> 24, 255);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(neighbours_share_no_pixel_and_leave_none),
                                     cmocka_unit_test(depth_and_texture_are_in_perspective),
                                     cmocka_unit_test(the_nearer_one_is_seen),
                                     cmocka_unit_test(a_floor_under_the_camera), cmocka_unit_test(holes_and_lamps)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
