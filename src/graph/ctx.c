/* ctx.c - the runtime: the thread pool and the table of ops. */
#include "cpu/backend.h"
#include "cpu/simd.h"
#include "graph/graph.h"

#include <string.h>

/* What an op of a form must be besides; NULL: it is. */
static const char *check_form(const sonde_op_def *d) {
  static const struct { int n_in; uint32_t flags; const char *lacks; } is[SONDE_FORM_COUNT] = {
      [SONDE_FORM_ADD] = {2, SONDE_OP_ELEMENTWISE, "two inputs, or the flag elementwise (its form is a + b)"},
      [SONDE_FORM_MUL] = {2, SONDE_OP_ELEMENTWISE, "two inputs, or the flag elementwise (its form is a b)"},
      [SONDE_FORM_AFFINE] = {1, SONDE_OP_ELEMENTWISE, "one input, or the flag elementwise (its form is f0 x + f1)"},
      [SONDE_FORM_SUM] = {1, 0, "one input (its form is a sum)"},
      [SONDE_FORM_EXPAND] = {1, 0, "one input (its form is an expansion)"},
      [SONDE_FORM_RESHAPE] = {1, SONDE_OP_VIEW, "one input, or the flag view (its form is a reshape)"},
      [SONDE_FORM_CAST] = {1, 0, "one input (its form is a cast)"},
      [SONDE_FORM_DETACH] = {1, SONDE_OP_VIEW, "one input, or the flag view (its form is a detachment)"},
  };
  if (d->form < 0 || d->form >= SONDE_FORM_COUNT) return "a form of the list (sonde_form)";
  if (d->form == SONDE_FORM_NONE) return NULL;
  uint32_t flags = is[d->form].flags;
  int fits = d->min_in == is[d->form].n_in && d->max_in == d->min_in && d->n_out == 1 && (d->flags & flags) == flags;
  return fits ? NULL : is[d->form].lacks;
}

/* What its planning facts lack; NULL: nothing. */
static const char *check_planning(const sonde_op_def *d) {
  uint32_t inputs = (1u << d->max_in) - 1;
  if (d->adds && (d->adds < d->min_in || d->adds != d->max_in - 1)) return "an optional last input to add (adds)";
  if (d->bf16_operands & ~inputs) return "inputs to round (bf16_operands names more than max_in)";
  if (d->bf16_operands && !(d->flags & SONDE_OP_BF16_IN)) return "the flag bf16-in (it has bf16_operands)";
  if ((d->flags & SONDE_OP_ROUNDS) && !(d->bf16_operands & (d->bf16_operands - 1)))
    return "a second operand to round (it is flagged to round what it reads)";
  if ((d->flags & SONDE_OP_PRODUCT) && !(d->flags & SONDE_OP_BF16_OUT))
    return "the flag bf16-out (it is flagged a product)";
  if (d->cached && (!d->step || d->cached & ~inputs)) return "a step for its cached inputs, or these inputs";
  return check_form(d);
}

static int check_def(const sonde_op_def *d, sonde_error *err) {
  const char *lacks = NULL;
  if (!d->name || !*d->name) return sonde_fail(err, SONDE_EINVAL, "op without a name");
  if (d->min_in < 1 || d->max_in < d->min_in || d->max_in > SONDE_MAX_IN) lacks = "min_in and max_in within 1..8";
  else if (d->n_out < 1 || d->n_out > SONDE_MAX_OUT) lacks = "n_out within 1..4";
  else if (d->flags & SONDE_OP_ELEMENTWISE) {
    if (!d->vec) lacks = "vec (it is flagged elementwise)";
    else if (d->n_out != 1 || d->max_in > 4) lacks = "one output and at most 4 inputs (it is flagged elementwise)";
  } else if (!d->shape) lacks = "shape";
  else if (!(d->flags & SONDE_OP_VIEW) && !d->run) lacks = "run";
  if (!lacks) lacks = check_planning(d);
  return lacks ? sonde_fail(err, SONDE_EINVAL, "op '%s' lacks %s", d->name, lacks) : 0;
}

int sonde_ops_add(sonde_ctx *ctx, const sonde_op_def *def, sonde_error *err) {
  if (def->name && sonde_map_get(ctx->ops, def->name))
    return sonde_fail(err, SONDE_EINVAL, "op '%s' exists already; give it another name", def->name);
  if ((def->flags & SONDE_OP_ELEMENTWISE) && !def->vec && def->name) {
    const int room = (int)(sizeof ctx->filled / sizeof ctx->filled[0]);
    void (*vec)(const sonde_vec *) = sonde_simd_get()->vec(def->name);
    sonde_op_def *copy = vec && ctx->n_filled < room ? sonde_alloc(sizeof *copy) : NULL;
    if (copy) {
      *copy = *def;
      copy->vec = vec;
      ctx->filled[ctx->n_filled++] = copy;
      def = copy;
    }
  }
  int rc = check_def(def, err);
  if (rc) return rc;
  if (sonde_map_set(ctx->ops, def->name, (void *)(uintptr_t)def))
    return sonde_fail(err, SONDE_ENOMEM, "op '%s': no memory to register it", def->name);
  if (!ctx->form[def->form]) ctx->form[def->form] = def;
  return 0;
}

const sonde_op_def *sonde_ops_find(const sonde_ctx *ctx, const char *name) { return sonde_map_get(ctx->ops, name); }

const sonde_op_def *sonde_ops_of_form(const sonde_ctx *ctx, sonde_form form, sonde_error *err) {
  static const char *const does[SONDE_FORM_COUNT] = {"nothing", "adds",     "multiplies", "scales",  "sums",
                                                     "expands", "reshapes", "casts",      "detaches"};
  if (!ctx->form[form]) sonde_fail(err, SONDE_EUNSUP, "the runtime has no op that %s: give it Sonde's ops", does[form]);
  return ctx->form[form];
}

int sonde_ops_count(const sonde_ctx *ctx) { return (int)sonde_map_count(ctx->ops); }
const sonde_op_def *sonde_ops_at(const sonde_ctx *ctx, int i) { return sonde_map_value(ctx->ops, i); }

/* The device that was opened last is where plans run. */
static int open_device(sonde_ctx *ctx, sonde_device *d, const sonde_backend *backend, int number, sonde_error *err) {
  int rc = backend->open(number, ctx->pool, &d->state, err);
  if (rc) return rc;
  d->backend = backend;
  ctx->device = d;
  return 0;
}

static void close_device(sonde_device *d) {
  if (d->backend) d->backend->close(d->state);
}

sonde_ctx *sonde_ctx_bare(int threads, sonde_error *err) {
  sonde_ctx *ctx = sonde_alloc(sizeof *ctx);
  if (!ctx || !(ctx->ops = sonde_map_new())) {
    sonde_release(ctx);
    sonde_fail(err, SONDE_ENOMEM, "no memory for a runtime");
    return NULL;
  }
  ctx->refs = 1;
  ctx->pool = sonde_pool_new(threads, err);
  int rc = ctx->pool ? open_device(ctx, &ctx->cpu, &sonde_cpu_backend, 0, err) : SONDE_ENOMEM;
  if (!rc) return ctx;
  sonde_ctx_free(ctx);
  return NULL;
}

int sonde_ctx_open(sonde_ctx *ctx, const sonde_backend *backend, int number, sonde_error *err) {
  return open_device(ctx, &ctx->other, backend, number, err);
}

void sonde_ctx_free(sonde_ctx *ctx) {
  if (!ctx || --ctx->refs > 0) return;
  for (int s = 0; s < SONDE_CTX_SLOTS; s++)
    if (ctx->slot[s] && ctx->slot_free[s]) ctx->slot_free[s](ctx->slot[s]);
  for (int k = 0; k < ctx->n_filled; k++) sonde_release(ctx->filled[k]);
  sonde_map_free(ctx->ops);
  close_device(&ctx->other);
  close_device(&ctx->cpu);
  sonde_pool_free(ctx->pool);
  sonde_release(ctx);
}

int sonde_ctx_threads(const sonde_ctx *ctx) { return sonde_pool_threads(ctx->pool); }

int sonde_ctx_resize(sonde_ctx *ctx, int threads, int processes, sonde_error *err) {
  if (ctx->other.backend)
    return sonde_fail(err, SONDE_EUNSUP, "plans run on a device, which processes cannot share: use one (--jobs 1)");
  return sonde_pool_resize(ctx->pool, threads, processes, err);
}
