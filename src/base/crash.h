/* crash.h - the message of a program that is ended by a signal: what it was running, of which plugin or file, and how
 * to resume. Code that calls a plugin records that before the call (sonde_doing: four stores), so that the message can
 * name a crash in a plugin's kernel, an exit in its constructor or an endless loop there. Signals are caught only in a
 * program that calls sonde_crash_watch; a process that loads libsonde keeps its own handlers. */
#ifndef SONDE_BASE_CRASH_H
#define SONDE_BASE_CRASH_H

#include <stdatomic.h>
#include <stddef.h>

#include "base/error.h"

/* One per process, not one per thread: tiles on other threads belong to the op of the thread that waits for them.
 * Strings are borrowed and must live until the next change. */
extern struct sonde_doing {
  _Atomic(const char *) what;    /* "the op", ...; NULL: no foreign code runs */
  _Atomic(const char *) name, place;
  _Atomic(const void *) code;    /* a function of the plugin, or NULL */
} sonde_doing_now;

/* From now on `what` 'name' (place) runs, place being the module or scope, or "". what = NULL: it has ended. */
static inline void sonde_doing(const char *what, const char *name, const char *place, const void *code) {
  atomic_store_explicit(&sonde_doing_now.name, name, memory_order_relaxed);
  atomic_store_explicit(&sonde_doing_now.place, place, memory_order_relaxed);
  atomic_store_explicit(&sonde_doing_now.code, code, memory_order_relaxed);
  atomic_store_explicit(&sonde_doing_now.what, what, memory_order_relaxed);
}
static inline void sonde_doing_nothing(void) { sonde_doing(NULL, NULL, NULL, NULL); }

/* Called before and after loading a plugin: if that takes longer than `seconds`, the program ends with a message that
 * names it. */
void sonde_doing_load(const char *path, int seconds);
void sonde_doing_loaded(void);
/* $SONDE_PLUGIN_SECONDS, 1 to 86400, or 30 without it; negative (EINVAL) for anything else in it. */
int sonde_load_seconds(sonde_error *err);

/* Memory that is backed by a file: a plugin's code, or a mapped file. The path is copied. A region is identified by its
 * start. */
typedef enum sonde_backing { SONDE_BACKED_BY_PLUGIN, SONDE_BACKED_BY_FILE } sonde_backing;
void sonde_crash_region(const void *start, size_t bytes, sonde_backing kind, const char *path);
void sonde_crash_forget(const void *start);

/* The folder of the run that the same command would resume from its last checkpoint; NULL: none. Borrowed. */
void sonde_crash_run(const char *folder);
/* This process does a part of another one's work, which goes on without it: from now on its message says nothing of
 * resuming. */
void sonde_crash_part(void);

void sonde_crash_watch(void);        /* installs the handlers; called by main */
/* restores the handlers from before; for a child process that should crash plainly */
void sonde_crash_watch_end(void);

/* A signal stack for a compute thread, so that the message is printed even if the thread's own stack overflows. */
enum { SONDE_CRASH_STACK = 65536 };
typedef struct sonde_crash_thread { void *old_stack; size_t old_bytes; int old_flags; } sonde_crash_thread;
sonde_crash_thread sonde_crash_enter(char stack[SONDE_CRASH_STACK]);
void sonde_crash_leave(sonde_crash_thread before);

#endif
