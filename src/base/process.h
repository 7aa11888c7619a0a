/* process.h - a copy of this process (fork) that does a part of the work, and what it says on its standard error. */
#ifndef SONDE_BASE_PROCESS_H
#define SONDE_BASE_PROCESS_H

#include "base/error.h"

typedef struct sonde_process sonde_process;

/* Forks. In the caller *p is the new process; in the new one it is NULL. That one has no thread but the calling one, so
 * the caller's other threads must have ended (sonde_pool_resize); it is killed when the caller's process ends, reads
 * nothing from its standard input, and its standard error is the caller's to read. It ends by sonde_process_leave.
 * ENOMEM, EIO: it cannot be started. */
int sonde_process_fork(sonde_process **p, sonde_error *err);

/* Ends this process without running the exit handlers, which are the first process's. */
void sonde_process_leave(int status) __attribute__((noreturn));

/* Waits until one of the n has written something or ended, a signal comes, or the time is over. */
void sonde_process_wait(sonde_process *const *p, int n, double seconds);

/* What it has written since the last call, at most `size` bytes; 0: nothing, for now. */
int64_t sonde_process_read(sonde_process *p, char *buffer, int64_t size);

/* 1 when it has ended: *status is that of its exit, or *number the signal that ended it (0: none did). */
int sonde_process_ended(sonde_process *p, int *status, int *number);

void sonde_process_signal(sonde_process *p, int number);   /* nothing if it has ended */

/* Kills it if it has not ended. In a copy of the process that forked it, only forgets it. NULL: nothing to do. */
void sonde_process_close(sonde_process *p);

#endif
