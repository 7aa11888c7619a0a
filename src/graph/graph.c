/* graph.c - tracing: nodes, names, scopes, shape rules. Every call makes a node of its own, even one that changes
 * nothing or repeats another: any node may be tapped, or differentiated by. What need not be computed the plan leaves
 * out (simplify.c). No memory is planned and nothing is computed here. */
#include "graph/graph.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "tensor/bf16.h"

sonde_graph *sonde_graph_new(sonde_ctx *ctx, sonde_error *err) {
  sonde_graph *g = sonde_alloc(sizeof *g);
  if (g) {
    g->ctx = ctx;
    ctx->refs++;
    g->arena = sonde_arena_new();
    g->names = sonde_map_new();
    g->scopes = sonde_map_new();
    g->refs = 1;
    g->at_block = -1;
    g->at_scope = -1;
  }
  if (!g || !g->arena || !g->names || !g->scopes) {
    sonde_graph_free(g);
    sonde_fail(err, SONDE_ENOMEM, "no memory for a graph");
    return NULL;
  }
  return g;
}

sonde_graph *sonde_graph_ref(sonde_graph *g) {
  g->refs++;
  return g;
}

void sonde_graph_free(sonde_graph *g) {
  if (!g || --g->refs > 0) return;
  for (int64_t k = 0; k < g->count; k++) sonde_tensor_free(g->node[k]->tensor);
  sonde_release(g->node);
  sonde_release(g->scope);
  sonde_release(g->refresh);
  sonde_map_free(g->names);
  sonde_map_free(g->scopes);
  sonde_arena_free(g->arena);
  sonde_ctx_free(g->ctx);
  sonde_release(g);
}

int sonde_graph_error(const sonde_graph *g, sonde_error *err) {
  if (g->first.code && err) *err = g->first;
  return g->first.code;
}

const char *sonde_node_scope(const sonde_node *n) { return n->scope >= 0 ? n->g->scope[n->scope] : ""; }

sonde_node *sonde_graph_fail(sonde_graph *g, int code, const char *fmt, ...) {
  if (g->first.code) return NULL;
  va_list ap;
  char text[900];
  va_start(ap, fmt);
  vsnprintf(text, sizeof text, fmt, ap);
  va_end(ap);
  const char *scope = g->at_scope >= 0 ? g->scope[g->at_scope] : "";
  sonde_fail(&g->first, code, "%s%s%s", scope, *scope ? ": " : "", text);
  return NULL;
}

void sonde_graph_prefix(sonde_graph *g, const char *prefix) {
  g->prefix = prefix ? sonde_arena_strdup(g->arena, prefix) : NULL;
  if (prefix && !g->prefix) sonde_graph_fail(g, SONDE_ENOMEM, "no memory for the prefix '%s'", prefix);
}

void sonde_graph_scope(sonde_graph *g, const char *path, int block) {
  char full[512];
  g->at_block = g->prefix ? -1 : block;
  g->at_scope = -1;
  if (!path || !*path) return;
  if (g->prefix) {
    snprintf(full, sizeof full, "%s%s", g->prefix, path);
    path = full;
  }
  g->at_scope = (int)(intptr_t)sonde_map_get(g->scopes, path) - 1;
  if (g->at_scope >= 0) return;
  if (g->n_scope == g->cap_scope) {
    int cap = g->cap_scope ? 2 * g->cap_scope : 64;
    const char **bigger = sonde_grow(g->scope, (size_t)g->cap_scope * sizeof *bigger, (size_t)cap * sizeof *bigger);
    if (!bigger) {
      sonde_graph_fail(g, SONDE_ENOMEM, "no memory for the scope '%s'", path);
      return;
    }
    g->scope = bigger;
    g->cap_scope = cap;
  }
  g->scope[g->n_scope] = sonde_arena_strdup(g->arena, path);
  if (g->scope[g->n_scope] && !sonde_map_set(g->scopes, path, (void *)(intptr_t)(g->n_scope + 1)))
    g->at_scope = g->n_scope++;
  else sonde_graph_fail(g, SONDE_ENOMEM, "no memory for the scope '%s'", path);
}

static sonde_node *append(sonde_graph *g, int kind, const sonde_shape *shape) {
  if (g->count == g->cap) {
    int64_t cap = g->cap ? 2 * g->cap : 256;
    sonde_node **bigger = sonde_grow(g->node, (size_t)g->cap * sizeof *bigger, (size_t)cap * sizeof *bigger);
    if (!bigger) return sonde_graph_fail(g, SONDE_ENOMEM, "no memory for more nodes");
    g->node = bigger;
    g->cap = cap;
  }
  sonde_node *n = sonde_arena_alloc(g->arena, sizeof *n);
  if (!n) return sonde_graph_fail(g, SONDE_ENOMEM, "no memory for more nodes");
  n->g = g;
  n->id = g->count;
  n->kind = (uint8_t)kind;
  n->backward = (uint8_t)g->at_backward;
  n->block = g->at_block;
  n->scope = g->at_scope;
  n->shape = *shape;
  for (int k = shape->rank; k < SONDE_MAX_RANK; k++) n->shape.dim[k] = 1;
  n->result[0] = n;
  g->node[g->count++] = n;
  return n;
}

/* More than an address space holds: sums and small multiples of such sizes are still numbers. */
static const int64_t LARGEST = (int64_t)1 << 47;

static int bad_shape(sonde_graph *g, const char *what, const char *name, const sonde_shape *s) {
  char text[160];
  int64_t bytes = sonde_dtype_size(s->dtype) ? sonde_shape_bytes(s) : 0;
  if (bytes > 0 && bytes <= LARGEST) return 0;
  sonde_graph_fail(g, SONDE_ESHAPE, "%s '%s': %s is not a shape that memory can hold (every dim must be at least 1)",
                   what, name, sonde_shape_text(s, text, sizeof text));
  return 1;
}

sonde_node *sonde_input(sonde_graph *g, const char *name, const sonde_shape *shape) {
  if (bad_shape(g, "input", name, shape)) return NULL;
  if (sonde_map_get(g->names, name))
    return sonde_graph_fail(g, SONDE_EINVAL, "the name '%s' is taken in this graph", name);
  return sonde_name(append(g, SONDE_KIND_INPUT, shape), name);
}

sonde_node *sonde_leaf(sonde_graph *g, const char *name, sonde_tensor *t) {
  char full[512];
  if (!t) return sonde_graph_fail(g, SONDE_EINVAL, "leaf '%s' has no tensor", name);
  if (g->prefix) {
    if (snprintf(full, sizeof full, "%s%s", g->prefix, name) >= (int)sizeof full)
      return sonde_graph_fail(g, SONDE_EINVAL, "the name '%.60s...' is too long", name);
    name = full;
  }
  sonde_node *there = sonde_map_get(g->names, name);
  if (there && there->kind == SONDE_KIND_LEAF && there->tensor == t) return there;
  if (there) return sonde_graph_fail(g, SONDE_EINVAL, "the name '%s' is taken in this graph", name);
  sonde_node *n = append(g, SONDE_KIND_LEAF, &t->shape);
  if (n) n->tensor = sonde_tensor_ref(t);
  return sonde_name(n, name);
}

/* Constants are computed with while planning, so their values must be those that the dtype holds. */
sonde_node *sonde_constant(sonde_graph *g, const sonde_shape *shape, double value) {
  if (bad_shape(g, "constant", "", shape)) return NULL;
  if (shape->dtype == SONDE_I32 && !(value == floor(value) && value >= INT32_MIN && value <= INT32_MAX))
    return sonde_graph_fail(g, SONDE_EINVAL, "constant: %g is no i32", value);
  if (shape->dtype == SONDE_BF16) value = sonde_from_bf16(sonde_to_bf16((float)value));
  sonde_node *n = append(g, SONDE_KIND_CONST, shape);
  if (n) n->value = value;
  return n;
}

static int infer(sonde_graph *g, const sonde_op_def *d, sonde_node *const *in, int n_in, const sonde_attr *a,
                 sonde_shape *out) {
  sonde_shape s[SONDE_MAX_IN];
  sonde_error err = {0};
  char t1[160], t2[160];
  for (int k = 0; k < n_in; k++) s[k] = in[k]->shape;
  if (d->flags & SONDE_OP_ELEMENTWISE && !d->shape) {
    out[0] = s[0];
    for (int k = 1; k < n_in; k++)
      if (sonde_shape_broadcast(&out[0], &s[k], &out[0])) {
        sonde_graph_fail(g, SONDE_ESHAPE, "%s: %s and %s do not broadcast", d->name,
                         sonde_shape_text(&s[0], t1, sizeof t1), sonde_shape_text(&s[k], t2, sizeof t2));
        return SONDE_ESHAPE;
      }
    out[0].dtype = SONDE_F32;
    return bad_shape(g, "result of", d->name, &out[0]) ? SONDE_ESHAPE : 0;
  }
  int rc = d->shape(s, n_in, a, out, &err);
  if (rc) sonde_graph_fail(g, rc, "%s", err.text[0] ? err.text : d->name);
  for (int k = 0; !rc && k < d->n_out; k++)
    if (bad_shape(g, "result of", d->name, &out[k])) rc = SONDE_ESHAPE;
  return rc;
}

static sonde_node *unknown_op(sonde_graph *g, const char *name) {
  const char *names[256];
  int n = sonde_ops_count(g->ctx);
  for (int k = 0; k < n && k < 256; k++) names[k] = sonde_ops_at(g->ctx, k)->name;
  const char *near = sonde_nearest(name, names, n < 256 ? n : 256);
  return sonde_graph_fail(g, SONDE_EINVAL, "unknown op '%s'%s%s%s", name, near ? "; did you mean '" : "",
                          near ? near : "", near ? "'?" : "");
}

/* Shows the op to the graph's edit; 1 if the edit has put *other in its place. */
static int rewritten(sonde_graph *g, const sonde_op_def *op, sonde_node *const *in, int n_in, const sonde_attr *attr,
                     sonde_node **other) {
  sonde_rewrite edit = g->rewrite;
  int taken = 0;
  if (!edit) return 0;
  g->rewrite = NULL;
  *other = edit(g->rewrite_arg, g, op, in, n_in, attr, &taken);
  g->rewrite = edit;
  return taken;
}

static sonde_node *append_op(sonde_graph *g, const sonde_op_def *d, sonde_node *const *given, int n_in,
                             const sonde_attr *attr) {
  static const sonde_attr none;
  const char *name = d->name;
  sonde_node *in[SONDE_MAX_IN], *other = NULL;
  if (!attr) attr = &none;
  if (n_in < 1 || n_in < d->min_in || n_in > d->max_in)
    return sonde_graph_fail(g, SONDE_EINVAL, "%s takes %d to %d inputs, not %d", name, d->min_in, d->max_in, n_in);
  for (int k = 0; k < n_in; k++) {
    if (!(in[k] = given[k])) return NULL;
    if (in[k]->g != g) return sonde_graph_fail(g, SONDE_EINVAL, "%s: input %d belongs to another graph", name, k + 1);
  }
  if (rewritten(g, d, in, n_in, attr, &other)) return other;
  sonde_shape out[SONDE_MAX_OUT] = {{0}};
  if (infer(g, d, in, n_in, attr, out)) return NULL;
  sonde_node *n = append(g, SONDE_KIND_OP, &out[0]);
  if (!n) return NULL;
  n->def = d;
  n->n_in = (int16_t)n_in;
  memcpy(n->in, in, (size_t)n_in * sizeof *in);
  memcpy(n->out_shape, out, sizeof out);
  n->attr = *attr;
  return n;
}

sonde_node *sonde_op(sonde_graph *g, const char *name, sonde_node *const *in, int n_in, const sonde_attr *attr) {
  if (!g || g->first.code) return NULL;
  const sonde_op_def *d = sonde_ops_find(g->ctx, name);
  return d ? append_op(g, d, in, n_in, attr) : unknown_op(g, name);
}

sonde_node *sonde_op_of_form(sonde_graph *g, sonde_form form, sonde_node *const *in, int n_in, const sonde_attr *attr) {
  sonde_error err = {0};
  if (!g || g->first.code) return NULL;
  const sonde_op_def *d = sonde_ops_of_form(g->ctx, form, &err);
  return d ? append_op(g, d, in, n_in, attr) : sonde_graph_fail(g, err.code, "%s", err.text);
}

sonde_node *sonde_result(sonde_node *n, int index) {
  if (!n) return NULL;
  if (n->kind != SONDE_KIND_OP || index < 0 || index >= n->def->n_out)
    return sonde_graph_fail(n->g, SONDE_EINVAL, "%s has no result %d",
                            n->kind == SONDE_KIND_OP ? n->def->name : "a leaf", index + 1);
  if (!n->result[index]) {
    sonde_node *r = append(n->g, SONDE_KIND_RESULT, &n->out_shape[index]);
    if (!r) return NULL;
    r->in[0] = n;
    r->n_in = 1;
    r->index = (int16_t)index;
    r->block = n->block;
    r->backward = n->backward;
    n->result[index] = r;
  }
  return n->result[index];
}

void sonde_graph_also(sonde_node *now, sonde_node *old) {
  if (now && old) now->also = old;
}

void sonde_graph_freeze(sonde_node *n, sonde_tensor *value) {
  n->kind = SONDE_KIND_LEAF;
  n->def = NULL;
  n->n_in = 0;
  n->tensor = sonde_tensor_ref(value);
}

sonde_graph *sonde_node_graph(const sonde_node *n) { return n ? n->g : NULL; }
sonde_shape sonde_node_shape(const sonde_node *n) { return n->shape; }
const sonde_attr *sonde_node_attr(const sonde_node *n) { return &n->attr; }
int64_t sonde_node_id(const sonde_node *n) { return n->id; }

const char *sonde_node_op(const sonde_node *n) {
  static const char *const kinds[] = {"op", "result", "input", "leaf", "constant"};
  return n->kind == SONDE_KIND_OP ? n->def->name : kinds[n->kind];
}

int sonde_node_inputs(const sonde_node *n, sonde_node **in) {
  for (int k = 0; k < n->n_in; k++) in[k] = n->in[k];
  return n->n_in;
}

sonde_node *sonde_name(sonde_node *n, const char *name) {
  if (!n) return NULL;
  char *copy = sonde_arena_strdup(n->g->arena, name);
  if (!copy || sonde_map_set(n->g->names, copy, n))
    return sonde_graph_fail(n->g, SONDE_ENOMEM, "no memory for the name '%s'", name);
  if (!n->name) n->name = copy;
  return n;
}

sonde_node *sonde_find(sonde_graph *g, const char *name) { return sonde_map_get(g->names, name); }
