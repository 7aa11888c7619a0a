/* unigram.c - the segmentation of a piece with the highest sum of scores (Kudo, 2018), by Viterbi's algorithm.
 *
 * A character that no token of its own length begins with may be unknown, with a score of 10 below the lowest. The sums
 * are in f64, from left to right, and of two equal ones the first that is found stays: other sums give other ids. */
#include "config.h"

#include "text/encoder.h"
#include "text/unicode.h"

static const double UNKNOWN_PENALTY = 10;

static int make_room(sonde_encoder *e, int64_t n) {
  if (n < e->path_room) return 0;
  sonde_release(e->path);
  e->path_room = 2 * n + 64;
  e->path = sonde_alloc((size_t)e->path_room * sizeof *e->path);
  if (e->path) return 0;
  e->path_room = 0;
  return sonde_encode_no_memory(e);
}

static void extend(sonde_path *path, int64_t from, int64_t to, double score, int32_t id) {
  if (path[to].from >= 0 && !(score > path[to].score)) return;
  path[to] = (sonde_path){.score = score, .from = from, .id = id};
}

/* Finds the best path to every position that one leads to. */
static int find_paths(sonde_encoder *e, const char *p, int64_t n) {
  const sonde_tokenizer *t = e->t;
  sonde_path *path = e->path;
  path[0].score = 0;
  for (int64_t i = 1; i <= n; i++) path[i].from = -1;
  for (int64_t i = 0, used; i < n; i += used) {
    int single = 0;
    uint32_t node = 0;
    used = sonde_utf8_length(p + i, n - i);
    for (int64_t k = i; k < n && (node = sonde_trie_step(&t->trie, node, (unsigned char)p[k])); k++) {
      int32_t id = t->trie.number[node];
      if (id < 0) continue;
      extend(path, i, k + 1, path[i].score + t->score[id], id);
      if (k + 1 - i == used) single = 1;
    }
    if (single) continue;
    if (t->unknown < 0) return sonde_no_token(e, p + i, used);
    extend(path, i, i + used, path[i].score + (t->lowest - UNKNOWN_PENALTY), t->unknown);
  }
  return 0;
}

/* Unknown characters in a row: a token by their spelling after all, their bytes, or one unknown token. */
static int emit_unknown(sonde_encoder *e, const char *p, int64_t n) {
  int32_t id = sonde_find_spelling(e->t, p, n);
  if (id < 0 && sonde_has_bytes(e->t, p, n)) {
    for (int64_t i = 0; i < n; i++)
      if (sonde_ids_push(e->out, e->t->byte_id[(unsigned char)p[i]])) return sonde_encode_no_memory(e);
    return 0;
  }
  return sonde_ids_push(e->out, id >= 0 ? id : e->t->unknown) ? sonde_encode_no_memory(e) : 0;
}

int sonde_unigram_piece(sonde_encoder *e, const char *p, int64_t n) {
  int rc = make_room(e, n);
  if (rc || (rc = find_paths(e, p, n))) return rc;
  sonde_path *path = e->path;
  for (int64_t i = n; i > 0; i = path[i].from) {
    path[path[i].from].to = i;
    path[path[i].from].id_here = path[i].id;
  }
  for (int64_t i = 0, end; i < n; i = end) {
    end = path[i].to;
    if (path[i].id_here != e->t->unknown) {
      if (sonde_ids_push(e->out, path[i].id_here)) return sonde_encode_no_memory(e);
      continue;
    }
    while (end < n && path[end].id_here == e->t->unknown) end = path[end].to;
    if ((rc = emit_unknown(e, p + i, end - i))) return rc;
  }
  return 0;
}
