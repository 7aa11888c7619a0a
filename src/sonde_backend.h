/* sonde_backend.h - what the author of a backend includes: a device with memory of its own that runs the steps of
 * plans.
 *
 * The library decides what runs in which order and where every value lies (an offset in one block); the backend owns
 * the memory and runs kernels. The library never reads or writes a device's memory but through `copy` and `fill`,
 * unless the backend says SONDE_BACKEND_HOST. What an op means (shapes, gradient, flops) is its definition's; how a
 * device runs it is a kernel, found by op, shapes with dtypes, and attributes. "Not applicable" (SONDE_ENOENT) is a
 * normal answer: the library then asks the CPU, and copies the operands there and the results back.
 *
 * All functions return 0 or a code with *err filled. What they queue runs in the order of the calls. Structs grow at
 * their end. This interface is not released yet: it may change until a second backend is part of Sonde. */
#ifndef SONDE_BACKEND_H
#define SONDE_BACKEND_H

#include "sonde_plugin.h"

/* ---- kernels ---------------------------------------------------------------------------------------- */

enum {
  /* Output 0 may be the buffer of the input that the op's definition allows; of a program, of an input that is read
   * element by element and not after that output. */
  SONDE_KERNEL_INPLACE = 1,
  SONDE_KERNEL_BF16_IN = 2,          /* it takes bf16 where it is given f32, as far as the op's shape rule does */
  SONDE_KERNEL_BF16_OUT = 4,         /* it can write output 0 in bf16 */
  SONDE_KERNEL_ROUNDS = 8            /* it takes operands as SONDE_OP_ROUNDS says */
};

typedef struct sonde_kernel {
  uint32_t size, flags;
  int64_t scratch;                   /* bytes of device memory for each run */
  /* Runs or queues it. Pointers of the call are device memory; a recorded call's arrays are gone when it is replayed,
   * but what the pointers in them and call->block point at stays. */
  int (*run)(const struct sonde_kernel *k, const sonde_call *c);
  void *data;                        /* the backend's own, until `drop` */
} sonde_kernel;

/* ---- programs: fused elementwise ops ------------------------------------------------------------------ */

enum { SONDE_PROGRAM_OPS = 32, SONDE_PROGRAM_INPUTS = 20 };
typedef enum sonde_reduction {
  SONDE_REDUCE_NONE,
  SONDE_REDUCE_ROWS,
  SONDE_REDUCE_COLUMNS,
  SONDE_REDUCE_ALL
} sonde_reduction;

typedef struct sonde_program_input {
  int32_t dtype;
  int32_t constant;                  /* 1: not read; every element is `fill` */
  float fill;
  int64_t stride[5];                 /* in elements, over the program's dims; 0: the same element along that dim */
  int32_t last_use;                  /* the last op that reads it */
} sonde_program_input;

typedef struct sonde_program_op {
  const sonde_op_def *def;           /* elementwise; or a cast between f32 and bf16, or a sum */
  const sonde_attr *attr;            /* stays as long as the plan */
  int32_t reduce;                    /* sonde_reduction of its operand: a sum over each row, each column, everything */
  int32_t round;                     /* a cast to bf16: later ops see the rounded value */
  int32_t n_in, in[4];               /* >= 0: the result of that op; < 0: input -1 - k */
  int32_t out;                       /* number of the call's output that gets the result; -1: only later ops read it */
  int32_t out_dtype;
} sonde_program_op;

/* Ops over one index space, run in order for each element; sums only end a program (no op reads one). All arithmetic
 * is f32. Neighbouring dims that every operand walks through as one are joined; row-major, the last dim is the row.
 * An output of an op without reduction has the program's elements in order, a sum over rows one for each row, over
 * columns one for each column. */
typedef struct sonde_program {
  uint32_t size;
  int32_t rank, n_in, n_op, n_out;
  int64_t dim[5];
  sonde_program_input in[SONDE_PROGRAM_INPUTS];
  sonde_program_op op[SONDE_PROGRAM_OPS];
} sonde_program;

/* Whether input k has the program's elements in the same order, none twice. */
int sonde_program_is_full(const sonde_program *p, int k);

/* ---- the backend -------------------------------------------------------------------------------------- */

enum {
  SONDE_BACKEND_HOST = 1,            /* its memory is the host's: the library may read and write it */
  SONDE_BACKEND_RECORDS = 2          /* begin, end, replay and forget are there */
};

/* What a block of memory is for. */
enum { SONDE_MEMORY_TENSOR, SONDE_MEMORY_ARENA, SONDE_MEMORY_CONSTANTS, SONDE_MEMORY_INPUTS };

enum { SONDE_COPY_IN, SONDE_COPY_OUT, SONDE_COPY_INSIDE };   /* host to device, device to host, device to device */

typedef struct sonde_backend {
  uint32_t size, flags;
  int32_t align;                     /* bytes that every value's place is a multiple of; at least 64 */
  const char *name, *doc;
  /* Opens device `number`, from 0; pool is what host->parallel of the calls runs on. */
  int (*open)(int number, void *pool, void **device, sonde_error *err);
  void (*close)(void *device);
  /* Memory, zero at first. Never called while a plan runs. */
  int (*alloc)(void *device, int64_t bytes, int use, void **at, sonde_error *err);
  void (*release)(void *device, void *at, int64_t bytes, int use);
  /* COPY_OUT waits until the bytes are there; not called in a recording. COPY_IN has read `from` when it returns. */
  int (*copy)(void *device, void *to, const void *from, int64_t bytes, int way, sonde_error *err);
  int (*fill)(void *device, void *to, double value, int dtype, int64_t count, sonde_error *err);
  int (*sync)(void *device, sonde_error *err);   /* waits for all that is queued; reports what went wrong in it */
  /* The kernel of an op for these shapes and dtypes; SONDE_ENOENT: not applicable here. */
  int (*kernel)(void *device, const sonde_op_def *def, const sonde_shape *in, int n_in, const sonde_shape *out,
                const sonde_attr *attr, sonde_kernel *k, sonde_error *err);
  int (*fusable)(void *device, const sonde_op_def *def);   /* 1: an elementwise op that its programs may contain */
  int (*fuse)(void *device, const sonde_program *program, sonde_kernel *k, sonde_error *err);   /* as `kernel` */
  void (*drop)(void *device, sonde_kernel *k);             /* frees k->data */
  /* Between begin and end kernels are recorded and not run; replay runs them with the block as it is given then, which
   * call->block of the recorded calls is a place for. `forget` frees a recording. */
  int (*begin)(void *device, sonde_error *err);
  int (*end)(void *device, void **recording, sonde_error *err);
  int (*replay)(void *device, void *recording, const sonde_step_block *block, sonde_error *err);
  void (*forget)(void *device, void *recording);
} sonde_backend;

#endif
