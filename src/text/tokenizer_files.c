/* tokenizer_files.c - which files make a tokenizer, and the tokenizer.json that they stand for. */
#include "config.h"

#include <stdio.h>
#include <string.h>
#include "base/file.h"
#include "text/tokenizer_files.h"
#include "text/tokenizer_internal.h"

/* ---- what the other files say -------------------------------------------------------------------------- */

static const char *text_of(const json_t *v) {
  return json_is_string(v) ? json_string_value(v) : json_string_value(json_object_get(v, "content"));
}

static const char *role_of(const sonde_sources *s, const char *role) {
  const char *text = text_of(json_object_get(s->config, role));
  return text ? text : text_of(json_object_get(s->special, role));
}

/* The token that is put at an end: the setting decides, where it is there. */
static const char *around(const sonde_sources *s, const char *setting, const char *role, const char *preset) {
  const json_t *v = json_object_get(s->config, setting);
  if (json_is_false(v)) return NULL;
  const char *text = json_is_true(v) ? role_of(s, role) : NULL;
  return text ? text : preset;
}

static int flag(const json_t *v, const char *name, int preset) {
  const json_t *f = json_object_get(v, name);
  return json_is_boolean(f) ? json_is_true(f) : preset;
}

/* Appends an added token, unless there is one of its text. `v` has its flags. */
static int add_token(json_t *list, const json_t *v, const char *text, json_int_t id, int special) {
  const json_t *known;
  size_t i;
  json_array_foreach(list, i, known) if (!strcmp(json_string_value(json_object_get(known, "content")), text)) return 0;
  special = flag(v, "special", special);
  return json_array_append_new(
      list, json_pack("{s:I, s:s, s:b, s:b, s:b, s:b, s:b}", "id", id, "content", text, "single_word",
                      flag(v, "single_word", 0), "lstrip", flag(v, "lstrip", 0), "rstrip", flag(v, "rstrip", 0),
                      "normalized", flag(v, "normalized", !special), "special", special));
}

static const char *const roles[] = {"bos_token", "eos_token", "unk_token", "pad_token", "cls_token", "sep_token",
                                    "mask_token"};

static int has_role(const sonde_sources *s, const char *text) {
  for (size_t i = 0; i < sizeof roles / sizeof *roles; i++) {
    const char *of = role_of(s, roles[i]);
    if (of && !strcmp(of, text)) return 1;
  }
  return 0;
}

/* A number in decimal; -1 if the text is none below 2^31. */
static json_int_t id_of(const char *text) {
  json_int_t id = 0;
  if (!*text) return -1;
  for (; *text; text++) {
    if (*text < '0' || *text > '9' || id > INT32_MAX / 10) return -1;
    id = 10 * id + (*text - '0');
  }
  return id;
}

/* The tokens of tokenizer_config.json, else of added_tokens.json. */
static int add_listed(const sonde_sources *s, json_t *list, sonde_error *err) {
  json_t *decoder = json_object_get(s->config, "added_tokens_decoder"), *v;
  const char *key;
  json_object_foreach(decoder, key, v) {
    const char *text = text_of(v);
    if (!text || id_of(key) < 0)
      return sonde_fail(err, SONDE_EFORMAT,
                        "%s: the added token '%s' of the tokenizer_config.json beside it is damaged", s->name, key);
    if (add_token(list, v, text, id_of(key), 0)) return SONDE_ENOMEM;
  }
  if (!json_is_object(decoder)) json_object_foreach(s->added, key, v) {
    if (!json_is_integer(v) || json_integer_value(v) < 0)
      return sonde_fail(err, SONDE_EFORMAT, "%s: the token '%s' of the added_tokens.json beside it has no id", s->name,
                        key);
    if (add_token(list, NULL, key, json_integer_value(v), has_role(s, key))) return SONDE_ENOMEM;
  }
  return 0;
}

/* ---- the tree ------------------------------------------------------------------------------------------ */

static const json_t *find_token(const json_t *added, const char *text) {
  const json_t *v;
  size_t i;
  json_array_foreach(added, i, v) if (text && !strcmp(json_string_value(json_object_get(v, "content")), text)) return v;
  return NULL;
}

static int put_special(json_t *single, json_t *named, const json_t *token) {
  const char *text = text_of(token);
  json_t *id = json_object_get(token, "id");
  return json_array_append_new(single, json_pack("{s:{s:s, s:i}}", "SpecialToken", "id", text, "type_id", 0)) ||
         json_object_set_new(named, text, json_pack("{s:s, s:[O], s:[s]}", "id", text, "ids", id, "tokens", text));
}

static json_t *make_template(const json_t *before, const json_t *after) {
  json_t *single = json_array(), *named = json_object();
  int failed = !single || !named || (before && put_special(single, named, before)) ||
               json_array_append_new(single, json_pack("{s:{s:s, s:i}}", "Sequence", "id", "A", "type_id", 0)) ||
               (after && put_special(single, named, after));
  json_t *pair = failed ? NULL : json_deep_copy(single);
  if (pair) json_array_append_new(pair, json_pack("{s:{s:s, s:i}}", "Sequence", "id", "B", "type_id", 1));
  if (pair) return json_pack("{s:s, s:o, s:o, s:o}", "type", "TemplateProcessing", "single", single, "pair", pair,
                             "special_tokens", named);
  json_decref(single);
  json_decref(named);
  return NULL;
}

static json_t *or_null(json_t *v) {
  return v ? v : json_null();
}

json_t *sonde_sources_tree(const sonde_sources *s, json_t *model, json_t *special, json_t *normalizer,
                           json_t *pre_tokenizer, json_t *decoder, const char *before, const char *after,
                           sonde_error *err) {
  json_t *added = json_array(), *v, *vocab = json_object_get(model, "vocab"), *post = NULL;
  size_t i;
  int rc = added && special && decoder ? add_listed(s, added, err) : SONDE_ENOMEM;
  if (!rc) json_array_foreach(special, i, v) {
    if (add_token(added, v, text_of(v), json_integer_value(json_object_get(v, "id")), 0)) rc = SONDE_ENOMEM;
  }
  for (i = 0; i < sizeof roles / sizeof *roles && !rc; i++) {
    const char *text = role_of(s, roles[i]);
    json_t *id = text ? json_object_get(vocab, text) : NULL, *flags = json_object_get(s->config, roles[i]);
    if (id && add_token(added, flags, text, json_integer_value(id), 1)) rc = SONDE_ENOMEM;
  }
  const json_t *first = find_token(added, around(s, "add_bos_token", "bos_token", before));
  const json_t *last = find_token(added, around(s, "add_eos_token", "eos_token", after));
  if (!rc && (first || last) && !(post = make_template(first, last))) rc = SONDE_ENOMEM;
  json_t *tree = json_pack("{s:s, s:n, s:n, s:o, s:o, s:o, s:o, s:o, s:o}", "version", "1.0", "truncation", "padding",
                           "added_tokens", or_null(added), "normalizer", or_null(normalizer),
                           "pre_tokenizer", or_null(pre_tokenizer), "post_processor", or_null(post),
                           "decoder", or_null(decoder), "model", or_null(model));
  json_decref(special);
  if (!rc && tree) return tree;
  json_decref(tree);
  if (!err->code) sonde_fail(err, SONDE_ENOMEM, "%s: out of memory", s->name);
  return NULL;
}

/* ---- the files ----------------------------------------------------------------------------------------- */

static int ends_with(const char *name, const char *end) {
  size_t n = strlen(name), m = strlen(end);
  return n >= m && !strcmp(name + n - m, end);
}

static int is_vocab_json(const char *name) {
  return ends_with(name, "/vocab.json") || !strcmp(name, "vocab.json");
}

typedef json_t *(*tree_fn)(const sonde_sources *, sonde_error *);

/* What reads a main file of this name; NULL: it is a tokenizer.json. */
static tree_fn reader_of(const char *name) {
  if (ends_with(name, ".model")) return sonde_sentencepiece_tree;
  if (ends_with(name, ".bin")) return sonde_llama2c_tree;
  return is_vocab_json(name) ? sonde_vocab_merges_tree : NULL;
}

static int parse(const char *text, int64_t n, const char *beside, const char *name, json_t **out, sonde_error *err) {
  char where[512];
  if (!text) return 0;
  snprintf(where, sizeof where, "the %s beside %.400s", name, beside);
  *out = sonde_json_parse(text, n, where, err);
  return *out ? 0 : err->code;
}

sonde_tokenizer *sonde_tokenizer_of(const sonde_tokenizer_files *f, sonde_error *err) {
  tree_fn read = reader_of(f->name);
  if (!read) return sonde_tokenizer_parse(f->data, f->data_n, f->name, err);
  sonde_sources s = {.name = f->name, .data = f->data, .n = f->data_n, .merges = f->merges, .merges_n = f->merges_n};
  int rc = parse(f->config, f->config_n, f->name, "tokenizer_config.json", &s.config, err);
  if (!rc) rc = parse(f->special, f->special_n, f->name, "special_tokens_map.json", &s.special, err);
  if (!rc) rc = parse(f->added, f->added_n, f->name, "added_tokens.json", &s.added, err);
  json_t *tree = rc ? NULL : read(&s, err);
  char *text = tree ? sonde_json_text(tree, 2) : NULL;
  if (tree && !text) sonde_fail(err, SONDE_ENOMEM, "%s: out of memory", f->name);
  sonde_tokenizer *t = text ? sonde_tokenizer_parse(text, (int64_t)strlen(text), f->name, err) : NULL;
  sonde_release(text);
  json_decref(tree);
  json_decref(s.config);
  json_decref(s.special);
  json_decref(s.added);
  return t;
}

/* Reads a file of the folder of `path`, if it is there. */
static int read_beside(const char *path, const char *name, char **data, int64_t *n, sonde_error *err) {
  const char *slash = strrchr(path, '/');
  char beside[4096];
  int length = slash ? snprintf(beside, sizeof beside, "%.*s/%s", (int)(slash - path), path, name)
                     : snprintf(beside, sizeof beside, "%s", name);
  if (length >= (int)sizeof beside || !sonde_path_exists(beside)) return 0;
  return sonde_file_read(beside, SONDE_TOKENIZER_BYTES, data, n, err);
}

static sonde_tokenizer *load_file(const char *path, sonde_error *err) {
  char *text[5] = {0};
  sonde_tokenizer_files f = {.name = path};
  int rc = sonde_file_read(path, SONDE_TOKENIZER_BYTES, &text[0], &f.data_n, err);
  if (!rc && reader_of(path)) {
    rc = read_beside(path, "tokenizer_config.json", &text[1], &f.config_n, err);
    if (!rc) rc = read_beside(path, "special_tokens_map.json", &text[2], &f.special_n, err);
    if (!rc) rc = read_beside(path, "added_tokens.json", &text[3], &f.added_n, err);
    if (!rc && is_vocab_json(path)) rc = read_beside(path, "merges.txt", &text[4], &f.merges_n, err);
  }
  f.data = text[0], f.config = text[1], f.special = text[2], f.added = text[3], f.merges = text[4];
  sonde_tokenizer *t = rc ? NULL : sonde_tokenizer_of(&f, err);
  for (int i = 0; i < 5; i++) sonde_release(text[i]);
  return t;
}

sonde_tokenizer *sonde_tokenizer_load(const char *path, sonde_error *err) {
  static const char *const names[] = {"tokenizer.json", "tokenizer.model", "vocab.json"};
  char inside[4096];
  if (!sonde_is_folder(path)) return load_file(path, err);
  for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
    int n = snprintf(inside, sizeof inside, "%s/%s", path, names[i]);
    if (n < (int)sizeof inside && sonde_path_exists(inside)) return load_file(inside, err);
  }
  sonde_fail(err, SONDE_ENOENT, "%s: contains no tokenizer.json, tokenizer.model or vocab.json with merges.txt", path);
  return NULL;
}
