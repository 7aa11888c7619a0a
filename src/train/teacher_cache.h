/* teacher_cache.h - what a teacher says of each token of a training's rows, in a file: its K likeliest classes, and the
 * sum of all others.
 *
 * A cache is made for the rows of one training text, context and seed, in the order of a training: row i is what the
 * token feed gives as sequence i (text/batch.h), so the file is read from its beginning on.
 *
 * Layout, little-endian. 256 bytes of header: magic "SONDETCH", u32 version (1), u32 K, i64 rows, i64 context T, i64
 * vocabulary V, f64 temperature, i64 seed, 32 bytes each of SHA-256 of the teacher's weights, of the tokenizer and of
 * the text (zeros: not known), u8 1 where the teacher's products were of bf16 and else 0, zeros, u32 CRC-32 of what is
 * before it. Then the rows: 4 f64 of what was measured (sonde_taught_loss), T times K + 1 u16 of -2048 log p (the last
 * of them is of the others' sum), T times K classes, u16 where V is at most 65536, else u32, zeros, and u32 CRC-32 of
 * what is before it, which ends at a multiple of 8 bytes. The logarithms are stored in steps of 1/2048 down to -32:
 * each probability is off by at most a part in 4000. */
#ifndef SONDE_TRAIN_TEACHER_CACHE_H
#define SONDE_TRAIN_TEACHER_CACHE_H

#include "base/error.h"

typedef struct sonde_taught_info {
  int64_t rows, context, vocab;
  int64_t k;
  double temperature;
  int64_t seed;
  char teacher[65], tokenizer[65], corpus[65];   /* hex; "": not known */
  int bf16;                                      /* the dtype of the teacher's products; 0: f32 */
} sonde_taught_info;

/* Sums over tokens of what a cache loses: the probability of the classes that are not kept; the entropy in nats of
 * these among each other, which the sum does not say; the total variation between the distribution with that sum and
 * what is stored of it; and the largest of the last. */
typedef struct sonde_taught_loss { double rest, entropy, rounding, worst; } sonde_taught_loss;

typedef struct sonde_taught sonde_taught;

/* EFORMAT: it is no cache, damaged, cut short or of another version. Rows are checked when they are read. */
sonde_taught *sonde_taught_open(const char *path, sonde_error *err);
void sonde_taught_free(sonde_taught *c);
const sonde_taught_info *sonde_taught_info_of(const sonde_taught *c);
/* ids [T, K] and logs [T, K + 1] of a row; either may be NULL. EINVAL: there is no such row; EFORMAT: it is damaged. */
int sonde_taught_read(const sonde_taught *c, int64_t row, int32_t *ids, float *logs, sonde_error *err);
/* Means over all tokens, of all rows (worst: the largest). */
int sonde_taught_losses(const sonde_taught *c, sonde_taught_loss *loss, sonde_error *err);

typedef struct sonde_taught_writer sonde_taught_writer;

/* Begins PATH.part, or goes on with the one that is there: *done is how many whole rows it has, of the same `info`.
 * EINVAL: it is of something else, another process writes it, or the info is out of range. */
sonde_taught_writer *sonde_taught_writer_open(const char *path, const sonde_taught_info *info, int64_t *done,
                                            sonde_error *err);
/* The next row: ids [T, K], logs [T, K + 1], and the entropy [T] of the teacher's distribution of each token. */
int sonde_taught_append(sonde_taught_writer *w, const int32_t *ids, const float *logs, const float *entropy,
                       sonde_error *err);
int64_t sonde_taught_writer_context(const sonde_taught_writer *w);
/* All rows are there: syncs and renames to PATH. Frees w in any case. */
int sonde_taught_commit(sonde_taught_writer *w, sonde_error *err);
void sonde_taught_writer_close(sonde_taught_writer *w);   /* PATH.part stays */

#endif
