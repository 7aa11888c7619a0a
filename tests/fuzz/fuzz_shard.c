/* fuzz_shard.c - token shards: of a file that opens, every token and document can be asked for. The checksum is put
 * right first, or almost no change would get past it. */
#include "config.h"

#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include <zlib.h>
#include "base/mem.h"
#include "fuzz.h"
#include "text/shard.h"

enum { HEADER = 256, CRC_AT = 112 };

static void use(const sonde_shard *s, int64_t vocab) {
  sonde_error err = {0};
  sonde_stream stream = sonde_shard_stream(s);
  int32_t id[16];
  int64_t last = 0, documents = sonde_shard_documents(s);
  FUZZ_CHECK(stream.tokens >= 0 && documents >= 0);
  for (int64_t i = 0; documents > 0 && i <= documents; i++) {
    int64_t at = sonde_shard_document(s, i);
    FUZZ_CHECK(at >= last && at <= stream.tokens);
    last = at;
  }
  for (int64_t i = 0; i < stream.tokens; i += 16) {
    int64_t n = stream.tokens - i < 16 ? stream.tokens - i : 16;
    if (sonde_stream_read(&stream, i, n, id, &err)) FUZZ_CHECK(err.code < 0 && err.text[0]);
    else for (int64_t k = 0; k < n; k++) FUZZ_CHECK(id[k] >= 0 && (stream.vocab <= 0 || id[k] < stream.vocab));
  }
  FUZZ_CHECK(sonde_stream_read(&stream, stream.tokens, 1, id, &err) < 0);
  FUZZ_CHECK(sonde_stream_read(&stream, INT64_MAX, 2, id, &err) < 0);
  FUZZ_CHECK(vocab == 0 || stream.vocab <= vocab || stream.tokens == 0);
}

/* As a file of ids alone, by a name that says so: nothing is wrong with what opens. */
static void bare(const char *path) {
  char name[64];
  snprintf(name, sizeof name, "fuzz_shard_%d.bin", (int)getpid());
  if (symlink(path, name)) return;
  for (int64_t vocab = 100; vocab <= 65536; vocab *= 256) {
    sonde_error err = {0};
    int32_t id;
    sonde_shard *s = sonde_shard_open(name, vocab, &err);
    sonde_stream stream = s ? sonde_shard_stream(s) : (sonde_stream){0};
    if (!s) FUZZ_CHECK(err.code < 0 && err.text[0]);
    else if (!sonde_shard_documents(s) && !*sonde_shard_hash(s))
      for (int64_t i = 0; i < stream.tokens; i++) FUZZ_CHECK(!sonde_stream_read(&stream, i, 1, &id, &err));
    sonde_shard_free(s);
  }
  unlink(name);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  char path[64];
  int fd = memfd_create("shard", MFD_CLOEXEC);
  if (fd < 0) return 0;
  if (write(fd, data, size) == (ssize_t)size && size > HEADER && !memcmp(data, "SONDETOK", 8)) {
    unsigned char head[HEADER];
    memcpy(head, data, HEADER);
    memset(head + CRC_AT, 0, 4);
    uint32_t crc = (uint32_t)crc32(crc32(0, head, HEADER), data + HEADER, (uInt)(size - HEADER));
    FUZZ_CHECK(pwrite(fd, &crc, sizeof crc, CRC_AT) == sizeof crc);
  }
  snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
  bare(path);
  for (int64_t vocab = 0; vocab <= 1000; vocab += 1000) {
    sonde_error err = {0};
    sonde_shard *s = sonde_shard_open(path, vocab, &err);
    if (s) use(s, vocab);
    else FUZZ_CHECK(err.code < 0 && err.text[0]);
    sonde_shard_free(s);
  }
  close(fd);
  return 0;
}
