/* lock.h - one process at a time writes a folder, of a run or of clips. The kernel releases the lock when the process
 * ends. */
#ifndef SONDE_RECORD_LOCK_H
#define SONDE_RECORD_LOCK_H

#include "base/error.h"

/* Locks the file (created if absent) and writes this process's id into it. *fd is its descriptor. ELOCK names the
 * process that has the lock; EIO: the folder cannot be written. */
int sonde_lock_take(const char *path, int *fd, sonde_error *err);
void sonde_lock_drop(int fd);           /* -1: nothing to do */
int sonde_lock_is_held(const char *path);   /* 1: a process has the lock */

#endif
