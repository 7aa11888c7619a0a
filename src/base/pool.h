/* pool.h - a thread pool that runs the tiles of a kernel. The caller chooses the number of tiles, which must not depend
 * on the number of threads; each tile writes its own part of the output. So results are bitwise the same at any number
 * of threads. */
#ifndef SONDE_BASE_POOL_H
#define SONDE_BASE_POOL_H

#include "base/error.h"

typedef struct sonde_pool sonde_pool;
typedef void (*sonde_tile_fn)(void *arg, int64_t tile, int worker);  /* worker in [0, threads) */

sonde_pool *sonde_pool_new(int threads, sonde_error *err);   /* 0: as many as the process may use */
void sonde_pool_free(sonde_pool *p);
int sonde_pool_threads(const sonde_pool *p);

/* From now on so many threads compute, at least 1 and at most as many as the pool was made with, in each of `processes`
 * that share the cores. With 1 the pool has no threads of its own, so that the process can fork. No region may run.
 * ENOMEM: a thread cannot be started; the pool has 1 then. */
int sonde_pool_resize(sonde_pool *p, int threads, int processes, sonde_error *err);

/* Runs fn for every tile in [0, tiles), on the calling thread too, and returns when all are done. Free threads take the
 * tiles in order. A call from inside a tile runs its tiles on the calling thread. Idle workers spin briefly, then
 * sleep. */
void sonde_pool_run(sonde_pool *p, int64_t tiles, sonde_tile_fn fn, void *arg);

#endif
