/* peak.h - how fast this CPU multiplies and adds, and reads memory, when nothing else gets in the way: the bar that kernels are held to. */
#ifndef SONDE_CPU_PEAK_H
#define SONDE_CPU_PEAK_H

#include "base/pool.h"

/* FLOP/s of multiply-adds between registers on all threads of the pool, in the widest instruction set there is: the
 * best of rounds that take about `seconds` together. dtype SONDE_F32, or SONDE_BF16: bf16 products summed in f32,
 * which on a CPU without an instruction for them runs at the f32 rate. */
double sonde_cpu_peak(sonde_pool *pool, int dtype, double seconds);

/* Bytes a second that all threads of the pool together read from memory, over an array of `bytes` (more than the caches
 * hold): the best of rounds that take about `seconds` together. 0 where there is no memory for it. */
double sonde_cpu_read_rate(sonde_pool *pool, int64_t bytes, double seconds);

#endif
