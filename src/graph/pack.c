/* pack.c - places for pieces of memory, each in use from one step to another: the largest first, each at the lowest
 * offset that is free for as long as it is in use.
 *
 * A training step has as many pieces as steps, and most of the activations are in use at once, so looking at all pieces
 * for each one takes a time that grows with the square of the depth. A tree over the steps avoids it. It knows for each
 * step up to where memory is taken without a gap: no piece in use then can lie lower, so there the search begins. And
 * it has the pieces that are placed, each at the O(log) nodes whose steps it covers and whose parents' it does not, and
 * again at these and at all above them: what is in use at some of a node's steps is what the node has of the second
 * kind, and what the nodes above it have of the first. So a search looks at O(log) lists. Each is in the order of
 * memory, and pieces that touch or overlap are one in it. */
#include <stdlib.h>
#include <string.h>

#include "graph/pack.h"

typedef struct stretch { int64_t at, end; } stretch;         /* of memory: pieces that touch or overlap, as one */
/* a list of each node, in the order of offsets: how many stretches it has, and where its part of `list` begins */
typedef struct lists { int32_t *count, *begin; stretch *list; } lists;
/* stretches of a node that are still to come, lowest first */
typedef struct cursor { const stretch *at, *end; } cursor;

typedef struct packing {
  /* leaves of the tree, a power of two; node 1 is the root, 2k and 2k+1 are k's children */
  int32_t steps;
  int64_t *high;                  /* by node: the most of what is taken without a gap at its steps */
  lists own;                      /* pieces that cover the node's steps, and not its parent's */
  lists all;                      /* and those of the nodes below: in use at any of its steps */
  cursor *cursor;                 /* a heap by the next stretch's offset */
  int32_t n_cursor;
  int64_t visits;
} packing;

typedef struct span { int32_t node, first, last; } span;   /* a node and its steps */
static span root(const packing *k) { return (span){1, 0, k->steps - 1}; }
static span left(span s) { return (span){2 * s.node, s.first, s.first + (s.last - s.first) / 2}; }
static span right(span s) { return (span){2 * s.node + 1, s.first + (s.last - s.first) / 2 + 1, s.last}; }
static int apart(span s, const piece *b) { return s.last < b->first || b->last < s.first; }
static int covered(span s, const piece *b) { return b->first <= s.first && s.last <= b->last; }
static int64_t end_of(const piece *b) { return b->at + b->bytes; }

/* ---- what is taken without a gap --------------------------------------------------------------------------- */

/* What a node's highest steps have been raised to reaches its children when they are needed, those of them that were as
 * high. */
static void raise_children(packing *k, int32_t node) {
  int64_t *l = &k->high[2 * node], *r = l + 1, was = *l > *r ? *l : *r, now = k->high[node];
  if (*l == was) *l = now;
  if (*r == was) *r = now;
}

/* The most of what is taken at a step of b. */
static int64_t taken(packing *k, span s, const piece *b) {
  k->visits++;
  if (apart(s, b)) return 0;
  if (covered(s, b)) return k->high[s.node];
  raise_children(k, s.node);
  int64_t x = taken(k, left(s), b), y = taken(k, right(s), b);
  return x > y ? x : y;
}

/* Where all below b was taken, all below its end is now. At none of its steps more was taken, or it would lie higher:
 * so these are the highest steps of a node, or none of it. */
static void take(packing *k, span s, const piece *b) {
  k->visits++;
  if (apart(s, b)) return;
  if (covered(s, b)) {
    if (k->high[s.node] == b->at) k->high[s.node] = end_of(b);
    return;
  }
  raise_children(k, s.node);
  take(k, left(s), b);
  take(k, right(s), b);
  k->high[s.node] = k->high[2 * s.node] > k->high[2 * s.node + 1] ? k->high[2 * s.node] : k->high[2 * s.node + 1];
}

/* ---- pieces that are placed ---------------------------------------------------------------------------------- */

/* Makes room for b in the lists of its nodes. */
static void announce(packing *k, span s, const piece *b) {
  if (apart(s, b)) return;
  k->all.begin[s.node]++;
  if (covered(s, b)) {
    k->own.begin[s.node]++;
    return;
  }
  announce(k, left(s), b);
  announce(k, right(s), b);
}

/* The first of a node's stretches that ends above `at`. */
static int32_t first_above(packing *k, const lists *l, int32_t node, int64_t at) {
  const stretch *list = l->list + l->begin[node];
  int32_t lo = 0, hi = l->count[node];
  while (lo < hi) {
    int32_t mid = lo + (hi - lo) / 2;
    k->visits++;
    if (list[mid].end > at) hi = mid;
    else lo = mid + 1;
  }
  return lo;
}

/* Adds b to the stretches of a node, as one with those that it touches or overlaps. */
static void add_stretch(packing *k, lists *l, int32_t node, const piece *b) {
  stretch *list = l->list + l->begin[node], whole = {b->at, end_of(b)};
  int32_t n = l->count[node], from = first_above(k, l, node, b->at - 1), to = from;
  for (; to < n && list[to].at <= whole.end; to++) {
    k->visits++;
    if (list[to].at < whole.at) whole.at = list[to].at;
    if (list[to].end > whole.end) whole.end = list[to].end;
  }
  memmove(list + from + 1, list + to, (size_t)(n - to) * sizeof *list);
  list[from] = whole;
  l->count[node] = n + 1 - (to - from);
}

static void insert(packing *k, span s, const piece *b) {
  k->visits++;
  if (apart(s, b)) return;
  add_stretch(k, &k->all, s.node, b);
  if (covered(s, b)) {
    add_stretch(k, &k->own, s.node, b);
    return;
  }
  insert(k, left(s), b);
  insert(k, right(s), b);
}

/* ---- the lowest gap ------------------------------------------------------------------------------------------ */

static void sink(packing *k, int32_t at) {
  for (;;) {
    int32_t least = at, child = 2 * at + 1;
    k->visits++;
    for (int32_t c = child; c < child + 2 && c < k->n_cursor; c++)
      if (k->cursor[c].at->at < k->cursor[least].at->at) least = c;
    if (least == at) return;
    cursor t = k->cursor[at];
    k->cursor[at] = k->cursor[least];
    k->cursor[least] = t;
    at = least;
  }
}

/* Cursors for all that is in use together with b above `at`. */
static void collect(packing *k, span s, const piece *b, int64_t at) {
  k->visits++;
  if (apart(s, b)) return;
  const lists *l = covered(s, b) ? &k->all : &k->own;
  int32_t from = first_above(k, l, s.node, at), n = l->count[s.node];
  const stretch *list = l->list + l->begin[s.node];
  if (from < n) k->cursor[k->n_cursor++] = (cursor){list + from, list + n};
  if (covered(s, b)) return;
  collect(k, left(s), b, at);
  collect(k, right(s), b, at);
}

static int64_t lowest(packing *k, const piece *b) {
  int64_t at = taken(k, root(k), b);
  k->n_cursor = 0;
  collect(k, root(k), b, at);
  for (int32_t c = k->n_cursor / 2 - 1; c >= 0; c--) sink(k, c);
  while (k->n_cursor) {
    const stretch *next = k->cursor[0].at;
    if (next->at - at >= b->bytes) break;
    if (next->end > at) at = next->end;
    if (++k->cursor[0].at == k->cursor[0].end) k->cursor[0] = k->cursor[--k->n_cursor];
    sink(k, 0);
  }
  return at;
}

/* ---- all of them ------------------------------------------------------------------------------------------------ */

static int larger_first(const void *a, const void *b) {
  const piece *x = a, *y = b;
  if (x->bytes != y->bytes) return x->bytes < y->bytes ? 1 : -1;
  return x->first != y->first ? (x->first < y->first ? -1 : 1) : (x->owner < y->owner ? -1 : x->owner > y->owner);
}

static void drop_lists(lists *l) {
  sonde_release(l->count);
  sonde_release(l->begin);
  sonde_release(l->list);
}

static void drop(packing *k) {
  sonde_release(k->high);
  drop_lists(&k->own);
  drop_lists(&k->all);
  sonde_release(k->cursor);
}

static int begin_lists(lists *l, size_t nodes) {
  l->count = sonde_alloc(nodes * sizeof *l->count);
  l->begin = sonde_alloc(nodes * sizeof *l->begin);
  return l->count && l->begin ? 0 : SONDE_ENOMEM;
}

/* What was announced is how long a node's list can become. */
static int place_lists(lists *l, size_t nodes) {
  size_t places = 0;
  for (size_t node = 1; node < nodes; node++) {
    size_t here = (size_t)l->begin[node];
    l->begin[node] = (int32_t)places;
    places += here;
  }
  return (l->list = sonde_alloc((places + 1) * sizeof *l->list)) ? 0 : SONDE_ENOMEM;
}

static int begin(packing *k, piece *b, int32_t n) {
  int32_t last = 0;
  for (int32_t j = 0; j < n; j++) {
    if (b[j].first > last) last = b[j].first;
    if (b[j].last > last && b[j].last != HELD) last = b[j].last;
  }
  for (k->steps = 1; k->steps <= last;) k->steps *= 2;
  for (int32_t j = 0; j < n; j++)
    if (b[j].last == HELD) b[j].last = k->steps - 1;
  size_t nodes = 2 * (size_t)k->steps;
  k->high = sonde_alloc(nodes * sizeof *k->high);
  k->cursor = sonde_alloc(nodes * sizeof *k->cursor);
  if (!k->high || !k->cursor || begin_lists(&k->own, nodes) || begin_lists(&k->all, nodes)) return SONDE_ENOMEM;
  for (int32_t j = 0; j < n; j++) announce(k, root(k), &b[j]);
  return place_lists(&k->own, nodes) || place_lists(&k->all, nodes) ? SONDE_ENOMEM : 0;
}

int plan_pack(sonde_plan *p, piece *b, int32_t n, int64_t *top, sonde_error *err) {
  packing k = {0};
  *top = 0;
  qsort(b, (size_t)n, sizeof *b, larger_first);
  int rc = begin(&k, b, n) ? sonde_fail(err, SONDE_ENOMEM, "no memory to place the plan's buffers") : 0;
  for (int32_t j = 0; !rc && j < n && !(rc = plan_stopped(p, err)); j++) {
    b[j].at = lowest(&k, &b[j]);
    if (b[j].at > INT64_MAX / 4 || b[j].bytes > INT64_MAX / 4) {
      rc = sonde_fail(err, SONDE_ELIMIT,
                      "the plan needs more memory than any machine has: take a smaller batch or context");
      break;
    }
    insert(&k, root(&k), &b[j]);
    take(&k, root(&k), &b[j]);
    if (end_of(&b[j]) > *top) *top = end_of(&b[j]);
  }
  p->visits += k.visits;
  drop(&k);
  return rc;
}
