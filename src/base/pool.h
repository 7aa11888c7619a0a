/* pool.h - one thread pool for the process's tiles. The number of tiles is the caller's and must not depend on
 * the number of threads: that, and each tile writing its own output, is what makes results the same bits. */
#ifndef SONDE_BASE_POOL_H
#define SONDE_BASE_POOL_H

#include "base/error.h"

typedef struct sonde_pool sonde_pool;
typedef void (*sonde_tile_fn)(void *arg, int64_t tile, int worker);  /* worker in [0, threads) */

sonde_pool *sonde_pool_new(int threads, sonde_error *err);   /* 0: as many as the process may use */
void sonde_pool_free(sonde_pool *p);
int sonde_pool_threads(const sonde_pool *p);

/* Runs fn for every tile in [0, tiles), the caller taking part, and returns when all are done. Tiles are taken in
 * order by whoever is free. A call from inside a tile runs its tiles in place. Workers spin briefly, then sleep. */
void sonde_pool_run(sonde_pool *p, int64_t tiles, sonde_tile_fn fn, void *arg);

#endif
