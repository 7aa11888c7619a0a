/* kit_rig.c - one module in a graph of its own, with parameters, gradients and a plan (kit.h). */
#include "config.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/hash.h"
#include "base/rng.h"
#include "graph/refresh.h"
#include "plugin/kit.h"

/* Every parameter away from where it starts: a gain that stands at 1 hides what multiplies it. Scores of a router stay
 * near 1: of probabilities that are 0 or 1 no gradient can be measured. */
static void spread(const sonde_param *p) {
  if (p->role == SONDE_ROLE_BUFFER) return;
  char stream[500];
  snprintf(stream, sizeof stream, "kit/%s", p->name);
  const sonde_shape *s = &p->value->shape;
  float mean = p->role == SONDE_ROLE_GAIN ? 1 : 0;
  float std = p->role == SONDE_ROLE_ROUTER ? 1 / sqrtf((float)s->dim[s->rank > 1 ? s->rank - 1 : 0]) : 0.3f;
  sonde_rng_fill_normal(sonde_rng_stream(1, stream), 0, sonde_tensor_write(p->value, NULL),
                        sonde_shape_count(s), mean, std, 0);
}

static sonde_tensor *noise(const rig_spec *s, const char *stream, sonde_error *err) {
  sonde_shape shape = {SONDE_F32, 3, {s->batch, s->context, s->width, 1, 1}};
  sonde_tensor *t = sonde_tensor_new(&shape, err);
  if (t)
    sonde_rng_fill_normal(sonde_rng_stream(2, stream), 0, sonde_tensor_write(t, NULL), sonde_shape_count(&shape), 0, 1,
                          0);
  return t;
}

static int take_leaves(rig *r) {
  r->name[0] = "x";
  r->leaf[0] = r->x;
  r->n = 1;
  for (int64_t j = 0; j < sonde_params_count(r->params) && r->n <= RIG_PARAMS; j++) {
    const sonde_param *p = sonde_params_at(r->params, j);
    r->name[r->n] = p->name;
    r->is_buffer[r->n] = p->role == SONDE_ROLE_BUFFER;
    r->leaf[r->n++] = p->value;
  }
  return sonde_params_count(r->params) > RIG_PARAMS
             ? sonde_fail(&r->err, SONDE_ELIMIT, "it makes more than %d parameters", RIG_PARAMS) : SONDE_OK;
}

static int differentiate(rig *r, sonde_node *x, sonde_node *u) {
  sonde_node *wrt[1 + RIG_PARAMS] = {x};
  for (int i = 1; i < r->n; i++) wrt[i] = sonde_leaf(r->g, r->name[i], r->leaf[i]);
  int rc = sonde_grad(r->y, u, wrt, r->n, r->grad, &r->err);
  r->has_grad = !rc;
  return rc == SONDE_EUNSUP ? SONDE_OK : rc;
}

static void take_losses(rig *r) {
  for (int64_t j = 0; j < sonde_block_count(r->block) && r->losses < RIG_LOSSES; j++) {
    const char *name;
    sonde_node *n = sonde_block_at(r->block, j, &name);
    if (!strncmp(name, "loss.", 5) && sonde_node_shape(n).dtype == SONDE_F32) r->loss[r->losses++] = n;
  }
}

static int first_loss(const rig *r) { return r->has_grad ? 1 + r->n : 1; }

static int plan(rig *r) {
  sonde_node *out[2 + RIG_PARAMS + RIG_LOSSES] = {r->y};
  int n = 1;
  sonde_plan_free(r->plan);
  sonde_plan_free(r->forward);
  r->forward = NULL;
  for (int i = 0; r->has_grad && i < r->n; i++) out[n++] = r->grad[i];
  for (int i = 0; i < r->losses; i++) out[n++] = r->loss[i];
  r->plan = sonde_plan_new(r->g, out, NULL, n, NULL, &r->err);
  return r->plan ? SONDE_OK : r->err.code;
}

typedef struct spot {
  const char *slot, *prefix;
} spot;

static sonde_node *build_at(const kit *k, const rig_spec *spec, const sonde_entry *e, const sonde_value *values,
                            spot at, rig *r, int site, sonde_node *x) {
  sonde_site_spec s = {.graph = r->g,
                       .params = r->params,
                       .policy = sonde_policy_normal(0.3),
                       .block = r->block,
                       .layer = k->kind->kit->place[spec->place].layer ? spec->layer : 0,
                       .depth = spec->depth,
                       .slot = at.slot,
                       .prefix = at.prefix,
                       .width = spec->width,
                       .batch = spec->batch,
                       .context = spec->context,
                       .trained_context = spec->trained_context};
  if (!x || !(r->site[site] = sonde_site_new(&s, &r->err))) return NULL;
  if (e->plugin) return sonde_entry_build(e, r->site[site], values, x);
  if (sonde_entry_begin(e, r->site[site], x)) return NULL;
  return sonde_entry_end(r->site[site], x, k->opts.build(k->opts.user, e, r->site[site], values, x));
}

/* x + attention(norm(x)), as in front of a block's second norm. */
static sonde_node *build_first_half(const kit *k, const rig_spec *spec, const sonde_value *values, rig *r,
                                    sonde_node *x) {
  sonde_value *preset = k->attention ? sonde_entry_values(k->attention, NULL, &r->err) : NULL;
  if (!preset) {
    if (!k->attention) sonde_fail(&r->err, SONDE_ENOENT, "there is no attention for the first half of a block");
    return NULL;
  }
  sonde_node *h = build_at(k, spec, k->entry, values, (spot){"attn", "before."}, r, 0, x);
  h = build_at(k, spec, k->attention, preset, (spot){"attention", "between."}, r, 1, h);
  if (h) h = sonde_site_publish(r->site[1], "attn.branch", h);
  sonde_release(preset);
  return sonde_add(x, h);
}

static int trace(const kit *k, const rig_spec *spec, rig *r) {
  const kit_place *place = &k->kind->kit->place[spec->place];
  const sonde_value *values = spec->values ? spec->values : k->values;
  sonde_node *x = sonde_leaf(r->g, "kit.x", r->x), *u = sonde_leaf(r->g, "kit.u", r->u), *in = x;
  if (place->after) in = build_first_half(k, spec, values, r, x);
  r->y = build_at(k, spec, k->entry, values, (spot){place->slot, ""}, r, 2, in);
  if (!r->y) return sonde_graph_error(r->g, &r->err) ? r->err.code : r->err.code ? r->err.code : SONDE_EBUG;
  int rc = take_leaves(r);
  take_losses(r);
  if (!rc && spec->grad) rc = differentiate(r, x, u);
  return rc ? rc : plan(r);
}

static int fill_buffers(rig *r) {
  int buffers = 0;
  for (int i = 0; i < r->n; i++) buffers += r->is_buffer[i];
  if (!buffers) return SONDE_OK;
  sonde_refresh *f = sonde_refresh_new(r->g, r->params, 0, NULL, &r->err);
  int rc = f ? sonde_refresh_all(f, &r->err) : r->err.code;
  sonde_refresh_free(f);
  return rc;
}

int rig_make(const kit *k, sonde_ctx *ctx, const rig_spec *spec, rig *r) {
  memset(r, 0, sizeof *r);
  r->ctx = ctx;
  r->params = sonde_params_new(spec->seed, &r->err);
  r->g = sonde_graph_new(ctx, &r->err);
  r->block = sonde_block_new(&r->err);
  r->x = noise(spec, "x", &r->err);
  r->u = noise(spec, "u", &r->err);
  if (!r->params || !r->g || !r->block || !r->x || !r->u) return r->err.code;
  int rc = trace(k, spec, r);
  if (rc) return rc;
  if (spec->first_values) sonde_params_init(r->params, ctx);
  else
    for (int64_t j = 0; j < sonde_params_count(r->params); j++) spread(sonde_params_at(r->params, j));
  return fill_buffers(r);
}

void rig_drop(rig *r) {
  sonde_plan_free(r->plan);
  sonde_plan_free(r->forward);
  for (int s = 0; s < 3; s++) sonde_site_free(r->site[s]);
  sonde_block_free(r->block);
  sonde_graph_free(r->g);
  sonde_params_free(r->params);
  sonde_tensor_free(r->x);
  sonde_tensor_free(r->u);
  memset(r, 0, sizeof *r);
}

/* Makes the node a leaf with its present value. */
static int freeze(rig *r, sonde_node *n) {
  sonde_shape shape = sonde_node_shape(n);
  sonde_plan *p = sonde_plan_new(r->g, &n, NULL, 1, NULL, &r->err);
  sonde_tensor *t = p ? sonde_tensor_new(&shape, &r->err) : NULL;
  int rc = t ? sonde_plan_run(p, &r->err) : r->err.code;
  if (!rc) {
    memcpy(sonde_tensor_write(t, NULL), sonde_plan_output(p, 0), (size_t)sonde_tensor_bytes(t));
    sonde_graph_freeze(n, t);
  }
  sonde_tensor_free(t);
  sonde_plan_free(p);
  return rc;
}

int rig_freeze_detached(rig *r) {
  int rc = SONDE_OK, found = 0;
  for (int64_t id = 0, n = r->g->count; id < n && !rc; id++) {
    sonde_node *node = r->g->node[id];
    if (node->kind != SONDE_KIND_OP || node->def->form != SONDE_FORM_DETACH) continue;
    found++;
    rc = freeze(r, node);
  }
  return rc || !found ? rc : plan(r);
}

int rig_run(rig *r) { return sonde_plan_run(r->plan, &r->err); }

int rig_forward(rig *r, const float **y) {
  if (!r->forward) r->forward = sonde_plan_new(r->g, &r->y, NULL, 1, NULL, &r->err);
  int rc = r->forward ? sonde_plan_run(r->forward, &r->err) : r->err.code;
  if (!rc) *y = sonde_plan_output(r->forward, 0);
  return rc;
}

const float *rig_output(const rig *r, int i) { return sonde_plan_output(r->plan, i); }

int64_t rig_count(const rig *r, int i) {
  sonde_shape s = sonde_tensor_shape(r->leaf[i > 0 ? i - 1 : 0]);   /* y has x's shape */
  return sonde_shape_count(&s);
}

uint64_t rig_bits(const rig *r) {
  uint64_t h = SONDE_HASH_START;
  for (int i = 0; i < r->n; i++) {
    sonde_shape s = sonde_tensor_shape(r->leaf[i]);
    h = sonde_hash(h, r->name[i], strlen(r->name[i]));
    h = sonde_hash(h, s.dim, sizeof s.dim);
  }
  for (int i = 0; i < first_loss(r); i++)
    h = sonde_hash(h, rig_output(r, i), (size_t)rig_count(r, i) * sizeof(float));
  for (int i = 0; i < r->losses; i++) {
    sonde_shape s = sonde_node_shape(r->loss[i]);
    h = sonde_hash(h, rig_output(r, first_loss(r) + i), (size_t)sonde_shape_count(&s) * sizeof(float));
  }
  return h;
}

static int is_taken_at(const kit *k, rig_spec spec, int64_t width) {
  rig r;
  spec.width = width;
  int rc = rig_make(k, k->ctx, &spec, &r);
  rig_drop(&r);
  return !rc;
}

rig_spec rig_usual(kit *k) {
  static const int64_t widths[] = {24, 32, 16, 64, 48, 128, 256};
  rig_spec spec = {.batch = 2, .context = 5, .place = k->place, .layer = k->kind->kit->place[k->place].layer,
                   .depth = 6, .seed = 7};
  if (k->usual_of != k->values || k->usual_place != k->place) {
    size_t w = 0, n = sizeof widths / sizeof widths[0];
    while (w < n && !is_taken_at(k, spec, widths[w])) w++;
    k->usual_of = k->values;
    k->usual_place = k->place;
    k->usual_width = widths[w < n ? w : 0];
  }
  spec.width = k->usual_width;
  return spec;
}

uint64_t kit_mix(uint64_t a, uint64_t b) { return (a ^ (b + 0x9e3779b97f4a7c15u)) * 0xff51afd7ed558ccdu; }

double kit_dot(const float *a, const float *b, int64_t n) {
  double sum = 0;
  for (int64_t k = 0; k < n; k++) sum += (double)a[k] * (double)b[k];
  return sum;
}
