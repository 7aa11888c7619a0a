/* fuzz_text.c - text files, packed or not: of any bytes come documents in order or a reason, and of an object that a
 * whole parser reads, the member that it reads. */
#include "config.h"

#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include "base/log.h"
#include "base/mem.h"
#include "fuzz.h"
#include "io/json.h"
#include "text/source.h"

const int64_t fuzz_runs = 10000;      /* each input is read four times, through a file */

/* Where jansson takes the object as a whole, sonde_json_member finds in it what jansson does. */
static void compare_members(const char *text, int64_t size) {
  json_error_t je;
  sonde_error err = {0};
  json_t *tree = json_loadb(text, (size_t)size, JSON_ALLOW_NUL | JSON_DECODE_INT_AS_REAL, &je), *member;
  int rc = sonde_json_member(text, size, "text", "fuzz", &member, &err);
  FUZZ_CHECK(rc ? err.code == rc && err.text[0] && !member : 1);
  if (json_is_object(tree)) {
    FUZZ_CHECK(!rc);
    json_t *want = json_object_get(tree, "text");
    FUZZ_CHECK(want ? json_equal(want, member) : !member);
  }
  json_decref(member);
  json_decref(tree);
}

static void read_documents(const char *path, int jsonl, int skip, int whole, int64_t most) {
  sonde_documents d = {.max_bytes = most};
  sonde_error err = {0};
  sonde_reading how = {.field = "text", .skip = skip, .whole = whole, .doing = "fuzz"};
  int rc = jsonl ? sonde_read_jsonl_file(path, &how, &d, &err) : sonde_read_text_file(path, &how, &d, &err);
  FUZZ_CHECK(rc <= 0 && (rc ? err.code == rc && err.text[0] : 1));
  for (int64_t i = 0; i < d.n; i++) FUZZ_CHECK(d.start[i] < d.start[i + 1] && d.start[i + 1] <= d.text.n);
  FUZZ_CHECK(!d.n || (d.start[0] == 0 && d.start[d.n] == d.text.n));
  sonde_documents_free(&d);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  char path[64];
  sonde_log_level(SONDE_LOG_QUIET);
  compare_members((const char *)data, (int64_t)size);
  int fd = memfd_create("text", MFD_CLOEXEC);
  if (fd < 0) return 0;
  snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
  if (write(fd, data, size) == (ssize_t)size) {
    read_documents(path, 1, 0, 0, 0);
    read_documents(path, 1, 1, 0, 100);
    read_documents(path, 0, 0, 0, 0);
    read_documents(path, 0, 0, 1, 5);
  }
  close(fd);
  return 0;
}
