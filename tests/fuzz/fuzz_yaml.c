/* fuzz_yaml.c - YAML: what is read comes back equal when it is written and read again. */
#include "config.h"

#include <string.h>
#include "base/mem.h"
#include "fuzz.h"
#include "io/yaml.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  sonde_error err = {0};
  char where[64];
  sonde_doc *doc = sonde_yaml_parse((const char *)data, (int64_t)size, "fuzz", &err);
  if (!doc) {
    FUZZ_CHECK(err.code < 0 && err.text[0]);
    return 0;
  }
  sonde_doc_where(doc, "train.lr", where, sizeof where);
  sonde_doc_line(doc, "grid.depth.0");
  char *text = sonde_yaml_text(sonde_doc_root(doc), &err);
  if (text) {
    sonde_doc *again = sonde_yaml_parse(text, (int64_t)strlen(text), "again", &err);
    FUZZ_CHECK(again && json_equal(sonde_doc_root(doc), sonde_doc_root(again)));
    sonde_doc_free(again);
  } else {
    FUZZ_CHECK(err.code < 0 && err.text[0]);
  }
  sonde_release(text);
  sonde_doc_free(doc);
  return 0;
}
