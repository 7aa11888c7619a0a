/* fuzz_safetensors.c - weights: every entry of a file that opens lies inside it and can be read. */
#include "config.h"

#include <string.h>
#include "base/mem.h"
#include "fuzz.h"
#include "io/safetensors.h"

static volatile unsigned char seen;

static void use(const sonde_st *st, const sonde_st_entry *e, const uint8_t *data, size_t size) {
  sonde_error err = {0};
  const unsigned char *p = e->data;
  FUZZ_CHECK(e->bytes >= 0 && e->count >= 0 && e->bytes == e->count * sonde_st_dtype_size(e->dtype));
  FUZZ_CHECK(sonde_st_find(st, e->name));
  if (e->bytes > 0) {
    FUZZ_CHECK(p >= data && p + e->bytes <= data + size);
    seen = p[0] ^ p[e->bytes - 1];
  }
  float *out = sonde_alloc((size_t)e->count * sizeof *out);
  if (out && sonde_st_read_f32(e, out, e->count, &err)) FUZZ_CHECK(err.code < 0 && err.text[0]);
  FUZZ_CHECK(sonde_st_read_f32(e, out, e->count + 1, &err) < 0);
  sonde_release(out);
}

static void open_as(const char *name, const uint8_t *data, size_t size) {
  sonde_error err = {0};
  sonde_st *st = sonde_st_open_memory(data, (int64_t)size, name, &err);
  if (!st) {
    FUZZ_CHECK(err.code < 0 && err.text[0]);
    return;
  }
  for (int64_t i = 0; i < sonde_st_count(st); i++) use(st, sonde_st_at(st, i), data, size);
  sonde_st_meta(st, "format");
  sonde_st_free(st);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  open_as("fuzz", data, size);
  open_as("fuzz.bin", data, size);      /* a checkpoint of llama2.c */
  return 0;
}
