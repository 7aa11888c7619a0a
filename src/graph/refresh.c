/* refresh.c - see refresh.h. */
#include "graph/refresh.h"

#include "graph/graph.h"

typedef struct declared_refresh { sonde_node *buffer, *value; int64_t every; } declared_refresh;

typedef struct job {
  sonde_plan *plan;
  const char *name;              /* of the buffer */
  int64_t every;
} job;

struct sonde_refresh {
  sonde_params *params;
  job *job;
  int n;
};

/* The first input that n depends on, or NULL. */
static const sonde_node *input_behind(const sonde_node *n, uint8_t *seen) {
  if (n->kind == SONDE_KIND_INPUT || seen[n->id]) return n->kind == SONDE_KIND_INPUT ? n : NULL;
  seen[n->id] = 1;
  for (int k = 0; k < n->n_in; k++) {
    const sonde_node *found = input_behind(n->in[k], seen);
    if (found) return found;
  }
  return NULL;
}

static int check(const sonde_node *buffer, const sonde_node *value, int64_t every, sonde_error *err) {
  char a[160], b[160];
  if (buffer->kind != SONDE_KIND_LEAF || !buffer->name || buffer->g != value->g)
    return sonde_fail(err, SONDE_EINVAL, "refresh: the buffer must be a parameter of the value's graph");
  if (every < 0)
    return sonde_fail(err, SONDE_EINVAL, "refresh of '%s': every %lld updates; it must be at least 0", buffer->name,
                      (long long)every);
  if (!sonde_shape_equal(&buffer->shape, &value->shape))
    return sonde_fail(err, SONDE_ESHAPE, "refresh of '%s': it is %s, its value %s", buffer->name,
                      sonde_shape_text(&buffer->shape, a, sizeof a), sonde_shape_text(&value->shape, b, sizeof b));
  uint8_t *seen = sonde_alloc((size_t)value->g->count);
  if (!seen) return sonde_fail(err, SONDE_ENOMEM, "no memory to walk the graph");
  const sonde_node *input = input_behind(value, seen);
  sonde_release(seen);
  if (!input) return SONDE_OK;
  return sonde_fail(err, SONDE_EINVAL, "refresh of '%s': its value depends on the input '%s', not on parameters only",
                    buffer->name, input->name);
}

int sonde_refresh_declare(sonde_node *buffer, sonde_node *value, int64_t every, sonde_error *err) {
  sonde_graph *g = buffer->g;
  int code = check(buffer, value, every, err);
  for (int k = 0; k < g->n_refresh && !code; k++)
    if (g->refresh[k].buffer == buffer) return SONDE_OK;
  if (!code && g->n_refresh == g->cap_refresh) {
    int cap = g->cap_refresh ? 2 * g->cap_refresh : 16;
    declared_refresh *bigger =
        sonde_grow(g->refresh, (size_t)g->cap_refresh * sizeof *bigger, (size_t)cap * sizeof *bigger);
    if (!bigger) return sonde_fail(err, SONDE_ENOMEM, "no memory for a refresh");
    g->refresh = bigger;
    g->cap_refresh = cap;
  }
  if (!code) g->refresh[g->n_refresh++] = (declared_refresh){buffer, value, every};
  return code;
}

int64_t sonde_refresh_every(int64_t steps) {
  int64_t every = steps / 50;
  return every < 1 ? 1 : every > 1000 ? 1000 : every;
}

sonde_refresh *sonde_refresh_new(sonde_graph *g, sonde_params *params, int64_t steps, sonde_plan *share,
                                 sonde_error *err) {
  sonde_plan_opts opts = {.share = share};
  sonde_refresh *r = sonde_alloc(sizeof *r);
  if (r) r->job = sonde_alloc((size_t)(g->n_refresh + 1) * sizeof *r->job);
  if (!r || !r->job) {
    sonde_release(r);
    sonde_fail(err, SONDE_ENOMEM, "no memory to refresh buffers");
    return NULL;
  }
  r->params = sonde_params_ref(params);
  for (int k = 0; k < g->n_refresh; k++) {
    const declared_refresh *d = &g->refresh[k];
    sonde_node *value = d->value;
    sonde_plan *plan = sonde_plan_new(g, &value, &d->buffer->tensor, 1, &opts, err);
    if (!plan) {
      sonde_wrap(err, "refresh of '%s'", d->buffer->name);
      sonde_refresh_free(r);
      return NULL;
    }
    r->job[r->n++] = (job){plan, d->buffer->name, d->every ? d->every : sonde_refresh_every(steps)};
  }
  return r;
}

void sonde_refresh_free(sonde_refresh *r) {
  if (!r) return;
  for (int k = 0; k < r->n; k++) sonde_plan_free(r->job[k].plan);
  sonde_release(r->job);
  sonde_params_free(r->params);
  sonde_release(r);
}

int sonde_refresh_first(sonde_refresh *r, sonde_error *err) {
  int code = SONDE_OK;
  for (int k = 0; k < r->n && !code; k++)
    if (!sonde_params_is_set(r->params, r->job[k].name)) code = sonde_plan_run(r->job[k].plan, err);
  return code;
}

int sonde_refresh_after(sonde_refresh *r, int64_t step, sonde_error *err) {
  int code = SONDE_OK;
  for (int k = 0; k < r->n && !code; k++)
    if (step % r->job[k].every == 0) code = sonde_plan_run(r->job[k].plan, err);
  return code;
}

int sonde_refresh_all(sonde_refresh *r, sonde_error *err) {
  int code = SONDE_OK;
  for (int k = 0; k < r->n && !code; k++) code = sonde_plan_run(r->job[k].plan, err);
  return code;
}

int64_t sonde_refresh_arena(const sonde_refresh *r) {
  int64_t most = 0;
  for (int k = 0; k < r->n; k++) {
    sonde_plan_info info = {0};
    sonde_plan_get_info(r->job[k].plan, &info);
    if (info.arena_bytes > most) most = info.arena_bytes;
  }
  return most;
}
