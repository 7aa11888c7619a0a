/* peak.h - the measured peak rate of arithmetic and of memory reads on this CPU, which kernels are compared with. */
#ifndef SONDE_CPU_PEAK_H
#define SONDE_CPU_PEAK_H

#include "base/pool.h"

/* FLOP/s of multiply-adds between registers on all threads of the pool (NULL: on the calling thread alone), in the
 * widest instruction set: the best of rounds that take about `seconds` in all. dtype SONDE_F32, or SONDE_BF16: bf16
 * products summed in f32, which on a CPU without an instruction for them runs at the f32 rate. */
double sonde_cpu_peak(sonde_pool *pool, int dtype, double seconds);

/* Bytes per second that all threads of the pool together read from memory, over an array of `bytes` (larger than the
 * caches): the best of rounds that take about `seconds` in all. 0 if out of memory. */
double sonde_cpu_read_rate(sonde_pool *pool, int64_t bytes, double seconds);

#endif
