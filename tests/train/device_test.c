/* device_test.c - plans on a device whose memory the host cannot reach, which records and replays, and lacks some
 * kernels: training and generation end in the CPU's bits. */
#include "tiny.h"

#include <errno.h>
#include <unistd.h>

#include "../graph/guarded.h"
#include "graph/plan.h"
#include "train/decode.h"
#include "train/trainer_state.h"

/* ---- training ------------------------------------------------------------------------------------------- */

static void nothing(sonde_trainer_opts *o) { (void)o; }
static void in_bf16(sonde_trainer_opts *o) { o->compute = SONDE_BF16; }
static void in_micro_batches(sonde_trainer_opts *o) { o->accumulate = 3; }
static void recomputed(sonde_trainer_opts *o) { o->recompute = 2, o->eval_every = 4; }

static sonde_train_event train_on(const sonde_backend *backend, void (*change)(sonde_trainer_opts *), char hex[65]) {
  tiny m;
  tiny_backend = backend;
  tiny_make(&m, 2, 2);
  tiny_backend = NULL;
  change(&m.opts);
  sonde_trainer *t = tiny_trainer(&m);
  sonde_train_event e = tiny_train(t, NULL);
  e.block_norm = e.variance = NULL;
  tiny_sha256(&m, hex);
  sonde_trainer_free(t);
  tiny_free(&m);
  return e;
}

static void training_ends_in_the_cpus_bits(void **state) {
  void (*const changes[])(sonde_trainer_opts *) = {nothing, in_bf16, in_micro_batches, recomputed};
  (void)state;
  for (int k = 0; k < 4; k++) {
    char cpu[65], device[65];
    sonde_train_event a = train_on(NULL, changes[k], cpu), b = train_on(&guarded_backend, changes[k], device);
    assert_string_equal(cpu, device);
    assert_true(a.loss == b.loss && a.val_loss == b.val_loss && a.grad_norm == b.grad_norm);
    assert_true(guarded_counted.recordings > 5 && guarded_counted.replays > 5 * guarded_counted.recordings);
    assert_true(guarded_counted.lacking > 10);           /* the CPU ran some */
    assert_int_equal(guarded_counted.read_while_recording, 0);
    assert_int_equal(guarded_counted.live, 0);
  }
}

/* ---- generation ----------------------------------------------------------------------------------------- */

enum { STEPS = 8, WIDE = HEADS * 8 };

static sonde_node *weight(sonde_graph *g, const char *name, int64_t rows, int64_t columns, uint32_t seed) {
  sonde_error err = {0};
  const int64_t dim[2] = {rows, columns};
  sonde_shape shape = sonde_shape_make(SONDE_F32, 2, dim);
  sonde_tensor *t = sonde_tensor_new(&shape, &err);
  float *x = sonde_tensor_write(t, &err);
  for (int64_t k = 0; k < rows * columns; k++) x[k] = (float)(hashed(seed, (uint32_t)k) - 0.5);
  sonde_node *leaf = sonde_leaf(g, name, t);
  sonde_tensor_free(t);
  return leaf;
}

static sonde_node *logits_of(sonde_graph *g) {
  const int64_t one[2] = {1, 1}, head[4] = {1, 1, HEADS, 8}, flat[3] = {1, 1, WIDE};
  sonde_shape shape = sonde_shape_make(SONDE_I32, 2, one);
  sonde_node *embed = weight(g, "embed", VOCAB, WIDE, 1), *in[2] = {embed, sonde_input(g, "tokens", &shape)};
  sonde_node *x = sonde_op(g, "gather", in, 2, NULL);
  sonde_node *q = sonde_reshape(sonde_linear(x, weight(g, "q", WIDE, WIDE, 2)), head, 4);
  sonde_node *k = sonde_reshape(sonde_linear(x, weight(g, "k", WIDE, WIDE, 3)), head, 4);
  sonde_node *v = sonde_reshape(sonde_linear(x, weight(g, "v", WIDE, WIDE, 4)), head, 4);
  sonde_node *a = sonde_attention(sonde_rope(q, 1e4, 0), sonde_rope(k, 1e4, 0), v, 0, 0);
  x = sonde_add(x, sonde_linear(sonde_reshape(a, flat, 3), weight(g, "o", WIDE, WIDE, 5)));
  return sonde_linear(sonde_tanh(x), embed);
}

/* Continues one token by the largest logits; all of them go to `logits`. */
static void generate_on(const sonde_backend *backend, int compute, int32_t token[STEPS + 1],
                        float logits[STEPS][VOCAB]) {
  sonde_error err = {0};
  tiny_backend = backend;
  sonde_ctx *ctx = tiny_ctx(2, &err);
  tiny_backend = NULL;
  sonde_graph *g = sonde_graph_new(ctx, &err);
  sonde_cache *cache = sonde_cache_new(1, STEPS, &err);
  assert_int_equal(sonde_cache_attach(cache, g, 0, &err), SONDE_OK);
  sonde_node *out[3] = {logits_of(g)};
  sonde_tensor *to[3] = {NULL};
  assert_int_equal(sonde_cache_outputs(cache, g, out + 1, to + 1), 2);
  const sonde_plan_opts opts = {.compute = compute, .hold = 1};
  sonde_plan *p = sonde_plan_new(g, out, to, 3, &opts, &err);
  if (!p) fail_msg("%s", err.text);
  token[0] = 7;
  for (int32_t at = 0; at < STEPS; at++) {
    assert_int_equal(sonde_plan_set_input(p, "tokens", &token[at], &err), SONDE_OK);
    assert_int_equal(sonde_plan_set_input(p, "position", &at, &err), SONDE_OK);
    if (sonde_plan_run(p, &err)) fail_msg("%s", err.text);
    memcpy(logits[at], sonde_plan_output(p, 0), sizeof logits[at]);
    token[at + 1] = 0;
    for (int32_t k = 1; k < VOCAB; k++)
      if (logits[at][k] > logits[at][token[at + 1]]) token[at + 1] = k;
    token[at + 1] = (token[at + 1] + at) % VOCAB;         /* or it repeats one token, whose logits are then all alike */
  }
  sonde_plan_free(p);
  sonde_cache_free(cache);
  sonde_graph_free(g);
  sonde_ctx_free(ctx);
}

static void generation_gives_the_cpus_bits(void **state) {
  (void)state;
  for (int compute = SONDE_F32; compute <= SONDE_BF16; compute++) {
    static float cpu[STEPS][VOCAB], device[STEPS][VOCAB];
    int32_t a[STEPS + 1], b[STEPS + 1];
    generate_on(NULL, compute, a, cpu);
    generate_on(&guarded_backend, compute, b, device);
    assert_memory_equal(a, b, sizeof a);
    assert_memory_equal(cpu, device, sizeof cpu);
    assert_true(memcmp(cpu[1], cpu[2], sizeof cpu[1]) != 0);
    assert_true(guarded_counted.replays >= STEPS && guarded_counted.lacking > 3);
    assert_int_equal(guarded_counted.read_while_recording, 0);
    assert_int_equal(guarded_counted.live, 0);
  }
}

/* ---- the seam itself ------------------------------------------------------------------------------------ */

enum { N = 100 };

static void note(void *arg, int32_t step) { *(int32_t *)arg += step + 1; }

/* Dropout of an input at the steps 1, 2, 1: the block changes between replays of one recording, and so do input and
 * leaf. */
static void drop_on(const sonde_backend *backend, float y[4][N]) {
  sonde_error err = {0};
  int64_t n = N;
  int32_t steps = 0;
  float x[N];
  tiny_backend = backend;
  sonde_ctx *ctx = tiny_ctx(1, &err);
  tiny_backend = NULL;
  sonde_graph *g = sonde_graph_new(ctx, &err);
  sonde_shape shape = sonde_shape_make(SONDE_F32, 1, &n);
  sonde_tensor *t = sonde_tensor_new(&shape, &err);
  sonde_node *in = sonde_input(g, "x", &shape);
  sonde_attr half = {{0.5}, {3}};
  sonde_node *out = sonde_add(sonde_op(g, "dropout", &in, 1, &half), sonde_leaf(g, "t", t));
  sonde_plan *p = sonde_plan_new(g, &out, NULL, 1, NULL, &err);
  if (!p) fail_msg("%s", err.text);
  p->after = note;
  p->after_arg = &steps;
  for (int k = 0; k < 4; k++) {
    for (int j = 0; j < N; j++) x[j] = (float)(j + (k == 3));
    if (k == 3) ((float *)sonde_tensor_write(t, NULL))[5] = 1000;
    sonde_plan_set_step(p, k == 1 ? 2 : 1);
    assert_int_equal(sonde_plan_set_input(p, "x", x, &err), SONDE_OK);
    memset(x, 0, sizeof x);                               /* it was copied */
    if (sonde_plan_run(p, &err)) fail_msg("%s", err.text);
    memcpy(y[k], sonde_plan_output(p, 0), sizeof y[k]);
  }
  assert_int_equal(steps, 4);                             /* one step, after each run */
  if (backend) assert_true(guarded_counted.recordings == 1 && guarded_counted.replays == 4);
  sonde_plan_free(p);
  sonde_graph_free(g);
  sonde_tensor_free(t);
  sonde_ctx_free(ctx);
}

static void replays_take_the_block_inputs_and_leaves_of_their_run(void **state) {
  static float cpu[4][N], device[4][N];
  (void)state;
  drop_on(NULL, cpu);
  drop_on(&guarded_backend, device);
  assert_memory_equal(cpu, device, sizeof cpu);
  assert_memory_equal(device[0], device[2], sizeof device[0]);
  assert_true(memcmp(device[0], device[1], sizeof device[0]) != 0);
  assert_true(memcmp(device[0], device[3], sizeof device[0]) != 0);
  assert_true(device[3][5] >= 1000);
}

static void its_memory_is_out_of_reach_and_is_not_read_in_a_recording(void **state) {
  (void)state;
  sonde_error err = {0};
  char c;
  int ends[2];
  sonde_ctx *ctx = sonde_ctx_new_on(&guarded_backend, 0, 1, &err);
  const sonde_device *d = ctx->device;
  void *at, *recording;
  assert_int_equal(d->backend->alloc(d->state, 64, SONDE_MEMORY_ARENA, &at, &err), SONDE_OK);
  assert_int_equal(pipe(ends), 0);
  assert_true(write(ends[1], at, 1) == -1 && errno == EFAULT);
  close(ends[0]), close(ends[1]);
  assert_int_equal(d->backend->copy(d->state, &c, at, 1, SONDE_COPY_OUT, &err), SONDE_OK);
  assert_int_equal(d->backend->begin(d->state, &err), SONDE_OK);
  assert_int_equal(d->backend->copy(d->state, &c, at, 1, SONDE_COPY_OUT, &err), SONDE_EBUG);
  assert_int_equal(d->backend->sync(d->state, &err), SONDE_EBUG);
  assert_int_equal(d->backend->end(d->state, &recording, &err), SONDE_OK);
  d->backend->forget(d->state, recording);
  d->backend->release(d->state, at, 64, SONDE_MEMORY_ARENA);
  sonde_ctx_free(ctx);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(training_ends_in_the_cpus_bits),
      cmocka_unit_test(generation_gives_the_cpus_bits),
      cmocka_unit_test(replays_take_the_block_inputs_and_leaves_of_their_run),
      cmocka_unit_test(its_memory_is_out_of_reach_and_is_not_read_in_a_recording),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
