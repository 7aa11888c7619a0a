/* driver.c - runs a fuzz target without a fuzzer: its seeds, then a fixed number of mutations of them, the same ones
 * each time. Speaks TAP. libFuzzer, where the compiler has it, replaces this file (configure --enable-fuzzing).
 *
 * FUZZ_RUNS sets the number of mutations, FUZZ_SEED where they start. The input at hand stands in fuzz_NAME.input in
 * the current folder while it runs, so a crash leaves it behind; `fuzz_NAME FILE` runs that file alone. */
#include "config.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include "base/file.h"
#include "base/mem.h"
#include "base/rng.h"
#include "fuzz.h"

enum { MAX_SEEDS = 100, LARGEST = 1 << 16, HANG_SECONDS = 30, DEFAULT_RUNS = 50000 };

typedef struct seed { char *data; int64_t size; } seed;

static seed seeds[MAX_SEEDS];
static int n_seeds;
static char *shown;      /* the input at hand: first its size, then its bytes, in a file of its own */
static sonde_rng rng;
static uint64_t drawn;

static uint64_t draw(uint64_t n) {
  return sonde_rng_u64(rng, drawn++) % n;
}

static void run(const char *data, size_t size) {
  int64_t live = sonde_alloc_live();
  memcpy(shown, data, size);
  memset(shown + size, 0, LARGEST - size);
  alarm(HANG_SECONDS);
  /* A copy of exactly this size: AddressSanitizer then sees a read past the end. */
  uint8_t *copy = malloc(size ? size : 1);
  if (copy) {
    memcpy(copy, data, size);
    LLVMFuzzerTestOneInput(copy, size);
  }
  free(copy);
  FUZZ_CHECK(sonde_alloc_live() == live);
}

/* What readers stumble over: ends of ranges, quotes, brackets, huge counts. */
static const char *const tokens[] = {
  "18446744073709551615", "9223372036854775807", "-9223372036854775808", "-1", "0", "1e999", "0x", "1e-400", "NaN",
  "\"", "\\", "\\u0000", "\\ud800", "{", "}", "[", "]", "[[[[[[[[", "{\"a\":", ",", ":", "\n", "- ", "  ", "&a ", "*a",
  "|",
  "\xff", "\xc3", "\xed\xa0\x80", "null", "true", "[0,0]", "\"dtype\":\"F32\"", "\"shape\":[2,2]",
  "\"data_offsets\":[0,8]",
};

static size_t insert(char *buf, size_t size, size_t at, const char *what, size_t n) {
  if (size + n > LARGEST) return size;
  memmove(buf + at + n, buf + at, size - at);
  memcpy(buf + at, what, n);
  return size + n;
}

static size_t mutate(char *buf, size_t size) {
  size_t at = size ? draw(size) : 0, n = size - at;
  size_t length = n ? 1 + draw(n < 64 ? n : 64) : 0;
  uint64_t word = draw(2) ? sonde_rng_u64(rng, drawn++) : (uint64_t)0 - draw(3);
  char piece[64];
  switch (draw(10)) {
    case 0: if (n) buf[at] ^= (char)(1 << draw(8)); return size;
    case 1: if (n) buf[at] = (char)draw(256); return size;
    case 2: return at;                                             /* cut off */
    case 3: memmove(buf + at, buf + at + length, n - length); return size - length;
    case 4: memcpy(piece, buf + at, length); return insert(buf, size, at, piece, length);
    case 5: {
      const char *t = tokens[draw(sizeof tokens / sizeof tokens[0])];
      return insert(buf, size, at, t, strlen(t));
    }
    case 6: if (n >= 8) memcpy(buf + at, &word, draw(2) ? 8 : 4); return size;
    case 7: {                                                      /* a stretch of another seed */
      const seed *s = &seeds[draw((uint64_t)n_seeds)];
      size_t from = s->size ? draw((uint64_t)s->size) : 0, most = (size_t)s->size - from;
      return insert(buf, size, at, s->data + from, most < 64 ? most : 64);
    }
    case 8: memset(buf + at, draw(2) ? 0 : 0xff, length); return size;   /* a field wiped out */
    default: return insert(buf, size, at, (const char *)&word, 8);
  }
}

static int by_name(const struct dirent **a, const struct dirent **b) {
  return strcmp((*a)->d_name, (*b)->d_name);
}

/* The folder in a fixed order: the mutations must be the same everywhere. */
static int read_seeds(const char *folder) {
  struct dirent **entry;
  char path[4096 + 256 + 2];
  int n = scandir(folder, &entry, NULL, by_name), rc = n < 0;
  for (int i = 0; i < n; i++) {
    seed *s = &seeds[n_seeds];
    snprintf(path, sizeof path, "%s/%s", folder, entry[i]->d_name);
    if (entry[i]->d_name[0] != '.' && n_seeds < MAX_SEEDS) {
      if (sonde_file_read(path, LARGEST, &s->data, &s->size, NULL)) rc = 1;
      else n_seeds++;
    }
    free(entry[i]);
  }
  if (n >= 0) free(entry);
  return rc || !n_seeds;
}

static int show_in(const char *name) {
  char path[512];
  snprintf(path, sizeof path, "%s.input", name);
  int fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
  if (fd < 0 || ftruncate(fd, LARGEST)) return 1;
  shown = mmap(NULL, LARGEST, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  close(fd);
  return shown == MAP_FAILED;
}

static int64_t number(const char *name, int64_t preset) {
  const char *text = getenv(name);
  return text && *text ? strtoll(text, NULL, 10) : preset;
}

int main(int argc, char **argv) {
  static char buf[LARGEST];
  char folder[4096];
  const char *slash = strrchr(argv[0], '/'), *name = slash ? slash + 1 : argv[0], *srcdir = getenv("abs_srcdir");
  if (!strncmp(name, "lt-", 3)) name += 3;
  int64_t runs = number("FUZZ_RUNS", &fuzz_runs ? fuzz_runs : DEFAULT_RUNS);
  rng = sonde_rng_stream((uint64_t)number("FUZZ_SEED", 1), name);
  if (show_in(name)) {
    printf("Bail out! cannot write %s.input here\n", name);
    return 1;
  }
  if (LLVMFuzzerInitialize) LLVMFuzzerInitialize(&argc, &argv);
  if (argc == 2) {
    seed *s = &seeds[0];
    if (sonde_file_read(argv[1], LARGEST, &s->data, &s->size, NULL)) return 1;
    run(s->data, (size_t)s->size);
    return 0;
  }
  snprintf(folder, sizeof folder, "%s/tests/fuzz/seeds/%s", srcdir ? srcdir : ".", name + strlen("fuzz_"));
  printf("1..2\n");
  if (read_seeds(folder)) {
    printf("Bail out! no seeds in %s\n", folder);
    return 1;
  }
  for (int i = 0; i < n_seeds; i++) run(seeds[i].data, (size_t)seeds[i].size);
  printf("ok 1 - %d seeds\n", n_seeds);
  fflush(stdout);
  for (int64_t i = 0; i < runs; i++) {
    const seed *s = &seeds[draw((uint64_t)n_seeds)];
    size_t size = (size_t)s->size;
    memcpy(buf, s->data, size);
    for (uint64_t times = 1 + draw(5); times; times--) size = mutate(buf, size);
    run(buf, size);
  }
  printf("ok 2 - %lld mutations\n", (long long)runs);
  for (int i = 0; i < n_seeds; i++) sonde_release(seeds[i].data);
  snprintf(folder, sizeof folder, "%s.input", name);
  unlink(folder);
  return 0;
}
