/* bind_train.c - the trainer in Lua. */
#include "config.h"

#include <math.h>
#include <string.h>

#include "base/mem.h"
#include "graph/graph.h"
#include "plugin/registry.h"
#include "script/script.h"
#include "train/trainer.h"

/* Arguments of core.trainer, and what its handle uses. */
enum { ARG_LOSS = 1, ARG_PARAMS = 2, ARG_FEED = 3, ARG_OPTS = 4, ARG_RUN = 5 };
enum { USED_PARAMS, USED_FEED, USED_RUN, USED };

enum { MOST_HOOKS = 64 };

/* The trainer with what it borrows. */
typedef struct training {
  sonde_trainer *trainer;
  sonde_value *values;         /* the optimizer's options ... */
  sonde_value *gather_values;  /* ... and those of the sparsity method that gathers */
  double *rates;               /* [steps] of a schedule that is a table */
  sonde_metric metric[SONDE_METRICS_MOST];
  sonde_course course[SONDE_COURSES_MOST];
  double *values_of_course[SONDE_COURSES_MOST];
  int32_t n_courses;
  int64_t hook_every[MOST_HOOKS];
  int32_t n_metrics;
} training;

static void free_training(void *p) {
  training *t = p;
  sonde_trainer_free(t->trainer);
  sonde_release(t->values);
  sonde_release(t->gather_values);
  sonde_release(t->rates);
  for (int32_t k = 0; k < t->n_courses; k++) sonde_release(t->values_of_course[k]);
  sonde_release(t);
}

static const sonde_lua_type trainer_type;

static training *to_training(lua_State *L) { return sonde_lua_handle(L, 1, &trainer_type); }

/* ---- making one -------------------------------------------------------------------------------------------- */

static int one_of(lua_State *L, int table, const char *key, const char *const *names, int n) {
  const char *name = sonde_lua_field_string(L, table, key, names[0]);
  for (int k = 0; k < n; k++)
    if (!strcmp(name, names[k])) return k;
  return sonde_lua_fail(L, "%s cannot be '%s'", key, name);
}

static sonde_schedule read_schedule(lua_State *L, int t) {
  sonde_schedule s = {0};
  sonde_error err = {0};
  sonde_lua_check(L, sonde_schedule_kind_of(sonde_lua_field_string(L, t, "schedule", "cosine"), &s.kind, &err),
                  &err);
  s.lr = sonde_lua_field_number(L, t, "lr", 1e-3);
  s.min_ratio = sonde_lua_field_number(L, t, "min_lr", 0.1);
  s.steps = sonde_lua_field_int(L, t, "steps", 0);
  s.warmup = sonde_lua_field_int(L, t, "warmup", 0);
  s.warmup_from = sonde_lua_field_number(L, t, "warmup_from", 0);
  s.decay = sonde_lua_field_int(L, t, "decay", 0);
  s.cycles = sonde_lua_field_int(L, t, "cycles", 1);
  s.growth = sonde_lua_field_number(L, t, "cycle_growth", 1);
  return s;
}

/* A list of a number for each update, at the top of the stack, into *out. */
static void read_course(lua_State *L, const char *what, int64_t steps, double **out) {
  if (lua_type(L, -1) != LUA_TTABLE || (int64_t)lua_rawlen(L, -1) != steps)
    sonde_lua_fail(L, "%s must be as many as there are steps", what);
  if (!(*out = sonde_alloc((size_t)steps * sizeof **out))) sonde_lua_fail(L, "no memory for a schedule");
  for (int64_t k = 0; k < steps; k++) {
    lua_rawgeti(L, -1, k + 1);
    int ok;
    (*out)[k] = lua_tonumberx(L, -1, &ok);
    if (!ok) sonde_lua_fail(L, "%s must be numbers", what);
    lua_pop(L, 1);
  }
}

/* opts.courses, a list of {input =, values =}. The names live as long as the list, which the trainer's handle keeps. */
static void read_courses(lua_State *L, int table, int64_t steps, training *t) {
  if (lua_getfield(L, table, "courses") == LUA_TNIL) return;
  int list = lua_gettop(L), n = (int)lua_rawlen(L, list);
  if (n > SONDE_COURSES_MOST) sonde_lua_fail(L, "%d courses; at most %d are possible", n, SONDE_COURSES_MOST);
  for (int k = 0; k < n; k++) {
    lua_rawgeti(L, list, k + 1);
    int at = lua_gettop(L);
    sonde_lua_own(L, at, "a course");
    t->course[k].input = sonde_lua_field_string(L, at, "input", "");
    lua_getfield(L, at, "values");
    t->n_courses = k + 1;
    read_course(L, "the values of a course", steps, &t->values_of_course[k]);
    t->course[k].value = t->values_of_course[k];
    lua_settop(L, list);
  }
}

/* opts.rates, a rate over lr for each update, instead of a schedule with a name. */
static void read_rates(lua_State *L, int table, sonde_schedule *s, training *t) {
  if (lua_getfield(L, table, "rates") == LUA_TNIL) return;
  read_course(L, "rates", s->steps, &t->rates);
  s->kind = SONDE_SCHEDULE_TABLE;
  s->table = t->rates;
}

/* Everything of the options that is a plain value. */
static sonde_trainer_opts read_opts(lua_State *L, int t) {
  static const char *const recompute[] = {"budget", "never", "always"}, *const compute[] = {"f32", "bf16"};
  static const int recompute_value[] = {1, 0, 2}, compute_value[] = {SONDE_F32, SONDE_BF16};
  sonde_trainer_opts o = {0};
  o.schedule = read_schedule(L, t);
  o.seed = (uint64_t)sonde_lua_field_int(L, t, "seed", 0);
  o.blocks = (int32_t)sonde_lua_field_integer(L, t, "blocks", 0, 0, 1 << 20);
  o.accumulate = (int32_t)sonde_lua_field_integer(L, t, "accumulate", 1, 1, INT32_MAX);
  o.weight_decay = sonde_lua_field_number(L, t, "weight_decay", 0);
  o.decay_embeddings = sonde_lua_field_bool(L, t, "decay_embeddings", 0);
  o.decay_gains = sonde_lua_field_bool(L, t, "decay_gains", 0);
  o.clip = sonde_lua_field_number(L, t, "clip", 0);
  o.loss_bound = sonde_lua_field_number(L, t, "loss_bound", 0);
  o.memory_budget = sonde_lua_field_int(L, t, "memory_budget", 0);
  o.recompute = recompute_value[one_of(L, t, "recompute", recompute, 3)];
  o.compute = compute_value[one_of(L, t, "dtype", compute, 2)];
  o.eval_tokens = sonde_lua_field_int(L, t, "eval_tokens", 0);
  o.log_every = sonde_lua_field_int(L, t, "log_every", 0);
  o.eval_every = sonde_lua_field_int(L, t, "eval_every", 0);
  o.checkpoint_every = sonde_lua_field_int(L, t, "checkpoint_every", 0);
  o.probe_every = sonde_lua_field_int(L, t, "probe_every", 0);
  o.checkpoint_seconds = sonde_lua_field_number(L, t, "checkpoint_seconds", 0);
  o.tick_seconds = sonde_lua_field_number(L, t, "tick_seconds", 0);
  o.peak_flops = sonde_lua_field_number(L, t, "peak_flops", 0);
  o.patience = sonde_lua_field_integer(L, t, "patience", 0, 0, INT64_MAX);
  o.max_seconds = sonde_lua_field_number(L, t, "max_seconds", 0);
  o.targets = sonde_lua_field_string(L, t, "targets", NULL);
  o.hook_eval = sonde_lua_field_bool(L, t, "hook_eval", 0);
  o.forget_stop = sonde_lua_field_bool(L, t, "forget_stop", 0);
  o.from = sonde_lua_field_string(L, t, "from", NULL);
  o.from_optimizer = sonde_lua_field_bool(L, t, "from_optimizer", 1);
  o.from_text = sonde_lua_field_bool(L, t, "from_text", 1);
  o.stop = sonde_lua_stop_flag();
  return o;
}

/* The nodes of an option, a list, in memory on the stack; NULL without it. */
static sonde_node **read_nodes(lua_State *L, int t, const char *option, int32_t *n) {
  *n = 0;
  return lua_getfield(L, t, option) == LUA_TNIL ? NULL : sonde_lua_nodes(L, lua_gettop(L), option, n);
}

/* opts.factors ({name = {lr=, weight_decay=}}; 1 where none is given), in memory on the stack. */
static const sonde_factors *read_factors(lua_State *L, int t, const sonde_params *params) {
  int64_t n = sonde_params_count(params);
  if (lua_getfield(L, t, "factors") == LUA_TNIL) return NULL;
  int set = lua_gettop(L);
  sonde_lua_own(L, set, "factors");
  sonde_factors *factors = lua_newuserdatauv(L, (size_t)(n + 1) * sizeof *factors, 0);
  for (int64_t k = 0; k < n; k++) {
    factors[k] = (sonde_factors){1, 1};
    if (lua_getfield(L, set, sonde_params_at(params, k)->name) != LUA_TNIL) {
      int own = lua_gettop(L);
      sonde_lua_own(L, own, "the factors of a parameter");
      factors[k].lr = sonde_lua_field_number(L, own, "lr", 1);
      factors[k].weight_decay = sonde_lua_field_number(L, own, "weight_decay", 1);
    }
    lua_pop(L, 1);
  }
  return factors;
}

/* Looks the optimizer up and checks its options (the table opts.optimizer_options). */
static const sonde_optimizer *read_optimizer(lua_State *L, int t, sonde_value **values, sonde_error *err) {
  sonde_registry *r = sonde_registry_of(sonde_lua_ctx(L), err);
  const char *name = sonde_lua_field_string(L, t, "optimizer", "adamw");
  lua_getfield(L, t, "optimizer_options");
  json_t *given = lua_isnil(L, -1) ? NULL : sonde_lua_to_tree(L, lua_gettop(L));
  const sonde_entry *e = r ? sonde_registry_find(r, "optimizer", name, err) : NULL;
  if (!e || !(*values = sonde_entry_values(e, given, err))) return NULL;
  return sonde_entry_functions(e, "optimizer", err);
}

/* The sparsity method of opts.gather, {method, options}; NULL where there is none, or with the reason in err. */
static const sonde_sparsity *read_gather(lua_State *L, int t, sonde_value **values, sonde_error *err) {
  if (lua_getfield(L, t, "gather") == LUA_TNIL) return NULL;
  int own = lua_gettop(L);
  sonde_lua_own(L, own, "gather");
  sonde_registry *r = sonde_registry_of(sonde_lua_ctx(L), err);
  const char *name = sonde_lua_field_string(L, own, "method", "");
  lua_getfield(L, own, "options");
  const json_t *given = lua_isnil(L, -1) ? NULL : sonde_lua_to_tree(L, lua_gettop(L));
  const sonde_entry *e = r ? sonde_registry_find(r, "sparsity", name, err) : NULL;
  const sonde_sparsity *f = e ? sonde_entry_functions(e, "sparsity", err) : NULL;
  if (!f || !(*values = sonde_entry_values(e, given, err))) return NULL;
  if (!f->gather) sonde_fail(err, SONDE_EINVAL, "sparsity '%s' gathers nothing", name);
  return f->gather ? f : NULL;
}

/* The nodes of opts.metrics, a list of {name, node, eval}, in memory on the stack; either node may be absent. The names
 * live as long as the list, which the trainer's handle keeps. */
static sonde_metric *read_metrics(lua_State *L, int t, int32_t *n) {
  *n = 0;
  if (lua_getfield(L, t, "metrics") == LUA_TNIL) return NULL;
  int list = lua_gettop(L);
  sonde_lua_own(L, list, "metrics");
  *n = (int32_t)lua_rawlen(L, list);
  sonde_metric *metrics = lua_newuserdatauv(L, (size_t)(*n + 1) * sizeof *metrics, 0);
  for (int32_t k = 0; k < *n; k++) {
    lua_rawgeti(L, list, k + 1);
    int at = lua_gettop(L);
    sonde_lua_own(L, at, "a metric");
    metrics[k] = (sonde_metric){.name = sonde_lua_field_string(L, at, "name", "")};
    if (lua_getfield(L, at, "node") != LUA_TNIL) metrics[k].node = sonde_lua_to_node(L, lua_gettop(L));
    if (lua_getfield(L, at, "eval") != LUA_TNIL) metrics[k].eval = sonde_lua_to_node(L, lua_gettop(L));
    lua_settop(L, list + 1);
  }
  return metrics;
}

/* The numbers of opts.hook_every, in memory on the stack. */
static const int64_t *read_hooks(lua_State *L, int t, int32_t *n) {
  int64_t count = 0;
  const int64_t *every = lua_getfield(L, t, "hook_every") == LUA_TNIL ? NULL
                             : sonde_lua_new_integers(L, lua_gettop(L), "hook_every", &count);
  *n = (int32_t)count;
  return every;
}

static int64_t bytes_of(const sonde_trainer *t) {
  sonde_trainer_memory m = sonde_trainer_memory_of(t);
  return m.arena + m.state;
}

/* core.trainer(loss, params, feed, opts[, run]) -> trainer. The fields of opts are those of sonde_trainer_opts, with
 * probes and entropies lists of nodes, metrics a list of {name=, node=, eval=}, factors a table of {lr=,
 * weight_decay=} by name, optimizer a name and optimizer_options a table, gather {method=, options=} of a sparsity
 * method, eval_loss and total nodes, hook_every a list; rates, a list, stands for a schedule. */
static int core_trainer(lua_State *L) {
  sonde_error err = {0};
  lua_settop(L, ARG_RUN);
  sonde_lua_options(L, ARG_OPTS);
  sonde_node *loss = sonde_lua_to_node(L, ARG_LOSS);
  sonde_params *params = sonde_lua_handle(L, ARG_PARAMS, &sonde_lua_params);
  sonde_run *run = sonde_lua_opt_handle(L, ARG_RUN, &sonde_lua_run);
  const sonde_feed *feed = sonde_lua_handle(L, ARG_FEED, &sonde_lua_feed);
  sonde_trainer_opts o = read_opts(L, ARG_OPTS);
  sonde_node **probe = read_nodes(L, ARG_OPTS, "probes", &o.n_probe);
  sonde_node **entropy = read_nodes(L, ARG_OPTS, "entropies", &o.n_entropy);
  const sonde_metric *metric = read_metrics(L, ARG_OPTS, &o.n_metrics);
  const int64_t *hook_every = read_hooks(L, ARG_OPTS, &o.n_hooks);
  if (o.n_metrics > SONDE_METRICS_MOST)
    return sonde_lua_fail(L, "%d metrics; at most %d are possible", o.n_metrics, SONDE_METRICS_MOST);
  if (o.n_hooks > MOST_HOOKS) return sonde_lua_fail(L, "%d hooks; at most %d are possible", o.n_hooks, MOST_HOOKS);
  o.factors = read_factors(L, ARG_OPTS, params);
  sonde_lua_box *box = sonde_lua_new(L, &trainer_type, USED);
  int handle = lua_gettop(L);
  lua_createtable(L, 2, 0);            /* what names are borrowed of */
  lua_getfield(L, ARG_OPTS, "metrics");
  lua_rawseti(L, -2, 1);
  lua_getfield(L, ARG_OPTS, "courses");
  lua_rawseti(L, -2, 2);
  lua_setiuservalue(L, handle, 1);
  sonde_lua_borrow(L, box, ARG_PARAMS, USED_PARAMS);
  sonde_lua_borrow(L, box, ARG_FEED, USED_FEED);
  if (run) sonde_lua_borrow(L, box, ARG_RUN, USED_RUN);
  training *t = box->p = sonde_alloc(sizeof *t);
  if (!t) return sonde_lua_fail(L, "no memory for a trainer");
  for (int32_t k = 0; k < o.n_metrics; k++) t->metric[k] = metric[k];
  for (int32_t k = 0; k < o.n_hooks; k++) t->hook_every[k] = hook_every[k];
  t->n_metrics = o.n_metrics;
  o.metric = t->metric;
  o.hook_every = t->hook_every;
  read_rates(L, ARG_OPTS, &o.schedule, t);
  read_courses(L, ARG_OPTS, o.schedule.steps, t);
  o.course = t->course;
  o.n_courses = t->n_courses;
  o.optimizer = read_optimizer(L, ARG_OPTS, &t->values, &err);
  if (!o.optimizer) sonde_lua_raise(L, &err);
  o.gather = read_gather(L, ARG_OPTS, &t->gather_values, &err);
  if (err.code) sonde_lua_raise(L, &err);
  o.gather_values = t->gather_values;
  if (lua_getfield(L, ARG_OPTS, "eval_loss") != LUA_TNIL) o.eval_loss = sonde_lua_to_node(L, lua_gettop(L));
  if (lua_getfield(L, ARG_OPTS, "total") != LUA_TNIL) o.total = sonde_lua_to_node(L, lua_gettop(L));
  o.loss = loss;
  o.params = params;
  o.probe = probe;
  o.entropy = entropy;
  o.optimizer_values = t->values;
  o.feed = feed;
  o.run = run;
  t->trainer = sonde_trainer_new(sonde_lua_ctx(L), &o, &err);
  if (!t->trainer) sonde_lua_raise(L, &err);
  lua_settop(L, handle);
  sonde_lua_account(L, box, bytes_of(t->trainer));
  return 1;
}

/* core.training_state(params, {optimizer=, optimizer_options=, accumulate=}) -> bytes, {name, ..}: what a trainer keeps
 * beside its arena, and the parameters that it trains */
static int core_training_state(lua_State *L) {
  sonde_error err = {0};
  const sonde_params *params = sonde_lua_handle(L, 1, &sonde_lua_params);
  lua_settop(L, 2);
  sonde_lua_options(L, 2);
  int32_t accumulate = (int32_t)sonde_lua_field_integer(L, 2, "accumulate", 1, 1, INT32_MAX);
  sonde_value *values = NULL;
  sonde_optim_opts o = {.functions = read_optimizer(L, 2, &values, &err)};
  if (!o.functions) {
    sonde_release(values);
    sonde_lua_raise(L, &err);
  }
  o.values = values;
  int64_t bytes = sonde_trainer_forecast(sonde_lua_ctx(L), params, &o, accumulate);
  sonde_release(values);
  lua_pushinteger(L, bytes);
  lua_newtable(L);
  lua_Integer n = 0;
  for (int64_t k = 0; k < sonde_params_count(params); k++) {
    if (!sonde_param_trained(sonde_params_at(params, k))) continue;
    lua_pushstring(L, sonde_params_at(params, k)->name);
    lua_rawseti(L, -2, ++n);
  }
  return 2;
}

/* core.training_measures(probes[, entropies]) -> list of nodes, lists of nodes: what the updates that measure blocks
 * give beside the others */
static int core_training_measures(lua_State *L) {
  int32_t n, m = 0;
  lua_settop(L, 2);
  sonde_node **probe = sonde_lua_nodes(L, 1, "the probes", &n);
  sonde_node **entropy = lua_isnil(L, 2) ? NULL : sonde_lua_nodes(L, 2, "the entropies", &m);
  sonde_node **out = lua_newuserdatauv(L, ((size_t)n + (size_t)m + 1) * sizeof *out, 0);
  sonde_trainer_measures(probe, n, entropy, m, out);
  lua_createtable(L, n + m, 0);
  for (int32_t k = 0; k < n + m; k++) {
    lua_rawgeti(L, k < n ? 1 : 2, 1);        /* a node of the graph: the lists are our own */
    sonde_lua_push_node(L, -1, out[k]);
    lua_remove(L, -2);
    lua_rawseti(L, -2, k + 1);
  }
  return 1;
}

/* ---- events ------------------------------------------------------------------------------------------------ */

static void set_list(lua_State *L, const char *key, const double *value, int64_t n) {
  if (!value || !n) return;
  lua_createtable(L, (int)n, 0);
  for (int64_t k = 0; k < n; k++) {
    lua_pushnumber(L, value[k]);
    lua_rawseti(L, -2, (lua_Integer)k + 1);
  }
  lua_setfield(L, -2, key);
}

/* {name = value} of the metrics that have one. */
static void set_metrics(lua_State *L, const char *key, const training *t, const double *value) {
  lua_createtable(L, 0, t->n_metrics);
  for (int32_t k = 0; k < t->n_metrics && value; k++) sonde_lua_set_number(L, t->metric[k].name, value[k]);
  lua_setfield(L, -2, key);
}

static void push_event(lua_State *L, const sonde_train_event *e, const training *t) {
  lua_createtable(L, 0, 24);
  sonde_lua_set_flag(L, "logged", (e->what & SONDE_TRAIN_LOG) != 0);
  sonde_lua_set_flag(L, "evaluated", (e->what & SONDE_TRAIN_EVAL) != 0);
  sonde_lua_set_flag(L, "saved", (e->what & SONDE_TRAIN_CHECKPOINT) != 0);
  sonde_lua_set_flag(L, "done", (e->what & SONDE_TRAIN_DONE) != 0);
  sonde_lua_set_flag(L, "diverged", (e->what & SONDE_TRAIN_DIVERGED) != 0);
  sonde_lua_set_flag(L, "hook", (e->what & SONDE_TRAIN_HOOK) != 0);
  sonde_lua_set_flag(L, "prepare", (e->what & SONDE_TRAIN_PREPARE) != 0);
  sonde_lua_set_flag(L, "interrupted", (e->what & SONDE_TRAIN_INTERRUPTED) != 0);
  sonde_lua_set_integer(L, "step", e->step);
  sonde_lua_set_integer(L, "steps", e->steps);
  sonde_lua_set_integer(L, "tokens", e->tokens);
  sonde_lua_set_integer(L, "sequence", e->sequence);
  sonde_lua_set_integer(L, "rows", e->rows);
  sonde_lua_set_number(L, "loss", e->loss);
  sonde_lua_set_number(L, "update_loss", e->update_loss);
  set_metrics(L, "metrics", t, e->metric);
  set_metrics(L, "val_metrics", t, e->val_metric);
  if (e->has_val_loss) {           /* NaN too: it is not the same as no evaluation */
    lua_pushnumber(L, e->val_loss);
    lua_setfield(L, -2, "val_loss");
  }
  sonde_lua_set_number(L, "best_loss", e->best_loss);
  sonde_lua_set_number(L, "lr", e->lr);
  sonde_lua_set_number(L, "grad_norm", e->grad_norm);
  set_list(L, "block_grad_norm", e->block_norm, sonde_trainer_blocks(t->trainer));
  set_list(L, "block_variance", e->variance, sonde_trainer_probes(t->trainer));
  set_list(L, "block_attention_entropy", e->entropy, sonde_trainer_entropies(t->trainer));
  set_list(L, "block_update_ratio", e->update_ratio, sonde_trainer_blocks(t->trainer));
  sonde_lua_set_number(L, "tokens_per_s", e->tokens_per_s);
  sonde_lua_set_number(L, "ms_per_step", e->ms_per_step);
  sonde_lua_set_number(L, "mfu", e->mfu);
  sonde_lua_set_number(L, "seconds", e->seconds);
  sonde_lua_set_number(L, "eta", e->eta);
  if (*e->reason) {
    lua_pushstring(L, e->reason);
    lua_setfield(L, -2, e->what & SONDE_TRAIN_DIVERGED ? "reason" : "stopped");
  }
}

/* trainer:run() -> the next event. One that was interrupted does not raise: it takes the request as heard, and the
 * caller ends its records and then raises. */
static int trainer_run(lua_State *L) {
  training *t = to_training(L);
  sonde_train_event e;
  sonde_error err = {0};
  sonde_lua_check(L, sonde_trainer_run(t->trainer, &e, &err), &err);
  if (e.what & SONDE_TRAIN_INTERRUPTED) lua_sethook(L, NULL, 0, 0);
  push_event(L, &e, t);
  return 1;
}

/* trainer:stop(reason): the training ends at the update that was last made, as if that had been the last one */
static int trainer_stop(lua_State *L) {
  training *t = to_training(L);
  sonde_trainer_stop(t->trainer, sonde_lua_string(L, 2));
  return 0;
}

/* trainer:record(name, value): a line of the run's metrics with what was measured after the update made last */
static int trainer_record(lua_State *L) {
  training *t = to_training(L);
  sonde_error err = {0};
  sonde_lua_check(L, sonde_trainer_record(t->trainer, sonde_lua_string(L, 2), sonde_lua_number(L, 3), &err), &err);
  return 0;
}

/* trainer:evaluate() -> loss, items, {metric = value} */
static int trainer_evaluate(lua_State *L) {
  training *t = to_training(L);
  double loss, metric[SONDE_METRICS_MOST];
  int64_t items;
  sonde_error err = {0};
  sonde_lua_check(L, sonde_trainer_evaluate(t->trainer, &loss, metric, &items, &err), &err);
  lua_newtable(L);
  set_metrics(L, "metrics", t, metric);
  lua_getfield(L, -1, "metrics");
  lua_pushnumber(L, loss);
  lua_pushinteger(L, items);
  lua_rotate(L, -3, 2);
  return 3;
}

/* trainer:step() -> updates done */
static int trainer_step(lua_State *L) {
  lua_pushinteger(L, sonde_trainer_step(to_training(L)->trainer));
  return 1;
}

/* trainer:memory() -> {arena, state, recomputed_blocks}, in bytes */
static int trainer_memory(lua_State *L) {
  sonde_trainer_memory m = sonde_trainer_memory_of(to_training(L)->trainer);
  lua_createtable(L, 0, 3);
  sonde_lua_set_integer(L, "arena", m.arena);
  sonde_lua_set_integer(L, "state", m.state);
  sonde_lua_set_integer(L, "recomputed_blocks", m.recomputed_blocks);
  return 1;
}

/* trainer:flops() -> operations a token, or another item */
static int trainer_flops(lua_State *L) {
  lua_pushnumber(L, sonde_trainer_flops(to_training(L)->trainer));
  return 1;
}

/* trainer:profile() -> {op = seconds}, {module = seconds} of the updates since the first call, which begins it */
static int trainer_profile(lua_State *L) {
  sonde_trainer *t = to_training(L)->trainer;
  lua_settop(L, 1);
  lua_newtable(L);
  lua_newtable(L);
  for (int k = 0; k < 4; k++)
    if (sonde_trainer_plan(t, k)) sonde_lua_add_times(L, 2, 3, sonde_trainer_plan(t, k));
  sonde_trainer_profile(t);
  return 2;
}

/* core.learning_rate(opts, step) -> the rate of an update by schedule, lr, min_lr, steps, warmup, warmup_from, decay,
 * cycles and cycle_growth */
static int core_learning_rate(lua_State *L) {
  int64_t step = sonde_lua_integer(L, 2, INT64_MIN, INT64_MAX);
  sonde_lua_options(L, 1);
  sonde_error err = {0};
  sonde_schedule s = read_schedule(L, 1);
  sonde_lua_check(L, sonde_schedule_check(&s, &err), &err);
  if (step < 1 || step > s.steps) return sonde_lua_fail(L, "the schedule has no update %lld", (long long)step);
  lua_pushnumber(L, sonde_schedule_lr(&s, step));
  return 1;
}

static const luaL_Reg trainer_methods[] = {{"run", trainer_run},
                                           {"profile", trainer_profile},
                                           {"evaluate", trainer_evaluate},
                                           {"stop", trainer_stop},
                                           {"record", trainer_record},
                                           {"step", trainer_step},
                                           {"memory", trainer_memory}, {"flops", trainer_flops},
                                           {NULL, NULL}};
static const sonde_lua_type trainer_type = {"trainer", free_training, trainer_methods};

void sonde_bind_train(lua_State *L) {
  static const luaL_Reg functions[] = {{"trainer", core_trainer},
                                       {"training_state", core_training_state},
                                       {"training_measures", core_training_measures},
                                       {"learning_rate", core_learning_rate},
                                       {NULL, NULL}};
  sonde_lua_functions(L, functions);
}
