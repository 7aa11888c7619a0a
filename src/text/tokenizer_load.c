/* tokenizer_load.c - tokenizer.json read part by part.
 *
 * Unknown parts are refused by name: ignoring them would give other ids than the original library. */
#include "config.h"

#include <string.h>
#include "base/sha256.h"
#include "io/json.h"
#include "text/tokenizer_internal.h"

typedef sonde_tokenizer_loader loader;

/* ---- parts --------------------------------------------------------------------------------------------- */

const char *sonde_part_type(const void *json) {
  const char *type = json_string_value(json_object_get(json, "type"));
  return type ? type : "(without a type)";
}

int sonde_part_unsupported(const loader *l, const char *part, const char *what) {
  return sonde_fail(l->err, SONDE_EUNSUP, "%s: the %s '%s' is not supported", l->name, part, what);
}

int sonde_each_step(const loader *l, const void *json, const char *key, sonde_step_fn fn) {
  const json_t *part = json, *step, *steps = json_object_get(part, key);
  size_t i;
  int rc = 0;
  if (!part || json_is_null(part)) return 0;
  if (strcmp(sonde_part_type(part), "Sequence")) return fn(l, part);
  json_array_foreach(steps, i, step) if ((rc = sonde_each_step(l, step, key, fn))) return rc;
  return 0;
}

int sonde_part_pattern(const loader *l, const void *json, const char **literal, const char **regex) {
  const json_t *pattern = json_object_get(json, "pattern");
  *regex = json_string_value(json_object_get(pattern, "Regex"));
  *literal =
      json_is_string(pattern) ? json_string_value(pattern) : json_string_value(json_object_get(pattern, "String"));
  if (*regex || *literal) return 0;
  return sonde_fail(l->err, SONDE_EFORMAT, "%s: a %s without a pattern", l->name, sonde_part_type(json));
}

/* ---- the file ------------------------------------------------------------------------------------------ */

/* Settings for batches of texts of one length: none of them changes what a text is encoded to here. */
static int note_idle(const loader *l, const json_t *tree, const char *name) {
  const json_t *v = json_object_get(tree, name);
  return v && !json_is_null(v) && sonde_tokenizer_idle(l->t, name) ? sonde_tokenizer_no_memory(l) : 0;
}

static int read_file(loader *l, const json_t *tree) {
  const json_t *pre = json_object_get(tree, "pre_tokenizer");
  l->t->byte_level = sonde_is_byte_level(pre);
  int rc = sonde_read_model(l, tree);
  if (!rc && l->t->byte_level && l->t->model != SONDE_MODEL_BPE)
    rc = sonde_fail(l->err, SONDE_EUNSUP, "%s: a ByteLevel before another model than BPE is not supported", l->name);
  if (!rc) rc = note_idle(l, tree, "truncation");
  if (!rc) rc = note_idle(l, tree, "padding");
  if (!rc) rc = sonde_read_normalizer(l, json_object_get(tree, "normalizer"));
  if (!rc) rc = sonde_read_added(l, json_object_get(tree, "added_tokens"));
  if (!rc) rc = sonde_read_pieces(l);
  if (!rc) rc = sonde_read_pre_tokenizer(l, pre);
  if (!rc) rc = sonde_read_post_processor(l, json_object_get(tree, "post_processor"));
  return rc ? rc : sonde_read_decoder(l, json_object_get(tree, "decoder"));
}

sonde_tokenizer *sonde_tokenizer_parse(const char *json, int64_t size, const char *name, sonde_error *err) {
  sonde_tokenizer *t = sonde_alloc(sizeof *t);
  loader l = {t, name, NULL, err};
  if (!t || !(t->arena = sonde_arena_new()) || !(t->json = sonde_alloc((size_t)size + 1))) {
    sonde_tokenizer_no_memory(&l);
    sonde_release(t ? t->json : NULL);
    if (t) sonde_arena_free(t->arena);
    sonde_release(t);
    return NULL;
  }
  t->refs = 1;
  t->json_bytes = size;
  memcpy(t->json, json, (size_t)size);
  sonde_sha256 sha;
  sonde_sha256_init(&sha);
  sonde_sha256_add(&sha, json, (size_t)size);
  sonde_sha256_hex(&sha, t->hash);
  json_t *tree = sonde_json_parse(json, size, name, err);
  int rc = tree ? read_file(&l, tree) : -1;
  json_decref((json_t *)l.vocab);
  json_decref(tree);
  if (!rc) return t;
  sonde_tokenizer_free(t);
  return NULL;
}
