/* vocab_merges.c - GPT-2's vocab.json and merges.txt, and those of its descendants. */
#include "config.h"

#include <string.h>
#include "text/tokenizer_files.h"

#define QWEN_PATTERN \
  "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|" \
  "\\s+(?!\\S)|\\s+"

/* What a class of transformers does with such files: the tokens that it has by itself, and those around a text. */
typedef struct family {
  const char *name;
  const char *before, *after, *special[6];
  int qwen;
} family;

static const family families[] = {
    {"GPT2Tokenizer", NULL, NULL, {"<|endoftext|>"}, 0},
    {"CodeGenTokenizer", NULL, NULL, {"<|endoftext|>"}, 0},
    {"RobertaTokenizer", "<s>", "</s>", {"<s>", "</s>", "<unk>", "<pad>", "<mask>"}, 0},
    {"BartTokenizer", "<s>", "</s>", {"<s>", "</s>", "<unk>", "<pad>", "<mask>"}, 0},
    {"Qwen2Tokenizer", NULL, NULL, {"<|endoftext|>"}, 1},
};

/* By tokenizer_class of tokenizer_config.json, with or without Fast; GPT-2's where it does not say. */
static const family *family_of(const sonde_sources *s, sonde_error *err) {
  const char *name = json_string_value(json_object_get(s->config, "tokenizer_class"));
  for (size_t i = 0; i < sizeof families / sizeof *families; i++) {
    size_t n = strlen(families[i].name);
    if (!name || (!strncmp(name, families[i].name, n) && (!name[n] || !strcmp(name + n, "Fast")))) return &families[i];
  }
  sonde_fail(err, SONDE_EUNSUP, "%s: the tokenizer_class '%s' of the tokenizer_config.json beside it is not supported "
             "without a tokenizer.json", s->name, name);
  return NULL;
}

/* The lines of merges.txt without the version. */
static json_t *read_merges(const sonde_sources *s) {
  json_t *list = json_array();
  const char *p = s->merges, *end = p + s->merges_n;
  while (list && p < end) {
    const char *stop = memchr(p, '\n', (size_t)(end - p)), *next = stop ? stop + 1 : end;
    size_t n = (size_t)((stop ? stop : end) - p);
    if (n && p[n - 1] == '\r') n--;
    if (n && !(n >= 8 && !memcmp(p, "#version", 8)) && json_array_append_new(list, json_stringn(p, n))) break;
    p = next;
  }
  if (p >= end) return list;
  json_decref(list);
  return NULL;
}

static json_t *special_of(const family *f, const json_t *vocab) {
  json_t *list = json_array();
  for (int i = 0; i < 6 && f->special[i] && list; i++) {
    json_t *id = json_object_get(vocab, f->special[i]);
    int mask = !strcmp(f->special[i], "<mask>");      /* takes the blanks before it */
    if (id)
      json_array_append_new(list, json_pack("{s:O, s:s, s:b, s:b, s:b}", "id", id, "content", f->special[i], "lstrip",
                                            mask, "normalized", 0, "special", 1));
  }
  return list;
}

static json_t *byte_level(int prefix_space, int regex) {
  return json_pack("{s:s, s:b, s:b, s:b}", "type", "ByteLevel", "add_prefix_space", prefix_space, "trim_offsets", 1,
                   "use_regex", regex);
}

json_t *sonde_vocab_merges_tree(const sonde_sources *s, sonde_error *err) {
  if (!s->merges) {
    sonde_fail(err, SONDE_ENOENT, "%s: a vocab.json needs the merges.txt that belongs to it beside it", s->name);
    return NULL;
  }
  const family *f = family_of(s, err);
  json_t *vocab = f ? sonde_json_parse(s->data, s->n, s->name, err) : NULL, *merges;
  if (!vocab) return NULL;
  if (!json_is_object(vocab) || !(merges = read_merges(s))) {
    if (json_is_object(vocab)) sonde_fail(err, SONDE_EFORMAT, "%s: the merges.txt beside it is not UTF-8", s->name);
    else sonde_fail(err, SONDE_EFORMAT, "%s: no object of tokens and ids", s->name);
    json_decref(vocab);
    return NULL;
  }
  int prefix = json_is_true(json_object_get(s->config, "add_prefix_space"));
  json_t *special = special_of(f, vocab);
  json_t *model = json_pack("{s:s, s:n, s:n, s:n, s:n, s:b, s:b, s:b, s:o, s:o}", "type", "BPE", "dropout", "unk_token",
                            "continuing_subword_prefix", "end_of_word_suffix", "fuse_unk", 0, "byte_fallback", 0,
                            "ignore_merges", 0, "vocab", vocab, "merges", merges);
  json_t *pre = !f->qwen ? byte_level(prefix, 1)
                         : json_pack("{s:s, s:[{s:s, s:{s:s}, s:s, s:b}, o]}", "type", "Sequence", "pretokenizers",
                                     "type", "Split", "pattern", "Regex", QWEN_PATTERN, "behavior", "Isolated",
                                     "invert", 0, byte_level(prefix, 0));
  json_t *normalizer = f->qwen ? json_pack("{s:s}", "type", "NFC") : NULL;
  return sonde_sources_tree(s, model, special, normalizer, pre, byte_level(prefix, 1), f->before, f->after, err);
}
