/* crash.c - see crash.h. What a handler calls is async-signal-safe: write, sigaction, raise, _exit. */
#include "config.h"

#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <ucontext.h>
#include <unistd.h>

#include "base/crash.h"

enum { PATH_BYTES = 1024, DEFAULT_SECONDS = 30, MOST_SECONDS = 86400 };

struct sonde_doing sonde_doing_now;

static const char *const loading = "loading the plugin";
static _Atomic(const char *) run_folder;
static _Atomic int watching, is_part;

void sonde_crash_run(const char *folder) { atomic_store(&run_folder, folder); }
void sonde_crash_part(void) { atomic_store(&is_part, 1); }

/* ---- regions: a table that a handler can read while other threads change it ------------------------------ */

enum { REGIONS = 256 };   /* further ones are not named in the message */

static struct region {
  _Atomic(const char *) start;    /* NULL: free */
  _Atomic size_t bytes;
  sonde_backing kind;
  char path[PATH_BYTES];
} regions[REGIONS];
static pthread_mutex_t changing = PTHREAD_MUTEX_INITIALIZER;

void sonde_crash_region(const void *start, size_t bytes, sonde_backing kind, const char *path) {
  pthread_mutex_lock(&changing);
  int k = 0;
  while (k < REGIONS && atomic_load(&regions[k].start)) k++;
  if (k < REGIONS) {
    size_t n = strnlen(path, PATH_BYTES - 1);
    memcpy(regions[k].path, path, n);
    regions[k].path[n] = '\0';
    regions[k].kind = kind;
    atomic_store(&regions[k].bytes, bytes);
    atomic_store(&regions[k].start, start);
  }
  pthread_mutex_unlock(&changing);
}

void sonde_crash_forget(const void *start) {
  pthread_mutex_lock(&changing);
  for (int k = 0; start && k < REGIONS; k++)
    if (atomic_load(&regions[k].start) == start) atomic_store(&regions[k].start, NULL);
  pthread_mutex_unlock(&changing);
}

static const char *backing_of(const void *address, sonde_backing kind) {
  const char *at = address;
  for (int k = 0; at && k < REGIONS; k++) {
    const char *start = atomic_load(&regions[k].start);
    if (start && regions[k].kind == kind && at >= start && (size_t)(at - start) < atomic_load(&regions[k].bytes))
      return regions[k].path;
  }
  return NULL;
}

/* ---- words ------------------------------------------------------------------------------------------------ */

typedef struct words { char text[4096]; size_t n; } words;

static void say(words *w, const char *s) {
  for (; s && *s && w->n < sizeof w->text - 1; s++) w->text[w->n++] = (unsigned char)*s < ' ' || *s == 127 ? '?' : *s;
}

static void say_all(words *w, const char *const *parts) {
  for (; *parts; parts++) say(w, *parts);
}
#define SAY(w, ...) say_all(w, (const char *const[]){__VA_ARGS__, NULL})

static void send(words *w) {
  w->text[w->n++] = '\n';
  for (size_t at = 0; at < w->n; ) {
    ssize_t n = write(STDERR_FILENO, w->text + at, w->n - at);
    if (n <= 0) return;
    at += (size_t)n;
  }
}

/* "the op 'x.forward' (blocks.3.attn) of the plugin /lib/x.so" */
static void say_doing(words *w, const void *at) {
  const char *what = atomic_load(&sonde_doing_now.what), *place = atomic_load(&sonde_doing_now.place);
  const char *plugin = backing_of(atomic_load(&sonde_doing_now.code), SONDE_BACKED_BY_PLUGIN);
  if (!plugin && what != loading) plugin = backing_of(at, SONDE_BACKED_BY_PLUGIN);
  const char *name = atomic_load(&sonde_doing_now.name);
  if (what) say(w, what);
  if (what && name) SAY(w, " '", name, "'");
  if (what && place && *place) SAY(w, " (", place, ")");
  if (plugin) SAY(w, what ? " of the plugin " : "the plugin ", plugin);
}

static int is_foreign(const void *at) {
  return atomic_load(&sonde_doing_now.what) || backing_of(at, SONDE_BACKED_BY_PLUGIN);
}

static void say_how_to_go_on(words *w) {
  const char *run = atomic_load(&run_folder);
  if (run && !atomic_load(&is_part)) SAY(w, "; the same command resumes from the last checkpoint in ", run);
}

/* ---- signals ---------------------------------------------------------------------------------------------- */

static const struct { int number; const char *name; } deadly[] = {
    {SIGSEGV, "segmentation fault"}, {SIGBUS, "bus error"}, {SIGFPE, "arithmetic error"},
    {SIGILL, "illegal instruction"}, {SIGABRT, "abort"},
};
enum { DEADLY = sizeof deadly / sizeof deadly[0] };
static struct sigaction before[DEADLY], alarm_before;

static const void *instruction(const void *context) {
#if defined __x86_64__
  return (const void *)((const ucontext_t *)context)->uc_mcontext.gregs[REG_RIP];
#elif defined __aarch64__
  return (const void *)((const ucontext_t *)context)->uc_mcontext.pc;
#else
  (void)context;
  return NULL;
#endif
}

/* The one that speaks gives the signal back to who had it, and what caused it happens once more. */
static void on_deadly(int number, siginfo_t *info, void *context) {
  static _Atomic int spoken;
  static words w;
  int k = 0;
  while (k < DEADLY - 1 && deadly[k].number != number) k++;
  if (atomic_exchange(&spoken, 1)) {   /* another thread has the word, and ends the process */
    sleep(1);
    return;
  }
  const void *at = instruction(context);
  const char *file = number == SIGBUS && info->si_code > 0 ? backing_of(info->si_addr, SONDE_BACKED_BY_FILE) : NULL;
  SAY(&w, "sonde: ", deadly[k].name);
  if (file) SAY(&w, ": '", file, "' became shorter, or could not be read, while it was in use");
  if (is_foreign(at)) say(&w, " in "), say_doing(&w, at);
  say_how_to_go_on(&w);
  send(&w);
  for (int j = 0; j < DEADLY; j++) sigaction(deadly[j].number, &before[j], NULL);
  if (info->si_code <= 0) raise(number);   /* by abort or kill: it would not come again */
}

/* An endless loop in a constructor can only be ended with the process, since the loader keeps its locks. */
static void on_alarm(int number) {
  static words w;
  (void)number;
  if (atomic_load(&sonde_doing_now.what) != loading) return;
  SAY(&w, "sonde: the plugin '", atomic_load(&sonde_doing_now.name),
      "' did not finish loading; remove or repair it (on a slow disk set SONDE_PLUGIN_SECONDS to a longer "
      "time)");
  send(&w);
  _exit(1);
}

/* Nothing foreign may end the program by exit(): its status would say that all went well. */
static void on_exit_called(void) {
  static words w;
  if (!atomic_load(&watching) || !is_foreign(NULL)) return;
  say(&w, "sonde: the program was ended in "), say_doing(&w, NULL);
  say(&w, ", which called exit"), say_how_to_go_on(&w);
  send(&w);
  _exit(1);
}

void sonde_crash_watch(void) {
  static char stack[SONDE_CRASH_STACK];
  static int registered;
  struct sigaction a = {.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER};
  a.sa_sigaction = on_deadly;
  if (atomic_exchange(&watching, 1)) return;
  sonde_crash_enter(stack);
  for (int k = 0; k < DEADLY; k++) sigaction(deadly[k].number, &a, &before[k]);
  struct sigaction alarm = {.sa_handler = on_alarm, .sa_flags = SA_RESTART};
  sigaction(SIGALRM, &alarm, &alarm_before);
  if (!registered) registered = !atexit(on_exit_called);
}

void sonde_crash_watch_end(void) {
  if (!atomic_exchange(&watching, 0)) return;
  for (int k = 0; k < DEADLY; k++) sigaction(deadly[k].number, &before[k], NULL);
  sigaction(SIGALRM, &alarm_before, NULL);
}

sonde_crash_thread sonde_crash_enter(char stack[SONDE_CRASH_STACK]) {
  stack_t own = {.ss_sp = stack, .ss_size = SONDE_CRASH_STACK}, old = {.ss_flags = SS_DISABLE};
  sigaltstack(&own, &old);
  return (sonde_crash_thread){old.ss_sp, old.ss_size, old.ss_flags};
}

void sonde_crash_leave(sonde_crash_thread before_it) {
  stack_t old = {.ss_sp = before_it.old_stack, .ss_size = before_it.old_bytes, .ss_flags = before_it.old_flags};
  sigaltstack(&old, NULL);
}

/* ---- loading ---------------------------------------------------------------------------------------------- */

static void set_alarm(long seconds) {
  if (atomic_load(&watching)) setitimer(ITIMER_REAL, &(struct itimerval){.it_value.tv_sec = seconds}, NULL);
}

int sonde_load_seconds(sonde_error *err) {
  const char *given = getenv("SONDE_PLUGIN_SECONDS");
  char *end = NULL;
  long seconds = given && *given >= '0' && *given <= '9' ? strtol(given, &end, 10) : 0;
  if (!given) return DEFAULT_SECONDS;
  if (end && !*end && seconds >= 1 && seconds <= MOST_SECONDS) return (int)seconds;
  return sonde_fail(err, SONDE_EINVAL, "SONDE_PLUGIN_SECONDS is '%.60s'; it takes a whole number of seconds, 1 to %d",
                    given, MOST_SECONDS);
}

void sonde_doing_load(const char *path, int seconds) {
  sonde_doing(loading, path, "", NULL);
  set_alarm(seconds);
}

void sonde_doing_loaded(void) {
  set_alarm(0);
  sonde_doing_nothing();
}
