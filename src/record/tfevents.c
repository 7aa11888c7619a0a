/* tfevents.c - see tfevents.h. The file is a sequence of TFRecords: the length of the data (u64), its masked CRC-32C,
 * the data, their masked CRC-32C, all little-endian (tensorflow/core/lib/io/record_writer.h). The data are a message
 * Event of protocol buffers (tensorflow/core/util/event.proto); its fields and those of Summary that are used:
 *
 *   Event          1 wall_time double, 2 step int64, 3 file_version string, 5 summary Summary
 *   Summary        1 value, repeated
 *   Summary.Value  1 tag string, 2 simple_value float
 */
#include "record/tfevents.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/file.h"
#include "base/mem.h"

enum { VARINT = 0, FIXED64 = 1, BYTES = 2, FIXED32 = 5 };      /* wire types */
enum { HEAD = 12, FOOT = 4, VERSION_BYTES = 40 };              /* of a record around its data; of the first record */

struct sonde_tfevents {
  int fd;
  char *path;
  unsigned char *buffer;
  size_t room;
  uint32_t table[256];           /* of the CRC-32C, by byte */
};

/* ---- the checksum --------------------------------------------------------------------------------------- */

/* CRC-32C (Castagnoli): the reflected polynomial 0x82f63b78. */
static void fill_table(uint32_t table[256]) {
  for (uint32_t byte = 0; byte < 256; byte++) {
    uint32_t crc = byte;
    for (int bit = 0; bit < 8; bit++) crc = crc >> 1 ^ (crc & 1 ? 0x82f63b78u : 0);
    table[byte] = crc;
  }
}

/* The mask keeps the checksum of data that hold checksums from being trivial. */
static uint32_t masked_crc(const uint32_t table[256], const unsigned char *data, size_t n) {
  uint32_t crc = ~0u;
  for (size_t k = 0; k < n; k++) crc = crc >> 8 ^ table[(crc ^ data[k]) & 255];
  crc = ~crc;
  return (crc >> 15 | crc << 17) + 0xa282ead8u;
}

/* ---- messages ------------------------------------------------------------------------------------------- */

static unsigned char *put_fixed(unsigned char *to, uint64_t x, int bytes) {
  for (int k = 0; k < bytes; k++) *to++ = (unsigned char)(x >> 8 * k);
  return to;
}

static uint64_t get_fixed(const unsigned char *from, int bytes) {
  uint64_t x = 0;
  for (int k = 0; k < bytes; k++) x |= (uint64_t)from[k] << 8 * k;
  return x;
}

static unsigned char *put_varint(unsigned char *to, uint64_t x) {
  for (; x > 127; x >>= 7) *to++ = (unsigned char)(x | 128);
  *to++ = (unsigned char)x;
  return to;
}

static size_t varint_bytes(uint64_t x) {
  size_t n = 1;
  while (x >>= 7) n++;
  return n;
}

static unsigned char *put_key(unsigned char *to, int field, int wire) {
  return put_varint(to, (uint64_t)field << 3 | (uint64_t)wire);
}

static unsigned char *put_double(unsigned char *to, int field, double x) {
  uint64_t bits;
  memcpy(&bits, &x, sizeof bits);
  return put_fixed(put_key(to, field, FIXED64), bits, 8);
}

static unsigned char *put_float(unsigned char *to, int field, float x) {
  uint32_t bits;
  memcpy(&bits, &x, sizeof bits);
  return put_fixed(put_key(to, field, FIXED32), bits, 4);
}

static unsigned char *put_text(unsigned char *to, int field, const char *text) {
  size_t n = strlen(text);
  to = put_varint(put_key(to, field, BYTES), n);
  memcpy(to, text, n);
  return to + n;
}

/* ---- records -------------------------------------------------------------------------------------------- */

/* Writes the record whose data, of n bytes, lie in the buffer behind HEAD bytes. */
static int write_record(sonde_tfevents *f, size_t n, sonde_error *err) {
  put_fixed(f->buffer, n, 8);
  put_fixed(f->buffer + 8, masked_crc(f->table, f->buffer, 8), 4);
  put_fixed(f->buffer + HEAD + n, masked_crc(f->table, f->buffer + HEAD, n), 4);
  const unsigned char *at = f->buffer;
  for (size_t left = HEAD + n + FOOT; left > 0; ) {
    ssize_t done = write(f->fd, at, left);
    if (done < 0 && errno == EINTR) continue;
    if (done <= 0) return sonde_fail_errno(err, SONDE_EIO, "%s: cannot write", f->path);
    at += done, left -= (size_t)done;
  }
  return SONDE_OK;
}

static int make_room(sonde_tfevents *f, size_t bytes, sonde_error *err) {
  if (bytes <= f->room) return SONDE_OK;
  unsigned char *grown = sonde_grow(f->buffer, f->room, 2 * bytes);
  if (!grown) return sonde_fail(err, SONDE_ENOMEM, "%s: no memory for a record", f->path);
  f->buffer = grown, f->room = 2 * bytes;
  return SONDE_OK;
}

/* How many bytes of the file are the version and the first `most` records behind it, all whole. */
static size_t whole_records(const sonde_tfevents *f, const unsigned char *data, size_t size, int64_t most,
                            int64_t *records) {
  size_t at = 0;
  *records = -1;                           /* the version */
  while (*records < most && size - at >= HEAD + FOOT) {
    const unsigned char *record = data + at;
    uint64_t n = get_fixed(record, 8);
    if (get_fixed(record + 8, 4) != masked_crc(f->table, record, 8) || n > size - at - HEAD - FOOT) break;
    if (get_fixed(record + HEAD + n, 4) != masked_crc(f->table, record + HEAD, n)) break;
    at += HEAD + n + FOOT;
    ++*records;
  }
  if (!at) *records = 0;
  return at;
}

static int begin(sonde_tfevents *f, sonde_error *err) {
  struct timespec now;
  int code = make_room(f, 256, err);
  if (code) return code;
  clock_gettime(CLOCK_REALTIME, &now);
  unsigned char *to = put_double(f->buffer + HEAD, 1, (double)now.tv_sec + 1e-9 * (double)now.tv_nsec);
  to = put_text(to, 3, "brain.Event:2");
  return write_record(f, (size_t)(to - f->buffer) - HEAD, err);
}

/* Cuts the file behind the records to keep; begins it where there are none. */
static int settle(sonde_tfevents *f, int64_t most, int64_t *records, sonde_error *err) {
  char *data = NULL;
  int64_t size = 0;
  int code = sonde_file_read(f->path, 0, &data, &size, err);
  if (code) return code;
  size_t kept = whole_records(f, (const unsigned char *)data, (size_t)size, most, records);
  sonde_release(data);
  if (size >= VERSION_BYTES && !kept)
    return sonde_fail(err, SONDE_EFORMAT, "%s: is no event file; remove it, and it is written again", f->path);
  if ((int64_t)kept < size && ftruncate(f->fd, (off_t)kept))
    return sonde_fail_errno(err, SONDE_EIO, "%s: cannot cut back", f->path);
  return kept ? SONDE_OK : begin(f, err);
}

sonde_tfevents *sonde_tfevents_open(const char *path, int64_t most, int64_t *records, sonde_error *err) {
  sonde_tfevents *f = sonde_alloc(sizeof *f);
  if (f) f->fd = -1;
  if (!f || !(f->path = sonde_strdup(path))) {
    sonde_fail(err, SONDE_ENOMEM, "%s: no memory", path);
    sonde_tfevents_close(f);
    return NULL;
  }
  fill_table(f->table);
  f->fd = open(path, O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
  int code = f->fd < 0 ? sonde_fail_errno(err, SONDE_EIO, "%s: cannot open", path) : settle(f, most, records, err);
  if (!code) return f;
  sonde_tfevents_close(f);
  return NULL;
}

void sonde_tfevents_close(sonde_tfevents *f) {
  if (!f) return;
  if (f->fd >= 0) close(f->fd);
  sonde_release(f->path);
  sonde_release(f->buffer);
  sonde_release(f);
}

int sonde_tfevents_add(sonde_tfevents *f, double wall_time, int64_t step, const char *const *tag, const double *value,
                       int64_t n, sonde_error *err) {
  size_t summary = 0, most = HEAD + FOOT + 64;
  for (int64_t k = 0; k < n; k++) {
    size_t text = strlen(tag[k]), inner = 1 + varint_bytes(text) + text + 5;
    summary += 1 + varint_bytes(inner) + inner;
  }
  int code = make_room(f, most + summary, err);
  if (code) return code;
  unsigned char *to = put_double(f->buffer + HEAD, 1, wall_time);
  to = put_varint(put_key(to, 2, VARINT), (uint64_t)step);
  to = put_varint(put_key(to, 5, BYTES), summary);
  for (int64_t k = 0; k < n; k++) {
    size_t text = strlen(tag[k]);
    to = put_varint(put_key(to, 1, BYTES), 1 + varint_bytes(text) + text + 5);
    to = put_float(put_text(to, 1, tag[k]), 2, (float)value[k]);
  }
  return write_record(f, (size_t)(to - f->buffer) - HEAD, err);
}
