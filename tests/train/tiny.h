/* tiny.h - what the tests of training share: a small Llama traced with public calls, its text, and a trainer over them.
 * tests/reference/make_train.py builds the same model with the same numbers in PyTorch. */
#ifndef TESTS_TRAIN_TINY_H
#define TESTS_TRAIN_TINY_H

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "base/file.h"
#include "base/mem.h"
#include "graph/graph.h"
#include "graph/refresh.h"
#include "plugin/registry.h"
#include "sonde_build.h"
#include "tensor/tensor.h"
#include "train/trainer.h"

enum { VOCAB = 61, WIDTH = 24, HEADS = 3, KV_HEADS = 1, DEPTH = 2, HIDDEN = 40, CONTEXT = 16 };
enum { TEXT = 3000, VALID = 401 };   /* tokens of training and validation text */

/* Number i of stream `seed`, in [0, 1): an integer hash that Python has too. */
static inline double hashed(uint32_t seed, uint32_t i) {
  uint32_t h = seed + i;
  h = (h ^ (h >> 16)) * 0x7FEB352Du;
  h = (h ^ (h >> 15)) * 0x846CA68Bu;
  return (double)((h ^ (h >> 16)) >> 8) / 16777216.0;
}

typedef struct tiny {
  sonde_ctx *ctx;
  sonde_params *params;
  sonde_graph *graph;
  sonde_node *loss, *probe[DEPTH];
  uint16_t text[TEXT], valid_text[VALID];
  sonde_batches batches;
  sonde_feed *feed;
  sonde_value *values;           /* the optimizer's options */
  sonde_trainer_opts opts;
  int made;                      /* parameters so far: the seed of the next one's numbers */
} tiny;

/* A parameter of fixed numbers: gains are 1, weights in [-0.1, 0.1). */
static inline sonde_node *tiny_param(tiny *m, const char *name, int64_t rows, int64_t columns, int role,
                                     int block) {
  sonde_error err = {0};
  int64_t dim[2] = {rows, columns};
  sonde_shape shape = sonde_shape_make(SONDE_F32, columns ? 2 : 1, dim);
  sonde_init init = {SONDE_INIT_FILL, 1, 0};
  const sonde_param *p = sonde_params_need(m->params, name, &shape, role, init, block, &err);
  if (!p) fail_msg("%s", err.text);
  float *w = sonde_tensor_write(p->value, NULL);
  for (int64_t i = 0; i < sonde_shape_count(&shape); i++)
    w[i] = columns ? (float)(0.2 * hashed(1000003u * (uint32_t)(m->made + 1), (uint32_t)i) - 0.1) : 1;
  m->made++;
  return sonde_leaf(m->graph, name, p->value);
}

static inline sonde_node *tiny_block(tiny *m, sonde_node *x, int b, int64_t batch) {
  char name[64];
  const int64_t head = WIDTH / HEADS, q_dim[] = {batch, CONTEXT, HEADS, head},
                kv_dim[] = {batch, CONTEXT, KV_HEADS, head}, out_dim[] = {batch, CONTEXT, WIDTH};
#define PARAM(n, rows, columns, role)                                                                          \
  (snprintf(name, sizeof name, "blocks.%d." n, b), tiny_param(m, name, rows, columns, role, b))
  sonde_graph_scope(m->graph, "block", b);
  sonde_node *h = sonde_rmsnorm(x, PARAM("norm1", WIDTH, 0, SONDE_ROLE_GAIN), 1e-6);
  sonde_node *q = sonde_linear(h, PARAM("q", WIDTH, WIDTH, SONDE_ROLE_QK));
  sonde_node *k = sonde_linear(h, PARAM("k", KV_HEADS * head, WIDTH, SONDE_ROLE_QK));
  sonde_node *v = sonde_linear(h, PARAM("v", KV_HEADS * head, WIDTH, SONDE_ROLE_V));
  sonde_node *a =
      sonde_attention(sonde_rope(sonde_reshape(q, q_dim, 4), 1e4, 0),
                      sonde_rope(sonde_reshape(k, kv_dim, 4), 1e4, 0), sonde_reshape(v, kv_dim, 4), 0, 0);
  x = sonde_add(x, sonde_linear(sonde_reshape(a, out_dim, 3), PARAM("o", WIDTH, WIDTH, SONDE_ROLE_ATTN_OUT)));
  h = sonde_rmsnorm(x, PARAM("norm2", WIDTH, 0, SONDE_ROLE_GAIN), 1e-6);
  sonde_node *gate = sonde_linear(h, PARAM("gate", HIDDEN, WIDTH, SONDE_ROLE_FFN_IN));
  sonde_node *up = sonde_linear(h, PARAM("up", HIDDEN, WIDTH, SONDE_ROLE_FFN_IN));
  x = sonde_add(x, sonde_linear(sonde_swiglu(gate, up), PARAM("down", WIDTH, HIDDEN, SONDE_ROLE_FFN_OUT)));
#undef PARAM
  return m->probe[b] = x;
}

static inline void tiny_trace(tiny *m, int64_t batch) {
  const int64_t tokens_dim[] = {batch, CONTEXT}, n = batch * CONTEXT, flat[] = {n, WIDTH};
  sonde_shape tokens_shape = sonde_shape_make(SONDE_I32, 2, tokens_dim),
              targets_shape = sonde_shape_make(SONDE_I32, 1, &n);
  sonde_node *tokens = sonde_input(m->graph, "tokens", &tokens_shape),
             *targets = sonde_input(m->graph, "targets", &targets_shape);
  sonde_node *look[] = {tiny_param(m, "embed", VOCAB, WIDTH, SONDE_ROLE_EMBED, -1), tokens};
  sonde_node *x = sonde_op(m->graph, "gather", look, 2, NULL);
  for (int b = 0; b < DEPTH; b++) x = tiny_block(m, x, b, batch);
  sonde_graph_scope(m->graph, "head", -1);
  x = sonde_rmsnorm(x, tiny_param(m, "norm", WIDTH, 0, SONDE_ROLE_GAIN, -1), 1e-6);
  sonde_node *in[] = {sonde_reshape(x, flat, 2), tiny_param(m, "head", VOCAB, WIDTH, SONDE_ROLE_HEAD, -1),
                      targets};
  m->loss = sonde_op(m->graph, "lm_loss", in, 3, NULL);
}

/* Text with something to learn: each token follows from the one before it, but for every fourth. */
static inline void tiny_text(uint16_t *text, int n, uint32_t seed) {
  for (int i = 0; i < n; i++) {
    uint16_t free = (uint16_t)(hashed(seed, (uint32_t)i) * VOCAB);
    text[i] = i && hashed(seed + 77, (uint32_t)i) < 0.75 ? (uint16_t)((text[i - 1] * 7 + 3) % VOCAB) : free;
  }
}

/* Where the models run; NULL: on the CPU. */
static const sonde_backend *tiny_backend;

static inline sonde_ctx *tiny_ctx(int threads, sonde_error *err) {
  return tiny_backend ? sonde_ctx_new_on(tiny_backend, 0, threads, err) : sonde_ctx_new(threads, err);
}

/* A model over micro-batches of `batch` rows, with AdamW, 20 steps, and options that a test may change before it makes
 * the trainer. */
static inline void tiny_make(tiny *m, int threads, int64_t batch) {
  sonde_error err = {0};
  memset(m, 0, sizeof *m);
  m->ctx = tiny_ctx(threads, &err);
  if (!m->ctx) fail_msg("%s", err.text);
  m->params = sonde_params_new(5, &err);
  m->graph = sonde_graph_new(m->ctx, &err);
  tiny_trace(m, batch);
  if (sonde_graph_error(m->graph, &err)) fail_msg("%s", err.text);
  tiny_text(m->text, TEXT, 11);
  tiny_text(m->valid_text, VALID, 12);
  sonde_stream valid = {.data = m->valid_text, .width = 2, .tokens = VALID, .vocab = VOCAB};
  sonde_stream train = {.data = m->text, .width = 2, .tokens = TEXT, .vocab = VOCAB};
  if (sonde_batches_init(&m->batches, train, CONTEXT, 3, &err)) fail_msg("%s", err.text);
  if (!(m->feed = sonde_feed_tokens(&m->batches, &valid, &err))) fail_msg("%s", err.text);
  sonde_registry *r = sonde_registry_of(m->ctx, &err);
  const sonde_entry *e = r ? sonde_registry_find(r, "optimizer", "adamw", &err) : NULL;
  if (!e || !(m->values = sonde_entry_values(e, NULL, &err))) fail_msg("%s", err.text);
  m->opts = (sonde_trainer_opts){
      .loss = m->loss,
      .params = m->params,
      .probe = m->probe,
      .n_probe = DEPTH,
      .blocks = DEPTH,
      .seed = 5,
      .optimizer = sonde_entry_functions(e, "optimizer", &err),
      .optimizer_values = m->values,
      .schedule = {.kind = SONDE_SCHEDULE_COSINE, .lr = 1e-2, .min_ratio = 0.1, .steps = 20, .warmup = 4},
      .accumulate = 1,
      .weight_decay = 0.1,
      .clip = 1.0,
      .recompute = 1,
      .feed = m->feed,
      .targets = "targets",
      .log_every = 1,
      .probe_every = 5,
  };
}

/* A buffer that follows the squares of one matrix every third update, and that the loss reads. */
static inline const float *tiny_buffer(tiny *m) {
  const int64_t one = 1;
  sonde_error err = {0};
  sonde_shape shape = sonde_shape_make(SONDE_F32, 1, &one);
  const sonde_param *p = sonde_params_need(m->params, "squares", &shape, SONDE_ROLE_BUFFER,
                                           (sonde_init){SONDE_INIT_FILL, 7, 0}, 0, &err);
  sonde_node *buffer = sonde_leaf(m->graph, "squares", p->value);
  sonde_node *value = sonde_reshape(sonde_sum_all(sonde_square(sonde_find(m->graph, "blocks.0.o"))), &one, 1);
  assert_int_equal(sonde_refresh_declare(buffer, value, 3, &err), SONDE_OK);
  m->opts.loss = sonde_add(m->loss, sonde_scale(buffer, 0.01));
  return sonde_tensor_read(p->value, NULL);
}

static inline sonde_trainer *tiny_trainer(tiny *m) {
  sonde_error err = {0};
  sonde_trainer *t = sonde_trainer_new(m->ctx, &m->opts, &err);
  if (!t) fail_msg("%s", err.text);
  return t;
}

/* Trains to the end (or to a stop) and gives the last event; losses[step-1], if asked for, is each step's loss. */
static inline sonde_train_event tiny_train(sonde_trainer *t, double *losses) {
  sonde_error err = {0};
  sonde_train_event e;
  do {
    if (sonde_trainer_run(t, &e, &err)) fail_msg("%s", err.text);
    if (losses && (e.what & SONDE_TRAIN_LOG)) losses[e.step - 1] = e.loss;
  } while (!(e.what & (SONDE_TRAIN_DONE | SONDE_TRAIN_DIVERGED | SONDE_TRAIN_INTERRUPTED)));
  return e;
}

/* The SHA-256 of the weights. */
static inline void tiny_sha256(const tiny *m, char hex[65]) {
  assert_int_equal(sonde_params_sha256(m->params, hex), 0);
}

static inline void tiny_free(tiny *m) {
  sonde_feed_free(m->feed);
  sonde_release(m->values);
  sonde_graph_free(m->graph);
  sonde_params_free(m->params);
  sonde_ctx_free(m->ctx);
}

#endif
