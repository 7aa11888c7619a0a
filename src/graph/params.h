/* params.h - the named parameters of one model: tensors with a role, made at the first trace, found again at the next. */
#ifndef SONDE_GRAPH_PARAMS_H
#define SONDE_GRAPH_PARAMS_H

#define SONDE_INSIDE 1
#include "sonde_plugin.h"

/* First values. FILL: a. NORMAL: N(0, a^2). XAVIER: N(0, a^2 * 2/(fan_in+fan_out)). FAN_IN: N(0, a^2 / fan_in), where a
 * weight is [fan_out, fan_in]. The last three are truncated at b sigmas if b > 0. */
typedef enum sonde_init_kind { SONDE_INIT_FILL, SONDE_INIT_NORMAL, SONDE_INIT_XAVIER, SONDE_INIT_FAN_IN } sonde_init_kind;
typedef struct sonde_init { int32_t kind; double a, b; } sonde_init;

typedef struct sonde_param {
  const char *name;
  sonde_tensor *value;       /* f32; its memory is untouched until sonde_params_init */
  sonde_init init;
  int32_t role;              /* sonde_role */
  int32_t block;             /* 0-based block it belongs to; -1: none */
  const struct sonde_param *a, *b;   /* adapters: modules see value + scale b a; NULL: none */
  double scale;
} sonde_param;

sonde_params *sonde_params_new(uint64_t seed, sonde_error *err);
sonde_params *sonde_params_ref(sonde_params *p);
void sonde_params_free(sonde_params *p);

/* The parameter of that name: made if absent (EINVAL if sealed), or checked against the shape (ESHAPE names both). */
const sonde_param *sonde_params_need(sonde_params *p, const char *name, const sonde_shape *shape, int role,
                                     sonde_init init, int block, sonde_error *err);
/* From now on need makes nothing: a name that is not there is refused. Adapters may still be put on. */
void sonde_params_seal(sonde_params *p);
/* Puts adapters on the matrix [out, in] of that name (LoRA; Hu et al., 2022): the parameters NAME.lora_a [rank, in], at
 * first N(0, 1/in), and NAME.lora_b [out, rank], at first 0. Traces made from then on use them. */
int sonde_params_adapt(sonde_params *p, const char *name, int64_t rank, double scale, sonde_error *err);
const sonde_param *sonde_params_find(const sonde_params *p, const char *name);
int64_t sonde_params_count(const sonde_params *p);               /* parameters (tensors) */
const sonde_param *sonde_params_at(const sonde_params *p, int64_t i);   /* in the order they were made */
int64_t sonde_params_elements(const sonde_params *p);            /* numbers in all that are trained: buffers do not count */

/* Gives every parameter that has no values yet its first values, from the stream "init/<name>" of the seed. A buffer's
 * are computed from the others' (refresh.h); until then it holds init's fill and still counts as without values. */
void sonde_params_init(sonde_params *p, sonde_ctx *ctx);
/* Marks values as set (a loader has written them, a refresh has computed them). */
void sonde_params_loaded(sonde_params *p, const char *name);
int sonde_params_is_set(const sonde_params *p, const char *name);
/* The first that holds NaN or an infinite value; NULL: none does. */
const sonde_param *sonde_params_not_finite(const sonde_params *p);
/* Over names, shapes and values in the order of the names. SONDE_ENOMEM or 0. */
int sonde_params_sha256(const sonde_params *p, char hex[65]);

#endif
