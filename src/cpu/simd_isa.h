/* simd_isa.h - shared by simd_kernels.c, simd_blocks.c and simd_vec.c, and the tables that they define. They are
 * compiled once per instruction set with SONDE_ISA set to base, avx2 or avx512; ISA_NAME(f) gives each copy its own
 * symbol. */
#ifndef SONDE_CPU_SIMD_ISA_H
#define SONDE_CPU_SIMD_ISA_H

#include "cpu/simd.h"

const sonde_simd_table *sonde_simd_base(int bf16);
const sonde_simd_table *sonde_simd_avx2(int bf16);
const sonde_simd_table *sonde_simd_avx512(int bf16);

/* For tests: makes sonde_simd_get() return this table. No kernel may be running. */
void sonde_simd_use(const sonde_simd_table *table);

/* The table of level 0 base, 1 avx2, 2 avx512, 3 amx, or the widest below it that this CPU runs: for tests. */
enum { SONDE_LEVELS = 4 };
const sonde_simd_table *sonde_simd_level(int level);

#ifdef SONDE_ISA
#define ISA_JOIN2(a, b) a##_##b
#define ISA_JOIN(a, b) ISA_JOIN2(a, b)
#define ISA_NAME(f) ISA_JOIN(f, SONDE_ISA)
#define ISA_TEXT2(x) #x
#define ISA_TEXT(x) ISA_TEXT2(x)

void (*ISA_NAME(sonde_vec_find)(const char *name))(const sonde_vec *v);
void ISA_NAME(sonde_blocks)(sonde_simd_table *t);   /* fills in the loops over blocks */
const struct sonde_micro *ISA_NAME(sonde_micro_vec)(void);   /* micro_vec.c: of base and avx2 */

/* The vector versions of these are in glibc's libmvec; the attribute lets gcc call them from a loop. */
__attribute__((simd("notinbranch"))) float logf(float);
__attribute__((simd("notinbranch"))) float sinf(float);
__attribute__((simd("notinbranch"))) float cosf(float);
__attribute__((simd("notinbranch"))) float erff(float);
float sqrtf(float);
float fabsf(float);
#endif

#endif
