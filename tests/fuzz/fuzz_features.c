/* fuzz_features.c - files of video features: of a file that opens, every row can be read and the grid fits the columns.
 * The checksum is made right first, or almost no change would pass it. */
#include "config.h"

#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include <zlib.h>
#include "fuzz.h"
#include "video/features.h"

enum { HEADER = 256, CRC_AT = 192 };

static void use(const sonde_features *f) {
  const sonde_features_info *i = sonde_features_about(f);
  volatile float sum = 0;     /* every number is read */
  FUZZ_CHECK(i->rows > 0 && i->columns >= SONDE_FIGURES && i->damaged >= 0);
  FUZZ_CHECK(i->columns == SONDE_FIGURES + SONDE_FIELDS * SONDE_CELL * i->grid_width * i->grid_height +
                               i->thumb_width * i->thumb_height * i->thumb_bytes);
  FUZZ_CHECK(memchr(i->codec, 0, sizeof i->codec) && strlen(i->clip) == 64 && strlen(i->options) == 64);
  for (int64_t k = 0; k < i->rows; k++)
    for (int c = 0; c < i->columns; c++) sum += sonde_features_row(f, k)[c];
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  char path[64];
  sonde_error err = {0};
  int fd = memfd_create("features", MFD_CLOEXEC);
  if (fd < 0) return 0;
  if (write(fd, data, size) == (ssize_t)size && size >= HEADER) {
    unsigned char head[HEADER];
    memcpy(head, data, HEADER);
    memset(head + CRC_AT, 0, 4);
    uint32_t crc = (uint32_t)crc32(crc32(0, head, HEADER), data + HEADER, (uInt)(size - HEADER));
    FUZZ_CHECK(pwrite(fd, &crc, sizeof crc, CRC_AT) == sizeof crc);
  }
  snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
  sonde_features *f = sonde_features_open(path, &err);
  if (f) use(f);
  else FUZZ_CHECK(err.code < 0 && err.text[0] && !strchr(err.text, '\n'));
  sonde_features_close(f);
  close(fd);
  return 0;
}
