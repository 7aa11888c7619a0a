/* bind_bench.c - what benchmarks ask of the machine. */
#include "config.h"

#include <string.h>
#include <sys/resource.h>

#include "cpu/gemm.h"
#include "cpu/peak.h"
#include "cpu/simd.h"
#include "graph/graph.h"
#include "script/script.h"

static int dtype_of(lua_State *L, int arg) {
  static const char *const names[] = {"f32", "bf16", NULL};
  return sonde_lua_choice(L, arg, NULL, names) ? SONDE_BF16 : SONDE_F32;
}

/* core.peak("f32" | "bf16", seconds, alone) -> FLOP/s of multiply-adds in registers on all threads, or on one alone */
static int core_peak(lua_State *L) {
  int dtype = dtype_of(L, 1);
  sonde_pool *pool = lua_toboolean(L, 3) ? NULL : sonde_lua_ctx(L)->pool;
  lua_pushnumber(L, sonde_cpu_peak(pool, dtype, sonde_lua_number(L, 2)));
  return 1;
}

/* core.read_rate(bytes, seconds) -> bytes/s that all threads read from memory */
static int core_read_rate(lua_State *L) {
  int64_t bytes = sonde_lua_integer(L, 1, 1, (int64_t)1 << 36);
  lua_pushnumber(L, sonde_cpu_read_rate(sonde_lua_ctx(L)->pool, bytes, sonde_lua_number(L, 2)));
  return 1;
}

/* core.peak_rss() -> the peak resident memory of this process, in bytes */
static int core_peak_rss(lua_State *L) {
  struct rusage usage;
  if (getrusage(RUSAGE_SELF, &usage)) return sonde_lua_fail(L, "the system does not tell how much memory was used");
  lua_pushinteger(L, (lua_Integer)usage.ru_maxrss * 1024);
  return 1;
}

/* core.cpu() -> {isa =, f32 = kernels of f32 products, bf16 = kernels of bf16 products} */
static int core_cpu(lua_State *L) {
  lua_createtable(L, 0, 3);
  lua_pushstring(L, sonde_simd_get()->isa);
  lua_setfield(L, -2, "isa");
  lua_pushstring(L, sonde_gemm_kernels(SONDE_F32));
  lua_setfield(L, -2, "f32");
  lua_pushstring(L, sonde_gemm_kernels(SONDE_BF16));
  lua_setfield(L, -2, "bf16");
  return 1;
}

void sonde_bind_bench(lua_State *L) {
  static const luaL_Reg functions[] = {
      {"peak", core_peak}, {"read_rate", core_read_rate}, {"peak_rss", core_peak_rss}, {"cpu", core_cpu}, {NULL, NULL}};
  sonde_lua_functions(L, functions);
}
