/* host.c - see host.h. */
#include "plugin/host.h"

#include <pthread.h>

#include "base/log.h"
#include "base/pool.h"
#include "cpu/gemm.h"
#include "cpu/linalg.h"
#include "cpu/simd.h"
#include "ops/rows.h"
#include "plugin/site.h"

static int rehearsed_workers, rehearsed_backwards;

void sonde_host_rehearse(int workers, int backwards) {
  rehearsed_workers = workers;
  rehearsed_backwards = backwards;
}

static void parallel(const sonde_call *c, int64_t tiles, sonde_tile fn, void *arg) {
  if (!rehearsed_workers) sonde_pool_run(c->pool, tiles, fn, arg);
  else
    for (int64_t k = 0; k < tiles; k++)
      fn(arg, rehearsed_backwards ? tiles - 1 - k : k, (int)(k % rehearsed_workers));
}

/* A kernel that does not look at what it gets back crashes next: then the warning says why. */
static const float *rows(const sonde_call *c, int64_t count, int64_t width, int64_t n, sonde_rows fn, void *arg) {
  int64_t need = sonde_rows_scratch(count, width, n);
  if (c->scratch_bytes < need) {
    sonde_error err = {0};
    sonde_fail(&err, SONDE_EBUG,
               "a kernel sums %lld numbers over %lld rows of %lld with %lld bytes of scratch; its op's scratch "
               "rule must give rows_scratch(%lld, %lld, %lld), %lld bytes",
               (long long)n, (long long)count, (long long)width, (long long)c->scratch_bytes, (long long)count,
               (long long)width, (long long)n, (long long)need);
    sonde_warn("%s", err.text);
    if (c->err) *c->err = err;
    return NULL;
  }
  return sonde_rows_run(c, parallel, count, width, n, fn, arg);
}

static sonde_host table = {
    .size = sizeof(sonde_host),
    .abi_major = SONDE_ABI_MAJOR,
    .abi_minor = SONDE_ABI_MINOR,
    .op = sonde_op,
    .result = sonde_result,
    .constant = sonde_constant,
    .node_graph = sonde_node_graph,
    .node_shape = sonde_node_shape,
    .node_inputs = sonde_node_inputs,
    .node_attr = sonde_node_attr,
    .site_place = sonde_site_place,
    .site_param = sonde_site_param,
    .site_publish = sonde_site_publish,
    .site_lookup = sonde_site_lookup,
    .site_refresh = sonde_site_refresh,
    .site_refuse = sonde_site_refuse,
    .fail = sonde_fail,
    .parallel = parallel,
    .gemm = sonde_gemm_tile,
    .rows = rows,
    .rows_scratch = sonde_rows_scratch,
    .inverse_factor = sonde_inverse_factor,
};

static void take_simd(void) { table.simd = &sonde_simd_get()->common; }

const sonde_host *sonde_host_table(void) {
  static pthread_once_t once = PTHREAD_ONCE_INIT;
  pthread_once(&once, take_simd);
  return &table;
}
