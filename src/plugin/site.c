/* site.c - see site.h. */
#include "plugin/site.h"

#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "graph/graph.h"
#include "graph/refresh.h"
#include "graph/views.h"

typedef struct published {
  char *name;
  sonde_node *node;
} published;

struct sonde_block {
  published *published;          /* in the order of publishing */
  int64_t count, room;
  int refs;
};

struct sonde_site {
  sonde_place place;
  sonde_graph *graph;
  sonde_params *params;
  sonde_policy policy;
  sonde_block *block;
  char *slot, *prefix;
  int number;                    /* of the block in its model */
  const char *kind, *name;       /* of the module being built */
};

sonde_policy sonde_policy_normal(double std) {
  sonde_policy p;
  for (int r = 0; r < SONDE_ROLE_COUNT; r++) p.init[r] = (sonde_init){SONDE_INIT_NORMAL, std, 0};
  return p;
}

sonde_block *sonde_block_new(sonde_error *err) {
  sonde_block *b = sonde_alloc(sizeof *b);
  if (b) b->refs = 1;
  else sonde_fail(err, SONDE_ENOMEM, "no memory for a block");
  return b;
}

static sonde_block *sonde_block_ref(sonde_block *b) {
  b->refs++;
  return b;
}

void sonde_block_free(sonde_block *b) {
  if (!b || --b->refs > 0) return;
  for (int64_t k = 0; k < b->count; k++) sonde_release(b->published[k].name);
  sonde_release(b->published);
  sonde_release(b);
}

int64_t sonde_block_count(const sonde_block *b) { return b->count; }

sonde_node *sonde_block_at(const sonde_block *b, int64_t k, const char **name) {
  *name = b->published[k].name;
  return b->published[k].node;
}

/* The last that was published under a name. */
static published *last_of(const sonde_block *b, const char *name) {
  for (int64_t k = b->count; k > 0; k--)
    if (!strcmp(b->published[k - 1].name, name)) return &b->published[k - 1];
  return NULL;
}

/* What goes to the loss or is reported: every module's counts. */
static int adds_up(const char *name) { return !strncmp(name, "loss.", 5) || !strncmp(name, "metric.", 7); }

static int publish(sonde_block *b, const char *name, sonde_node *n) {
  published *there = adds_up(name) ? NULL : last_of(b, name);
  if (there) {
    there->node = n;
    return SONDE_OK;
  }
  if (b->count == b->room) {
    int64_t room = b->room ? 2 * b->room : 8;
    published *more = sonde_grow(b->published, (size_t)b->room * sizeof *more, (size_t)room * sizeof *more);
    if (!more) return SONDE_ENOMEM;
    b->published = more;
    b->room = room;
  }
  char *kept = sonde_strdup(name);
  if (!kept) return SONDE_ENOMEM;
  b->published[b->count++] = (published){kept, n};
  return SONDE_OK;
}

sonde_site *sonde_site_new(const sonde_site_spec *spec, sonde_error *err) {
  sonde_site *s = sonde_alloc(sizeof *s);
  if (s) {
    s->slot = sonde_strdup(spec->slot);
    s->prefix = sonde_strdup(spec->prefix);
    s->block = spec->block ? sonde_block_ref(spec->block) : sonde_block_new(err);
  }
  if (!s || !s->slot || !s->prefix || !s->block) {
    sonde_site_free(s);
    sonde_fail(err, SONDE_ENOMEM, "no memory for a site");
    return NULL;
  }
  s->graph = spec->graph;
  s->params = spec->params;
  s->policy = spec->policy;
  s->number = spec->number ? spec->number : spec->layer;
  s->kind = s->name = "";
  s->place = (sonde_place){
      sizeof s->place, spec->layer, spec->depth,   s->slot,
      spec->width,     spec->batch, spec->context, spec->trained_context ? spec->trained_context : spec->context};
  return s;
}

void sonde_site_free(sonde_site *s) {
  if (!s) return;
  sonde_block_free(s->block);
  sonde_release(s->slot);
  sonde_release(s->prefix);
  sonde_release(s);
}

void sonde_site_enter(sonde_site *s, const char *kind, const char *name) {
  s->kind = kind;
  s->name = name;
}

char *sonde_site_text(const sonde_site *s, char *buf, size_t size) {
  char where[32] = "outside the blocks";
  if (s->number > 0) snprintf(where, sizeof where, "block %d", s->number - 1);
  if (!*s->kind) snprintf(buf, size, "%s, %s", where, s->slot);
  else if (strcmp(s->slot, s->kind)) snprintf(buf, size, "%s, %s '%s' (%s)", where, s->kind, s->slot, s->name);
  else snprintf(buf, size, "%s, %s (%s)", where, s->kind, s->name);
  return buf;
}

sonde_graph *sonde_site_graph(const sonde_site *s) { return s->graph; }
sonde_params *sonde_site_params(const sonde_site *s) { return s->params; }
const sonde_place *sonde_site_place(const sonde_site *s) { return &s->place; }

sonde_node *sonde_site_param(sonde_site *s, const char *name, const int64_t *dim, int rank, int role, double value) {
  char full[400];
  sonde_error err = {0};
  if (!name || !*name) return sonde_site_refuse(s, "it asks for a parameter without a name");
  if (snprintf(full, sizeof full, "%s%s", s->prefix, name) >= (int)sizeof full)
    return sonde_site_refuse(s, "the parameter name '%.60s...' is too long", name);
  if (rank < 0 || rank > SONDE_MAX_RANK || role < 0 || role >= SONDE_ROLE_COUNT)
    return sonde_site_refuse(s, "parameter '%s': rank %d and role %d are not within 0..%d and 0..%d", full, rank,
                             role, SONDE_MAX_RANK, SONDE_ROLE_COUNT - 1);
  sonde_shape shape = sonde_shape_make(SONDE_F32, rank, dim);
  for (int k = 0; k < rank; k++)
    if (dim[k] < 1)
      return sonde_site_refuse(s, "parameter '%s': dim %d is %lld; it must be at least 1", full, k + 1,
                               (long long)dim[k]);
  sonde_init init = s->policy.init[role];
  if (role == SONDE_ROLE_GAIN || role == SONDE_ROLE_BIAS || role == SONDE_ROLE_BUFFER)
    init = (sonde_init){SONDE_INIT_FILL, value, 0};
  const sonde_param *p = sonde_params_need(s->params, full, &shape, role, init, s->number - 1, &err);
  return p ? sonde_param_node(s->graph, p) : sonde_site_refuse(s, "%s", err.text);
}

sonde_node *sonde_site_input(sonde_site *s, const char *name, const sonde_shape *shape) {
  char t1[160], t2[160];
  sonde_node *there = sonde_find(s->graph, name);
  if (!there) return sonde_input(s->graph, name, shape);
  if (there->kind == SONDE_KIND_INPUT && there->shape.dtype == shape->dtype && sonde_shape_equal(&there->shape, shape))
    return there;
  return sonde_site_refuse(s, "it reads the input '%s' as %s, which is %s%s", name,
                           sonde_shape_text(shape, t1, sizeof t1), sonde_shape_text(&there->shape, t2, sizeof t2),
                           there->kind == SONDE_KIND_INPUT ? " here" : " and no input");
}

sonde_node *sonde_site_publish(sonde_site *s, const char *name, sonde_node *n) {
  if (n && publish(s->block, name, n))
    return sonde_site_refuse(s, "no memory to publish '%s'", name);
  return n;
}

sonde_node *sonde_site_lookup(sonde_site *s, const char *name) {
  const published *there = last_of(s->block, name);
  return there && sonde_node_graph(there->node) == s->graph ? there->node : NULL;
}

sonde_node *sonde_site_refresh(sonde_site *s, sonde_node *buffer, sonde_node *value, int64_t every) {
  sonde_error err = {0};
  if (!buffer || !value) return NULL;
  if (s->graph->prefix) return buffer;
  const sonde_param *p = buffer->name ? sonde_params_find(s->params, buffer->name) : NULL;
  if (!p || p->role != SONDE_ROLE_BUFFER)
    return sonde_site_refuse(s, "only a parameter of role BUFFER can be refreshed");
  return sonde_refresh_declare(buffer, value, every, &err) ? sonde_site_refuse(s, "%s", err.text) : buffer;
}

sonde_node *sonde_site_refuse(sonde_site *s, const char *fmt, ...) {
  char text[700], where[200];
  va_list ap;
  if (s->graph->first.code) return NULL;   /* the graph keeps its first reason */
  va_start(ap, fmt);
  vsnprintf(text, sizeof text, fmt, ap);
  va_end(ap);
  sonde_fail(&s->graph->first, SONDE_EINVAL, "%s: %s", sonde_site_text(s, where, sizeof where), text);
  return NULL;
}
