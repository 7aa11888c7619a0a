/* pool.c - the thread pool.
 *
 * A 64-bit ticket is (region number, next tile). A worker takes a tile by incrementing it with compare-and-swap:
 * success proves that this region still has a tile nobody did, so that the function and argument it read before are
 * this region's. A region therefore ends when its tiles are done, and never waits for a worker that is asleep or was
 * descheduled: on a busy machine the caller simply does more of the tiles itself. */
#include "config.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include "base/clock.h"
#include "base/crash.h"
#include "base/mem.h"
#include "base/pool.h"

enum { SPIN_NS = 50000, SPIN_BATCH = 64, MAX_THREADS = 1024 };
#define SLICE ((int64_t)1 << 31)   /* tiles of one region; a longer run is several */

typedef struct worker {
  sonde_pool *pool;
  pthread_t thread;
  int index;
} worker;

struct sonde_pool {
  int threads, most;             /* now, and of the making */
  int spin;                      /* 0 when there are more threads than cores: spinning would take a core from work */
  worker *worker;                /* most - 1 of them; the caller is number 0 */
  pthread_mutex_t callers;       /* one region at a time */
  pthread_mutex_t lock;          /* for the two conditions */
  pthread_cond_t work, finished;
  _Atomic(sonde_tile_fn) fn;
  _Atomic(void *) arg;
  _Atomic int64_t first, tiles;  /* tile numbers of the region: first + [0, tiles) */
  _Alignas(64) _Atomic uint64_t ticket;
  _Alignas(64) _Atomic int64_t done;
  _Alignas(64) _Atomic int sleepers;
  _Atomic int caller_sleeps, stop;
};

/* The pool whose tile this thread runs, and its worker number: nested calls run on this thread. */
static _Thread_local struct { const sonde_pool *pool; int worker; } inside;

static void relax(void) {
#if defined __x86_64__ || defined __i386__
  __builtin_ia32_pause();
#elif defined __aarch64__
  __asm__ volatile("yield");
#endif
}

/* Does tiles of the region until it has none left, or is over. */
static void take_tiles(sonde_pool *p, int me) {
  uint64_t t = atomic_load(&p->ticket);
  uint32_t region = (uint32_t)(t >> 32);
  sonde_tile_fn fn = atomic_load_explicit(&p->fn, memory_order_acquire);
  void *arg = atomic_load_explicit(&p->arg, memory_order_acquire);
  int64_t first = atomic_load_explicit(&p->first, memory_order_acquire);
  int64_t tiles = atomic_load_explicit(&p->tiles, memory_order_acquire);
  while ((uint32_t)(t >> 32) == region && (int64_t)(uint32_t)t < tiles) {
    if (!atomic_compare_exchange_weak(&p->ticket, &t, t + 1)) continue;
    fn(arg, first + (int64_t)(uint32_t)t, me);
    if (atomic_fetch_add(&p->done, 1) + 1 == tiles && atomic_load(&p->caller_sleeps)) {
      pthread_mutex_lock(&p->lock);
      pthread_cond_signal(&p->finished);
      pthread_mutex_unlock(&p->lock);
    }
    t = atomic_load(&p->ticket);
  }
}

/* Waits until the region is another one than `seen` or the pool stops. */
static void wait_for_work(sonde_pool *p, uint32_t seen) {
  int64_t end = p->spin ? sonde_clock_ns() + SPIN_NS : 0;
  do {
    for (int i = 0; i < SPIN_BATCH; i++) {
      if ((uint32_t)(atomic_load_explicit(&p->ticket, memory_order_acquire) >> 32) != seen) return;
      relax();
    }
  } while (p->spin && sonde_clock_ns() < end && !atomic_load_explicit(&p->stop, memory_order_relaxed));
  pthread_mutex_lock(&p->lock);
  /* before the check: the caller looks for sleepers after it has raised the ticket */
  atomic_fetch_add(&p->sleepers, 1);
  while ((uint32_t)(atomic_load(&p->ticket) >> 32) == seen && !atomic_load(&p->stop))
    pthread_cond_wait(&p->work, &p->lock);
  atomic_fetch_sub(&p->sleepers, 1);
  pthread_mutex_unlock(&p->lock);
}

static void *work(void *arg) {
  worker *w = arg;
  sonde_pool *p = w->pool;
  char stack[SONDE_CRASH_STACK];
  sonde_crash_thread before = sonde_crash_enter(stack);
  inside.pool = p;
  inside.worker = w->index;
  uint32_t seen = 0;
  while (!atomic_load(&p->stop)) {
    wait_for_work(p, seen);
    seen = (uint32_t)(atomic_load(&p->ticket) >> 32);
    take_tiles(p, w->index);
  }
  sonde_crash_leave(before);
  return NULL;
}

static void wait_until_done(sonde_pool *p, int64_t tiles) {
  int64_t end = p->spin ? sonde_clock_ns() + SPIN_NS : 0;
  do {
    for (int i = 0; i < SPIN_BATCH; i++) {
      if (atomic_load_explicit(&p->done, memory_order_acquire) == tiles) return;
      relax();
    }
  } while (p->spin && sonde_clock_ns() < end);
  pthread_mutex_lock(&p->lock);
  atomic_store(&p->caller_sleeps, 1);
  while (atomic_load(&p->done) != tiles) pthread_cond_wait(&p->finished, &p->lock);
  atomic_store(&p->caller_sleeps, 0);
  pthread_mutex_unlock(&p->lock);
}

static void run_region(sonde_pool *p, int64_t first, int64_t tiles, sonde_tile_fn fn, void *arg) {
  /* A region number of its own, without tiles, while the fields change: whoever reads a new field and then tries to
   * take a tile under an older ticket must fail. */
  uint32_t region = (uint32_t)(atomic_load_explicit(&p->ticket, memory_order_relaxed) >> 32);
  atomic_store(&p->ticket, (uint64_t)(region + 1) << 32 | UINT32_MAX);
  atomic_store_explicit(&p->fn, fn, memory_order_release);
  atomic_store_explicit(&p->arg, arg, memory_order_release);
  atomic_store_explicit(&p->first, first, memory_order_release);
  atomic_store_explicit(&p->tiles, tiles, memory_order_release);
  atomic_store_explicit(&p->done, 0, memory_order_release);
  atomic_store(&p->ticket, (uint64_t)(region + 2) << 32);
  if (atomic_load(&p->sleepers)) {
    pthread_mutex_lock(&p->lock);
    pthread_cond_broadcast(&p->work);
    pthread_mutex_unlock(&p->lock);
  }
  const sonde_pool *outer = inside.pool;
  int outer_worker = inside.worker;
  inside.pool = p;
  inside.worker = 0;
  take_tiles(p, 0);
  inside.pool = outer;
  inside.worker = outer_worker;
  wait_until_done(p, tiles);
}

void sonde_pool_run(sonde_pool *p, int64_t tiles, sonde_tile_fn fn, void *arg) {
  if (p->threads == 1 || tiles <= 1 || inside.pool == p) {
    int me = inside.pool == p ? inside.worker : 0;
    for (int64_t i = 0; i < tiles; i++) fn(arg, i, me);
    return;
  }
  pthread_mutex_lock(&p->callers);
  for (int64_t first = 0; first < tiles; first += SLICE)
    run_region(p, first, tiles - first < SLICE ? tiles - first : SLICE, fn, arg);
  pthread_mutex_unlock(&p->callers);
}

/* ---- making and ending ------------------------------------------------------------------------------- */

/* Cores that the process may use: its affinity mask, and the quota of its control group where there is one. */
static int usable_cores(void) {
  cpu_set_t set;
  int n = sched_getaffinity(0, sizeof set, &set) ? 1 : CPU_COUNT(&set);
  FILE *f = fopen("/sys/fs/cgroup/cpu.max", "re");
  long long quota, period;
  if (f) {
    if (fscanf(f, "%lld %lld", &quota, &period) == 2 && quota > 0 && period > 0) {
      long long cores = (quota + period - 1) / period;
      if (cores < n) n = (int)cores;
    }
    fclose(f);
  }
  return n < 1 ? 1 : n;
}

static void stop_workers(sonde_pool *p, int started) {
  pthread_mutex_lock(&p->lock);
  atomic_store(&p->stop, 1);
  pthread_cond_broadcast(&p->work);
  pthread_mutex_unlock(&p->lock);
  for (int i = 0; i < started; i++) pthread_join(p->worker[i].thread, NULL);
  atomic_store(&p->stop, 0);
}

static void release(sonde_pool *p) {
  pthread_cond_destroy(&p->work);
  pthread_cond_destroy(&p->finished);
  pthread_mutex_destroy(&p->lock);
  pthread_mutex_destroy(&p->callers);
  sonde_release(p->worker);
  sonde_release(p);
}

/* Signals stay with the threads of the program: an interrupt must not land in a tile. A tile's own crash does, and the
 * handler is not called where it is blocked. */
static int start_workers(sonde_pool *p, int *started) {
  static const int crashes[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT};
  sigset_t all, before;
  int rc = 0;
  sigfillset(&all);
  for (size_t i = 0; i < sizeof crashes / sizeof *crashes; i++) sigdelset(&all, crashes[i]);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  for (int i = 0; i < p->threads - 1 && !rc; i++) {
    p->worker[i] = (worker){.pool = p, .index = i + 1};
    rc = pthread_create(&p->worker[i].thread, NULL, work, &p->worker[i]);
    if (!rc) *started = i + 1;
  }
  pthread_sigmask(SIG_SETMASK, &before, NULL);
  return rc;
}

sonde_pool *sonde_pool_new(int threads, sonde_error *err) {
  int cores = usable_cores();
  if (threads < 0 || threads > MAX_THREADS) {
    sonde_fail(err, SONDE_EINVAL, "threads = %d: must be 0 (all cores) to %d", threads, MAX_THREADS);
    return NULL;
  }
  if (threads == 0) threads = cores < MAX_THREADS ? cores : MAX_THREADS;
  sonde_pool *p = sonde_alloc(sizeof *p);
  worker *w = sonde_alloc((size_t)threads * sizeof *w);
  if (!p || !w) {
    sonde_release(p);
    sonde_release(w);
    sonde_fail(err, SONDE_ENOMEM, "no memory for a pool of %d threads", threads);
    return NULL;
  }
  p->threads = p->most = threads;
  p->spin = threads <= cores;
  p->worker = w;
  pthread_mutex_init(&p->callers, NULL);
  pthread_mutex_init(&p->lock, NULL);
  pthread_cond_init(&p->work, NULL);
  pthread_cond_init(&p->finished, NULL);
  int started = 0, rc = start_workers(p, &started);
  if (rc) {
    stop_workers(p, started);
    release(p);
    errno = rc;
    sonde_fail_errno(err, SONDE_ENOMEM, "cannot start thread %d of %d; try fewer threads", started + 2, threads);
    return NULL;
  }
  return p;
}

void sonde_pool_free(sonde_pool *p) {
  if (!p) return;
  stop_workers(p, p->threads - 1);
  release(p);
}

int sonde_pool_resize(sonde_pool *p, int threads, int processes, sonde_error *err) {
  if (threads < 1 || threads > p->most)
    return sonde_fail(err, SONDE_EINVAL, "threads = %d: must be 1 to %d", threads, p->most);
  stop_workers(p, p->threads - 1);
  p->threads = threads;
  p->spin = (int64_t)threads * processes <= usable_cores();
  int started = 0, rc = start_workers(p, &started);
  if (!rc) return SONDE_OK;
  stop_workers(p, started);
  p->threads = 1;
  errno = rc;
  return sonde_fail_errno(err, SONDE_ENOMEM, "cannot start thread %d of %d; try fewer threads", started + 2, threads);
}

int sonde_pool_threads(const sonde_pool *p) {
  return p->threads;
}
