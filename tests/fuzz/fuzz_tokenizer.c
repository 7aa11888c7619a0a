/* fuzz_tokenizer.c - tokenizer.json: a file that loads encodes any bytes, to ids below its vocabulary. */
#include "config.h"

#include <string.h>
#include "base/log.h"
#include "base/mem.h"
#include "fuzz.h"
#include "text/tokenizer.h"

static void use(sonde_tokenizer *t) {
  static const char text[] =
      "In the beginning 1234 <|endoftext|>\xff\xc3\xa9  \n\tdon't in  in \xe6\xb7\xb1 in<|endoftext|><";
  sonde_error err = {0};
  sonde_ids ids = {0};
  char *back = NULL;
  int64_t bytes;
  sonde_encoder *e = sonde_encoder_new(t, &err);
  FUZZ_CHECK(e);
  for (int flags = 0; flags < 4; flags++)
    if (sonde_encode(e, text, sizeof text - 1, flags, &ids, &err)) FUZZ_CHECK(err.code < 0 && err.text[0]);
  for (int64_t i = 0; i < ids.n; i++) FUZZ_CHECK(ids.id[i] >= 0 && ids.id[i] < sonde_tokenizer_vocab(t));
  if (sonde_decode(t, ids.id, ids.n, 0, &back, &bytes, &err)) FUZZ_CHECK(err.code < 0 && err.text[0]);
  else sonde_release(back);
  FUZZ_CHECK(sonde_tokenizer_same(t, t));
  sonde_ids_free(&ids);
  sonde_encoder_free(e);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  sonde_error err = {0};
  sonde_log_level(SONDE_LOG_QUIET);
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
