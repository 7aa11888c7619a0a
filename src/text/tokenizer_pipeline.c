/* tokenizer_pipeline.c - tokenizer.json beside the model: what happens before and after the merges.
 *
 * Unknown parts are refused by name: ignoring them would give other ids than the original library. */
#include "config.h"

#include <stdlib.h>
#include <string.h>
#include "io/json.h"
#include "text/tokenizer_internal.h"
#include "text/unicode.h"

typedef sonde_tokenizer_loader loader;

static int unsupported(const loader *l, const char *part, const char *what) {
  return sonde_fail(l->err, SONDE_EUNSUP, "%s: the %s '%s' is not supported", l->name, part, what);
}

static const char *type_of(const json_t *v) {
  const char *type = json_string_value(json_object_get(v, "type"));
  return type ? type : "(without a type)";
}

/* Runs fn over the steps of a part that is null, one step, or a Sequence under `key` of steps and further Sequences. */
typedef int (*step_fn)(const loader *l, const json_t *step);

static int each_step(const loader *l, const json_t *part, const char *key, step_fn fn) {
  const json_t *step, *steps = json_object_get(part, key);
  size_t i;
  int rc = 0;
  if (!part || json_is_null(part)) return 0;
  if (strcmp(type_of(part), "Sequence")) return fn(l, part);
  json_array_foreach(steps, i, step) if ((rc = each_step(l, step, key, fn))) return rc;
  return 0;
}

/* ---- normaliser ---------------------------------------------------------------------------------------- */

static int read_normalizer(const loader *l, const json_t *v) {
  if (strcmp(type_of(v), "NFC")) return unsupported(l, "normaliser", type_of(v));
  l->t->nfc = 1;
  return 0;
}

/* ---- added tokens -------------------------------------------------------------------------------------- */

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
static int check_added_id(const loader *l, const json_t *vocab, const char *text, int32_t id) {
  const json_t *known = json_object_get(vocab, text);
  if (known ? json_integer_value(known) == id : !l->t->token[id].bytes) return 0;
  return sonde_fail(l->err, SONDE_EFORMAT,
                    "%s: added token '%s' has an id, %d, that does not agree with the vocabulary", l->name,
                    text, id);
}

static int read_added_token(const loader *l, const json_t *vocab, const json_t *v, sonde_added *a) {
  sonde_tokenizer *t = l->t;
  const char *text;
  int rc = sonde_json_string(v, "content", l->name, &text, l->err);
  if (!rc) rc = sonde_json_bool_or(v, "special", 0, l->name, &a->special, l->err);
  if (!rc) rc = sonde_json_bool_or(v, "single_word", 0, l->name, &a->single_word, l->err);
  if (!rc) rc = sonde_json_bool_or(v, "lstrip", 0, l->name, &a->strip_left, l->err);
  if (!rc) rc = sonde_json_bool_or(v, "rstrip", 0, l->name, &a->strip_right, l->err);
  if (!rc) rc = sonde_json_bool_or(v, "normalized", !a->special, l->name, &a->normalized, l->err);
  if (rc) return rc;
  sonde_bytes buf = {0};
  int64_t n = (int64_t)strlen(text);
  char *whole = sonde_arena_strdup(t->arena, text);
  a->id = (int32_t)json_integer_value(json_object_get(v, "id"));
  if (!whole) return sonde_tokenizer_no_memory(l);
  if ((rc = check_added_id(l, vocab, text, a->id))) return rc;
  t->token[a->id] = (sonde_token){whole, n, a->special};
  if (a->normalized && t->nfc && (rc = sonde_utf8_nfc(text, n, &buf, &text, &n, l->err))) return rc;
  a->text = sonde_arena_strdup(t->arena, text);
  a->n = n;
  sonde_bytes_free(&buf);
  if (!a->text || (!sonde_map_get(t->by_name, whole) && sonde_map_set(t->by_name, whole, a)))
    return sonde_tokenizer_no_memory(l);
  return 0;
}

static int read_added(const loader *l, const json_t *list, const json_t *vocab) {
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
    if ((rc = read_added_token(l, vocab, v, &t->added[i]))) return rc;
    t->added_n++;
  }
  rc = build_set(l, &t->raw, 0);
  return rc ? rc : build_set(l, &t->normalized, 1);
}

/* ---- pre-tokeniser ------------------------------------------------------------------------------------- */

/* The bytes of a literal pattern, escaped for a regex. */
static int quote(const char *s, sonde_bytes *out) {
  for (; *s; s++) {
    if (strchr("\\^$.|?*+()[]{}-#/", *s) && sonde_bytes_add(out, "\\", 1)) return SONDE_ENOMEM;
    if (sonde_bytes_add(out, s, 1)) return SONDE_ENOMEM;
  }
  return 0;
}

static int read_split(const loader *l, const json_t *v) {
  const json_t *pattern = json_object_get(v, "pattern");
  const char *regex = json_string_value(json_object_get(pattern, "Regex"));
  const char *literal = json_string_value(json_object_get(pattern, "String")), *behavior;
  int invert, rc = sonde_json_string(v, "behavior", l->name, &behavior, l->err);
  if (!rc) rc = sonde_json_bool_or(v, "invert", 0, l->name, &invert, l->err);
  if (rc) return rc;
  int removed = !strcmp(behavior, "Removed");
  if (!removed && strcmp(behavior, "Isolated")) return unsupported(l, "split behaviour", behavior);
  sonde_bytes quoted = {0};
  if (!regex && !literal) return sonde_fail(l->err, SONDE_EFORMAT, "%s: a Split without a pattern", l->name);
  if (literal && quote(literal, &quoted)) return sonde_tokenizer_no_memory(l);
  const char *text = regex ? regex : quoted.data ? quoted.data : "";
  rc = sonde_stages_add_regex(&l->t->stages, text, (int64_t)strlen(text), !removed || invert,
                              !removed || !invert, l->name, l->err);
  sonde_bytes_free(&quoted);
  return rc;
}

static int read_digits(const loader *l, const json_t *v) {
  int individual;
  int rc = sonde_json_bool_or(v, "individual_digits", 0, l->name, &individual, l->err);
  if (rc) return rc;
  const char *pattern = individual ? "\\p{N}" : "\\p{N}+";
  return sonde_stages_add_regex(&l->t->stages, pattern, (int64_t)strlen(pattern), 1, 1, l->name, l->err);
}

static int read_byte_level(const loader *l, const json_t *v) {
  int prefix, regex;
  int rc = sonde_json_bool_or(v, "add_prefix_space", 1, l->name, &prefix, l->err);
  if (!rc) rc = sonde_json_bool_or(v, "use_regex", 1, l->name, &regex, l->err);
  if (!rc && prefix) rc = sonde_stages_add_prefix_space(&l->t->stages, l->name, l->err);
  if (!rc && regex)
    rc = sonde_stages_add_regex(&l->t->stages, SONDE_GPT2_PATTERN, (int64_t)strlen(SONDE_GPT2_PATTERN), 1, 1,
                                l->name, l->err);
  return rc;
}

static int read_pre_tokenizer(const loader *l, const json_t *v) {
  const char *type = type_of(v);
  if (!strcmp(type, "ByteLevel")) return read_byte_level(l, v);
  if (!strcmp(type, "Split")) return read_split(l, v);
  if (!strcmp(type, "Digits")) return read_digits(l, v);
  return unsupported(l, "pre-tokeniser", type);
}

/* The last step of a pre-tokeniser; counts the ByteLevels. */
static const json_t *last_step(const json_t *part, int *levels) {
  const json_t *step, *last = NULL;
  size_t i;
  if (strcmp(type_of(part), "Sequence")) {
    *levels += !strcmp(type_of(part), "ByteLevel");
    return part;
  }
  json_array_foreach(json_object_get(part, "pretokenizers"), i, step) last = last_step(step, levels);
  return last;
}

/* Byte-level means: one ByteLevel step, and it is the last. */
static int check_byte_level(const loader *l, const json_t *part) {
  int levels = 0;
  const json_t *last = last_step(part, &levels);
  if (!strcmp(type_of(last), "ByteLevel") && levels == 1) return 0;
  return sonde_fail(l->err, SONDE_EUNSUP,
                    "%s: the pre-tokeniser does not end in one ByteLevel: not a byte-level tokenizer",
                    l->name);
}

/* ---- post-processor ------------------------------------------------------------------------------------ */

static int add_id(const loader *l, int32_t **list, int64_t *n, const json_t *id) {
  if (!json_is_integer(id) || json_integer_value(id) < 0 || json_integer_value(id) >= l->t->vocab)
    return sonde_fail(l->err, SONDE_EFORMAT, "%s: the post-processor names an id that is none", l->name);
  int32_t *grown = sonde_grow(*list, (size_t)*n * sizeof **list, (size_t)(*n + 1) * sizeof **list);
  if (!grown) return sonde_tokenizer_no_memory(l);
  *list = grown;
  grown[(*n)++] = (int32_t)json_integer_value(id);
  return 0;
}

static int read_template(const loader *l, const json_t *v) {
  sonde_tokenizer *t = l->t;
  const json_t *piece, *id, *specials = json_object_get(v, "special_tokens"),
                            *single = json_object_get(v, "single");
  size_t i, k;
  int sequences = 0, rc;
  json_array_foreach(single, i, piece) {
    const json_t *special = json_object_get(piece, "SpecialToken");
    if (json_object_get(piece, "Sequence")) sequences++;
    if (!special) continue;
    const char *name = json_string_value(json_object_get(special, "id"));
    const json_t *ids = name ? json_object_get(json_object_get(specials, name), "ids") : NULL;
    if (!json_is_array(ids))
      return sonde_fail(l->err, SONDE_EFORMAT, "%s: the template names a special token without ids", l->name);
    json_array_foreach(ids, k, id) {
      rc = sequences ? add_id(l, &t->after, &t->after_n, id) : add_id(l, &t->before, &t->before_n, id);
      if (rc) return rc;
    }
  }
  return sequences == 1
           ? 0
           : sonde_fail(l->err, SONDE_EFORMAT, "%s: a template without its one sequence", l->name);
}

static int read_post_processor(const loader *l, const json_t *v) {
  const char *type = type_of(v);
  sonde_tokenizer *t = l->t;
  if (!strcmp(type, "ByteLevel")) return 0;            /* changes offsets, not ids */
  if (!strcmp(type, "TemplateProcessing")) return read_template(l, v);
  if (strcmp(type, "RobertaProcessing") && strcmp(type, "BertProcessing"))
    return unsupported(l, "post-processor", type);
  int rc = add_id(l, &t->before, &t->before_n, json_array_get(json_object_get(v, "cls"), 1));
  return rc ? rc : add_id(l, &t->after, &t->after_n, json_array_get(json_object_get(v, "sep"), 1));
}

/* Beside ByteLevel, what joins the pieces and what stands for bytes without a token: there is nothing for them to
 * do. */
static int read_decoder(const loader *l, const json_t *v) {
  const char *type = type_of(v);
  if (!strcmp(type, "ByteLevel")) return 0;
  if (strcmp(type, "Fuse") && strcmp(type, "ByteFallback")) return unsupported(l, "decoder", type);
  return sonde_tokenizer_idle(l->t, !strcmp(type, "Fuse") ? "the decoder Fuse" : "the decoder ByteFallback")
             ? sonde_tokenizer_no_memory(l)
             : 0;
}

/* Settings for batches of texts of one length: none of them changes what a text is encoded to here. */
static int note_idle(const loader *l, const json_t *tree, const char *name) {
  const json_t *v = json_object_get(tree, name);
  return v && !json_is_null(v) && sonde_tokenizer_idle(l->t, name) ? sonde_tokenizer_no_memory(l) : 0;
}

int sonde_tokenizer_read_pipeline(sonde_tokenizer *t, const void *json, const char *name, sonde_error *err) {
  loader l = {t, name, err};
  const json_t *tree = json, *pre = json_object_get(tree, "pre_tokenizer");
  int rc = note_idle(&l, tree, "truncation");
  if (!rc) rc = note_idle(&l, tree, "padding");
  if (!rc) rc = each_step(&l, json_object_get(tree, "normalizer"), "normalizers", read_normalizer);
  if (!rc)
    rc = read_added(&l, json_object_get(tree, "added_tokens"),
                    json_object_get(json_object_get(tree, "model"), "vocab"));
  if (!rc) rc = check_byte_level(&l, pre);
  if (!rc) rc = each_step(&l, pre, "pretokenizers", read_pre_tokenizer);
  if (!rc) rc = each_step(&l, json_object_get(tree, "post_processor"), "processors", read_post_processor);
  return rc ? rc : each_step(&l, json_object_get(tree, "decoder"), "decoders", read_decoder);
}
