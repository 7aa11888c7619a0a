/* pool_test.c - every tile runs once, whoever runs it, however often, from wherever. */
#include "config.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <time.h>
#include "testing.h"
#include "base/mem.h"
#include "base/pool.h"

enum { TILES = 1000 };

typedef struct job {
  sonde_pool *pool;
  _Atomic int count[TILES];
  _Atomic int bad_worker;
  int threads;
} job;

static void count_tile(void *arg, int64_t tile, int worker) {
  job *j = arg;
  atomic_fetch_add(&j->count[tile], 1);
  if (worker < 0 || worker >= j->threads) atomic_store(&j->bad_worker, 1);
}

static void every_tile_runs_once(void **state) {
  (void)state;
  static const int threads[] = {1, 2, 3, 8};
  static const int64_t tiles[] = {0, 1, 2, 3, 7, TILES};
  for (int t = 0; t < 4; t++) {
    sonde_pool *p = sonde_pool_new(threads[t], NULL);
    assert_non_null(p);
    assert_int_equal(sonde_pool_threads(p), threads[t]);
    for (int n = 0; n < 6; n++) {
      job j = {.threads = threads[t]};
      sonde_pool_run(p, tiles[n], count_tile, &j);
      for (int i = 0; i < TILES; i++) assert_int_equal(j.count[i], i < tiles[n]);
      assert_int_equal(j.bad_worker, 0);
    }
    sonde_pool_free(p);
  }
}

static void a_pool_of_another_size_runs_every_tile_once(void **state) {
  (void)state;
  static const int sizes[] = {1, 3, 4, 1, 2};
  sonde_error err;
  sonde_pool *p = sonde_pool_new(4, NULL);
  for (int k = 0; k < 5; k++) {
    job j = {.threads = sizes[k]};
    assert_int_equal(sonde_pool_resize(p, sizes[k], 2, &err), 0);
    assert_int_equal(sonde_pool_threads(p), sizes[k]);
    for (int n = 0; n < 50; n++) sonde_pool_run(p, TILES, count_tile, &j);
    for (int i = 0; i < TILES; i++) assert_int_equal(j.count[i], 50);
    assert_int_equal(j.bad_worker, 0);
  }
  assert_int_equal(sonde_pool_resize(p, 5, 1, &err), SONDE_EINVAL);
  assert_string_equal(err.text, "threads = 5: must be 1 to 4");
  sonde_pool_free(p);
}

/* Many short regions with changing functions and sizes: a late worker must not touch the next region. */
typedef struct sum { _Atomic int64_t total; int64_t factor; } sum;

static void add_tile(void *arg, int64_t tile, int worker) {
  (void)worker;
  sum *s = arg;
  atomic_fetch_add(&s->total, s->factor * (tile + 1));
}

static void subtract_tile(void *arg, int64_t tile, int worker) {
  (void)worker;
  sum *s = arg;
  atomic_fetch_sub(&s->total, s->factor * (tile + 1));
}

static void short_regions_do_not_mix(void **state) {
  (void)state;
  for (int threads = 2; threads <= 5; threads++) {
    sonde_pool *p = sonde_pool_new(threads, NULL);
    for (int64_t i = 0; i < 20000; i++) {
      sum s = {.factor = i + 1};   /* on the stack: gone when the region is over */
      int64_t n = 2 + i * 7 % 9;
      sonde_pool_run(p, n, i % 2 ? subtract_tile : add_tile, &s);
      assert_int_equal(s.total, (i % 2 ? -1 : 1) * (i + 1) * n * (n + 1) / 2);
    }
    sonde_pool_free(p);
  }
}

static void nested_tile(void *arg, int64_t tile, int worker) {
  job *outer = arg;
  job inner = {.threads = outer->threads};
  pthread_t me = pthread_self();
  sonde_pool_run(outer->pool, 5, count_tile, &inner);
  for (int i = 0; i < 5; i++)
    if (inner.count[i] != 1) atomic_store(&outer->bad_worker, 1);
  if (!pthread_equal(me, pthread_self())) atomic_store(&outer->bad_worker, 1);
  count_tile(arg, tile, worker);
}

static void nested_calls_run_in_place(void **state) {
  (void)state;
  sonde_pool *p = sonde_pool_new(3, NULL);
  job j = {.threads = 3, .pool = p};
  sonde_pool_run(p, 100, nested_tile, &j);
  for (int i = 0; i < 100; i++) assert_int_equal(j.count[i], 1);
  assert_int_equal(j.bad_worker, 0);
  sonde_pool_free(p);
}

static void other_pool_tile(void *arg, int64_t tile, int worker) {
  (void)tile, (void)worker;
  job *j = arg;
  sonde_pool_run(j->pool, 4, count_tile, j);
}

static void a_pool_may_be_used_inside_another(void **state) {
  (void)state;
  sonde_pool *outer = sonde_pool_new(2, NULL), *inner = sonde_pool_new(2, NULL);
  job j = {.threads = 2, .pool = inner};
  sonde_pool_run(outer, 50, other_pool_tile, &j);
  for (int i = 0; i < 4; i++) assert_int_equal(j.count[i], 50);
  assert_int_equal(j.bad_worker, 0);
  sonde_pool_free(outer);
  sonde_pool_free(inner);
}

static void *call_often(void *arg) {
  job *j = arg;
  for (int i = 0; i < 500; i++) sonde_pool_run(j->pool, 10, count_tile, j);
  return NULL;
}

static void several_callers_take_turns(void **state) {
  (void)state;
  sonde_pool *p = sonde_pool_new(2, NULL);
  pthread_t t[4];
  static job j[4];
  for (int i = 0; i < 4; i++) {
    j[i] = (job){.threads = 2, .pool = p};
    assert_int_equal(pthread_create(&t[i], NULL, call_often, &j[i]), 0);
  }
  for (int i = 0; i < 4; i++) {
    pthread_join(t[i], NULL);
    for (int k = 0; k < 10; k++) assert_int_equal(j[i].count[k], 500);
  }
  sonde_pool_free(p);
}

/* Long enough for workers and caller to fall asleep, so that both ways of waking are used. */
static void slow_tile(void *arg, int64_t tile, int worker) {
  struct timespec t = {0, tile == 1 ? 3000000 : 100000};
  nanosleep(&t, NULL);
  count_tile(arg, tile, worker);
}

static void sleepers_are_woken(void **state) {
  (void)state;
  sonde_pool *p = sonde_pool_new(3, NULL);
  for (int i = 0; i < 10; i++) {
    job j = {.threads = 3};
    struct timespec t = {0, 2000000};
    nanosleep(&t, NULL);
    sonde_pool_run(p, 4, slow_tile, &j);
    for (int k = 0; k < 4; k++) assert_int_equal(j.count[k], 1);
  }
  sonde_pool_free(p);
}

/* Tiles that each write their own output: the same bits at any number of threads. */
typedef struct series { float out[64]; } series;

static void series_tile(void *arg, int64_t tile, int worker) {
  (void)worker;
  series *s = arg;
  float v = 0;
  for (int i = 1; i < 500; i++) v += 1.0f / (float)(i * (tile + 1));
  s->out[tile] = v;
}

static void results_do_not_depend_on_threads(void **state) {
  (void)state;
  series one, many;
  sonde_pool *p = sonde_pool_new(1, NULL), *q = sonde_pool_new(7, NULL);
  sonde_pool_run(p, 64, series_tile, &one);
  sonde_pool_run(q, 64, series_tile, &many);
  assert_memory_equal(&one, &many, sizeof one);
  sonde_pool_free(p);
  sonde_pool_free(q);
}

typedef struct masks { _Atomic int workers, open; } masks;

static void mask_tile(void *arg, int64_t tile, int worker) {
  (void)tile;
  masks *m = arg;
  struct timespec t = {0, 5000000};
  sigset_t set;
  if (worker == 0) {   /* the caller leaves tiles to the others, for a minute at most */
    for (int k = 0; k < 12000 && !atomic_load(&m->workers); k++) nanosleep(&t, NULL);
    return;
  }
  pthread_sigmask(SIG_BLOCK, NULL, &set);
  atomic_fetch_add(&m->workers, 1);
  if (!sigismember(&set, SIGINT) || !sigismember(&set, SIGTERM)) atomic_store(&m->open, 1);
}

static void workers_take_no_signals(void **state) {
  (void)state;
  sigset_t before, after;
  masks m = {0};
  pthread_sigmask(SIG_BLOCK, NULL, &before);
  sonde_pool *p = sonde_pool_new(3, NULL);
  pthread_sigmask(SIG_BLOCK, NULL, &after);
  sonde_pool_run(p, 12, mask_tile, &m);
  assert_true(m.workers > 0);
  assert_int_equal(m.open, 0);
  assert_int_equal(sigismember(&after, SIGINT), sigismember(&before, SIGINT));
  sonde_pool_free(p);
}

static void bad_numbers_are_refused(void **state) {
  (void)state;
  sonde_error e;
  int64_t live = sonde_alloc_live();
  assert_null(sonde_pool_new(-1, &e));
  assert_int_equal(e.code, SONDE_EINVAL);
  assert_null(sonde_pool_new(1000000, &e));
  assert_int_equal(e.code, SONDE_EINVAL);
  for (int nth = 1; nth <= 2; nth++) {
    sonde_alloc_fail_at(nth);
    assert_null(sonde_pool_new(2, &e));
    assert_int_equal(e.code, SONDE_ENOMEM);
    sonde_alloc_fail_at(0);
  }
  sonde_pool_free(NULL);
  sonde_pool *p = sonde_pool_new(0, &e);
  assert_true(sonde_pool_threads(p) >= 1);
  sonde_pool_free(p);
  assert_int_equal(sonde_alloc_live(), live);
}

int main(void) {
  const struct CMUnitTest tests[] = {
    cmocka_unit_test(every_tile_runs_once),
    cmocka_unit_test(a_pool_of_another_size_runs_every_tile_once),
    cmocka_unit_test(short_regions_do_not_mix),
    cmocka_unit_test(nested_calls_run_in_place),
    cmocka_unit_test(a_pool_may_be_used_inside_another),
    cmocka_unit_test(several_callers_take_turns),
    cmocka_unit_test(sleepers_are_woken),
    cmocka_unit_test(results_do_not_depend_on_threads),
    cmocka_unit_test(workers_take_no_signals),
    cmocka_unit_test(bad_numbers_are_refused),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
