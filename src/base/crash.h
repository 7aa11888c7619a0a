/* crash.h - the last words of a program that a signal ends: what it was doing, with which plugin or file, and how to go
 * on. Whoever runs foreign code says so before (three stores), so that a crash in a plugin's kernel, an exit in its
 * constructor or a loop without end there has a name. Only a program that calls sonde_crash_watch catches anything; a
 * process that loads libsonde keeps its signals. */
#ifndef SONDE_BASE_CRASH_H
#define SONDE_BASE_CRASH_H

#include <stdatomic.h>
#include <stddef.h>

/* One for the process, not one a thread: the tiles that run on other threads belong to the op of the thread that waits
 * for them. Strings are borrowed and stay until the next change. */
extern struct sonde_doing {
  _Atomic(const char *) what;    /* "the op", ...; NULL: nothing foreign */
  _Atomic(const char *) name, place;
  _Atomic(const void *) code;    /* a function of the plugin, or NULL */
} sonde_doing_now;

/* From now on `what` 'name' (place) runs; place may be "". what = NULL: it has ended. */
static inline void sonde_doing(const char *what, const char *name, const char *place, const void *code) {
  atomic_store_explicit(&sonde_doing_now.name, name, memory_order_relaxed);
  atomic_store_explicit(&sonde_doing_now.place, place, memory_order_relaxed);
  atomic_store_explicit(&sonde_doing_now.code, code, memory_order_relaxed);
  atomic_store_explicit(&sonde_doing_now.what, what, memory_order_relaxed);
}
static inline void sonde_doing_nothing(void) { sonde_doing(NULL, NULL, NULL, NULL); }

/* Around the loading of a plugin: when it takes longer than $SONDE_PLUGIN_SECONDS (30), the program ends and names it. */
void sonde_doing_load(const char *path);
void sonde_doing_loaded(void);

/* Memory with a file behind: a plugin's code, or what is mapped. The path is copied. What is registered is forgotten
 * by its start. */
typedef enum sonde_backing { SONDE_BACKED_BY_PLUGIN, SONDE_BACKED_BY_FILE } sonde_backing;
void sonde_crash_region(const void *start, size_t bytes, sonde_backing kind, const char *path);
void sonde_crash_forget(const void *start);

/* The folder of a run whose command goes on from its last checkpoint; NULL: none. Borrowed. */
void sonde_crash_run(const char *folder);

void sonde_crash_watch(void);        /* from now on; for main */
void sonde_crash_watch_end(void);    /* back to what was before; for a child that shall just crash */

/* A thread that computes needs a stack of its own for the last words when its stack is what overflows. */
enum { SONDE_CRASH_STACK = 65536 };
typedef struct sonde_crash_thread { void *old_stack; size_t old_bytes; int old_flags; } sonde_crash_thread;
sonde_crash_thread sonde_crash_enter(char stack[SONDE_CRASH_STACK]);
void sonde_crash_leave(sonde_crash_thread before);

#endif
