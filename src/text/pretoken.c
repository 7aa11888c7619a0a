/* pretoken.c - cutting by stages, one inside the other. */
#include "config.h"

#include <string.h>
#include "text/alphabet.h"
#include "text/intern.h"
#include "text/pretoken.h"

enum { JIT_STACK_FIRST = 32 << 10, JIT_STACK_MOST = 8 << 20 };

int sonde_stages_add(sonde_stages *s, const sonde_stage *stage, const char *where, sonde_error *err) {
  if (s->n == SONDE_MAX_STAGES)
    return sonde_fail(err, SONDE_EUNSUP, "%s: more than %d steps of pre-tokenisation", where, SONDE_MAX_STAGES);
  s->stage[s->n++] = *stage;
  return 0;
}

int sonde_stages_add_regex(sonde_stages *s, const char *pattern, int64_t n, sonde_behavior behavior, int invert,
                           const char *where, sonde_error *err) {
  sonde_stage stage = {.kind = SONDE_STAGE_REGEX, .behavior = behavior, .invert = invert,
                       .pattern = sonde_intern_hash(pattern, n)};
  if (!(stage.re = sonde_regex_compile(pattern, n, where, err))) return err->code;
  int rc = sonde_stages_add(s, &stage, where, err);
  if (rc) pcre2_code_free(stage.re);
  return rc;
}

void sonde_stages_free(sonde_stages *s) {
  for (int i = 0; i < s->n; i++) pcre2_code_free(s->stage[i].re);
  s->n = 0;
}

int sonde_stages_same(const sonde_stages *a, const sonde_stages *b) {
  int same = a->n == b->n;
  for (int i = 0; i < a->n && same; i++) {
    const sonde_stage *x = &a->stage[i], *y = &b->stage[i];
    same = x->kind == y->kind && x->pattern == y->pattern && x->behavior == y->behavior && x->invert == y->invert &&
           !strcmp(x->mark, y->mark) && x->scheme == y->scheme && x->split == y->split &&
           !memcmp(x->kept, y->kept, sizeof x->kept);
  }
  return same;
}

int sonde_splitter_init(sonde_splitter *s, const sonde_stages *stages, sonde_error *err) {
  *s = (sonde_splitter){.stages = stages};
  s->context = pcre2_match_context_create(NULL);
  s->stack = pcre2_jit_stack_create(JIT_STACK_FIRST, JIT_STACK_MOST, NULL);
  int ok = s->context != NULL;
  if (ok && s->stack) pcre2_jit_stack_assign(s->context, NULL, s->stack);
  for (int i = 0; ok && i < stages->n; i++) {
    if (!stages->stage[i].re) continue;
    s->match[i] = pcre2_match_data_create(1, NULL);
    ok = s->match[i] != NULL;
  }
  if (ok) return 0;
  sonde_splitter_free(s);
  return sonde_fail(err, SONDE_ENOMEM, "tokenizer: out of memory");
}

void sonde_splitter_free(sonde_splitter *s) {
  for (int i = 0; i < SONDE_MAX_STAGES; i++) {
    pcre2_match_data_free(s->match[i]);
    sonde_bytes_free(&s->changed[i]);
  }
  pcre2_match_context_free(s->context);
  pcre2_jit_stack_free(s->stack);
  *s = (sonde_splitter){0};
}

/* ---- cutting ------------------------------------------------------------------------------------------- */

typedef struct cut {
  sonde_splitter *splitter;
  sonde_piece_fn fn;
  void *arg;
  sonde_error *err;
} cut;

/* A piece at a stage; first: it begins where the whole text begins. */
static int split_from(const cut *c, int stage, const char *p, int64_t n, int first);

static int no_memory(const cut *c) {
  return sonde_fail(c->err, SONDE_ENOMEM, "tokenizer: out of memory");
}

/* The matches and gaps of a piece in turn, joined by the stage's behaviour. */
typedef struct joiner {
  const cut *c;
  int stage;
  const char *p;
  int first;
  int64_t begin, end;          /* what may still be joined to; none: begin < 0 */
  int after_match;
} joiner;

static int emit(joiner *j, int64_t begin, int64_t end) {
  return split_from(j->c, j->stage + 1, j->p + begin, end - begin, j->first && begin == 0);
}

/* The next range becomes what may be joined to, or joins what there is. */
static int put(joiner *j, int64_t begin, int64_t end, int match) {
  const sonde_stage *s = &j->c->splitter->stages->stage[j->stage];
  int join, rc = 0;
  match ^= s->invert;
  if (s->behavior == SONDE_ISOLATED) return begin < end ? emit(j, begin, end) : 0;
  if (s->behavior == SONDE_REMOVED) return begin < end && !match ? emit(j, begin, end) : 0;
  if (s->behavior == SONDE_MERGED_WITH_PREVIOUS) join = match && !j->after_match;
  else if (s->behavior == SONDE_MERGED_WITH_NEXT) join = !match && j->after_match;
  else join = match == j->after_match;
  if (j->begin < 0) j->begin = begin;
  else if (!join) {
    rc = emit(j, j->begin, j->end);
    j->begin = begin;
  }
  j->end = end;
  j->after_match = match;
  return rc;
}

static int split_by_regex(const cut *c, int k, const char *p, int64_t n, int first) {
  pcre2_match_data *match = c->splitter->match[k];
  const PCRE2_SIZE *place = pcre2_get_ovector_pointer(match);
  joiner j = {.c = c, .stage = k, .p = p, .first = first, .begin = -1};
  int64_t from = 0, search = 0;            /* where the next gap begins, and the search */
  int rc;
  while (search < n) {
    int found = sonde_regex_next(c->splitter->stages->stage[k].re, match, c->splitter->context, p, n, search, c->err);
    if (found < 0) return found;
    if (!found) break;
    int64_t begin = (int64_t)place[0], end = (int64_t)place[1];
    if (begin > from && (rc = put(&j, from, begin, 0))) return rc;
    if ((rc = put(&j, begin, end, 1))) return rc;
    search = from = end;
    if (end == begin) {        /* an empty match cuts; the search goes on one character further */
      do search++;
      while (search < n && (p[search] & 0xc0) == 0x80);
    }
  }
  if (from < n && (rc = put(&j, from, n, 0))) return rc;
  return j.begin >= 0 ? emit(&j, j.begin, j.end) : 0;
}

static int has_byte(const uint64_t set[4], char byte) {
  return set[(unsigned char)byte >> 6] >> (byte & 63) & 1;
}

/* Cuts before marks: before each, or of RUNS before those that follow something else. */
static int split_before(const cut *c, int k, const char *p, int64_t n, int first) {
  const sonde_stage *s = &c->splitter->stages->stage[k];
  const char *mark = s->mark;
  int runs = s->kind == SONDE_STAGE_RUNS;
  int64_t size = (int64_t)strlen(mark), from = 0, after = -1;      /* after: the end of the mark before */
  int rc;
  for (const char *at = p; (at = memmem(at, (size_t)(p + n - at), mark, (size_t)size)) != NULL; at += size) {
    int64_t here = at - p;
    if (here > from && !(runs && (here == after || has_byte(s->kept, p[here - 1])))) {
      if ((rc = split_from(c, k + 1, p + from, here - from, first && from == 0))) return rc;
      from = here;
    }
    after = here + size;
  }
  return split_from(c, k + 1, p + from, n - from, first && from == 0);
}

static int metaspace(const cut *c, int k, const char *p, int64_t n, int first) {
  const sonde_stage *s = &c->splitter->stages->stage[k];
  sonde_bytes *b = &c->splitter->changed[k];
  int64_t size = (int64_t)strlen(s->mark);
  int marked = *p == ' ' || (n >= size && !memcmp(p, s->mark, (size_t)size));
  int prepend = !marked && (s->scheme == SONDE_PREPEND_ALWAYS || (s->scheme == SONDE_PREPEND_FIRST && first));
  b->n = 0;
  if (prepend && sonde_bytes_add(b, s->mark, size)) return no_memory(c);
  for (const char *end = p + n; p < end;) {
    const char *space = memchr(p, ' ', (size_t)(end - p)), *to = space ? space : end;
    if (sonde_bytes_add(b, p, to - p) || (space && sonde_bytes_add(b, s->mark, size))) return no_memory(c);
    p = space ? space + 1 : end;
  }
  return s->split ? split_before(c, k, b->data, b->n, first) : split_from(c, k + 1, b->data, b->n, first);
}

static int respell(const cut *c, int k, const char *p, int64_t n, int first) {
  sonde_bytes *b = &c->splitter->changed[k];
  b->n = 0;
  if (c->splitter->stages->stage[k].kind == SONDE_STAGE_SPELL) {
    for (int64_t i = 0; i < n; i++) {
      char letter[3];
      sonde_byte_char((unsigned char)p[i], letter);
      if (sonde_bytes_add(b, letter, (int64_t)strlen(letter))) return no_memory(c);
    }
  } else {
    if (sonde_bytes_reserve(b, n)) return no_memory(c);
    b->n = sonde_alphabet_bytes(p, n, b->data);
  }
  return split_from(c, k + 1, b->data, b->n, first);
}

static int prefix_space(const cut *c, int k, const char *p, int64_t n, int first) {
  sonde_bytes *b = &c->splitter->changed[k];
  if (*p == ' ') return split_from(c, k + 1, p, n, first);
  b->n = 0;
  if (sonde_bytes_add(b, " ", 1) || sonde_bytes_add(b, p, n)) return no_memory(c);
  return split_from(c, k + 1, b->data, b->n, first);
}

static int split_from(const cut *c, int k, const char *p, int64_t n, int first) {
  const sonde_stages *stages = c->splitter->stages;
  if (n == 0) return 0;
  if (k == stages->n) return c->fn(c->arg, p, n);
  switch (stages->stage[k].kind) {
    case SONDE_STAGE_REGEX: return split_by_regex(c, k, p, n, first);
    case SONDE_STAGE_PREFIX_SPACE: return prefix_space(c, k, p, n, first);
    case SONDE_STAGE_METASPACE: return metaspace(c, k, p, n, first);
    case SONDE_STAGE_RUNS: return split_before(c, k, p, n, first);
    default: return respell(c, k, p, n, first);
  }
}

int sonde_split_text(sonde_splitter *s, const char *text, int64_t n, int first, sonde_piece_fn fn, void *arg,
                     sonde_error *err) {
  cut c = {s, fn, arg, err};
  return split_from(&c, 0, text, n, first);
}
