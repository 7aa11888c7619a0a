/* fuzz_fcd.c - trajectories: of a file that is read, situations are found, and every one of them is traffic. */
#include "config.h"

#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include "drive/fcd.h"
#include "fuzz.h"

const int64_t fuzz_runs = 10000;

static void use(const sonde_fcd *f) {
  const sonde_sim_spec spec = {.seconds = 1, .event_from = 0.2, .event_to = 0.9};
  sonde_error err = {0};
  sonde_found found;
  FUZZ_CHECK(f->steps >= 2 && f->step > 0);
  for (int i = 0; i < f->tracks; i++) {
    const sonde_fcd_track *t = &f->track[i];
    FUZZ_CHECK(t->points > 0 && t->first >= 0 && t->first + t->points <= f->steps);
  }
  FUZZ_CHECK(sonde_fcd_find(f, &spec, 3, &found, &err) == 0);
  for (int c = 0; c < SONDE_CLIP_CLASSES; c++)
    for (int i = 0; i < found.n[c]; i++) {
      sonde_traffic t;
      FUZZ_CHECK(sonde_fcd_traffic(f, &found.list[c][i], &spec, &t, &err) == 0 && t.class_ == c);
      sonde_traffic_free(&t);
    }
  sonde_found_free(&found);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  char path[64];
  sonde_error err = {0};
  int fd = memfd_create("fcd", MFD_CLOEXEC);
  if (fd < 0) return 0;
  FUZZ_CHECK(write(fd, data, size) == (ssize_t)size);
  snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
  sonde_fcd *f = sonde_fcd_read(path, &err);
  if (f) use(f);
  else FUZZ_CHECK(err.code < 0 && err.text[0] && !strchr(err.text, '\n'));
  sonde_fcd_free(f);
  close(fd);
  return 0;
}
