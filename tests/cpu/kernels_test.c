/* kernels_test.c - the kernels of norms, rope, the LM loss, argmax and matmul against plain loops in double
 * precision: what the cases of tests/ops leave out (bf16 in and out, results that nobody reads, several
 * chunks, hostile targets). */
#include "config.h"
#include "kernel.h"


static int last_of(const sonde_shape *s) { return (int)s->dim[s->rank - 1]; }

/* ---- norms --------------------------------------------------------------------------------------- */

static kernel norm_of(const char *name, int64_t rows, int64_t width, int type) {
  int layer = strstr(name, "layer") != NULL;
  kernel k = {.def = op_named(sonde_ops_norm, name), .attr = {{1e-3}, {0}}};
  kernel_input(&k, shape_of(type, 2, rows, width, 0, 0), 1);
  kernel_input(&k, shape_of(SONDE_F32, 1, width, 0, 0, 0), 2);
  if (layer) kernel_input(&k, shape_of(SONDE_F32, 1, width, 0, 0, 0), 3);
  return k;
}

/* Results of one row in double: y, and the scale; mean 0 for RMSNorm. */
static void naive_row(const kernel *k, int64_t row, double *mean, double *scale) {
  int64_t n = last_of(&k->in[0]);
  double s = 0, v = 0;
  for (int64_t i = 0; i < n; i++) s += kernel_in(k, 0, row * n + i) / (double)n;
  *mean = k->n_in == 3 ? s : 0;
  for (int64_t i = 0; i < n; i++) v += pow(kernel_in(k, 0, row * n + i) - *mean, 2) / (double)n;
  *scale = 1 / sqrt(v + k->attr.f[0]);
}

static void check_norm(const char *isa, const char *name, int64_t rows, int64_t width, int type,
                       int out_type) {
  kernel k = norm_of(name, rows, width, type);
  k.out_type = out_type;
  assert_int_equal(kernel_run(&k, 2), 0);
  for (int64_t r = 0; r < rows; r++) {
    double mean, scale;
    naive_row(&k, r, &mean, &scale);
    assert_near(kernel_out(&k, k.def->n_out - 1, r), scale, 3e-6, isa, r);
    if (k.n_in == 3) assert_near(kernel_out(&k, 1, r), mean, 3e-6, isa, r);
    for (int64_t i = 0; i < width; i++) {
      double want = (kernel_in(&k, 0, r * width + i) - mean) * scale * kernel_in(&k, 1, i) +
                    (k.n_in == 3 ? kernel_in(&k, 2, i) : 0);
      assert_near(kernel_out(&k, 0, r * width + i), want, out_type == SONDE_BF16 ? 4e-3 : 5e-6, isa,
                  r * width + i);
    }
  }
  k.unread = 1;
  assert_int_equal(kernel_run(&k, 1), 0);
  k.unread = 6;
  assert_int_equal(kernel_run(&k, 1), 0);
  kernel_free(&k);
}

static void norms(const char *isa) {
  const char *const names[] = {"rmsnorm", "layernorm"};
  for (int q = 0; q < 2; q++)
    for (int v = 0; v < 4; v++) {
      check_norm(isa, names[q], 130, 37, v & 1, v >> 1);
      check_norm(isa, names[q], 1, 1, v & 1, v >> 1);
      check_norm(isa, names[q], 0, 8, v & 1, v >> 1);
    }
}
static void test_norms(void **state) { (void)state; on_every_isa(norms); }

/* Gradients: dy in bf16 gives what the same numbers in f32 give; sums over rows keep their order. */
static kernel norm_grad_of(const kernel *f, const char *name, int dy_type) {
  kernel k = {.def = op_named(sonde_ops_norm, name), .attr = f->attr};
  for (int i = 0; i < 2; i++) {
    kernel_input(&k, f->in[i], 0);
    memcpy(k.x[i], f->x[i], (size_t)sonde_shape_bytes(&f->in[i]));
  }
  for (int r = 1; r < f->def->n_out; r++) {
    kernel_input(&k, f->out[r], 0);
    memcpy(k.x[k.n_in - 1], f->y[r], (size_t)sonde_shape_bytes(&f->out[r]));
  }
  sonde_shape dy = f->in[0];
  dy.dtype = dy_type;
  kernel_input(&k, dy, 7);
  return k;
}

static void check_norm_gradient(const char *isa, int layer, int64_t rows, int64_t width) {
  enum { ROWS = 203 };
  double mean[ROWS], scale[ROWS];
  kernel f = norm_of(layer ? "layernorm" : "rmsnorm", rows, width, SONDE_F32);
  const char *grad = layer ? "layernorm_grad" : "rmsnorm_grad";
  assert_int_equal(kernel_run(&f, 1), 0);
  kernel half = norm_grad_of(&f, grad, SONDE_BF16), full = norm_grad_of(&f, grad, SONDE_F32);
  int last = full.n_in - 1;
  for (int64_t i = 0; i < rows * width; i++) ((float *)full.x[last])[i] = from_half(((uint16_t *)half.x[last])[i]);
  kernel_same_bits(&half);
  kernel_same_bits(&full);
  for (int r = 0; r < half.def->n_out; r++)
    assert_memory_equal(half.y[r], full.y[r], (size_t)sonde_shape_bytes(&full.out[r]));
  for (int64_t r = 0; r < rows; r++) naive_row(&f, r, &mean[r], &scale[r]);
  for (int64_t i = 0; i < width; i++) {
    double dgain = 0, dbias = 0;
    for (int64_t r = 0; r < rows; r++) {
      dgain += kernel_in(&full, last, r * width + i) * (kernel_in(&f, 0, r * width + i) - mean[r]) * scale[r];
      dbias += kernel_in(&full, last, r * width + i);
    }
    assert_near(kernel_out(&full, 1, i), dgain, 2e-5, isa, i);
    if (layer) assert_near(kernel_out(&full, 2, i), dbias, 2e-5, isa, i);
  }
  full.unread = 1;
  assert_int_equal(kernel_run(&full, 2), 0);
  full.unread = 6;
  assert_int_equal(kernel_run(&full, 2), 0);
  kernel_free(&f), kernel_free(&half), kernel_free(&full);
}

/* Many blocks of rows; and rows so wide that a block's sums do not fit on the stack. */
static void norm_gradients(const char *isa) {
  for (int layer = 0; layer < 2; layer++) {
    check_norm_gradient(isa, layer, 203, 19);
    check_norm_gradient(isa, layer, 37, 9001);
  }
}
static void test_norm_gradients(void **state) { (void)state; on_every_isa(norm_gradients); }

/* ---- rope ---------------------------------------------------------------------------------------- */

static void rope(const char *isa) {
  enum { B = 2, T = 131, H = 3, D = 10 };
  for (int v = 0; v < 4; v++) {
    kernel k = {.def = op_named(sonde_ops_rope, "rope"),
                .attr = {{100, v & 2 ? -1 : 1}, {v * 1000}},
                .out_type = v & 1 ? SONDE_BF16 : 0};
    kernel_input(&k, shape_of(v & 1 ? SONDE_BF16 : SONDE_F32, 4, B, T, H, D), 1);
    kernel_same_bits(&k);
    for (int64_t at = 0; at < B * T * H; at++)
      for (int j = 0; j < D / 2; j++) {
        double angle = (double)(at / H % T + v * 1000) * pow(100, -2.0 * j / D) * k.attr.f[1];
        double a = kernel_in(&k, 0, at * D + j), b = kernel_in(&k, 0, at * D + j + D / 2),
               near = v & 1 ? 4e-3 : 1e-6;
        assert_near(kernel_out(&k, 0, at * D + j), a * cos(angle) - b * sin(angle), near, isa, at);
        assert_near(kernel_out(&k, 0, at * D + j + D / 2), b * cos(angle) + a * sin(angle), near, isa, at);
      }
    kernel_free(&k);
  }
}
static void test_rope(void **state) { (void)state; on_every_isa(rope); }

/* A position for each token: documents that begin anew, jumps, and the same bits as without where they are 0, 1, 2,
 * .. */
static void rope_positions(const char *isa) {
  enum { B = 2, T = 150, H = 2, D = 6 };
  kernel k = {.def = op_named(sonde_ops_rope, "rope"), .attr = {{100, 1}, {3}}}, plain = k;
  kernel_input(&k, shape_of(SONDE_F32, 4, B, T, H, D), 1);
  kernel_input(&k, shape_of(SONDE_I32, 2, B, T, 0, 0), 1);
  kernel_input(&plain, k.in[0], 1);
  int32_t *position = k.x[1];
  for (int at = 0; at < B * T; at++) position[at] = at % T;
  assert_int_equal(kernel_run(&k, 2), 0);
  assert_int_equal(kernel_run(&plain, 2), 0);
  assert_memory_equal(k.y[0], plain.y[0], B * T * H * D * 4);
  for (int at = 0; at < B * T; at++) position[at] = at < T ? at % 47 : at * 31 % 200;
  kernel_same_bits(&k);
  for (int64_t at = 0; at < B * T * H; at++)
    for (int j = 0; j < D / 2; j++) {
      double angle = (double)(position[at / H] + 3) * pow(100, -2.0 * j / D);
      double a = kernel_in(&k, 0, at * D + j), b = kernel_in(&k, 0, at * D + j + D / 2);
      assert_near(kernel_out(&k, 0, at * D + j), a * cos(angle) - b * sin(angle), 1e-6, isa, at);
      assert_near(kernel_out(&k, 0, at * D + j + D / 2), b * cos(angle) + a * sin(angle), 1e-6, isa, at);
    }
  kernel_free(&k), kernel_free(&plain);
}
static void test_rope_positions(void **state) { (void)state; on_every_isa(rope_positions); }

static void test_rope_in_place(void **state) {
  (void)state;
  kernel k = {.def = op_named(sonde_ops_rope, "rope"), .attr = {{10000, 1}, {5}}};
  kernel_input(&k, shape_of(SONDE_F32, 4, 1, 70, 2, 8), 1);
  assert_int_equal(kernel_run(&k, 1), 0);
  sonde_pool *pool = sonde_pool_new(2, NULL);
  sonde_call c = {.size = sizeof c,
                  .n_in = 1,
                  .n_out = 1,
                  .in_shape = k.in,
                  .out_shape = k.out,
                  .in = (const void *const *)k.x,
                  .out = k.x,
                  .attr = &k.attr,
                  .pool = pool};
  assert_int_equal(k.def->run(&c), 0);
  assert_memory_equal(k.x[0], k.y[0], 70 * 2 * 8 * 4);
  sonde_pool_free(pool);
  kernel_free(&k);
}

/* ---- the LM loss --------------------------------------------------------------------------------- */

static kernel loss_of(const char *name, int64_t n, int64_t d, int64_t v, int type) {
  kernel k = {.def = op_named(sonde_ops_loss, name)};
  kernel_input(&k, shape_of(type, 2, n, d, 0, 0), 1);
  kernel_input(&k, shape_of(type, 2, v, d, 0, 0), 2);
  kernel_input(&k, shape_of(SONDE_I32, 1, n, 0, 0, 0), 3);
  for (int64_t i = 0; i < n; i++) ((int32_t *)k.x[2])[i] = i % 7 == 3 ? -1 : (int32_t)(i * 7919 % v);
  if (strstr(name, "grad")) kernel_input(&k, shape_of(SONDE_F32, 1, n, 0, 0, 0), 4);
  return k;
}

/* loss [n], dx [n, d], dw [v, d]; dloss may be NULL. */
static void naive_loss(const kernel *k, const float *dloss, double *loss, double *dx, double *dw) {
  int64_t n = k->in[0].dim[0], d = k->in[0].dim[1], v = k->in[1].dim[0];
  double *z = zeros(v * 8);
  for (int64_t i = 0; i < n; i++) {
    int32_t target = ((int32_t *)k->x[2])[i];
    double total = 0;
    if (target < 0) continue;
    for (int64_t j = 0; j < v; j++) {
      z[j] = 0;
      for (int64_t c = 0; c < d; c++) z[j] += kernel_in(k, 0, i * d + c) * kernel_in(k, 1, j * d + c);
      total += exp(z[j]);
    }
    loss[i] = log(total) - z[target];
    for (int64_t j = 0; dloss && j < v; j++) {
      double dz = dloss[i] * (exp(z[j]) / total - (j == target));
      for (int64_t c = 0; c < d; c++)
        dx[i * d + c] += dz * kernel_in(k, 1, j * d + c), dw[j * d + c] += dz * kernel_in(k, 0, i * d + c);
    }
  }
  free(z);
}

static void check_loss(const char *isa, int64_t n, int64_t d, int64_t v, int type) {
  kernel f = loss_of("lm_loss", n, d, v, type), b = loss_of("lm_loss_grad", n, d, v, type);
  double *loss = zeros(n * 8), *dx = zeros(n * d * 8), *dw = zeros(v * d * 8),
         near = type == SONDE_F32 ? 2e-5 : 5e-3;
  kernel_same_bits(&f);
  kernel_same_bits(&b);
  naive_loss(&b, b.x[3], loss, dx, dw);
  for (int64_t i = 0; i < n; i++) {
    assert_near(kernel_out(&f, 0, i), loss[i], 5e-6, isa, i);
    assert_near(kernel_out(&b, 2, i), loss[i], 5e-6, isa, i);
  }
  for (int64_t i = 0; i < n * d; i++) assert_near(kernel_out(&b, 0, i), dx[i], near, isa, i);
  for (int64_t i = 0; i < v * d; i++) assert_near(kernel_out(&b, 1, i), dw[i], near, isa, i);
  for (int unread = 1; unread < 8; unread += 3) {
    b.unread = unread;
    assert_int_equal(kernel_run(&b, 2), 0);
  }
  free(loss), free(dx), free(dw);
  kernel_free(&f), kernel_free(&b);
}

static void losses(const char *isa) {
  for (int type = 0; type < 2; type++) {
    check_loss(isa, 1, 1, 1, type);
    check_loss(isa, 67, 9, 133, type);
    check_loss(isa, 530, 6, 50, type);    /* two chunks of at most 512 tokens */
  }
}
static void test_losses(void **state) { (void)state; on_every_isa(losses); }

static void test_chunks_by_size(void **state) {
  (void)state;
  check_loss("chunks", 200, 3, 70000, SONDE_F32);   /* 64 tokens a chunk */
}

static void test_bad_target(void **state) {
  (void)state;
  kernel k = loss_of("lm_loss", 10, 4, 20, SONDE_F32);
  ((int32_t *)k.x[2])[6] = 20;
  assert_int_equal(kernel_run(&k, 2), SONDE_EINVAL);
  assert_non_null(strstr(k.err.text, "target 20 of token 6"));
  ((int32_t *)k.x[2])[6] = -2;
  assert_int_equal(kernel_run(&k, 2), SONDE_EINVAL);
  kernel_free(&k);
}

static void argmaxes(const char *isa) {
  kernel k = {.def = op_named(sonde_ops_loss, "argmax")};
  (void)isa;
  kernel_input(&k, shape_of(SONDE_F32, 2, 5, 83, 0, 0), 1);
  float *x = k.x[0];
  x[40] = x[17] = x[82] = 5;          /* the first of equals */
  x[83 + 82] = 5;                     /* in the tail */
  x[2 * 83 + 9] = NAN;
  for (int j = 0; j < 83; j++) x[3 * 83 + j] = -INFINITY;
  x[4 * 83] = INFINITY;
  assert_int_equal(kernel_run(&k, 2), 0);
  static const int want[] = {17, 82, 9, 0, 0};
  for (int i = 0; i < 5; i++) assert_int_equal((int)kernel_out(&k, 0, i), want[i]);
  kernel_free(&k);
}
static void test_argmax(void **state) { (void)state; on_every_isa(argmaxes); }

/* ---- matmul -------------------------------------------------------------------------------------- */

static void sums_into(const char *isa) {
  for (int in_place = 0; in_place < 2; in_place++) {
    kernel k = {.def = op_named(sonde_ops_matmul, "matmul"), .attr = {{0}, {0, 1}}};
    kernel_input(&k, shape_of(SONDE_F32, 3, 3, 4, 5, 0), 1);
    kernel_input(&k, shape_of(SONDE_F32, 2, 7, 5, 0, 0), 2);
    kernel_input(&k, shape_of(SONDE_F32, 3, 3, 4, 7, 0), 3);
    assert_int_equal(kernel_run(&k, 1), 0);
    float *c = zeros(84 * 4);
    memcpy(c, k.x[2], 84 * 4);
    if (in_place) {
      sonde_pool *pool = sonde_pool_new(1, NULL);
      void *scratch = zeros(k.def->scratch(k.in, 3, k.out, &k.attr));
      sonde_call call = {.size = sizeof call,
                         .n_in = 3,
                         .n_out = 1,
                         .in_shape = k.in,
                         .out_shape = k.out,
                         .in = (const void *const *)k.x,
                         .out = &k.x[2],
                         .attr = &k.attr,
                         .scratch = scratch,
                         .pool = pool};
      assert_int_equal(k.def->run(&call), 0);
      assert_memory_equal(k.x[2], k.y[0], 84 * 4);
      free(scratch);
      sonde_pool_free(pool);
    } else {
      assert_memory_equal(k.x[2], c, 84 * 4);
    }
    for (int i = 0; i < 84; i++) {
      double want = c[i];
      for (int p = 0; p < 5; p++) want += kernel_in(&k, 0, i / 7 * 5 + p) * kernel_in(&k, 1, i % 7 * 5 + p);
      assert_near(kernel_out(&k, 0, i), want, 1e-6, isa, i);
    }
    free(c);
    kernel_free(&k);
  }
}
static void test_sums_into(void **state) { (void)state; on_every_isa(sums_into); }

static void product_refused(sonde_shape a, sonde_shape b, int ta, int tb, const char *why) {
  sonde_shape in[2] = {a, b}, out;
  sonde_attr at = {{0}, {ta, tb}};
  sonde_error err = {0};
  assert_int_equal(op_named(sonde_ops_matmul, "matmul")->shape(in, 2, &at, &out, &err), SONDE_ESHAPE);
  if (!strstr(err.text, why)) fail_msg("'%s' does not say '%s'", err.text, why);
}

static void test_refusals(void **state) {
  (void)state;
  sonde_shape a = shape_of(SONDE_F32, 2, 3, 4, 0, 0), b = shape_of(SONDE_F32, 2, 5, 6, 0, 0),
              deep = shape_of(SONDE_F32, 3, 2, 3, 4, 0);
  product_refused(a, b, 0, 0, "inner sizes are 4 and 5");
  product_refused(a, shape_of(SONDE_BF16, 2, 4, 6, 0, 0), 0, 0, "both must be f32 or both bf16");
  product_refused(a, shape_of(SONDE_F32, 1, 4, 0, 0, 0), 0, 0, "at least two axes");
  product_refused(a, deep, 0, 0, "as many as the first");
  product_refused(deep, shape_of(SONDE_F32, 3, 5, 4, 1, 0), 0, 0, "leading axes");
  product_refused(deep, shape_of(SONDE_F32, 2, 3, 6, 0, 0), 1, 0, "same number of axes");
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_norms),      cmocka_unit_test(test_norm_gradients),
                                     cmocka_unit_test(test_rope),       cmocka_unit_test(test_rope_positions),
      cmocka_unit_test(test_rope_in_place),
                                     cmocka_unit_test(test_losses),     cmocka_unit_test(test_chunks_by_size),
                                     cmocka_unit_test(test_bad_target), cmocka_unit_test(test_argmax),
                                     cmocka_unit_test(test_sums_into),  cmocka_unit_test(test_refusals)};
  return cmocka_run_group_tests_name("kernels", tests, NULL, NULL);
}
