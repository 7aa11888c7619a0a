/* attention_visible.c - which keys a query sees under a causal mask, and with which keys a block of queries is
 * multiplied: those that none of its queries sees cost nothing, whatever the pattern.
 *
 * A query sees the union of its sources, cut off behind its own key: a window (Child et al. 2019, the local part;
 * Beltagy et al. 2020, Longformer, section 3.1), its first keys (the attention sinks of Xiao et al. 2024, StreamingLLM,
 * section 3.2), every stride-th block of keys (Child et al. 2019, the strided part, by blocks), and listed blocks. */
#include "config.h"
#include "graph/ops.h"

#include <math.h>

#include "ops/attention.h"
#include "ops/rows.h"

/* Where a group's keys begin in a stretch: a multiple of this many, with which a packed block of weights may begin. */
enum { WHOLE = 2 * SONDE_GROUP_WORDS };

static int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }
static int64_t most(int64_t a, int64_t b) { return a > b ? a : b; }

visible sonde_attention_visible(const attention *t, int64_t b, int64_t h, int64_t i, int64_t own) {
  visible x = {.own = own};
  if (!t->causal) return (visible){.own = t->tk - 1};
  if (t->blocks) {
    x.list = t->blocks + ((b * t->tq + i) * t->heads + h) * (1 + t->listed) + 1;
    x.start = x.list[-1];
  } else if (t->starts) {
    x.start = t->starts[b * t->tq + i];
  }
  x.start = most(0, least(x.start, own));
  x.near = t->window ? most(x.start, own - t->window + 1) : t->blocks || t->stride ? own : x.start;
  return x;
}

/* What source k shows of the keys from `at` on, its first piece that ends behind `at`: [*from, *to). Returns 0 if there
 * is none. The sources are the window, the sinks, the strided blocks and the listed ones. */
enum { WINDOW, SINKS, STRIDED, LISTED };

static int piece(const attention *t, const visible *x, int64_t k, int64_t at, int64_t *from, int64_t *to) {
  const int64_t end = x->own + 1;
  if (k >= LISTED) {
    if (x->list[k - LISTED] < 0) return 0;
    *from = x->start + x->list[k - LISTED] * t->size, *to = *from + t->size;
  } else if (k == WINDOW) {
    *from = x->near, *to = end;
  } else if (k == SINKS) {
    *from = x->start, *to = x->start + t->sinks;
  } else {
    const int64_t own = t->stride ? (x->own - x->start) / t->size : -1;
    int64_t number = at > x->start && own >= 0 ? (at - x->start) / t->size : 0;
    if (number > own) return 0;
    number += (own - number) % t->stride;
    *from = x->start + number * t->size, *to = *from + t->size;
  }
  if (*to > end) *to = end;
  return *from < *to && *to > at;
}

int sonde_attention_run(const attention *t, const visible *x, int64_t at, int64_t *from, int64_t *to) {
  const int64_t sources = t->size ? LISTED + (t->blocks ? t->listed : 0) : SINKS + 1;
  int64_t a, b;
  int found = 0;
  if (!t->sparse) {
    *from = most(x->near, at), *to = x->own + 1;
    return *from < *to;
  }
  for (int64_t k = 0; k < sources; k++) {
    if (!piece(t, x, k, at, &a, &b) || (found && most(a, at) >= *from)) continue;
    *from = most(a, at), *to = b;
    found = 1;
  }
  for (int grown = found; grown;) {
    grown = 0;
    for (int64_t k = 0; k < sources; k++)
      if (piece(t, x, k, *to, &a, &b) && a <= *to) *to = b, grown = 1;
  }
  return found;
}

void sonde_attention_look(const attention *t, int64_t b, int64_t h, int64_t first, int64_t n, view *v) {
  *v = (view){.first = first, .n = n, .to = t->causal ? first + n + t->ahead : t->tk, .from = INT64_MAX};
  for (int64_t k = 0; k < GROUPS; k++) v->near[k] = INT64_MAX;
  for (int64_t i = 0; i < n; i++) {
    const visible x = v->of[i] = sonde_attention_visible(t, b, h, first + i, first + i + t->ahead);
    const int64_t from = t->sparse ? x.start : x.near;
    v->from = least(v->from, from);
    v->all_from = most(v->all_from, x.near);
    for (int64_t k = 0; k <= i / STEP; k++) v->near[k] = least(v->near[k], from);
  }
  v->all_to = v->of[0].own + 1;
}

/* The first key from `at` on that a query of the block sees, or v->to. */
static int64_t next_seen(const attention *t, const view *v, int64_t at) {
  int64_t next = v->to, from, to;
  if (!t->sparse) return most(at, v->from);
  for (int64_t i = 0; i < v->n && next > at; i++)
    if (sonde_attention_run(t, &v->of[i], at, &from, &to)) next = least(next, from);
  return next;
}

/* Behind the last key of [at, end) that a query of the block sees. */
static int64_t end_seen(const attention *t, const view *v, int64_t at, int64_t end) {
  int64_t last = at, from, to;
  if (!t->sparse) return least(end, v->to);
  for (int64_t i = 0; i < v->n && last < end; i++)
    for (int64_t k = last; k < end && sonde_attention_run(t, &v->of[i], k, &from, &to) && from < end; k = to)
      last = most(last, least(to, end));
  return last;
}

/* At most one stretch of each KEYS keys, counted from the first, and its ends alone depend on the block of queries:
 * weights of 0 in front and behind change no sum, so a query's result does not depend on the others. */
int sonde_attention_next(const attention *t, const view *v, meeting *m) {
  const int64_t from = next_seen(t, v, m->at + m->keys);
  if (from >= v->to) return 0;
  *m = (meeting){.first = v->first, .n = v->n, .at = from / STEP * STEP, .groups = sonde_parts(v->n, STEP)};
  m->keys = end_seen(t, v, from, (from / KEYS + 1) * KEYS) - m->at;
  for (int64_t k = 0; k < m->groups; k++) {
    const int64_t own = v->of[least(k * STEP + STEP, v->n) - 1].own;
    m->to[k] = most(0, least(own + 1 - m->at, m->keys));
    m->from[k] = least(m->to[k], most(0, v->near[k] - m->at)) / WHOLE * WHOLE;
  }
  return 1;
}

/* Hides keys [from[i], to[i]) from query i. */
static void hide(const meeting *m, float *s, const int32_t *from, const int32_t *to) {
  for (int64_t k = 0, i = 0; k < m->groups; k++, i += STEP) {
    int32_t first = INT32_MAX, last = 0;
    for (int64_t q = i; q < i + STEP; q++)
      if (from[q] < to[q]) first = from[q] < first ? from[q] : first, last = to[q] > last ? to[q] : last;
    if (first < m->from[k]) first = (int32_t)m->from[k];
    if (last > m->to[k]) last = (int32_t)m->to[k];
    for (int32_t j = first; j < last; j++) {
      float *row = s + (int64_t)j * SONDE_BLOCK + i;
      for (int q = 0; q < STEP; q++) row[q] = j >= from[i + q] && j < to[i + q] ? -INFINITY : row[q];
    }
  }
}

/* Where nothing is sparse: the keys in front of each query's window, and behind its own. */
static void hide_ends(const view *v, const meeting *m, float *s) {
  int32_t from[SONDE_BLOCK] = {0}, to[SONDE_BLOCK] = {0};
  if (m->at < v->all_from) {
    for (int64_t i = 0; i < v->n; i++) to[i] = (int32_t)most(0, least(v->of[i].near - m->at, m->keys));
    hide(m, s, from, to);
  }
  if (m->at + m->keys <= v->all_to) return;
  for (int64_t i = 0; i < v->n; i++)
    from[i] = (int32_t)most(0, least(v->of[i].own + 1 - m->at, m->keys)), to[i] = (int32_t)m->keys;
  hide(m, s, from, to);
}

void sonde_attention_mask(const attention *t, const view *v, const meeting *m, float *s) {
  const int64_t end = m->at + m->keys;
  int64_t done[SONDE_BLOCK];                     /* by query: what lies in front is masked where it must be */
  int32_t from[SONDE_BLOCK] = {0}, to[SONDE_BLOCK] = {0};
  if (!t->sparse) {
    hide_ends(v, m, s);
    return;
  }
  for (int64_t i = 0; i < v->n; i++) done[i] = m->at;
  for (int left = 1; left;) {                    /* the gaps of all queries that come next */
    left = 0;
    for (int64_t i = 0; i < v->n; i++) {
      int64_t a = end, b = end;
      if (done[i] < end && sonde_attention_run(t, &v->of[i], done[i], &a, &b)) a = least(a, end), b = least(b, end);
      else a = b = end;
      from[i] = (int32_t)(done[i] - m->at), to[i] = (int32_t)(a - m->at);
      done[i] = b;
      left |= b < end;
    }
    hide(m, s, from, to);
  }
}

/* What the first n queries of a sequence see together, at most: a list says which blocks, and no more than so many. */
static double seen_by_first(double n, double window, double size, double stride, double listed) {
  const double full = n * (n + 1) / 2, w = window < n ? window : n, blocks = size ? floor(n / size) : 0;
  double seen = w * (w + 1) / 2 + (n - w) * window;
  if (!window && !stride && !listed) return full;
  if (stride || listed) {                        /* a query's own block so far, and whole ones before it */
    const double rest = n - blocks * size, turns = stride ? floor(blocks / stride) : 0;
    seen += blocks * size * (size + 1) / 2 + rest * (rest + 1) / 2;
    if (stride)
      seen += size * (size * (stride * turns * (turns - 1) / 2 + (blocks - turns * stride) * turns) + rest * turns);
    if (listed) {
      const double more = listed - 1, few = blocks < more ? blocks : more;
      seen += size * (size * (few * (few - 1) / 2 + (blocks - few) * more) + rest * few);
    }
  }
  return seen < full ? seen : full;
}

/* The last tq queries of a sequence of tk keys, over all heads. */
double sonde_attention_pairs(const sonde_shape *in, int n_in, int more, const sonde_attr *at, double tq, double tk) {
  const int list = sonde_attention_inputs(in, n_in, more).blocks;
  double sinks = (double)at->i[ATTENTION_SINKS], window = (double)at->i[ATTENTION_WINDOW],
         size = (double)at->i[ATTENTION_SIZE], stride = (double)at->i[ATTENTION_STRIDE],
         listed = list < 0 ? 0 : (double)in[list].dim[3] - 1, n = tq * tk;
  if (window || stride || listed) window += sinks;
  if (at->i[ATTENTION_CAUSAL])
    n = seen_by_first(tk, window, size, stride, listed) - seen_by_first(tk - tq, window, size, stride, listed);
  return n * (double)in[IN_Q].dim[0] * (double)in[IN_Q].dim[2];
}
