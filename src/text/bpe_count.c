/* bpe_count.c - counting pieces: each worker for itself, then added up. */
#include "config.h"

#include <string.h>
#include "base/mem.h"
#include "text/bpe_count.h"
#include "text/pretoken.h"
#include "text/tokenize.h"
#include "text/unicode.h"

void sonde_counts_free(sonde_counts *c) {
  sonde_intern_free(&c->pieces);
  sonde_release(c->count);
  *c = (sonde_counts){0};
}

static int add(sonde_counts *c, const char *p, int64_t n, int64_t times) {
  int64_t k = sonde_intern_add(&c->pieces, p, n, sonde_intern_hash(p, n));
  if (k < 0) return SONDE_ENOMEM;
  if (k >= c->room) {
    int64_t room = 2 * c->room + 1024;
    int64_t *grown = sonde_grow(c->count, (size_t)c->room * sizeof *grown, (size_t)room * sizeof *grown);
    if (!grown) return SONDE_ENOMEM;
    c->count = grown;
    c->room = room;
  }
  c->count[k] += times;
  return SONDE_OK;
}

typedef struct worker {
  sonde_splitter splitter;
  sonde_counts counts;
  sonde_error err;
} worker;

typedef struct job {
  const sonde_text *texts;
  int64_t n;
  int64_t *first;              /* tile k: texts first[k] .. first[k + 1] */
  worker *workers;
} job;

static int take_piece(void *arg, const char *p, int64_t n) {
  worker *w = arg;
  return add(&w->counts, p, n, 1) ? sonde_fail(&w->err, SONDE_ENOMEM, "counting words: out of memory") : 0;
}

static int count_text(worker *w, const char *p, int64_t n) {
  int rc = 0;
  while (n > 0 && !rc) {
    int64_t good = sonde_utf8_prefix(p, n), bad = sonde_utf8_bad(p + good, n - good);
    if (good) rc = sonde_split_text(&w->splitter, p, good, 0, take_piece, w, &w->err);
    if (bad && !rc) rc = take_piece(w, p + good, bad);
    p += good + bad;
    n -= good + bad;
  }
  return rc;
}

static void count_tile(void *arg, int64_t tile, int k) {
  const job *j = arg;
  worker *w = &j->workers[k];
  for (int64_t i = j->first[tile]; i < j->first[tile + 1] && !w->err.code; i++)
    count_text(w, j->texts[i].data, j->texts[i].n);
}

static int add_up(worker *w, int threads, sonde_counts *out, sonde_error *err) {
  for (int k = 0; k < threads; k++) {
    int64_t at = 0, n, i = 0;
    const char *p;
    if (w[k].err.code) {
      *err = w[k].err;
      return err->code;
    }
    while ((p = sonde_intern_next(&w[k].counts.pieces, &at, &n)))
      if (add(out, p, n, w[k].counts.count[i++]))
        return sonde_fail(err, SONDE_ENOMEM, "counting words: out of memory");
    sonde_counts_free(&w[k].counts);
  }
  return 0;
}

int sonde_count_pieces(const sonde_text *texts, int64_t n, sonde_pool *pool, sonde_counts *out,
                       sonde_error *err) {
  sonde_stages stages = {0};
  int threads = sonde_pool_threads(pool), rc, ready = 0;
  job j = {texts, n, sonde_alloc((size_t)(n + 2) * sizeof(int64_t)),
           sonde_alloc((size_t)threads * sizeof(worker))};
  rc = j.first && j.workers ? 0 : sonde_fail(err, SONDE_ENOMEM, "counting words: out of memory");
  if (!rc)
    rc = sonde_stages_add_regex(&stages, SONDE_GPT2_PATTERN, (int64_t)strlen(SONDE_GPT2_PATTERN), SONDE_ISOLATED, 0,
                                "GPT-2", err);
  for (; ready < threads && !rc; ready++) rc = sonde_splitter_init(&j.workers[ready].splitter, &stages, err);
  if (!rc) {
    sonde_pool_run(pool, sonde_text_tiles(texts, n, j.first), count_tile, &j);
    rc = add_up(j.workers, threads, out, err);
  }
  for (int k = 0; k < ready; k++) {
    sonde_splitter_free(&j.workers[k].splitter);
    sonde_counts_free(&j.workers[k].counts);
  }
  sonde_stages_free(&stages);
  sonde_release(j.first);
  sonde_release(j.workers);
  return rc;
}
