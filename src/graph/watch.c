/* watch.c - runs of a plan under test: memory of the arena that holds no value at a step is NaN (-1 where it is read as
 * integers), so that a value that is read too late, or before it was written, shows; under AddressSanitizer touching it
 * ends the program, which also finds kernels that go over the end of a buffer. */
#include <string.h>

#include "graph/plan.h"

#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/asan_interface.h>
#define FORBID(at, n) __asan_poison_memory_region(at, n)
#define ALLOW(at, n) __asan_unpoison_memory_region(at, n)
#else
#define FORBID(at, n) ((void)(at), (void)(n))
#define ALLOW(at, n) ((void)(at), (void)(n))
#endif

static void take(sonde_plan *p, int64_t at, int64_t bytes) {
  char *from = p->arena->data + at;
  ALLOW(from, (size_t)bytes);
  memset(from, 0xff, (size_t)bytes);
}

static void give(sonde_plan *p, int64_t at, int64_t bytes) {
  char *from = p->arena->data + at;
  memset(from, 0xff, (size_t)bytes);
  FORBID(from, (size_t)bytes);
}

/* The storages of the arena that fn wants. */
static void each(sonde_plan *p, int32_t at, int (*wants)(const storage *s, int32_t at),
                 void (*fn)(sonde_plan *p, int64_t at, int64_t bytes)) {
  for (int32_t v = 0; v < p->count * SONDE_MAX_OUT; v++) {
    const storage *s = &p->store[v];
    if (s->place == IN_ARENA && s->first >= 0 && wants(s, at)) fn(p, s->at, s->bytes);
  }
}

static int held(const storage *s, int32_t at) { return (void)at, s->last == HELD; }
static int begins(const storage *s, int32_t at) { return s->first == at && s->last != HELD; }
static int ends(const storage *s, int32_t at) { return s->last == at; }

void plan_watch_run(sonde_plan *p) {
  if (p->held) return;             /* what is held stays from the first run */
  ALLOW(p->arena->data, (size_t)p->arena->taken);
  if (p->arena->taken) give(p, 0, p->arena->taken);
  each(p, 0, held, take);
}

void plan_watch_before(sonde_plan *p, int32_t at) {
  const step *s = &p->step[at];
  each(p, at, begins, take);
  if (s->kernel.scratch > 0) take(p, s->scratch_at, s->kernel.scratch);
}

void plan_watch_after(sonde_plan *p, int32_t at) {
  const step *s = &p->step[at];
  if (s->kernel.scratch > 0) give(p, s->scratch_at, s->kernel.scratch);
  each(p, at, ends, give);
}

void plan_watch_end(sonde_plan *p) {
  if (p->arena && p->arena->data) ALLOW(p->arena->data, (size_t)p->arena->taken);
}
