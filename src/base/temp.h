/* temp.h - names for what is not whole yet, beside the place it will have: PATH.tmp-PROCESS-NUMBER. Who writes there
 * holds a lock on it, which falls with the process; so whoever next makes such a name for the same PATH removes those
 * that killed processes left, and no others: not those of another machine or container with the same process numbers. */
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

/* Gives the lock and the memory back. What is still at t->path by then is left to the next. */
void sonde_temp_end(sonde_temp *t);

/* Removes all that was left behind in a folder where nobody but Sonde writes: a run's, the cache of corpora. */
void sonde_temp_sweep(const char *folder);

#endif
