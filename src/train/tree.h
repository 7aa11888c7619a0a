/* tree.h - sums over the micro-batches of an update, as a binary tree: neighbours are added in pairs, then pairs of
 * pairs. So the bits of a sum do not depend on who computed which part of it: one process that takes the
 * micro-batches in turn, several threads, or ranks that each take a power of two of them.
 *
 * The tree is that of a binary counter: after micro-batch k (from 0) there is one partial sum for each bit that is
 * set in k + 1, of as many micro-batches as the bit is worth, and the last micro-batch adds what is left from the
 * newest to the oldest. Eight give ((g0+g1)+(g2+g3))+((g4+g5)+(g6+g7)), six ((g0+g1)+(g2+g3))+(g4+g5), three
 * (g0+g1)+g2. */
#ifndef SONDE_TRAIN_TREE_H
#define SONDE_TRAIN_TREE_H

#include "base/pool.h"
#include "tensor/tensor.h"

enum { SONDE_TREE_LEVELS = 31 };          /* of 2^31 micro-batches */

typedef struct sonde_tree sonde_tree;

/* For `batches` >= 1 micro-batches an update, whose sums end in grad[i] (f32; a reference is taken). Takes as
 * much memory as the gradients for each bit of batches - 1: none for one micro-batch, log2 for a power of two. */
sonde_tree *sonde_tree_new(sonde_pool *pool, sonde_tensor *const *grad, int64_t n, int32_t batches, sonde_error *err);
void sonde_tree_free(sonde_tree *t);
int64_t sonde_tree_bytes(const sonde_tree *t);
/* The same of a tree that sonde_tree_new would make, for gradients of so many bytes in all. */
int64_t sonde_tree_forecast(int64_t gradient_bytes, int32_t batches);

/* Whether micro-batch `batch` writes its gradients aside (1) or to grad (0), and where that is. */
int sonde_tree_aside(const sonde_tree *t, int32_t batch);
sonde_tensor *sonde_tree_target(const sonde_tree *t, int64_t i, int aside);

/* Adds the gradients of micro-batch `batch` to the tree; after the last one grad holds the sums. */
int sonde_tree_add(sonde_tree *t, int32_t batch, sonde_error *err);

/* The same sum of numbers, with its partial sums in `level`: what it gives for the last micro-batch is the whole. */
double sonde_tree_number(double level[SONDE_TREE_LEVELS], int32_t batch, int32_t batches, double x);

#endif
