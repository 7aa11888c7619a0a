/* fuzz_cache.c - teachers' caches: of a file that opens, every row can be asked for, and what a row gives are classes
 * of the vocabulary and logarithms of probabilities. The checksums are put right first, or almost no change would get
 * past them. */
#include "config.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include <zlib.h>
#include "base/mem.h"
#include "fuzz.h"
#include "train/teacher_cache.h"

enum { HEADER = 256, HEADER_CRC = 252, MOST_ROWS = 64, MOST_CLASSES = 1 << 16 };

/* What the header says of a row: its bytes, or 0 where that is too much to be in a file. */
static int64_t row_bytes(const unsigned char *head) {
  uint32_t k;
  int64_t context, vocab;
  memcpy(&k, head + 12, sizeof k);
  memcpy(&context, head + 24, sizeof context);
  memcpy(&vocab, head + 32, sizeof vocab);
  if (!k || k > MOST_CLASSES || context < 1 || context > MOST_CLASSES) return 0;
  return (32 + context * ((int64_t)k + 1) * 2 + context * (int64_t)k * (vocab <= 65536 ? 2 : 4) + 11) / 8 * 8;
}

static void put_right(unsigned char *data, size_t size) {
  uint32_t crc = (uint32_t)crc32(0, data, HEADER_CRC);
  const int64_t bytes = row_bytes(data);
  memcpy(data + HEADER_CRC, &crc, sizeof crc);
  for (int64_t at = HEADER; bytes && at + bytes <= (int64_t)size; at += bytes) {
    crc = (uint32_t)crc32(0, data + at, (uInt)(bytes - 4));
    memcpy(data + at + bytes - 4, &crc, sizeof crc);
  }
}

static void use(const sonde_taught *c) {
  const sonde_taught_info *info = sonde_taught_info_of(c);
  sonde_error err = {0};
  sonde_taught_loss loss;
  FUZZ_CHECK(info->rows >= 1 && info->context >= 1 && info->k >= 1 && info->k <= info->vocab);
  FUZZ_CHECK(isfinite(info->temperature) && info->temperature > 0);
  FUZZ_CHECK(sonde_taught_read(c, -1, NULL, NULL, &err) < 0 && sonde_taught_read(c, info->rows, NULL, NULL, &err) < 0);
  const size_t n = (size_t)(info->context * info->k), more = n + (size_t)info->context;
  int32_t *ids = sonde_alloc(n * sizeof *ids);
  float *logs = sonde_alloc(more * sizeof *logs);
  for (int64_t row = 0; ids && logs && row < info->rows && row < MOST_ROWS; row++) {
    if (sonde_taught_read(c, row, ids, logs, &err)) {
      FUZZ_CHECK(err.code < 0 && err.text[0]);
      continue;
    }
    for (size_t i = 0; i < n; i++) FUZZ_CHECK(ids[i] >= 0 && ids[i] < info->vocab);
    for (size_t i = 0; i < more; i++) FUZZ_CHECK(logs[i] <= 0 && logs[i] >= -32);
  }
  sonde_release(ids);
  sonde_release(logs);
  if (sonde_taught_losses(c, &loss, &err)) FUZZ_CHECK(err.code < 0 && err.text[0]);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  char path[64];
  sonde_error err = {0};
  unsigned char *copy = sonde_alloc(size + 1);
  int fd = memfd_create("cache", MFD_CLOEXEC);
  if (copy && fd >= 0) {
    memcpy(copy, data, size);
    if (size >= HEADER && !memcmp(copy, "SONDETCH", 8)) put_right(copy, size);
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    sonde_taught *c = write(fd, copy, size) == (ssize_t)size ? sonde_taught_open(path, &err) : NULL;
    if (c) use(c);
    else FUZZ_CHECK(err.code < 0 && err.text[0]);
    sonde_taught_free(c);
  }
  if (fd >= 0) close(fd);
  sonde_release(copy);
  return 0;
}
