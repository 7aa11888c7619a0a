/* growth_test.c - planning takes a time that grows with the number of nodes, not with its square: counted, not
 * measured. */
#include "make.h"

#include "graph/pack.h"
#include "graph/plan.h"

static sonde_ctx *ctx;

static int setup(void **state) {
  sonde_error err = {0};
  (void)state;
  ctx = sonde_ctx_new(1, &err);
  return ctx == NULL;
}

static int teardown(void **state) {
  (void)state;
  sonde_ctx_free(ctx);
  return 0;
}

enum { ROWS = 8, WIDTH = 8, MOST = 512, EACH = 3 };   /* weights of a block: a gain and two matrices */

/* How many nodes and buffers the passes looked at to plan a training step of x <- x + silu(s norm(x) W1^T) W2^T,
 * `blocks` times: what a gradient reads lies the further back the deeper its block is. The gradients are written to
 * tensors. */
static int64_t visits(int blocks, int bf16, int hold) {
  sonde_error err = {0};
  sonde_graph *g = sonde_graph_new(ctx, &err);
  sonde_shape s = shape_of(2, ROWS, WIDTH, 1);
  sonde_node *x = sonde_input(g, "x", &s), *leaf[EACH * MOST], *out[EACH * MOST];
  sonde_tensor *weight[EACH * MOST], *to[EACH * MOST];
  for (int b = 0; b < blocks; b++) {
    char name[32];
    for (int j = EACH * b; j < EACH * (b + 1); j++) {
      weight[j] = j % EACH ? filled(2, WIDTH, WIDTH, 1, (unsigned)j) : filled(1, WIDTH, 1, 1, (unsigned)j);
      to[j] = j % EACH ? filled(2, WIDTH, WIDTH, 1, 0) : filled(1, WIDTH, 1, 1, 0);
      snprintf(name, sizeof name, "w%d", j);
      leaf[j] = sonde_leaf(g, name, weight[j]);
    }
    snprintf(name, sizeof name, "blocks.%d", b);
    sonde_graph_scope(g, name, b);
    sonde_node *h = sonde_scale(sonde_rmsnorm(x, leaf[EACH * b], 1e-6), 1 / sqrt(b + 1.0));
    h = sonde_silu(sonde_linear(h, leaf[EACH * b + 1]));
    x = sonde_add(x, sonde_linear(h, leaf[EACH * b + 2]));
  }
  sonde_graph_scope(g, NULL, -1);
  if (sonde_grad(sonde_sum_all(sonde_square(x)), NULL, leaf, EACH * blocks, out, &err)) fail_msg("%s", err.text);
  sonde_plan_opts o = {.compute = bf16 ? SONDE_BF16 : SONDE_F32, .hold = hold};
  sonde_plan *p = sonde_plan_new(g, out, to, EACH * blocks, &o, &err);
  if (!p) fail_msg("%s", err.text);
  int64_t n = p->visits;
  assert_true(n > p->count);                       /* they did count */
  sonde_plan_free(p);
  sonde_graph_free(g);
  for (int j = 0; j < EACH * blocks; j++) {
    sonde_tensor_free(weight[j]);
    sonde_tensor_free(to[j]);
  }
  return n;
}

/* n log n of the trees over the steps makes 2.22 of 2; a search through all nodes in one of the passes would make
 * about 3. */
static void twice_the_blocks_take_about_twice_the_work(void **state) {
  (void)state;
  for (int way = 0; way < 4; way++) {
    int64_t half = visits(MOST / 2, way & 1, way >> 1), whole = visits(MOST, way & 1, way >> 1);
    if ((double)whole > 2.3 * (double)half)
      fail_msg("%s%s: %lld for %d blocks, %lld for %d", way & 1 ? "bf16" : "f32", way > 1 ? ", held" : "",
               (long long)half, MOST / 2, (long long)whole, MOST);
  }
}

enum { STEPS = 16, PIECES = 12 };                  /* of a block, in each of the two passes; in use from one of them */

/* The same for the places of what a step keeps, where blocks have much of little beside what is large, as a mixture of
 * experts has: each piece of the forward pass is in use until the backward pass of its block, or in its block alone. */
static int64_t visits_of_packing(int blocks) {
  sonde_error err = {0};
  sonde_plan p = {.ctx = ctx};
  piece *b = calloc((size_t)blocks * PIECES * 2, sizeof *b);
  int64_t top;
  int32_t n = 0, end = 2 * blocks * STEPS - 1;
  for (int32_t k = 0; k < blocks; k++)
    for (int32_t j = 0; j < PIECES; j++, n += 2) {
      int32_t first = k * STEPS + j, back = end - first;
      int64_t bytes = 64 * (1 + (j * j) % 7 + (j % 4 ? 0 : 100));
      b[n] = (piece){.bytes = bytes, .first = first, .last = j % 2 ? back : first + 3, .owner = n};
      b[n + 1] = (piece){.bytes = bytes / 2 + 64, .first = back - 2, .last = back, .owner = n + 1};
    }
  if (plan_pack(&p, b, n, &top, &err)) fail_msg("%s", err.text);
  free(b);
  return p.visits;
}

static void twice_the_pieces_take_about_twice_the_work(void **state) {
  (void)state;
  int64_t half = visits_of_packing(MOST / 2), whole = visits_of_packing(MOST);
  if ((double)whole > 2.3 * (double)half)
    fail_msg("%lld for %d blocks, %lld for %d", (long long)half, MOST / 2, (long long)whole, MOST);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(twice_the_blocks_take_about_twice_the_work),
      cmocka_unit_test(twice_the_pieces_take_about_twice_the_work),
  };
  return cmocka_run_group_tests(tests, setup, teardown);
}
