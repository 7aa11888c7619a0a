/* backend.h - the CPU as a backend: its memory is the host's, a kernel is the function that comes with an op's
 * definition, and a program is cut into stretches (fused.h). */
#ifndef SONDE_CPU_BACKEND_H
#define SONDE_CPU_BACKEND_H

#include "base/pool.h"
#include "sonde_backend.h"

extern const sonde_backend sonde_cpu_backend;

typedef struct sonde_cpu {
  sonde_pool *pool;
  float *registers;                  /* [threads][SONDE_FUSED_REGISTERS] of the program that runs */
} sonde_cpu;

#endif
