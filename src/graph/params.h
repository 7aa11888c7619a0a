/* params.h - the named parameters of one model: tensors with a role, made at the first trace, found again at the
 * next. */
#ifndef SONDE_GRAPH_PARAMS_H
#define SONDE_GRAPH_PARAMS_H

#define SONDE_INSIDE 1
#include "sonde_plugin.h"

/* First values. FILL: a. NORMAL: N(0, a^2). XAVIER: N(0, a^2 * 2/(fan_in+fan_out)). FAN_IN: N(0, a^2 / fan_in), where a
 * weight is [.., fan_out, fan_in]. The last three are truncated at b sigmas if b > 0. */
typedef enum sonde_init_kind {
  SONDE_INIT_FILL,
  SONDE_INIT_NORMAL,
  SONDE_INIT_XAVIER,
  SONDE_INIT_FAN_IN
} sonde_init_kind;
typedef struct sonde_init { int32_t kind; double a, b; } sonde_init;

/* What modules read of a parameter is its value seen through its views, in the order in which they were put on
 * (views.h): SHARE reads another parameter (with its views) in place of a value of its own, MASK multiplies by a buffer
 * of the same shape, LOW_RANK adds scale b a, FREEZE keeps the value from being trained and changes nothing that is
 * read. */
typedef enum sonde_view_kind {
  SONDE_VIEW_SHARE,
  SONDE_VIEW_MASK,
  SONDE_VIEW_LOW_RANK,
  SONDE_VIEW_FREEZE
} sonde_view_kind;
typedef struct sonde_view {
  int32_t kind;
  const struct sonde_param *a, *b;   /* SHARE: a is read; MASK: a multiplies; LOW_RANK: a [rank, in], b [out, rank] */
  double scale;                      /* LOW_RANK */
} sonde_view;

typedef struct sonde_param {
  const char *name;
  /* f32; its memory is untouched until sonde_params_init; of one that is shared: the other's */
  sonde_tensor *value;
  sonde_init init;
  int32_t role;              /* sonde_role */
  int32_t block;             /* 0-based block it belongs to; -1: none */
  int32_t views;
  const sonde_view *view;    /* [views] */
  const struct sonde_param *of;   /* the parameter whose view this one serves (a mask, a low-rank factor); NULL: none */
} sonde_param;

sonde_params *sonde_params_new(uint64_t seed, sonde_error *err);
sonde_params *sonde_params_ref(sonde_params *p);
void sonde_params_free(sonde_params *p);

/* The parameter of that name: made if absent (EINVAL if sealed), or checked against the shape (ESHAPE names both). */
const sonde_param *sonde_params_need(sonde_params *p, const char *name, const sonde_shape *shape, int role,
                                     sonde_init init, int block, sonde_error *err);
/* A parameter of a training beside the model's (a projection), which is made although the parameters are sealed; the
 * same again where it is there. EINVAL while a training uses them. */
const sonde_param *sonde_params_extend(sonde_params *p, const char *name, const sonde_shape *shape, int role,
                                       sonde_init init, sonde_error *err);
/* From now on need makes nothing: a name that is not there is refused. Views may still be put on. */
void sonde_params_seal(sonde_params *p);

/* Views; traces made from then on read them. A parameter has each kind once at most.
 * MASK makes the buffer NAME.mask, of ones at first: the caller writes it (0 takes a weight out). It is no part of what
 * is trained, and is saved in checkpoints.
 * LOW_RANK is for a matrix [out, in], or each of several [.., out, in] (LoRA; Hu et al., 2022): W + scale b a, with the
 * parameters NAME.lora_a [.., rank, in], at first N(0, 1/in), and NAME.lora_b [.., out, rank], at first 0: at once
 * where NAME has values, else with it.
 * SHARE gives up NAME's own value, before any other view is put on, for that of `source` (or of what that shares), of
 * the same shape; both then have one gradient, the sum.
 * EINVAL where it does not fit, while a training uses the parameters (sonde_params_use), or where scale is not finite;
 * with the reason. */
int sonde_params_mask(sonde_params *p, const char *name, sonde_error *err);
/* Not a view, but refused as those are: a buffer NAME.gathered of the parameter's shape, 0 at first, for what a
 * sparsity method sums up in training. It is saved in checkpoints, and modules read nothing of it. */
int sonde_params_gather(sonde_params *p, const char *name, sonde_error *err);
int sonde_params_low_rank(sonde_params *p, sonde_ctx *ctx, const char *name, int64_t rank, double scale,
                          sonde_error *err);
int sonde_params_share(sonde_params *p, const char *name, const char *source, sonde_error *err);
/* on 0 takes the view off again (refused as above). */
int sonde_params_freeze(sonde_params *p, const char *name, int on, sonde_error *err);
/* The parameter's view of that kind; NULL: none. */
const sonde_view *sonde_param_view(const sonde_param *p, int kind);
/* Whether training changes its values: neither a buffer, nor frozen, nor shared. */
int sonde_param_trained(const sonde_param *p);

/* Between the two, as often as each is called, views are neither put on nor taken off: a training relies on them. Its
 * values are no initialisation's any more (given_sha256 below). */
void sonde_params_use(sonde_params *p);
void sonde_params_unuse(sonde_params *p);

const sonde_param *sonde_params_find(const sonde_params *p, const char *name);
/* Parameters with values of their own, in the order they were made: what is trained, saved in checkpoints and
 * hashed. */
int64_t sonde_params_count(const sonde_params *p);
const sonde_param *sonde_params_at(const sonde_params *p, int64_t i);
/* All names, those that share another's value among them. */
int64_t sonde_params_names(const sonde_params *p);
const sonde_param *sonde_params_named(const sonde_params *p, int64_t i);
/* numbers in all that are trained: buffers do not count */
int64_t sonde_params_elements(const sonde_params *p);

/* Gives every parameter that has no values yet its first values, from the stream "init/<name>" of the seed; one that
 * was written has values. A buffer's are computed from the others' (refresh.h); until then it holds init's fill and
 * still counts as without values. */
void sonde_params_init(sonde_params *p, sonde_ctx *ctx);
int sonde_params_is_set(sonde_params *p, const char *name);
/* The first that holds NaN or an infinite value; NULL: none does. */
const sonde_param *sonde_params_not_finite(const sonde_params *p);
/* Over names, shapes and values in the order of the names. 0, ENOMEM, or EIO where a device does not give them. */
int sonde_params_sha256(const sonde_params *p, char hex[65]);
/* The same over those that hold other values than their initialisation's, which follow from the seed (and may differ in
 * their last bits between machines): what was written, read from files, or trained. "" where there are none. */
int sonde_params_given_sha256(const sonde_params *p, char hex[65]);

#endif
