/* fuzz_tokenizer.c - tokenizer.json, and the files that stand for one: a tokenizer that loads encodes any bytes, to ids
 * below its vocabulary. An input that begins with "model:" or "bin:" is a SentencePiece model or one of llama2.c; one
 * with "vocab:" is a vocab.json, a NUL, merges.txt, a NUL, tokenizer_config.json. */
#include "config.h"

#include <string.h>
#include "base/log.h"
#include "base/mem.h"
#include "fuzz.h"
#include "text/tokenizer.h"

static void use(sonde_tokenizer *t) {
  static const char text[] = "In the beginning 1234 <|endoftext|>\xff\xc3\xa9  \n\tdon't in  in \xe2\x96\x81 e\xcc\x81 "
                             "A.b! \xe6\xb7\xb1 in<|endoftext|><";
  sonde_error err = {0};
  sonde_ids ids = {0};
  char *back = NULL;
  int64_t bytes;
  sonde_encoder *e = sonde_encoder_new(t, &err);
  FUZZ_CHECK(e);
  for (int flags = 0; flags < 4; flags++)
    if (sonde_encode(e, text, sizeof text - 1, flags, &ids, &err)) FUZZ_CHECK(err.code < 0 && err.text[0]);
  for (int64_t i = 0; i < ids.n; i++) FUZZ_CHECK(ids.id[i] >= 0 && ids.id[i] < sonde_tokenizer_vocab(t));
  for (int flags = 0; flags < 4; flags++) {
    if (sonde_decode(t, ids.id, ids.n, flags, &back, &bytes, &err)) FUZZ_CHECK(err.code < 0 && err.text[0]);
    else sonde_release(back);
  }
  FUZZ_CHECK(sonde_tokenizer_same(t, t));
  sonde_ids_free(&ids);
  sonde_encoder_free(e);
}

/* The bytes behind a word at the start of an input; NULL where it begins otherwise. */
static const char *behind(const uint8_t *data, size_t size, const char *word, int64_t *n) {
  size_t length = strlen(word);
  if (size < length || memcmp(data, word, length)) return NULL;
  *n = (int64_t)(size - length);
  return (const char *)data + length;
}

/* What is before the first NUL; the rest stays. */
static const char *part(const char **p, int64_t *left, int64_t *n) {
  const char *begin = *p, *end = *left ? memchr(begin, '\0', (size_t)*left) : NULL;
  *n = end ? end - begin : *left;
  *p = end ? end + 1 : begin + *left;
  *left -= end ? *n + 1 : *n;
  return begin;
}

/* Whether the input is one of other files than a tokenizer.json. */
static int of_files(const uint8_t *data, size_t size) {
  sonde_error err = {0};
  sonde_tokenizer_files f = {.name = "fuzz.model"};
  int64_t left;
  const char *p;
  if ((f.data = behind(data, size, "model:", &f.data_n)) == NULL) {
    f.name = "fuzz.bin";
    if ((f.data = behind(data, size, "bin:", &f.data_n)) == NULL) {
      if ((p = behind(data, size, "vocab:", &left)) == NULL) return 0;
      f.name = "vocab.json";
      f.data = part(&p, &left, &f.data_n);
      f.merges = part(&p, &left, &f.merges_n);
      f.config = left ? part(&p, &left, &f.config_n) : NULL;
    }
  }
  sonde_tokenizer *t = sonde_tokenizer_of(&f, &err);
  if (t) use(t);
  else FUZZ_CHECK(err.code < 0 && err.text[0]);
  sonde_tokenizer_free(t);
  return 1;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  sonde_error err = {0};
  sonde_log_level(SONDE_LOG_QUIET);
  if (of_files(data, size)) return 0;
  sonde_tokenizer *t = sonde_tokenizer_parse((const char *)data, (int64_t)size, "fuzz", &err);
  if (t) {
    /* With a blank behind it, it is another file that says the same. */
    char *other = sonde_alloc(size + 1);
    if (other) memcpy(other, data, size), other[size] = ' ';
    sonde_tokenizer *again = other ? sonde_tokenizer_parse(other, (int64_t)size + 1, "again", &err) : NULL;
    FUZZ_CHECK(!other || (again && sonde_tokenizer_same(t, again) && sonde_tokenizer_same(again, t)));
    sonde_tokenizer_free(again);
    sonde_release(other);
    use(t);
  } else FUZZ_CHECK(err.code < 0 && err.text[0]);
  sonde_tokenizer_free(t);
  return 0;
}
