/* backend.c - see backend.h. */
#include "cpu/backend.h"

#include <string.h>

#include "base/mem.h"
#include "cpu/fused.h"
#include "cpu/simd.h"
#include "tensor/tensor.h"

static int64_t register_bytes(const sonde_cpu *cpu) {
  return SONDE_FUSED_REGISTERS * sonde_pool_threads(cpu->pool) * (int64_t)sizeof(float);
}

static int open(int number, void *pool, void **device, sonde_error *err) {
  (void)number;
  sonde_cpu *cpu = sonde_alloc(sizeof *cpu);
  if (!cpu) return sonde_fail(err, SONDE_ENOMEM, "no memory for the CPU's state");
  cpu->pool = pool;
  if (!(cpu->registers = sonde_pages_alloc(register_bytes(cpu)))) {
    sonde_release(cpu);
    return sonde_fail(err, SONDE_ENOMEM, "no memory for the registers of fused ops");
  }
  *device = cpu;
  return 0;
}

static void close(void *device) {
  sonde_cpu *cpu = device;
  sonde_pages_release(cpu->registers, register_bytes(cpu));
  sonde_release(cpu);
}

/* An arena takes whole pages, which are real when they are first touched. */
static int alloc(void *device, int64_t bytes, int use, void **at, sonde_error *err) {
  (void)device;
  *at = use == SONDE_MEMORY_ARENA ? sonde_pages_alloc(bytes) : sonde_alloc((size_t)bytes);
  return *at ? 0 : sonde_fail(err, SONDE_ENOMEM, "no memory for %.1f MiB", (double)bytes / (1 << 20));
}

static void release(void *device, void *at, int64_t bytes, int use) {
  (void)device;
  if (use == SONDE_MEMORY_ARENA) sonde_pages_release(at, bytes);
  else sonde_release(at);
}

static int copy(void *device, void *to, const void *from, int64_t bytes, int way, sonde_error *err) {
  (void)device, (void)way, (void)err;
  if (to != from) memcpy(to, from, (size_t)bytes);
  return 0;
}

static int fill(void *device, void *to, double value, int dtype, int64_t count, sonde_error *err) {
  float x = (float)value;
  uint16_t narrow;
  (void)device, (void)err;
  sonde_simd_get()->common.to_bf16(&narrow, &x, 1);
  for (int64_t k = 0; k < count; k++)
    if (dtype == SONDE_I32) ((int32_t *)to)[k] = (int32_t)value;
    else if (dtype == SONDE_BF16) ((uint16_t *)to)[k] = narrow;
    else ((float *)to)[k] = x;
  return 0;
}

static int sync(void *device, sonde_error *err) {
  (void)device, (void)err;
  return 0;
}

/* ---- kernels ---------------------------------------------------------------------------------------- */

static int run_definition(const sonde_kernel *k, const sonde_call *c) {
  return ((const sonde_op_def *)k->data)->run(c);
}

static int kernel(void *device, const sonde_op_def *def, const sonde_shape *in, int n_in, const sonde_shape *out,
                  const sonde_attr *attr, sonde_kernel *k, sonde_error *err) {
  (void)device, (void)err;
  if (!def->run) return SONDE_ENOENT;
  *k = (sonde_kernel){.size = sizeof *k, .run = run_definition, .data = (void *)(uintptr_t)def};
  if (def->flags & SONDE_OP_INPLACE) k->flags |= SONDE_KERNEL_INPLACE;
  if (def->flags & SONDE_OP_BF16_IN) k->flags |= SONDE_KERNEL_BF16_IN;
  if (def->flags & SONDE_OP_BF16_OUT) k->flags |= SONDE_KERNEL_BF16_OUT;
  if (def->flags & SONDE_OP_ROUNDS) k->flags |= SONDE_KERNEL_ROUNDS;
  if (def->scratch) k->scratch = def->scratch(in, n_in, out, attr);
  return 0;
}

/* ---- programs --------------------------------------------------------------------------------------- */

static int fusable(void *device, const sonde_op_def *def) {
  (void)device;
  return def->vec || !(def->flags & SONDE_OP_ELEMENTWISE);   /* a cast has none: unpacking and rounding do it */
}

static int run_program(const sonde_kernel *k, const sonde_call *c) {
  sonde_fused_run(k->data, c);
  return 0;
}

static int fuse(void *device, const sonde_program *program, sonde_kernel *k, sonde_error *err) {
  sonde_cpu *cpu = device;
  sonde_fused *f = sonde_fused_new(cpu, program, err);
  if (!f) return SONDE_ENOMEM;
  *k = (sonde_kernel){.size = sizeof *k, .flags = SONDE_KERNEL_INPLACE, .scratch = sonde_fused_scratch(f),
                      .run = run_program, .data = f};
  return 0;
}

static void drop(void *device, sonde_kernel *k) {
  (void)device;
  if (k->run == run_program) sonde_release(k->data);
  *k = (sonde_kernel){0};
}

const sonde_backend sonde_cpu_backend = {
    .size = sizeof sonde_cpu_backend, .flags = SONDE_BACKEND_HOST, .align = 64, .name = "cpu",
    .doc = "this machine's processors", .open = open, .close = close, .alloc = alloc, .release = release, .copy = copy,
    .fill = fill, .sync = sync, .kernel = kernel, .fusable = fusable, .fuse = fuse, .drop = drop};
