/* temp.h - temporary files and folders that are later renamed to PATH: PATH.tmp-PROCESS-NUMBER. The writer keeps a lock
 * on it, which the system releases when the process ends. The next writer of the same PATH removes those whose lock is
 * free, left by killed processes, and no others: process numbers of another machine or container mean nothing here. */
#ifndef SONDE_BASE_TEMP_H
#define SONDE_BASE_TEMP_H

#include "base/error.h"

typedef struct sonde_temp {
  char *path;   /* for sonde_temp_end to free */
  int fd;       /* of the file, open for writing, or of the folder */
} sonde_temp;

/* A new file (mode as of open) or folder, locked. errno says why it failed. */
int sonde_temp_file(const char *path, int mode, sonde_temp *t);
int sonde_temp_folder(const char *path, sonde_temp *t);

/* Releases the lock and the memory. A file that is still at t->path is removed by the next writer. */
void sonde_temp_end(sonde_temp *t);

/* Removes all leftovers in a folder that only Sonde writes: a run folder, the cache of corpora. */
void sonde_temp_sweep(const char *folder);

#endif
