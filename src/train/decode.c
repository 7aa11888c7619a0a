/* decode.c - see decode.h. */
#include "config.h"
#include "train/decode.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What one cached input of one op leaves for later tokens: [batch, capacity, ..]. */
typedef struct kept { sonde_tensor *tensor; sonde_node *out; } kept;

struct sonde_cache {
  int64_t batch, capacity;
  int prefill, count, at;                       /* at: the one that comes next in the trace under way */
  sonde_graph *graph;                           /* attached to last; the nodes are its */
  sonde_node *position;
  kept kept[SONDE_CACHE_TENSORS];
};

sonde_cache *sonde_cache_new(int64_t batch, int64_t capacity, sonde_error *err) {
  if (batch < 1 || capacity < 1) {
    sonde_fail(err, SONDE_EINVAL, "a cache needs at least one sequence and one token, not %lld and %lld",
               (long long)batch, (long long)capacity);
    return NULL;
  }
  sonde_cache *c = sonde_alloc(sizeof *c);
  if (!c) {
    sonde_fail(err, SONDE_ENOMEM, "no memory for a cache");
    return NULL;
  }
  c->batch = batch;
  c->capacity = capacity;
  return c;
}

void sonde_cache_free(sonde_cache *c) {
  if (!c) return;
  for (int k = 0; k < c->count; k++) sonde_tensor_free(c->kept[k].tensor);
  sonde_graph_free(c->graph);
  sonde_release(c);
}

/* The tensor of the cached input that comes next, `x`: made at the first trace and checked at the next. */
static sonde_tensor *next_tensor(sonde_cache *c, sonde_graph *g, const char *op, const sonde_shape *x) {
  sonde_error err = {0};
  if (c->at == SONDE_CACHE_TENSORS) {
    sonde_graph_fail(g, SONDE_ELIMIT, "a cache holds at most %d inputs of ops", SONDE_CACHE_TENSORS);
    return NULL;
  }
  sonde_shape s = *x;
  s.dtype = SONDE_F32;
  s.dim[1] = c->capacity;
  kept *k = &c->kept[c->at];
  if (x->rank < 2 || x->dim[0] != c->batch || (c->at < c->count && !sonde_shape_equal(&k->tensor->shape, &s))) {
    sonde_graph_fail(g, SONDE_ESHAPE, "%s: cached input %d of the model does not fit the cache it is traced with", op,
                     c->at + 1);
    return NULL;
  }
  if (c->at < c->count) return k->tensor;
  if ((k->tensor = sonde_tensor_new(&s, &err))) c->count = c->at + 1;
  else sonde_graph_fail(g, err.code, "%s", err.text);
  return k->tensor;
}

/* The cache of x with x in it, at the position. */
static sonde_node *written(sonde_cache *c, sonde_graph *g, const char *op, sonde_node *x) {
  char name[64];
  sonde_tensor *t = next_tensor(c, g, op, &x->shape);
  snprintf(name, sizeof name, "cache.%d", c->at);
  sonde_node *in[3] = {t ? sonde_leaf(g, name, t) : NULL, x, c->position};
  return t ? c->kept[c->at++].out = sonde_op(g, "cache_write", in, 3, NULL) : NULL;
}

/* An op that is its own step needs nothing more where it has a position already. */
static int has_position(const sonde_op_def *op, sonde_node *const *in, int n_in) {
  return !strcmp(op->step, op->name) && (n_in == op->max_in || in[n_in - 1]->shape.dtype == SONDE_I32);
}

static sonde_node *edit(void *arg, sonde_graph *g, const sonde_op_def *op, sonde_node *const *in, int n_in,
                        const sonde_attr *attr, int *taken) {
  sonde_cache *c = arg;
  sonde_node *with[SONDE_MAX_IN + 1];
  if (!op->step || has_position(op, in, n_in)) return NULL;
  *taken = 1;
  if (g != c->graph)
    return sonde_graph_fail(g, SONDE_EINVAL, "the cache of this graph was attached to another graph since");
  for (int k = 0; k < n_in; k++)
    if (!(with[k] = op->cached >> k & 1 ? written(c, g, op->name, in[k]) : in[k])) return NULL;
  with[n_in] = c->position;
  /* in a prompt too: it refuses what does not decode */
  sonde_node *step = sonde_op(g, op->step, with, n_in + 1, attr);
  return c->prefill && step ? sonde_op(g, op->name, in, n_in, attr) : step;
}

int sonde_cache_attach(sonde_cache *c, sonde_graph *g, int prefill, sonde_error *err) {
  int64_t one = 1;
  sonde_shape s = sonde_shape_make(SONDE_I32, 1, &one);
  if (g->count) return sonde_fail(err, SONDE_EINVAL, "a cache is attached to an empty graph; this one has nodes");
  c->at = 0;
  c->prefill = prefill;
  c->position = sonde_input(g, "position", &s);
  if (!c->position) return sonde_graph_error(g, err);
  sonde_graph_free(c->graph);
  c->graph = sonde_graph_ref(g);
  g->rewrite = edit;
  g->rewrite_arg = c;
  return 0;
}

int sonde_cache_outputs(const sonde_cache *c, const sonde_graph *g, sonde_node **out, sonde_tensor **tensor) {
  if (g != c->graph) return SONDE_EINVAL;
  for (int k = 0; k < c->at; k++) {
    out[k] = c->kept[k].out;
    tensor[k] = c->kept[k].tensor;
  }
  return c->at;
}
