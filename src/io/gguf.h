/* gguf.h - model files of llama.cpp: GGUF version 3, written.
 *
 * The format: "GGUF", u32 version, u64 tensors, u64 keys; the keys, each {string, u32 type, value}; the tensors' names,
 * dimensions (the innermost first), types and offsets; then their numbers, each tensor at a multiple of 32 bytes behind
 * the header. All little-endian; a string is its u64 length and its bytes. */
#ifndef SONDE_IO_GGUF_H
#define SONDE_IO_GGUF_H

#include "io/bytes.h"
#include "io/safetensors.h"

/* Keys that are collected; initialise with zeros. Running out of memory is reported by sonde_gguf_save. */
typedef struct sonde_gguf {
  sonde_bytes keys;
  uint64_t n;
  int failed;
} sonde_gguf;

void sonde_gguf_u32(sonde_gguf *g, const char *key, uint32_t value);
void sonde_gguf_f32(sonde_gguf *g, const char *key, float value);
void sonde_gguf_bool(sonde_gguf *g, const char *key, int value);
void sonde_gguf_string(sonde_gguf *g, const char *key, const char *value);
void sonde_gguf_strings(sonde_gguf *g, const char *key, const char *const *value, int64_t n);
void sonde_gguf_i32s(sonde_gguf *g, const char *key, const int64_t *value, int64_t n);
void sonde_gguf_f32s(sonde_gguf *g, const char *key, const double *value, int64_t n);
void sonde_gguf_free(sonde_gguf *g);

/* Writes the file atomically: the keys, and the tensors in their order. Their dtypes are F32, F16 and BF16, with at
 * most four dimensions, given outermost first. */
int sonde_gguf_save(const sonde_gguf *g, const char *path, const sonde_st_item *items, int64_t n, sonde_error *err);

#endif
