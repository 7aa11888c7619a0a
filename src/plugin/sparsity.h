/* sparsity.h - the host's side of the kind "sparsity": masks from a method's scores, and matrices that a method prunes
 * itself, checked. Masks are f32, 1 where a weight stays and 0 where it is out; what is out stays out. */
#ifndef SONDE_PLUGIN_SPARSITY_H
#define SONDE_PLUGIN_SPARSITY_H

#include "base/error.h"
#include "sonde_plugin.h"

/* What must go: of the weights of a scope the share `sparsity` (rounded down to whole weights); or, where group is not
 * 0, all but `keep` of each `group` neighbours of a row. */
typedef struct sonde_sparse_pattern {
  double sparsity;
  int32_t keep, group;
} sonde_sparse_pattern;

/* The scores and the mask of one matrix. */
typedef struct sonde_scored {
  const char *name;
  int64_t out, in;
  const float *score;         /* [out, in] */
  float *mask;                /* [out, in], in and out */
} sonde_scored;

/* Takes the weights of the lowest scores out of the masks, so that with those that were out before they are as many as
 * the pattern says; of equal scores the first go. SONDE_SCOPE_MODEL compares the weights of all n matrices, the others
 * those of each row or matrix; groups are always of a row. EINVAL: a score is NaN, by the name of its matrix. */
int sonde_mask_lowest(const sonde_scored *m, int n, const sonde_sparse_pattern *p, int scope, sonde_error *err);

/* Lets a method that has `prune` make w [out, in] and the mask of s->w, with s->sparsity, keep and group set. EBUG
 * where the method breaks its contract: a weight that went is not 0, one that was out is back, groups have other
 * counts. */
int sonde_sparsity_prune(const sonde_sparsity *f, const sonde_sparse *s, const sonde_value *values, float *w,
                         float *mask, sonde_error *err);

#endif
