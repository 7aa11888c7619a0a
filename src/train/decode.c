/* decode.c - see decode.h. */
#include "config.h"
#include "train/decode.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct sonde_cache {
  int64_t batch, capacity;
  int prefill, layers, at;                      /* at: the layer that comes next in the trace under way */
  sonde_graph *graph;                           /* attached to last; the nodes are its */
  sonde_node *position;
  sonde_tensor *keys[SONDE_CACHE_LAYERS], *values[SONDE_CACHE_LAYERS];
  sonde_node *key_out[SONDE_CACHE_LAYERS], *value_out[SONDE_CACHE_LAYERS];
};

sonde_cache *sonde_cache_new(int64_t batch, int64_t capacity, sonde_error *err) {
  if (batch < 1 || capacity < 1) {
    sonde_fail(err, SONDE_EINVAL, "a cache needs at least one sequence and one token, not %lld and %lld", (long long)batch,
               (long long)capacity);
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
  for (int k = 0; k < c->layers; k++) {
    sonde_tensor_free(c->keys[k]);
    sonde_tensor_free(c->values[k]);
  }
  sonde_graph_free(c->graph);
  sonde_release(c);
}

/* The cache's two tensors of layer `at`, made at the first trace and checked at the next. */
static int layer_tensors(sonde_cache *c, sonde_graph *g, const sonde_shape *k) {
  sonde_error err = {0};
  int64_t dim[4] = {c->batch, c->capacity, k->dim[2], k->dim[3]};
  sonde_shape s = sonde_shape_make(SONDE_F32, 4, dim);
  if (c->at == SONDE_CACHE_LAYERS) {
    sonde_graph_fail(g, SONDE_ELIMIT, "a cache holds at most %d attention layers", SONDE_CACHE_LAYERS);
    return SONDE_ELIMIT;
  }
  if (k->dim[0] != c->batch || (c->at < c->layers && !sonde_shape_equal(&c->keys[c->at]->shape, &s))) {
    sonde_graph_fail(g, SONDE_ESHAPE, "attention layer %d does not fit the cache it is traced with", c->at);
    return SONDE_ESHAPE;
  }
  if (c->at < c->layers) return 0;
  c->keys[c->at] = sonde_tensor_new(&s, &err);
  c->values[c->at] = sonde_tensor_new(&s, &err);
  c->layers = c->at + 1;
  if (c->keys[c->at] && c->values[c->at]) return 0;
  sonde_graph_fail(g, err.code, "%s", err.text);
  return err.code;
}

static sonde_node *written(sonde_cache *c, sonde_graph *g, const char *what, sonde_tensor *t, sonde_node *x) {
  char name[64];
  snprintf(name, sizeof name, "cache.%d.%s", c->at, what);
  sonde_node *in[3] = {sonde_leaf(g, name, t), x, c->position};
  return sonde_op(g, "cache_write", in, 3, NULL);
}

static sonde_node *edit(void *arg, sonde_graph *g, const char *op, sonde_node *const *in, int n_in, const sonde_attr *attr,
                        int *taken) {
  sonde_cache *c = arg;
  int rope = !strcmp(op, "rope") && n_in < 3 && in[n_in - 1]->shape.dtype != SONDE_I32;
  if (!rope && (strcmp(op, "attention") || !attr->i[0])) return NULL;
  if (g != c->graph) {
    *taken = 1;
    return sonde_graph_fail(g, SONDE_EINVAL, "the cache of this graph was attached to another graph since");
  }
  if (rope) {
    sonde_node *with[3] = {in[0], n_in > 1 ? in[1] : c->position, c->position};
    *taken = 1;
    return sonde_op(g, "rope", with, n_in + 1, attr);
  }
  *taken = 1;
  if (n_in > 3)
    return sonde_graph_fail(g, SONDE_EINVAL, "a cache holds one document: trace without document_end, or without the cache");
  if (layer_tensors(c, g, &in[1]->shape)) return NULL;
  c->key_out[c->at] = written(c, g, "keys", c->keys[c->at], in[1]);
  c->value_out[c->at] = written(c, g, "values", c->values[c->at], in[2]);
  sonde_node *cached[4] = {in[0], c->key_out[c->at], c->value_out[c->at], c->position};
  c->at++;
  return c->prefill ? sonde_op(g, "attention", in, n_in, attr) : sonde_op(g, "attention_cached", cached, 4, attr);
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
    out[2 * k] = c->key_out[k];
    out[2 * k + 1] = c->value_out[k];
    tensor[2 * k] = c->keys[k];
    tensor[2 * k + 1] = c->values[k];
  }
  return 2 * c->at;
}

int64_t sonde_cache_bytes(const sonde_cache *c) {
  int64_t n = 0;
  for (int k = 0; k < c->layers; k++) n += c->keys[k]->bytes + c->values[k]->bytes;
  return n;
}
