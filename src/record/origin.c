/* origin.c - see origin.h. */
#include "record/origin.h"

#include <stdio.h>
#include <string.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

#include "commit.h"

const char *sonde_origin_commit(void) { return SONDE_COMMIT; }

/* The CPU's name from Linux; the architecture if there is none (as on ARM). */
static void cpu_name(char *out, size_t n, const char *architecture) {
  char line[256];
  snprintf(out, n, "%s", architecture);
  FILE *f = fopen("/proc/cpuinfo", "re");
  if (!f) return;
  while (fgets(line, sizeof line, f)) {
    char *value = strchr(line, ':');
    if (strncmp(line, "model name", 10) != 0 || !value) continue;
    value += 1 + strspn(value + 1, " \t");
    value[strcspn(value, "\n")] = 0;
    snprintf(out, n, "%s", value);
    break;
  }
  fclose(f);
}

void sonde_origin_machine(char *out, size_t n) {
  struct utsname u = {0};
  char cpu[200];
  uname(&u);
  cpu_name(cpu, sizeof cpu, u.machine);
  snprintf(out, n, "%s, %ld cores, %s %s", cpu, sysconf(_SC_NPROCESSORS_ONLN), u.sysname, u.release);
}

void sonde_origin_time(char out[32]) {
  time_t now = time(NULL);
  struct tm tm;
  gmtime_r(&now, &tm);
  strftime(out, 32, "%Y-%m-%dT%H:%M:%SZ", &tm);
}
