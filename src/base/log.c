/* log.c - messages to stderr, each written by one call so that lines of several threads do not mix. */
#include "config.h"

#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include "base/error.h"
#include "base/log.h"

static _Atomic int current = SONDE_LOG_INFO;

void sonde_log_level(int level) {
  atomic_store(&current, level);
}

static void say(int level, const char *head, const char *fmt, va_list ap) {
  char line[2048];
  if (level > atomic_load_explicit(&current, memory_order_relaxed)) return;
  size_t n = (size_t)snprintf(line, sizeof line, "%s", head);
  vsnprintf(line + n, sizeof line - n - 1, fmt, ap);
  sonde_one_line(line);
  n = strlen(line);
  line[n] = '\n';
  fwrite(line, 1, n + 1, stderr);
}

void sonde_warn(const char *fmt, ...) {
  va_list ap;
  va_start(ap, fmt);
  say(SONDE_LOG_WARN, "sonde: warning: ", fmt, ap);
  va_end(ap);
}

void sonde_info(const char *fmt, ...) {
  va_list ap;
  va_start(ap, fmt);
  say(SONDE_LOG_INFO, "", fmt, ap);
  va_end(ap);
}
