/* tfevents.h - an event file as TensorBoard reads it: records of scalars by step, appended. */
#ifndef SONDE_RECORD_TFEVENTS_H
#define SONDE_RECORD_TFEVENTS_H

#include "base/error.h"

typedef struct sonde_tfevents sonde_tfevents;

/* Opens (creates) the file. What follows the first `most` whole records is cut off: the writer of it was killed, or has
 * gone back to a checkpoint. *records: how many are left. (The version at the beginning of the file counts in neither.)
 * EFORMAT: it is no event file. */
sonde_tfevents *sonde_tfevents_open(const char *path, int64_t most, int64_t *records, sonde_error *err);
void sonde_tfevents_close(sonde_tfevents *f);

/* Appends a record: `n` values (as f32) under their tags, at a step and a time in seconds since 1970. */
int sonde_tfevents_add(sonde_tfevents *f, double wall_time, int64_t step, const char *const *tag, const double *value,
                       int64_t n, sonde_error *err);

#endif
