/* tokenizer_decoder.c - the decoder of a tokenizer.json. */
#include "config.h"

#include <string.h>
#include "io/json.h"
#include "text/tokenizer_internal.h"

typedef sonde_tokenizer_loader loader;

/* Appends a step whose text, if any, is kept. */
static int add(const loader *l, sonde_decode_step step, const char *text) {
  if (text && !(step.text = sonde_arena_strdup(l->t->arena, text))) return sonde_tokenizer_no_memory(l);
  return sonde_decoder_add(&l->t->decoder, &step, l->name, l->err);
}

static int add_replace(const loader *l, const json_t *v) {
  sonde_decode_step step = {.kind = SONDE_DECODE_REPLACE};
  int rc = sonde_read_replace(l, v, &step.replace);
  if (rc) return rc;
  if ((rc = add(l, step, NULL))) pcre2_code_free(step.replace.re);
  return rc;
}

static int add_strip(const loader *l, const json_t *v) {
  const char *content;
  const json_t *start = json_object_get(v, "start"), *stop = json_object_get(v, "stop");
  int rc = sonde_json_string(v, "content", l->name, &content, l->err);
  if (rc) return rc;
  if (!*content || !json_is_integer(start) || !json_is_integer(stop) || json_integer_value(start) < 0 ||
      json_integer_value(stop) < 0)
    return sonde_fail(l->err, SONDE_EFORMAT, "%s: a Strip without a character, a start and a stop", l->name);
  return add(l, (sonde_decode_step){.kind = SONDE_DECODE_STRIP, .start = json_integer_value(start),
                                    .stop = json_integer_value(stop)}, content);
}

static int add_metaspace(const loader *l, const json_t *v) {
  sonde_stage stage;
  int rc = sonde_read_metaspace(l, v, &stage);
  return rc ? rc : add(l, (sonde_decode_step){.kind = SONDE_DECODE_METASPACE,
                                              .flag = stage.scheme != SONDE_PREPEND_NEVER}, stage.mark);
}

static int add_wordpiece(const loader *l, const json_t *v) {
  const json_t *prefix = json_object_get(v, "prefix");
  int cleans, rc = sonde_json_bool_or(v, "cleanup", 1, l->name, &cleans, l->err);
  return rc ? rc : add(l, (sonde_decode_step){.kind = SONDE_DECODE_WORDPIECE, .flag = cleans},
                       json_is_string(prefix) ? json_string_value(prefix) : "##");
}

static int read_step(const loader *l, const void *v) {
  const char *type = sonde_part_type(v);
  if (!strcmp(type, "Replace")) return add_replace(l, v);
  if (!strcmp(type, "Strip")) return add_strip(l, v);
  if (!strcmp(type, "Metaspace")) return add_metaspace(l, v);
  if (!strcmp(type, "WordPiece")) return add_wordpiece(l, v);
  if (!strcmp(type, "ByteFallback")) return add(l, (sonde_decode_step){.kind = SONDE_DECODE_BYTES}, NULL);
  if (!strcmp(type, "Fuse")) return add(l, (sonde_decode_step){.kind = SONDE_DECODE_FUSE}, NULL);
  return sonde_part_unsupported(l, "decoder", type);
}

/* Beside ByteLevel, what joins the pieces and what stands for bytes without a token: there is nothing for them to
 * do. */
static int read_byte_level(const loader *l, const void *v) {
  const char *type = sonde_part_type(v);
  if (!strcmp(type, "ByteLevel")) return 0;
  if (strcmp(type, "Fuse") && strcmp(type, "ByteFallback")) return sonde_part_unsupported(l, "decoder", type);
  return sonde_tokenizer_idle(l->t, !strcmp(type, "Fuse") ? "the decoder Fuse" : "the decoder ByteFallback")
             ? sonde_tokenizer_no_memory(l)
             : 0;
}

/* What each token is decoded to as far as that does not depend on where it is. */
static int decode_tokens(const loader *l) {
  sonde_tokenizer *t = l->t;
  int fixed = sonde_decoder_fixed(&t->decoder), rc = 0;
  sonde_bytes buf[2] = {{0}, {0}};
  for (int64_t id = 0; id < t->vocab && fixed && !rc; id++) {
    sonde_token *token = &t->token[id];
    const char *p = token->bytes;
    if (!p || (rc = sonde_decoder_run(&t->decoder, 0, fixed, 0, &p, &token->n, buf, l->err))) continue;
    char *copy = sonde_arena_alloc(t->arena, (size_t)token->n + 1);
    if (copy) memcpy(copy, p, (size_t)token->n);
    else rc = sonde_tokenizer_no_memory(l);
    token->bytes = copy;
  }
  sonde_bytes_free(&buf[0]);
  sonde_bytes_free(&buf[1]);
  return rc;
}

int sonde_read_decoder(const loader *l, const void *json) {
  if (l->t->byte_level) return sonde_each_step(l, json, "decoders", read_byte_level);
  int rc = json && !json_is_null((const json_t *)json)
               ? sonde_each_step(l, json, "decoders", read_step)
               : add(l, (sonde_decode_step){.kind = SONDE_DECODE_SPACES}, NULL);
  return rc ? rc : decode_tokens(l);
}
