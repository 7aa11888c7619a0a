/* gemm_test.c - products of every layout, type and odd size against a plain loop, on every instruction set,
 * with the same bits at any thread count. */
#include "config.h"
#include "naive.h"

#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/pool.h"
#include "cpu/gemm.h"

enum { GUARD = 64, MIXED = 3 };      /* MIXED: a dtype of operands, B f32 beside a bf16 A */

typedef struct data {
  sonde_gemm g;
  struct fence { char *at; size_t bytes; } fence[2];   /* of a and b */
  void *a, *b, *c, *before;     /* c begins as `before`, guards around the rows included */
  double *want;
  int64_t c_bytes;
} data;

static int64_t size_of(int type) { return type == SONDE_F32 ? 4 : 2; }

static double at(const void *x, int type, int64_t i) {
  return type == SONDE_F32 ? ((const float *)x)[i] : from_half(((const uint16_t *)x)[i]);
}

static void *made(int64_t n, int type, uint32_t seed) {
  float *x = zeros(n * 4);
  numbers(x, n, seed);
  if (type == SONDE_F32) return x;
  uint16_t *h = zeros(n * 2);
  for (int64_t i = 0; i < n; i++) h[i] = to_half(x[i]);
  free(x);
  return h;
}

/* An operand between NaNs that must not matter, and behind it memory that must not be read. Checkers of
 * addresses do not see what a tile load reads. */
static void *operand(struct fence *f, int64_t rows, int64_t width, int64_t ld, int64_t stride, int64_t batch,
                     int type, uint32_t seed) {
  int64_t n = (batch - 1) * stride + (rows - 1) * ld + width, size = size_of(type);
  size_t page = (size_t)sysconf(_SC_PAGESIZE), room = ((size_t)(n * size) + page - 1) / page * page;
  char *base = mmap(NULL, room + page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  assert_true(base != MAP_FAILED && !mprotect(base + room, page, PROT_NONE));
  *f = (struct fence){base, room + page};
  memset(base, 0xff, room);                              /* NaN in either type */
  char *to = base + room - n * size, *from = made(batch * stride, type, seed);
  for (int64_t e = 0; e < batch; e++)
    for (int64_t r = 0; r < rows; r++)
      memcpy(to + (e * stride + r * ld) * size, from + (e * stride + r * ld) * size, (size_t)(width * size));
  free(from);
  return to;
}

static data make(int64_t m, int64_t n, int64_t k, int64_t batch, int ta, int tb, int in, int out, float beta,
                 int64_t slack) {
  const int mixed = in == MIXED, of_b = mixed ? SONDE_F32 : in;
  if (mixed) in = SONDE_BF16;
  data d = {.g = {.m = m, .n = n, .k = k, .batch = batch, .ta = ta, .tb = tb, .in_type = in, .out_type = out,
                  .beta = beta, .wide_b = mixed}};
  sonde_gemm *g = &d.g;
  g->lda = (ta ? m : k) + slack, g->ldb = (tb ? k : n) + slack, g->ldc = n + slack;
  g->stride_a = (ta ? k : m) * g->lda, g->stride_b = (tb ? n : k) * g->ldb, g->stride_c = m * g->ldc;
  d.a = operand(&d.fence[0], ta ? k : m, ta ? m : k, g->lda, g->stride_a, batch, in, 1);
  d.b = operand(&d.fence[1], tb ? n : k, tb ? k : n, g->ldb, g->stride_b, batch, of_b, 2);
  d.c_bytes = (batch * g->stride_c + GUARD) * size_of(out);
  d.before = made(batch * g->stride_c + GUARD, out, 3), d.c = zeros(d.c_bytes);
  if (beta == 0) memset(d.before, 0xff, (size_t)d.c_bytes);   /* what was there does not matter */
  d.want = zeros(batch * m * n * 8);
  for (int64_t e = 0; e < batch; e++)
    for (int64_t i = 0; i < m; i++)
      for (int64_t j = 0; j < n; j++) {
        double s = beta ? at(d.before, out, e * g->stride_c + i * g->ldc + j) : 0;
        for (int64_t p = 0; p < k; p++) {
          const double b = at(d.b, of_b, e * g->stride_b + (tb ? j * g->ldb + p : p * g->ldb + j));
          s += at(d.a, in, e * g->stride_a + (ta ? p * g->lda + i : i * g->lda + p)) *
               (mixed ? (double)from_half(to_half((float)b)) : b);
        }
        d.want[(e * m + i) * n + j] = s;
      }
  return d;
}

static void drop(data *d) {
  for (int k = 0; k < 2; k++) munmap(d->fence[k].at, d->fence[k].bytes);
  free(d->c), free(d->before), free(d->want);
}

static void run(data *d, sonde_pool *pool) {
  int64_t need = sonde_gemm_scratch(&d->g);
  char *scratch = zeros(need + GUARD);
  memset(scratch, 0xff, (size_t)need);
  memset(scratch + need, 0x5a, GUARD);
  memcpy(d->c, d->before, (size_t)d->c_bytes);
  sonde_gemm_run(&d->g, d->a, d->b, d->c, scratch, pool);
  for (int i = 0; i < GUARD; i++) assert_int_equal(scratch[need + i], 0x5a);
  free(scratch);
}

/* Results are right, and what lies between and behind the rows is as it was. */
static void check(const data *d, const char *isa) {
  const sonde_gemm *g = &d->g;
  char what[160];
  snprintf(what, sizeof what, "%s: m %d n %d k %d batch %d ta %d tb %d in %d%s out %d beta %g", isa, (int)g->m,
           (int)g->n, (int)g->k, (int)g->batch, g->ta, g->tb, g->in_type, g->wide_b ? " and f32" : "", g->out_type,
           g->beta);
  double tolerance =
      g->out_type == SONDE_BF16 ? 5e-3 : 2e-6 * sqrt((double)g->k + 1); /* one chain of k roundings */
  for (int64_t i = 0; i < g->batch * g->stride_c + GUARD; i++) {
    int64_t entry = i / (g->stride_c ? g->stride_c : 1), row = g->ldc ? i % g->stride_c / g->ldc : 0,
            col = g->ldc ? i % g->ldc : 0;
    if (entry < g->batch && col < g->n)
      assert_near(at(d->c, g->out_type, i), d->want[(entry * g->m + row) * g->n + col], tolerance, what, i);
    else if (memcmp((char *)d->c + i * size_of(g->out_type), (char *)d->before + i * size_of(g->out_type),
                    (size_t)size_of(g->out_type)))
      fail_msg("%s: element %lld outside the rows was written", what, (long long)i);
  }
}

static void one(int64_t m, int64_t n, int64_t k, int64_t batch, int64_t slack, sonde_pool *pool,
                const char *isa) {
  static const int types[] = {SONDE_F32, SONDE_BF16, MIXED};
  for (int v = 0; v < 36; v++) {
    const int out = v / 12 % 2;
    const float beta = v / 12 == 2 ? 1 : 0;
    data d = make(m, n, k, batch, v & 1, v >> 1 & 1, types[v / 4 % 3], beta ? SONDE_F32 : out, beta, slack);
    run(&d, pool);
    check(&d, isa);
    drop(&d);
  }
}

static void test_sizes(void **state) {
  (void)state;
  static const int64_t sizes[][5] = {{1, 1, 1, 1, 0},       {1, 7, 5, 1, 0},      {2, 130, 33, 1, 3},
                                     {3, 64, 64, 2, 0},     {6, 64, 16, 1, 0},    {7, 65, 17, 1, 1},
                                     {5, 3, 129, 3, 2},     {97, 63, 31, 1, 0},   {13, 259, 40, 1, 5},
                                     {100, 100, 100, 2, 0}, {24, 16, 1100, 1, 0}, {61, 20, 7, 5, 1},
                                     {16, 16, 32, 1, 0},    {32, 32, 64, 1, 0},   {33, 49, 95, 2, 3},
                                     {17, 97, 1, 1, 0},     {47, 31, 65, 1, 2},   {129, 80, 33, 2, 1},
                                     {20, 40, 2100, 1, 0},
                                     {40, 70, 530, 2, 1},   {40, 60, 33, 1, 452}};   /* two whose B is copied */
  const sonde_simd_table *t[SONDE_LEVELS];
  sonde_pool *pool = sonde_pool_new(2, NULL);
  int n = tables(t);
  for (int k = 0; k < n; k++) {
    sonde_simd_use(t[k]);
    for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++)
      one(sizes[s][0], sizes[s][1], sizes[s][2], sizes[s][3], sizes[s][4], pool, t[k]->isa);
  }
  sonde_pool_free(pool);
}

/* Large enough to be packed in several portions. */
static void test_portions(void **state) {
  (void)state;
  sonde_pool *pool = sonde_pool_new(2, NULL);
  const sonde_simd_table *t[SONDE_LEVELS];
  int n = tables(t);
  sonde_simd_use(t[n - 1]);
  static const int types[] = {SONDE_F32, SONDE_BF16, MIXED};
  for (int v = 0; v < 3; v++) {
    const int in = types[v];
    data wide = make(5, 3000, 1024, 1, 0, 1, in, SONDE_F32, 0, 0),
         tall = make(3000, 5, 1024, 1, 1, 0, in, SONDE_F32, 1, 0);
    data many = make(40, 70, 512, 40, 1, 1, in, SONDE_F32, 0, 0);
    data *all[3] = {&wide, &tall, &many};
    for (int k = 0; k < 3; k++) {
      run(all[k], pool);
      check(all[k], "portions");
      drop(all[k]);
    }
  }
  sonde_pool_free(pool);
}

/* Tiles are cut, and operands packed, by how many rows there are; a row's bits do not depend on the others. */
static void test_rows_alone(void **state) {
  (void)state;
  static const int64_t rows[] = {513, 512, 300, 256, 97, 40};   /* the first is packed as no other is */
  const sonde_simd_table *t[SONDE_LEVELS];
  int tops = tables(t);
  sonde_simd_use(t[tops - 1]);
  sonde_pool *pool = sonde_pool_new(2, NULL);
  for (int v = 0; v < 8; v++) {
    const int64_t n = v & 4 ? 512 : 150, k = v & 4 ? 96 : 530;
    data d = make(rows[0], n, k, 1, v & 1, v >> 1 & 1, SONDE_F32, SONDE_F32, 0, 0);
    run(&d, pool);
    check(&d, "rows alone");
    void *first = zeros(d.c_bytes);
    memcpy(first, d.c, (size_t)d.c_bytes);
    for (int q = 1; q < 6; q++) {
      d.g.m = rows[q];
      run(&d, pool);
      assert_memory_equal(first, d.c, (size_t)(rows[q] * d.g.ldc * 4));
    }
    free(first);
    drop(&d);
  }
  sonde_pool_free(pool);
}

/* An f32 B gives the bits that its bf16 form gives, whatever numbers it has. */
static void test_mixed(void **state) {
  (void)state;
  static const float odd[] = {1e-40f, -1e-39f,         -0.0f,       3.4e38f,     INFINITY,
                              NAN,    1.17549435e-38f, 1.00390625f, -1.01171875f};
  const sonde_simd_table *t[SONDE_LEVELS];
  sonde_pool *pool = sonde_pool_new(2, NULL);
  int n = tables(t);
  for (int k = 0; k < n; k++) {
    sonde_simd_use(t[k]);
    for (int v = 0; v < 8; v++) {
      const int tb = v & 1, odd_k = v >> 2 & 1;
      data d = make(70, 150, 90 + odd_k, 1, v >> 1 & 1, tb, MIXED, SONDE_F32, 0, 3);
      const int64_t rows = tb ? d.g.n : d.g.k, width = tb ? d.g.k : d.g.n, count = (rows - 1) * d.g.ldb + width;
      for (int64_t i = 0; i < count; i++)     /* one odd number a column: none of them hides another */
        if (i % d.g.ldb < width && (tb ? i % d.g.ldb == i / d.g.ldb % d.g.k : i / d.g.ldb == i % d.g.ldb % d.g.k))
          ((float *)d.b)[i] = odd[(tb ? i / d.g.ldb : i % d.g.ldb) % 9];
      run(&d, pool);
      void *first = zeros(d.c_bytes), *half = zeros(count * 2), *b = d.b;
      memcpy(first, d.c, (size_t)d.c_bytes);
      t[k]->common.to_bf16(half, b, count);
      d.b = half, d.g.wide_b = 0;
      run(&d, pool);
      assert_memory_equal(first, d.c, (size_t)d.c_bytes);
      free(first), free(half);
      drop(&d);
    }
  }
  sonde_pool_free(pool);
}

/* Results below the normal numbers are rounded to bf16, not lost. */
static void test_subnormal(void **state) {
  (void)state;
  const sonde_simd_table *t[SONDE_LEVELS];
  sonde_pool *pool = sonde_pool_new(1, NULL);
  int n = tables(t);
  for (int k = 0; k < n; k++) {
    sonde_simd_use(t[k]);
    data d = make(20, 40, 1, 1, 0, 0, SONDE_F32, SONDE_BF16, 0, 0);
    for (int64_t i = 0; i < 20; i++) ((float *)d.a)[i] = 1e-20f;
    for (int64_t j = 0; j < 40; j++) ((float *)d.b)[j] = 1e-20f * (float)(j + 1);
    run(&d, pool);
    for (int64_t i = 0; i < 20 * 40; i++)
      assert_int_equal(((uint16_t *)d.c)[i], to_half(1e-20f * (1e-20f * (float)(i % 40 + 1))));
    drop(&d);
  }
  sonde_pool_free(pool);
}

static void test_same_bits(void **state) {
  (void)state;
  static const int threads[] = {1, 2, 3, 7};
  const sonde_simd_table *t[SONDE_LEVELS];
  int n = tables(t);
  for (int k = 0; k < n; k++) {
    sonde_simd_use(t[k]);
    for (int v = 0; v < 8; v++) {
      data d = make(203, 190, 77, 2, v & 1, v >> 1 & 1, v >> 2, SONDE_F32, 0, 0);
      void *first = zeros(d.c_bytes);
      for (int q = 0; q < 4; q++) {
        sonde_pool *pool = sonde_pool_new(threads[q], NULL);
        run(&d, pool);
        if (q == 0) memcpy(first, d.c, (size_t)d.c_bytes);
        assert_memory_equal(first, d.c, (size_t)d.c_bytes);
        sonde_pool_free(pool);
      }
      free(first);
      drop(&d);
    }
  }
}

/* Results that are too large for caches are written in another way, wherever the lines of a cache begin in their rows:
 * the same bits, and nothing between the rows. */
static void test_large(void **state) {
  (void)state;
  static const int64_t sizes[][4] = {{64, 64, 64, 0}, {70, 96, 40, 0}, {33, 49, 95, 3}, {40, 80, 33, 16},
                                     {9, 200, 64, 8}};
  sonde_pool *pool = sonde_pool_new(2, NULL);
  const sonde_simd_table *t[SONDE_LEVELS];
  int n = tables(t);
  for (int k = 0; k < n; k++) {
    sonde_simd_use(t[k]);
    for (int v = 0; v < 20; v++) {
      const int64_t *s = sizes[v / 4];
      data d = make(s[0], s[1], s[2], 2, v & 1, 0, SONDE_BF16, v >> 1 & 1 ? SONDE_BF16 : SONDE_F32, 0, s[3]);
      run(&d, pool);
      void *small = zeros(d.c_bytes);
      memcpy(small, d.c, (size_t)d.c_bytes);
      d.g.large = 1;
      run(&d, pool);
      check(&d, t[k]->isa);
      assert_memory_equal(small, d.c, (size_t)d.c_bytes);
      free(small);
      drop(&d);
    }
  }
  sonde_pool_free(pool);
}

static void test_empty(void **state) {
  (void)state;
  sonde_pool *pool = sonde_pool_new(1, NULL);
  float c[6] = {1, 2, 3, 4, 5, 6}, x = 1;
  sonde_gemm g = {.m = 2, .n = 3, .k = 0, .batch = 1, .lda = 1, .ldb = 3, .ldc = 3, .beta = 1};
  sonde_gemm_run(&g, &x, &x, c, NULL, pool);
  assert_true(c[0] == 1 && c[5] == 6);
  g.beta = 0;
  sonde_gemm_run(&g, &x, &x, c, NULL, pool);
  assert_true(c[0] == 0 && c[5] == 0);
  c[0] = 9;
  g.m = 0;
  sonde_gemm_run(&g, &x, &x, c, NULL, pool);
  assert_true(c[0] == 9);
  sonde_pool_free(pool);
}

/* A NaN or infinity in one row of A reaches that row of C and no other. */
static void test_nan(void **state) {
  (void)state;
  const sonde_simd_table *t[SONDE_LEVELS];
  int n = tables(t);
  sonde_pool *pool = sonde_pool_new(1, NULL);
  for (int k = 0; k < n; k++)
    for (int in = 0; in < 2; in++) {
      sonde_simd_use(t[k]);
      data d = make(9, 20, 15, 1, 0, 1, in, SONDE_F32, 0, 0);
      if (in == SONDE_F32) ((float *)d.a)[4 * 15 + 14] = NAN;
      else ((uint16_t *)d.a)[4 * 15 + 14] = 0x7fc0;
      run(&d, pool);
      for (int64_t i = 0; i < 9 * 20; i++) assert_int_equal(isnan(((float *)d.c)[i]) != 0, i / 20 == 4);
      drop(&d);
      d = make(37, 45, 15, 1, 1, 0, in, SONDE_BF16, 0, 0);   /* of B: that column; infinity times what it meets */
      if (in == SONDE_F32) ((float *)d.b)[14 * 45 + 40] = INFINITY;
      else ((uint16_t *)d.b)[14 * 45 + 40] = 0x7f80;
      run(&d, pool);
      for (int64_t i = 0; i < 37 * 45; i++)
        assert_int_equal(isfinite(from_half(((uint16_t *)d.c)[i])) == 0, i % 45 == 40);
      drop(&d);
    }
  sonde_pool_free(pool);
}

static int has_amx(void) { return sonde_simd_level(SONDE_LEVELS - 1)->bf16 == SONDE_BF16_AMX; }

/* AMX is chosen where the machine has it, is another sum than AVX-512's, and takes denormal numbers as zero. */
static void test_amx(void **state) {
  (void)state;
  const sonde_simd_table *t = sonde_simd_level(SONDE_LEVELS - 1);
  sonde_pool *pool = sonde_pool_new(2, NULL);
  data d = make(64, 64, 512, 1, 0, 1, SONDE_BF16, SONDE_F32, 0, 0);
  sonde_simd_use(sonde_simd_level(SONDE_LEVELS - 2));
  run(&d, pool);
  float *other = zeros(d.c_bytes);
  memcpy(other, d.c, (size_t)d.c_bytes);
  sonde_simd_use(t);
  assert_string_equal(t->isa, "amx");
  assert_string_equal(sonde_gemm_kernels(SONDE_BF16), "Sonde AMX bf16");
  run(&d, pool);
  check(&d, "amx");
  assert_true(memcmp(other, d.c, 64 * 64 * sizeof *other));
  for (int64_t i = 0; i < 64 * 512; i++) ((uint16_t *)d.b)[i] = 0x0001;
  run(&d, pool);
  for (int64_t i = 0; i < 64 * 64; i++) assert_true(((float *)d.c)[i] == 0);
  free(other);
  drop(&d);
  sonde_pool_free(pool);
}

static void test_tile(void **state) {
  (void)state;
  const sonde_simd_table *t[SONDE_LEVELS];
  int n = tables(t);
  for (int k = 0; k < n; k++) {
    sonde_simd_use(t[k]);
    for (int v = 0; v < 8; v++) {
      data d = make(19, 77, 600, 1, v & 1, v >> 1 & 1, SONDE_F32, SONDE_F32, v >> 2 ? 1 : 0, 3);
      memcpy(d.c, d.before, (size_t)d.c_bytes);
      sonde_gemm_tile(d.g.ta, d.g.tb, d.g.m, d.g.n, d.g.k, d.a, d.g.lda, d.b, d.g.ldb, d.g.beta, d.c,
                      d.g.ldc);
      check(&d, t[k]->isa);
      drop(&d);
    }
  }
}

static void test_kernels_are_named(void **state) {
  (void)state;
  const sonde_simd_table *t[SONDE_LEVELS];
  int n = tables(t);
  for (int k = 0; k < n; k++) {
    sonde_simd_use(t[k]);
    assert_true(strlen(sonde_gemm_kernels(SONDE_F32)) > 3);
    assert_int_equal(strstr(sonde_gemm_kernels(SONDE_BF16), "widened") == NULL, t[k]->bf16 != SONDE_BF16_NONE);
  }
}

/* A test without a function is left out. cmocka's own skip() cannot be used: its TAP calls it "not ok". */
int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_sizes),
                                     cmocka_unit_test(test_portions),
                                     cmocka_unit_test(test_rows_alone),
                                     cmocka_unit_test(test_mixed),
                                     cmocka_unit_test(test_subnormal),
                                     cmocka_unit_test(test_same_bits),
                                     cmocka_unit_test(test_large),
                                     cmocka_unit_test(test_empty),
                                     cmocka_unit_test(test_nan),
                                     {"test_amx", has_amx() ? test_amx : NULL, NULL, NULL, NULL},
                                     cmocka_unit_test(test_tile),
                                     cmocka_unit_test(test_kernels_are_named)};
  if (!has_amx()) print_message("# no AMX: the compiler, the CPU or the system lacks it\n");
  return cmocka_run_group_tests_name("matrix products", tests, NULL, NULL);
}
