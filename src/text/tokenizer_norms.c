/* tokenizer_norms.c - the normaliser of a tokenizer.json. */
#include "config.h"

#include <string.h>
#include "io/json.h"
#include "text/tokenizer_internal.h"

typedef sonde_tokenizer_loader loader;

static int add(const loader *l, const sonde_norm *step) {
  return sonde_norms_add(&l->t->norms, step, l->name, l->err);
}

static char *keep(const loader *l, const char *text) {
  char *copy = sonde_arena_strdup(l->t->arena, text);
  if (!copy) sonde_tokenizer_no_memory(l);
  return copy;
}

int sonde_read_replace(const loader *l, const void *json, sonde_norm *out) {
  const char *literal, *regex, *content;
  int rc = sonde_part_pattern(l, json, &literal, &regex);
  if (!rc) rc = sonde_json_string(json, "content", l->name, &content, l->err);
  if (rc) return rc;
  if (literal && !*literal) return sonde_fail(l->err, SONDE_EFORMAT, "%s: a Replace of an empty string", l->name);
  *out = (sonde_norm){.kind = SONDE_NORM_REPLACE, .what = keep(l, regex ? regex : literal), .with = keep(l, content)};
  if (!out->what || !out->with) return l->err->code;
  out->what_n = (int64_t)strlen(out->what);
  out->with_n = (int64_t)strlen(out->with);
  if (regex && !(out->re = sonde_regex_compile(regex, out->what_n, l->name, l->err))) return l->err->code;
  return 0;
}

static int add_replace(const loader *l, const json_t *v) {
  sonde_norm step;
  int rc = sonde_read_replace(l, v, &step);
  if (rc) return rc;
  if ((rc = add(l, &step))) pcre2_code_free(step.re);
  return rc;
}

static int add_prepend(const loader *l, const json_t *v) {
  const char *text;
  int rc = sonde_json_string(v, "prepend", l->name, &text, l->err);
  if (rc) return rc;
  sonde_norm step = {.kind = SONDE_NORM_PREPEND, .with = keep(l, text), .with_n = (int64_t)strlen(text)};
  return step.with ? add(l, &step) : l->err->code;
}

static int add_strip(const loader *l, const json_t *v) {
  sonde_norm step = {.kind = SONDE_NORM_STRIP};
  int rc = sonde_json_bool_or(v, "strip_left", 0, l->name, &step.left, l->err);
  if (!rc) rc = sonde_json_bool_or(v, "strip_right", 0, l->name, &step.right, l->err);
  return rc ? rc : add(l, &step);
}

static int add_charsmap(const loader *l, const json_t *v) {
  const json_t *map = json_object_get(v, "precompiled_charsmap");
  sonde_norm step = {.kind = SONDE_NORM_CHARSMAP};
  if (!map || json_is_null(map)) return 0;
  if (!json_is_string(map))
    return sonde_fail(l->err, SONDE_EFORMAT, "%s: a Precompiled without its character map", l->name);
  int rc = sonde_charsmap_read(&step.map, json_string_value(map), (int64_t)json_string_length(map), l->name, l->err);
  if (!rc) rc = add(l, &step);
  if (rc) sonde_charsmap_free(&step.map);
  return rc;
}

/* Accents go with the capitals, where the file does not say. */
static int add_bert(const loader *l, const json_t *v) {
  int cleans, chinese, accents, lowers;
  int rc = sonde_json_bool_or(v, "clean_text", 1, l->name, &cleans, l->err);
  if (!rc) rc = sonde_json_bool_or(v, "handle_chinese_chars", 1, l->name, &chinese, l->err);
  if (!rc) rc = sonde_json_bool_or(v, "lowercase", 1, l->name, &lowers, l->err);
  if (!rc) rc = sonde_json_bool_or(v, "strip_accents", lowers, l->name, &accents, l->err);
  if (!rc && cleans) rc = add(l, &(sonde_norm){.kind = SONDE_NORM_BERT_CLEAN});
  if (!rc && chinese) rc = add(l, &(sonde_norm){.kind = SONDE_NORM_BERT_CHINESE});
  if (!rc && accents) rc = add(l, &(sonde_norm){.kind = SONDE_NORM_NFD});
  if (!rc && accents) rc = add(l, &(sonde_norm){.kind = SONDE_NORM_STRIP_MARKS, .nonspacing = 1});
  return !rc && lowers ? add(l, &(sonde_norm){.kind = SONDE_NORM_LOWERCASE}) : rc;
}

static int read_step(const loader *l, const void *v) {
  static const struct { const char *type; sonde_norm_kind kind; } plain[] = {
      {"NFC", SONDE_NORM_NFC}, {"NFD", SONDE_NORM_NFD}, {"NFKC", SONDE_NORM_NFKC}, {"NFKD", SONDE_NORM_NFKD},
      {"Lowercase", SONDE_NORM_LOWERCASE}, {"StripAccents", SONDE_NORM_STRIP_MARKS}, {"Nmt", SONDE_NORM_NMT}};
  static const struct { const char *type; int (*read)(const loader *, const json_t *); } others[] = {
      {"Replace", add_replace}, {"Prepend", add_prepend}, {"Strip", add_strip}, {"Precompiled", add_charsmap},
      {"BertNormalizer", add_bert}};
  const char *type = sonde_part_type(v);
  for (size_t i = 0; i < sizeof plain / sizeof *plain; i++)
    if (!strcmp(type, plain[i].type)) return add(l, &(sonde_norm){.kind = plain[i].kind});
  for (size_t i = 0; i < sizeof others / sizeof *others; i++)
    if (!strcmp(type, others[i].type)) return others[i].read(l, v);
  return sonde_part_unsupported(l, "normaliser", type);
}

int sonde_read_normalizer(const loader *l, const void *json) {
  return sonde_each_step(l, json, "normalizers", read_step);
}
