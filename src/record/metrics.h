/* metrics.h - metrics.jsonl: one JSON object per line, appended as a whole, truncated to a known length on resuming. */
#ifndef SONDE_RECORD_METRICS_H
#define SONDE_RECORD_METRICS_H

#include "base/error.h"

typedef struct sonde_metrics sonde_metrics;

/* Opens (creates) the file. `line_bytes` is the size of the longest line: writing allocates nothing. */
sonde_metrics *sonde_metrics_open(const char *path, int64_t line_bytes, sonde_error *err);
void sonde_metrics_close(sonde_metrics *m);

/* A line: begin, any number of fields in order, end (which writes it). A number that is not finite becomes null. A
 * line that cannot be written completely is truncated again, so that the file has complete lines only. */
void sonde_metrics_begin(sonde_metrics *m);
void sonde_metrics_integer(sonde_metrics *m, const char *key, int64_t value);
void sonde_metrics_number(sonde_metrics *m, const char *key, double value);
void sonde_metrics_numbers(sonde_metrics *m, const char *key, const double *value, int64_t n);
int sonde_metrics_end(sonde_metrics *m, sonde_error *err);

int64_t sonde_metrics_size(const sonde_metrics *m);                       /* bytes in the file */
/* SHA-256 of these bytes, in hex; available after the first rewind. */
void sonde_metrics_sha256(const sonde_metrics *m, char hex[65]);
int sonde_metrics_sync(sonde_metrics *m, sonde_error *err);
/* Truncates the file to `size` bytes. EFORMAT: it is shorter than that. */
int sonde_metrics_rewind(sonde_metrics *m, int64_t size, sonde_error *err);

#endif
