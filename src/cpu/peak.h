/* peak.h - how fast this CPU multiplies and adds when nothing else gets in the way: the bar that kernels are held to. */
#ifndef SONDE_CPU_PEAK_H
#define SONDE_CPU_PEAK_H

#include "base/pool.h"

/* FLOP/s of multiply-adds between registers on all threads of the pool, in the widest instruction set there is: the
 * best of rounds that take about `seconds` together. dtype SONDE_F32, or SONDE_BF16: bf16 products summed in f32,
 * which on a CPU without an instruction for them runs at the f32 rate. */
double sonde_cpu_peak(sonde_pool *pool, int dtype, double seconds);

#endif
