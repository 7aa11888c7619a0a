/* tokenizer_stages.c - the pre-tokeniser of a tokenizer.json. */
#include "config.h"

#include <string.h>
#include "io/json.h"
#include "text/tokenizer_internal.h"
#include "text/unicode.h"

typedef sonde_tokenizer_loader loader;

/* Rust's \w: alphabetic characters, marks, decimal digits, connectors, joiners. */
#define WORD \
  "\\p{L}\\p{M}\\p{Nd}\\p{Nl}\\p{Pc}\\x{200c}\\x{200d}\\x{24b6}-\\x{24e9}\\x{1f130}-\\x{1f149}\\x{1f150}-\\x{1f169}" \
  "\\x{1f170}-\\x{1f189}"
/* Punctuation is of Unicode 8, as in the library these files come from: what became it later is none, and two signs
 * still are. */
#define LATER_PUNCTUATION \
  "\\x{61d}\\x{9fd}\\x{a76}\\x{c77}\\x{c84}\\x{1b7d}-\\x{1b7e}\\x{2e43}-\\x{2e4f}\\x{2e52}-\\x{2e5d}" \
  "\\x{10ead}\\x{10f55}-\\x{10f59}\\x{10f86}-\\x{10f89}\\x{1144b}-\\x{1144f}\\x{1145a}-\\x{1145b}\\x{1145d}" \
  "\\x{11660}-\\x{1166c}\\x{116b9}\\x{1183b}\\x{11944}-\\x{11946}\\x{119e2}\\x{11a3f}-\\x{11a46}" \
  "\\x{11a9a}-\\x{11a9c}\\x{11a9e}-\\x{11aa2}\\x{11c41}-\\x{11c45}\\x{11c70}-\\x{11c71}" \
  "\\x{11ef7}-\\x{11ef8}\\x{11fff}\\x{12ff1}-\\x{12ff2}\\x{16e97}-\\x{16e9a}\\x{16fe2}\\x{1e95e}-\\x{1e95f}"
#define PUNCTUATION "(?![" LATER_PUNCTUATION "])[\\p{P}$+<=>\\^`|~\\x{166d}\\x{111c9}]"

static int add_regex(const loader *l, const char *pattern, sonde_behavior behavior, int invert) {
  return sonde_stages_add_regex(&l->t->stages, pattern, (int64_t)strlen(pattern), behavior, invert, l->name, l->err);
}

static int read_behavior(const loader *l, const json_t *v, sonde_behavior preset, sonde_behavior *out) {
  static const char *const names[] = {"Isolated", "Removed", "MergedWithPrevious", "MergedWithNext", "Contiguous"};
  const char *name = json_string_value(json_object_get(v, "behavior"));
  *out = preset;
  if (!name) return 0;
  for (int i = 0; i < 5; i++)
    if (!strcmp(name, names[i])) {
      *out = (sonde_behavior)i;
      return 0;
    }
  return sonde_part_unsupported(l, "split behaviour", name);
}

static int read_split(const loader *l, const json_t *v) {
  const char *literal, *regex, *behavior_given;
  sonde_behavior behavior;
  int invert, rc = sonde_json_string(v, "behavior", l->name, &behavior_given, l->err);
  if (!rc) rc = read_behavior(l, v, SONDE_ISOLATED, &behavior);
  if (!rc) rc = sonde_json_bool_or(v, "invert", 0, l->name, &invert, l->err);
  if (!rc) rc = sonde_part_pattern(l, v, &literal, &regex);
  if (rc) return rc;
  sonde_bytes quoted = {0};
  if (!regex && sonde_regex_quote(literal, &quoted)) return sonde_tokenizer_no_memory(l);
  rc = add_regex(l, regex ? regex : quoted.data ? quoted.data : "", behavior, invert);
  sonde_bytes_free(&quoted);
  return rc;
}

static int read_digits(const loader *l, const json_t *v) {
  int individual;
  int rc = sonde_json_bool_or(v, "individual_digits", 0, l->name, &individual, l->err);
  return rc ? rc : add_regex(l, individual ? "\\p{N}" : "\\p{N}+", SONDE_ISOLATED, 0);
}

static int read_punctuation(const loader *l, const json_t *v) {
  sonde_behavior behavior;
  int rc = read_behavior(l, v, SONDE_ISOLATED, &behavior);
  return rc ? rc : add_regex(l, PUNCTUATION, behavior, 0);
}

static int read_whitespace(const loader *l, const json_t *v) {
  (void)v;
  return add_regex(l, "[" WORD "]+|[^\\s" WORD "]+", SONDE_REMOVED, 1);
}

static int read_whitespace_split(const loader *l, const json_t *v) {
  (void)v;
  return add_regex(l, "\\s", SONDE_REMOVED, 0);
}

static int read_bert(const loader *l, const json_t *v) {
  int rc = read_whitespace_split(l, v);
  return rc ? rc : add_regex(l, PUNCTUATION, SONDE_ISOLATED, 0);
}

static int read_delimiter(const loader *l, const json_t *v) {
  const char *text;
  sonde_bytes quoted = {0};
  int rc = sonde_json_string(v, "delimiter", l->name, &text, l->err);
  if (rc) return rc;
  if (sonde_regex_quote(text, &quoted)) return sonde_tokenizer_no_memory(l);
  rc = add_regex(l, quoted.data ? quoted.data : "", SONDE_REMOVED, 0);
  sonde_bytes_free(&quoted);
  return rc;
}

/* prepend_scheme, or what came before it, add_prefix_space. */
static int read_scheme(const loader *l, const json_t *v, sonde_scheme *out) {
  const char *scheme = json_string_value(json_object_get(v, "prepend_scheme"));
  int prefix, rc = sonde_json_bool_or(v, "add_prefix_space", 1, l->name, &prefix, l->err);
  if (rc) return rc;
  if (!scheme) *out = prefix ? SONDE_PREPEND_ALWAYS : SONDE_PREPEND_NEVER;
  else if (!strcmp(scheme, "always")) *out = SONDE_PREPEND_ALWAYS;
  else if (!strcmp(scheme, "never")) *out = SONDE_PREPEND_NEVER;
  else if (!strcmp(scheme, "first")) *out = SONDE_PREPEND_FIRST;
  else return sonde_part_unsupported(l, "prepend_scheme", scheme);
  if (!prefix && *out != SONDE_PREPEND_NEVER)
    return sonde_fail(l->err, SONDE_EFORMAT, "%s: a Metaspace with add_prefix_space false and prepend_scheme '%s'",
                      l->name, scheme);
  return 0;
}

int sonde_read_metaspace(const loader *l, const void *v, sonde_stage *out) {
  const char *mark;
  *out = (sonde_stage){.kind = SONDE_STAGE_METASPACE};
  int rc = sonde_json_string(v, "replacement", l->name, &mark, l->err);
  if (rc) return rc;
  if (!*mark || sonde_utf8_length(mark, (int64_t)strlen(mark)) != (int64_t)strlen(mark))
    return sonde_fail(l->err, SONDE_EFORMAT, "%s: the replacement of a Metaspace is not one character", l->name);
  memcpy(out->mark, mark, strlen(mark));
  rc = sonde_json_bool_or(v, "split", 1, l->name, &out->split, l->err);
  return rc ? rc : read_scheme(l, v, &out->scheme);
}

static int add_metaspace(const loader *l, const json_t *v) {
  sonde_stage stage;
  int rc = sonde_read_metaspace(l, v, &stage);
  return rc ? rc : sonde_stages_add(&l->t->stages, &stage, l->name, l->err);
}

static int read_byte_level(const loader *l, const json_t *v) {
  int prefix, regex;
  int rc = sonde_json_bool_or(v, "add_prefix_space", 1, l->name, &prefix, l->err);
  if (!rc) rc = sonde_json_bool_or(v, "use_regex", 1, l->name, &regex, l->err);
  if (!rc && prefix)
    rc = sonde_stages_add(&l->t->stages, &(sonde_stage){.kind = SONDE_STAGE_PREFIX_SPACE}, l->name, l->err);
  if (!rc && regex) rc = add_regex(l, SONDE_GPT2_PATTERN, SONDE_ISOLATED, 0);
  if (!rc) rc = sonde_stages_add(&l->t->stages, &(sonde_stage){.kind = SONDE_STAGE_SPELL}, l->name, l->err);
  return rc;
}

static int read_step(const loader *l, const void *v) {
  static const struct { const char *type; int (*read)(const loader *, const json_t *); } known[] = {
      {"ByteLevel", read_byte_level}, {"Split", read_split}, {"Digits", read_digits}, {"Punctuation", read_punctuation},
      {"Whitespace", read_whitespace}, {"WhitespaceSplit", read_whitespace_split}, {"BertPreTokenizer", read_bert},
      {"CharDelimiterSplit", read_delimiter}, {"Metaspace", add_metaspace}};
  const char *type = sonde_part_type(v);
  for (size_t i = 0; i < sizeof known / sizeof *known; i++)
    if (!strcmp(type, known[i].type)) return known[i].read(l, v);
  return sonde_part_unsupported(l, "pre-tokeniser", type);
}

int sonde_is_byte_level(const void *json) {
  const json_t *part = json, *step;
  size_t i;
  int found = !strcmp(sonde_part_type(part), "ByteLevel");
  json_array_foreach(json_object_get(part, "pretokenizers"), i, step) found |= sonde_is_byte_level(step);
  return found;
}

/* The model takes bytes: where nothing follows ByteLevel, its spelling is left out, else undone at the end. */
static int end_byte_level(const loader *l) {
  sonde_stages *s = &l->t->stages;
  int levels = 0;
  for (int i = 0; i < s->n; i++) {
    levels += s->stage[i].kind == SONDE_STAGE_SPELL;
    if (levels && s->stage[i].kind != SONDE_STAGE_SPELL && s->stage[i].kind != SONDE_STAGE_REGEX) levels = 2;
  }
  if (levels != 1)
    return sonde_fail(l->err, SONDE_EUNSUP, "%s: the pre-tokeniser does not have one ByteLevel, with expressions alone "
                      "behind it", l->name);
  if (s->stage[s->n - 1].kind == SONDE_STAGE_SPELL) {
    s->n--;
    return 0;
  }
  return sonde_stages_add(s, &(sonde_stage){.kind = SONDE_STAGE_UNSPELL}, l->name, l->err);
}

/* The bytes that the mark follows inside a token that merges make: no other cut before a run of marks has a token that
 * reaches over it. */
static void find_kept(const sonde_tokenizer *t, const char *mark, uint64_t kept[4]) {
  int64_t size = (int64_t)strlen(mark);
  for (int64_t i = 0; i < t->merge_slots; i++) {
    if (t->merge[i].rank < 0) continue;
    const sonde_token *token = &t->token[t->merge[i].id];
    const char *end = token->bytes + token->n, *after = token->bytes;      /* after: the mark before */
    for (const char *at = after; (at = memmem(at, (size_t)(end - at), mark, (size_t)size)) != NULL; at += size) {
      unsigned char before = at > token->bytes ? (unsigned char)at[-1] : 0;
      if (at != after) kept[before >> 6] |= (uint64_t)1 << (before & 63);
      after = at + size;
    }
  }
}

/* Where spaces do not cut, a piece may be a whole text. It is cut before its words where no token reaches over the cut:
 * the ids are the same, and words are found in the cache. */
static int add_runs(const loader *l) {
  static const char mark[] = "\xe2\x96\x81";
  sonde_tokenizer *t = l->t;
  const sonde_stage *last = t->stages.n ? &t->stages.stage[t->stages.n - 1] : NULL;
  int cut = t->stages.n == SONDE_MAX_STAGES || (last && last->kind == SONDE_STAGE_METASPACE && last->split);
  if (cut || t->model != SONDE_MODEL_BPE || t->whole_first || sonde_find_spelling(t, mark, 3) < 0) return 0;
  sonde_stage stage = {.kind = SONDE_STAGE_RUNS};
  memcpy(stage.mark, mark, sizeof mark);
  find_kept(t, mark, stage.kept);
  return sonde_stages_add(&t->stages, &stage, l->name, l->err);
}

int sonde_read_pre_tokenizer(const loader *l, const void *json) {
  int rc = sonde_each_step(l, json, "pretokenizers", read_step);
  if (rc) return rc;
  return l->t->byte_level ? end_byte_level(l) : add_runs(l);
}
