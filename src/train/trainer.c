/* trainer.c - makes a trainer: gradient nodes, variance nodes, the plans and the buffers. */
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/log.h"
#include "base/mem.h"
#include "graph/graph.h"
#include "train/trainer_state.h"

enum { METRICS_LINE = 512, METRICS_PER_NUMBER = 24 };

double sonde_train_clock(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* ---- nodes -------------------------------------------------------------------------------------------- */

/* The variance over the features of each token (around its mean, unbiased), averaged over the tokens. */
static sonde_node *variance_node(sonde_node *x) {
  sonde_shape s = sonde_node_shape(x);
  int64_t features = s.dim[s.rank - 1], tokens = sonde_shape_count(&s) / features;
  double divisor = (double)tokens * (double)(features > 1 ? features - 1 : 1);
  sonde_node *centred = sonde_sub(x, sonde_mean_last(x));
  return sonde_scale(sonde_sum_all(sonde_sum_last(sonde_square(centred))), 1.0 / divisor);
}

/* What the plans are made of; released when they stand. */
typedef struct parts {
  int64_t *param;                /* numbers of the parameters that are trained */
  sonde_node **leaf, **grad;     /* of each of them */
  sonde_node **out;              /* loss sum, gradients, variances */
  sonde_tensor **tensor;         /* where they go */
  sonde_node *loss_sum;
  int64_t n;                     /* how many they are */
} parts;

static int parts_alloc(parts *p, const sonde_trainer *t, sonde_error *err) {
  size_t n = (size_t)sonde_params_count(t->opts.params), all = n + 1 + (size_t)t->opts.n_probe;
  p->param = sonde_alloc(n * sizeof *p->param);
  p->leaf = sonde_alloc(n * sizeof *p->leaf);
  p->grad = sonde_alloc(n * sizeof *p->grad);
  p->out = sonde_alloc(all * sizeof *p->out);
  p->tensor = sonde_alloc(all * sizeof *p->tensor);
  if (!p->param || !p->leaf || !p->grad || !p->out || !p->tensor)
    return sonde_fail(err, SONDE_ENOMEM, "no memory for the trainer");
  for (int64_t i = 0; i < (int64_t)n; i++)
    if (sonde_optim_grad(t->optim, i)) p->param[p->n++] = i;
  return p->n ? SONDE_OK : sonde_fail(err, SONDE_EINVAL, "no parameter is left to train: all are frozen");
}

static void parts_free(parts *p) {
  sonde_release(p->param);
  sonde_release(p->leaf);
  sonde_release(p->grad);
  sonde_release(p->out);
  sonde_release(p->tensor);
}

static int differentiate(sonde_trainer *t, parts *p, sonde_error *err) {
  for (int64_t i = 0; i < p->n; i++) {
    const char *name = sonde_params_at(t->opts.params, p->param[i])->name;
    if (!(p->leaf[i] = sonde_find(t->graph, name)))
      return sonde_fail(
          err, SONDE_EINVAL,
          "parameter '%s' is not in the traced graph, so it cannot be trained; trace the model that owns it",
          name);
  }
  return sonde_grad(p->loss_sum, NULL, p->leaf, (int)p->n, p->grad, err);
}

/* ---- plans -------------------------------------------------------------------------------------------- */

static sonde_plan *make_plan(sonde_trainer *t, parts *p, int aside, int probe, sonde_error *err) {
  int64_t n = 0;
  p->out[n] = p->loss_sum;
  p->tensor[n++] = NULL;
  for (int64_t i = 0; i < p->n; i++) {
    p->out[n] = p->grad[i];
    p->tensor[n++] = sonde_tree_target(t->tree, i, aside);
  }
  for (int32_t k = 0; probe && k < t->opts.n_probe; k++) {
    p->out[n] = variance_node(t->opts.probe[k]);
    p->tensor[n++] = NULL;
  }
  if (sonde_graph_error(t->graph, err)) return NULL;
  t->plan_opts.share = t->eval ? t->eval : t->step[0][0];
  return sonde_plan_new(t->graph, p->out, p->tensor, (int)n, &t->plan_opts, err);
}

static int set_inputs(const sonde_trainer *t, sonde_plan *plan, sonde_error *err) {
  int code = sonde_plan_set_input(plan, "tokens", t->tokens, err);
  return code ? code : sonde_plan_set_input(plan, "targets", t->targets, err);
}

static int make_plans(sonde_trainer *t, parts *p, sonde_error *err) {
  int code = differentiate(t, p, err);
  for (int aside = 0; aside < (t->opts.accumulate > 1 ? 2 : 1) && !code; aside++)
    for (int probe = 0; probe < (t->opts.probe_every && t->opts.n_probe ? 2 : 1) && !code; probe++) {
      t->step[aside][probe] = make_plan(t, p, aside, probe, err);
      code = t->step[aside][probe] ? set_inputs(t, t->step[aside][probe], err) : err->code;
    }
  return code;
}

/* The evaluation's plan comes first: the gradient may put nodes that also compute gradients in place of forward ones. */
static int make_eval_plan(sonde_trainer *t, sonde_error *err) {
  if (!t->opts.valid) return SONDE_OK;
  sonde_node *loss = sonde_sum_all(t->opts.eval_loss ? t->opts.eval_loss : t->opts.loss);
  if (!loss) return sonde_graph_error(sonde_node_graph(t->opts.loss), err);
  t->eval = sonde_plan_new(sonde_node_graph(loss), &loss, NULL, 1, &t->plan_opts, err);
  return t->eval ? set_inputs(t, t->eval, err) : err->code;
}

/* ---- the trainer -------------------------------------------------------------------------------------- */

static int check(const sonde_trainer_opts *o, sonde_error *err) {
  int code = sonde_schedule_check(&o->schedule, err);
  if (code) return code;
  if (o->accumulate < 1)
    return sonde_fail(err, SONDE_EINVAL, "accumulate must be at least 1, not %d", o->accumulate);
  if (o->patience < 0) return sonde_fail(err, SONDE_EINVAL, "patience must be at least 0, not %lld", (long long)o->patience);
  if (o->patience && (!o->valid || o->eval_every < 1))
    return sonde_fail(err, SONDE_EINVAL, "patience waits for a lower validation loss: give %s",
                      o->valid ? "eval_every, the updates between evaluations" : "a corpus with validation text");
  if (!(o->max_seconds >= 0)) return sonde_fail(err, SONDE_EINVAL, "max_seconds must be at least 0, not %g", o->max_seconds);
  if (!(o->clip >= 0)) return sonde_fail(err, SONDE_EINVAL, "clip must be at least 0, not %g", o->clip);
  if (!(o->weight_decay >= 0))
    return sonde_fail(err, SONDE_EINVAL, "weight_decay must be at least 0, not %g", o->weight_decay);
  if (sonde_params_count(o->params) == 0)
    return sonde_fail(err, SONDE_EINVAL, "the model has no parameters to train");
  return SONDE_OK;
}

static int64_t state_bytes(const sonde_trainer *t) {
  return 4 * sonde_params_elements(t->opts.params) + sonde_optim_bytes(t->optim) + sonde_tree_bytes(t->tree);
}

/* The plans may have what weights, gradients and states leave of the budget. */
static int set_budget(sonde_trainer *t, sonde_error *err) {
  int64_t budget = t->opts.memory_budget, state = state_bytes(t);
  t->plan_opts = (sonde_plan_opts){.recompute = t->opts.recompute, .compute = t->opts.compute};
  if (!budget) return SONDE_OK;
  if (state >= budget)
    return sonde_fail(err, SONDE_ELIMIT,
                      "a memory of %.1f MiB (memory_budget, or what is free) is too little: weights, gradients and optimizer "
                      "states alone take %.1f MiB; make the model smaller",
                      (double)budget / 0x1p20, (double)state / 0x1p20);
  t->plan_opts.memory_budget = budget - state;
  return SONDE_OK;
}

static int make_buffers(sonde_trainer *t, sonde_error *err) {
  sonde_shape loss = sonde_node_shape(t->opts.loss);
  int64_t n = sonde_shape_count(&loss);
  t->context = t->opts.train->context;
  t->rows = n / t->context;
  if (t->rows < 1 || n % t->context)
    return sonde_fail(err, SONDE_ESHAPE,
                      "the model was traced for %lld tokens, which are no whole rows of %lld; trace it with "
                      "the context of the data",
                      (long long)n, (long long)t->context);
  t->tokens = sonde_alloc((size_t)n * sizeof *t->tokens);
  t->targets = sonde_alloc((size_t)n * sizeof *t->targets);
  t->variance = sonde_alloc((size_t)(t->opts.n_probe + 1) * sizeof *t->variance);
  if (!t->tokens || !t->targets || !t->variance)
    return sonde_fail(err, SONDE_ENOMEM, "no memory for the trainer");
  return SONDE_OK;
}

static int make_tree(sonde_trainer *t, const parts *p, sonde_error *err) {
  for (int64_t i = 0; i < p->n; i++) p->tensor[i] = sonde_optim_grad(t->optim, p->param[i]);
  t->tree = sonde_tree_new(t->ctx->pool, p->tensor, p->n, t->opts.accumulate, err);
  return t->tree ? SONDE_OK : err->code;
}

static int make(sonde_trainer *t, sonde_error *err) {
  parts p = {0};
  const sonde_trainer_opts *o = &t->opts;
  sonde_optim_opts oo = {
      .functions = o->optimizer, .values = o->optimizer_values, .weight_decay = o->weight_decay,
      .decay_embeddings = o->decay_embeddings, .decay_gains = o->decay_gains, .clip = o->clip, .blocks = o->blocks,
      .factors = o->factors};
  if (!(t->optim = sonde_optim_new(o->params, t->ctx->pool, &oo, err))) return err->code;
  int code = parts_alloc(&p, t, err);
  if (!code) code = make_tree(t, &p, err);
  if (!code) code = set_budget(t, err);
  if (!code) code = make_buffers(t, err);
  if (!code) code = make_eval_plan(t, err);
  if (!code && !(p.loss_sum = sonde_sum_all(o->loss))) code = sonde_graph_error(t->graph, err);
  if (!code) code = make_plans(t, &p, err);
  t->trained = p.n;
  t->opts.factors = NULL;
  parts_free(&p);
  if (code == SONDE_ELIMIT && t->plan_opts.memory_budget)
    return sonde_wrap(err, "memory of %.1f MiB (memory_budget, or what is free), of which weights, gradients and states take %.1f MiB",
                      (double)o->memory_budget / 0x1p20, (double)state_bytes(t) / 0x1p20);
  if (code) return code;
  t->refresh = sonde_refresh_new(t->graph, o->params, o->schedule.steps, t->step[0][0], err);
  return t->refresh ? SONDE_OK : err->code;
}

/* Weights, and what else is asked for, of another run's checkpoint. */
static int start_from(sonde_trainer *t, sonde_error *err) {
  const sonde_trainer_opts *o = &t->opts;
  char folder[SONDE_CHECKPOINT_NAME];
  sonde_progress there;
  int code = sonde_checkpoint_load(o->from, o->params, o->from_optimizer ? t->optim : NULL, &there, folder, err);
  if (code) return code;
  if (o->from_optimizer) t->progress.first_update = there.first_update + there.step;
  if (o->from_text) t->progress.sequence = t->progress.first_sequence = there.sequence;
  return SONDE_OK;
}

static int resume(sonde_trainer *t, const char *dir, sonde_error *err) {
  char folder[SONDE_CHECKPOINT_NAME];
  sonde_progress *p = &t->progress;
  int code = sonde_checkpoint_load(dir, t->opts.params, t->optim, p, folder, err);
  if (code) return code;
  if (p->sequence != p->first_sequence + p->step * t->opts.accumulate * t->rows || p->seed != t->opts.seed)
    return sonde_fail(err, SONDE_EINVAL,
                      "%s: the checkpoint was made with another seed, batch or accumulate; use another folder "
                      "or remove this one",
                      dir);
  return sonde_checkpoint_adopt(dir, folder, err);
}

/* Cuts the metrics back to where the training is. */
static int rewind_metrics(sonde_trainer *t, sonde_error *err) {
  sonde_run *run = t->opts.run;
  char sum[65];
  int64_t line = METRICS_LINE + METRICS_PER_NUMBER * ((int64_t)t->opts.blocks + t->opts.n_probe);
  sonde_metrics *m = sonde_run_metrics(run, line, err);
  if (!m || sonde_metrics_rewind(m, t->progress.metrics_bytes, err)) return err->code;
  sonde_metrics_sha256(m, sum);
  if (!*t->progress.metrics_sha256 || strcmp(sum, t->progress.metrics_sha256) == 0) return SONDE_OK;
  sonde_warn("%s/metrics.jsonl: is not what was written: it was changed or is damaged, and so are the curves drawn of it",
             sonde_run_dir(run));
  sonde_run_note(run, "metrics.jsonl is not what was written up to step %lld", (long long)t->progress.step);
  return SONDE_OK;
}

/* Goes on from the run's checkpoint, or begins: with what the parameters have, or another run's checkpoint. */
static int start(sonde_trainer *t, sonde_error *err) {
  const sonde_trainer_opts *o = &t->opts;
  const char *dir = o->run ? sonde_run_dir(o->run) : NULL;
  int resumed = dir && sonde_checkpoint_exists(dir);
  t->progress = (sonde_progress){.seed = o->seed, .loss = NAN, .val_loss = NAN, .best_loss = NAN};
  int code = resumed ? resume(t, dir, err) : o->from ? start_from(t, err) : SONDE_OK;
  if (!code && dir) code = rewind_metrics(t, err);
  if (code) return code;
  if (resumed) sonde_run_note(o->run, "goes on at step %lld", (long long)t->progress.step);
  return sonde_refresh_first(t->refresh, err);
}

sonde_trainer *sonde_trainer_new(sonde_ctx *ctx, const sonde_trainer_opts *opts, sonde_error *err) {
  if (check(opts, err)) return NULL;
  sonde_trainer *t = sonde_alloc(sizeof *t);
  if (!t) {
    sonde_fail(err, SONDE_ENOMEM, "no memory for the trainer");
    return NULL;
  }
  t->ctx = ctx;
  t->opts = *opts;
  t->graph = sonde_graph_ref(sonde_node_graph(opts->loss));
  sonde_params_ref(opts->params);
  sonde_params_init(opts->params, ctx);
  int code = make(t, err);
  if (!code) code = start(t, err);
  if (!code) {
    t->last_tick = t->last_save = sonde_train_clock();
    return t;
  }
  sonde_trainer_free(t);
  return NULL;
}

void sonde_trainer_free(sonde_trainer *t) {
  if (!t) return;
  sonde_refresh_free(t->refresh);
  for (int k = 0; k < 4; k++) sonde_plan_free(t->step[k / 2][k % 2]);
  sonde_plan_free(t->eval);
  sonde_tree_free(t->tree);
  sonde_optim_free(t->optim);
  sonde_params_free(t->opts.params);
  sonde_graph_free(t->graph);
  sonde_release(t->tokens);
  sonde_release(t->targets);
  sonde_release(t->variance);
  sonde_release(t);
}

int64_t sonde_trainer_step(const sonde_trainer *t) { return t->progress.step; }
int32_t sonde_trainer_blocks(const sonde_trainer *t) { return t->opts.blocks; }
int32_t sonde_trainer_probes(const sonde_trainer *t) { return t->opts.n_probe; }

sonde_trainer_memory sonde_trainer_memory_of(const sonde_trainer *t) {
  sonde_trainer_memory m = {sonde_refresh_arena(t->refresh), 0, 0};
  const sonde_plan *plan[] = {t->eval, t->step[0][0], t->step[0][1], t->step[1][0], t->step[1][1]};
  for (size_t k = 0; k < sizeof plan / sizeof *plan; k++) {
    sonde_plan_info info = {0};
    if (!plan[k]) continue;
    sonde_plan_get_info(plan[k], &info);
    if (info.arena_bytes > m.arena) m.arena = info.arena_bytes;
    if (info.recomputed_blocks > m.recomputed_blocks) m.recomputed_blocks = info.recomputed_blocks;
  }
  m.state = state_bytes(t);
  return m;
}

void sonde_trainer_profile(sonde_trainer *t) {
  for (int k = 0; k < 4; k++)
    if (t->step[k / 2][k % 2]) sonde_plan_profile(t->step[k / 2][k % 2], 1);
}

const sonde_plan *sonde_trainer_plan(const sonde_trainer *t, int k) { return t->step[k / 2][k % 2]; }
