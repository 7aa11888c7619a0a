/* exec.h - what runs of a plan share: exec.c walks the steps where memory is the host's, remote.c where it is not. */
#ifndef SONDE_GRAPH_EXEC_H
#define SONDE_GRAPH_EXEC_H

#include "graph/fused.h"

/* What a kernel is called with; on the stack, for one call. */
typedef struct operands {
  const void *in[SONDE_PROGRAM_INPUTS];
  void *out[SONDE_PROGRAM_OPS];
  sonde_shape in_shape[SONDE_MAX_IN];
  sonde_call call;
} operands;

static inline int plan_on_host(const sonde_plan *p) { return p->ctx->device->backend->flags & SONDE_BACKEND_HOST; }

int plan_run_step(sonde_plan *p, const step *s, sonde_error *err);

/* ---- remote.c ---- */

/* Places the tensors on the device, and takes host memory for the steps that the CPU runs. Before the first run. */
int plan_prepare_device(sonde_plan *p, sonde_error *err);
/* Brings tensors that the host has written since. Before each run. */
int plan_bring(sonde_plan *p, sonde_error *err);
/* All steps but held ones: what the device has kernels for as recordings, where it makes them, with the CPU's steps
 * between. */
int plan_run_device(sonde_plan *p, sonde_error *err);
/* A step with a kernel of the CPU: operands to the host, results back. */
int plan_run_elsewhere(sonde_plan *p, const step *s, operands *o, sonde_error *err);
/* A copy of output i, in the plan's memory; NULL: it cannot be had. */
const void *plan_read_back(sonde_plan *p, int i);
void plan_forget_recordings(sonde_plan *p);
void plan_leave_device(sonde_plan *p);         /* what of this the plan owns; at its end */

#endif
