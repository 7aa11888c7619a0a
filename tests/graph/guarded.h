/* guarded.h - a backend for tests, which finds what only works because the CPU's memory is the host's: its memory is
 * out of reach outside its own calls, it records and replays, it refuses to be read during a recording, and it has no
 * kernel for some ops and cannot fuse others. What it computes it computes with the CPU's kernels, so the bits are
 * the CPU's. */
#ifndef TESTS_GRAPH_GUARDED_H
#define TESTS_GRAPH_GUARDED_H

#include "sonde_backend.h"

extern const sonde_backend guarded_backend;

/* Since the device was opened (one at a time). */
typedef struct guarded_counts {
  int64_t runs, recordings, replays;     /* of kernels, by the device itself */
  int64_t lacking;                       /* kernels and programs that were not applicable */
  int64_t read_while_recording;          /* refused */
  int64_t live;                          /* blocks, kernels and recordings that were not given back */
} guarded_counts;
extern guarded_counts guarded_counted;


#endif
