/* fused.h - programs on the CPU: run stretch by stretch, so that what passes between the ops stays in the L1 cache.
 * No code is generated: each op is a stretch function (sonde_vec), and a stretch is long enough to hide the calls. */
#ifndef SONDE_CPU_FUSED_H
#define SONDE_CPU_FUSED_H

#include "cpu/backend.h"

enum { SONDE_FUSED_STRETCH = 1024 };                   /* numbers that are worked on at once: a register */
enum { SONDE_FUSED_REGISTERS = (SONDE_PROGRAM_INPUTS + SONDE_PROGRAM_OPS) * SONDE_FUSED_STRETCH };

typedef struct sonde_fused sonde_fused;

/* The program with its cut into tasks and registers; to be freed by sonde_release. NULL with *err: out of memory. */
sonde_fused *sonde_fused_new(const sonde_cpu *cpu, const sonde_program *program, sonde_error *err);
int64_t sonde_fused_scratch(const sonde_fused *f);     /* bytes for partial sums */
void sonde_fused_run(const sonde_fused *f, const sonde_call *c);

#endif
