/* fuzz_json.c - JSON: what is read comes back equal when it is written and read again. */
#include "config.h"

#include <string.h>
#include "base/mem.h"
#include "fuzz.h"
#include "io/json.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  sonde_error err = {0};
  json_t *tree = sonde_json_parse((const char *)data, (int64_t)size, "fuzz", &err);
  if (!tree) {
    FUZZ_CHECK(err.code < 0 && err.text[0]);
    return 0;
  }
  char *text = sonde_json_text(tree, 2);
  FUZZ_CHECK(text);
  json_t *again = sonde_json_parse(text, (int64_t)strlen(text), "again", &err);
  FUZZ_CHECK(again && json_equal(tree, again));
  json_decref(again);
  json_decref(tree);
  sonde_release(text);
  return 0;
}
