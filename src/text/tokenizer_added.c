/* tokenizer_added.c - the added tokens of a tokenizer.json: those that are found in a text before it is split. */
#include "config.h"

#include <stdlib.h>
#include <string.h>
#include "io/json.h"
#include "text/tokenizer_internal.h"

typedef sonde_tokenizer_loader loader;

static int by_text(const void *x, const void *y) {
  const sonde_added *a = *(const sonde_added *const *)x, *b = *(const sonde_added *const *)y;
  int order = memcmp(a->text, b->text, (size_t)(a->n < b->n ? a->n : b->n));
  if (order) return order;
  return a->n != b->n ? (a->n > b->n) - (a->n < b->n) : (a->id > b->id) - (a->id < b->id);
}

static int build_set(const loader *l, sonde_added_set *set, int normalized) {
  sonde_tokenizer *t = l->t;
  int32_t n = 0, kept = 0;
  set->list = sonde_arena_alloc(t->arena, (size_t)(t->added_n + 1) * sizeof *set->list);
  if (!set->list) return sonde_tokenizer_no_memory(l);
  for (int64_t i = 0; i < t->added_n; i++)
    if (t->added[i].n && t->added[i].normalized == normalized) set->list[n++] = &t->added[i];
  qsort(set->list, (size_t)n, sizeof *set->list, by_text);
  for (int32_t i = 0; i < n; i++)      /* of the same text once */
    if (!i || set->list[i]->n != set->list[kept - 1]->n ||
        memcmp(set->list[i]->text, set->list[kept - 1]->text, (size_t)set->list[i]->n))
      set->list[kept++] = set->list[i];
  for (int32_t i = 0; i < kept; i++) set->first[(unsigned char)set->list[i]->text[0] + 1]++;
  for (int c = 0; c < 256; c++) set->first[c + 1] += set->first[c];
  return 0;
}

/* An added token may also be in the vocabulary, with the same id; no other id may be shared. */
static int check_added_id(const loader *l, const char *text, int32_t id) {
  const json_t *known = json_object_get(l->vocab, text);
  if (known ? json_integer_value(known) == id : !l->t->token[id].bytes) return 0;
  return sonde_fail(l->err, SONDE_EFORMAT,
                    "%s: added token '%s' has an id, %d, that does not agree with the vocabulary", l->name,
                    text, id);
}

/* The form in which the token is looked for: that of the normalised text, if it is. */
static int keep_form(const loader *l, sonde_added *a, const char *text, int64_t n) {
  sonde_bytes buf[2] = {{0}, {0}};
  int rc = a->normalized ? sonde_normalize(&l->t->norms, text, n, buf, &text, &n, l->err) : 0;
  if (!rc) {
    char *form = sonde_arena_alloc(l->t->arena, (size_t)n + 1);
    if (form) memcpy(form, text, (size_t)n);
    else rc = sonde_tokenizer_no_memory(l);
    a->text = form;
    a->n = n;
  }
  sonde_bytes_free(&buf[0]);
  sonde_bytes_free(&buf[1]);
  return rc;
}

static int read_added_token(const loader *l, const json_t *v, sonde_added *a) {
  sonde_tokenizer *t = l->t;
  const char *text;
  int rc = sonde_json_string(v, "content", l->name, &text, l->err);
  if (!rc) rc = sonde_json_bool_or(v, "special", 0, l->name, &a->special, l->err);
  if (!rc) rc = sonde_json_bool_or(v, "single_word", 0, l->name, &a->single_word, l->err);
  if (!rc) rc = sonde_json_bool_or(v, "lstrip", 0, l->name, &a->strip_left, l->err);
  if (!rc) rc = sonde_json_bool_or(v, "rstrip", 0, l->name, &a->strip_right, l->err);
  if (!rc) rc = sonde_json_bool_or(v, "normalized", !a->special, l->name, &a->normalized, l->err);
  if (rc) return rc;
  a->id = (int32_t)json_integer_value(json_object_get(v, "id"));
  int64_t n = (int64_t)strlen(text);
  char *whole = sonde_arena_strdup(t->arena, text);
  if (!whole) return sonde_tokenizer_no_memory(l);
  if ((rc = check_added_id(l, text, a->id))) return rc;
  t->token[a->id] = (sonde_token){whole, n, a->special};
  if ((rc = keep_form(l, a, text, n))) return rc;
  if (!sonde_map_get(t->by_name, whole) && sonde_map_set(t->by_name, whole, a))
    return sonde_tokenizer_no_memory(l);
  return 0;
}

int sonde_read_added(const loader *l, const void *json) {
  const json_t *list = json;
  sonde_tokenizer *t = l->t;
  size_t i;
  json_t *v;
  int rc;
  if (list && !json_is_array(list) && !json_is_null(list))
    return sonde_fail(l->err, SONDE_EFORMAT, "%s: added_tokens is not a list", l->name);
  t->added = sonde_arena_alloc(t->arena, (json_array_size(list) + 1) * sizeof *t->added);
  t->by_name = sonde_map_new();
  if (!t->added || !t->by_name) return sonde_tokenizer_no_memory(l);
  json_array_foreach(list, i, v) {
    if ((rc = read_added_token(l, v, &t->added[i]))) return rc;
    t->added_n++;
  }
  rc = build_set(l, &t->raw, 0);
  return rc ? rc : build_set(l, &t->normalized, 1);
}
