/* lock.h - one process at a time in a run folder. The kernel drops the lock when the process ends, however it ends. */
#ifndef SONDE_RECORD_LOCK_H
#define SONDE_RECORD_LOCK_H

#include "base/error.h"

/* Takes the lock file (made if absent) and writes this process's id into it. The descriptor goes to *fd.
 * ELOCK names the process that holds it; EIO a folder that cannot be written. */
int sonde_lock_take(const char *path, int *fd, sonde_error *err);
void sonde_lock_drop(int fd);           /* -1 is fine */
int sonde_lock_is_held(const char *path);   /* 1: some process holds it */

#endif
