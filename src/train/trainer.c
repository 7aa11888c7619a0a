/* trainer.c - makes a trainer: gradient nodes, variance nodes, the plans and the buffers. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "graph/graph.h"
#include "graph/plan.h"
#include "train/trainer_state.h"

enum { METRICS_LINE = 512, METRICS_PER_NUMBER = 24 };

static const char counted_name[] = "counted";

/* ---- nodes -------------------------------------------------------------------------------------------- */

/* The variance over the features of each token (around its mean, unbiased), averaged over the tokens. */
static sonde_node *variance_node(sonde_node *x) {
  sonde_shape s = sonde_node_shape(x);
  int64_t features = s.dim[s.rank - 1], tokens = sonde_shape_count(&s) / features;
  double divisor = (double)tokens * (double)(features > 1 ? features - 1 : 1);
  sonde_node *centred = sonde_sub(x, sonde_mean_last(x));
  return sonde_scale(sonde_sum_all(sonde_sum_last(sonde_square(centred))), 1.0 / divisor);
}

static sonde_node *mean_node(sonde_node *x) {
  sonde_shape s = sonde_node_shape(x);
  return sonde_scale(sonde_sum_all(x), 1.0 / (double)sonde_shape_count(&s));
}

void sonde_trainer_measures(sonde_node *const *probe, int32_t n_probe, sonde_node *const *entropy, int32_t n_entropy,
                            sonde_node **out) {
  for (int32_t k = 0; k < n_probe; k++) *out++ = variance_node(probe[k]);
  for (int32_t k = 0; k < n_entropy; k++) *out++ = mean_node(entropy[k]);
}

/* What the plans are made of; released when they stand. */
typedef struct parts {
  int64_t *param;                /* numbers of the parameters that are trained */
  sonde_node **leaf, **grad;     /* of each of them */
  sonde_node **out;              /* loss sum, gradients, metrics, variances, entropies */
  sonde_tensor **tensor;         /* where they go */
  sonde_node *loss_sum, *total;  /* reported, and minimised */
  int64_t n;                     /* how many they are */
} parts;

static int parts_alloc(parts *p, const sonde_trainer *t, sonde_error *err) {
  size_t n = (size_t)sonde_params_count(t->opts.params);
  size_t all = n + 1 + (size_t)(t->opts.n_metrics + t->opts.n_probe + t->opts.n_entropy);
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
  return sonde_grad(p->total, NULL, p->leaf, (int)p->n, p->grad, err);
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
  for (int32_t k = 0; k < t->opts.n_metrics; k++)
    if (t->opts.metric[k].node) {
      p->out[n] = sonde_sum_all(t->opts.metric[k].node);
      p->tensor[n++] = NULL;
    }
  if (probe) {
    const int64_t measures = (int64_t)t->opts.n_probe + t->opts.n_entropy;
    sonde_trainer_measures(t->opts.probe, t->opts.n_probe, t->opts.entropy, t->opts.n_entropy, p->out + n);
    for (int64_t k = 0; k < measures; k++) p->tensor[n++] = NULL;
  }
  if (sonde_graph_error(t->graph, err)) return NULL;
  t->plan_opts.share = t->eval ? t->eval : t->step[0][0];
  return sonde_plan_new(t->graph, p->out, p->tensor, (int)n, &t->plan_opts, err);
}

/* Where the data of a graph's input are; NULL: the feed has none of that name. */
static void *data_of(const sonde_trainer *t, const char *input) {
  if (t->counted && !strcmp(input, counted_name)) return t->counted;
  for (int32_t k = 0; k < t->opts.n_courses; k++)
    if (!strcmp(t->opts.course[k].input, input)) return (void *)(uintptr_t)&t->course[k];
  for (int32_t k = 0; k < t->opts.feed->inputs; k++)
    if (!strcmp(t->opts.feed->input[k].name, input)) return t->data[k];
  return NULL;
}

int sonde_trainer_set_inputs(const sonde_trainer *t, sonde_plan *plan, sonde_error *err) {
  char names[200];
  int code = SONDE_OK;
  for (int32_t k = 0; k < plan->n_input && !code; k++) {
    void *data = data_of(t, plan->input[k].name);
    code = data ? sonde_plan_set_input(plan, plan->input[k].name, data, err)
                : sonde_fail(err, SONDE_EINVAL,
                             "the model reads the input '%s', which the data do not have; they have %s",
                             plan->input[k].name, sonde_feed_text(t->opts.feed, names, sizeof names));
  }
  return code;
}

static int make_plans(sonde_trainer *t, parts *p, sonde_error *err) {
  int code = differentiate(t, p, err);
  for (int aside = 0; aside < (t->opts.accumulate > 1 ? 2 : 1) && !code; aside++)
    for (int probe = 0; probe < (t->opts.probe_every && t->opts.n_probe ? 2 : 1) && !code; probe++) {
      t->step[aside][probe] = make_plan(t, p, aside, probe, err);
      code = t->step[aside][probe] ? SONDE_OK : err->code;
    }
  return code;
}

/* The evaluation's plan comes first: the gradient may put nodes that also compute gradients in place of forward
 * ones. */
static int make_eval_plan(sonde_trainer *t, sonde_error *err) {
  sonde_node *out[1 + SONDE_METRICS_MOST] = {sonde_sum_all(t->opts.eval_loss ? t->opts.eval_loss : t->opts.loss)};
  int n = 1;
  if (!sonde_trainer_evaluates(t)) return SONDE_OK;
  for (int32_t k = 0; k < t->opts.n_metrics; k++)
    if (t->opts.metric[k].eval) out[n++] = sonde_sum_all(t->opts.metric[k].eval);
  for (int k = 0; k < n; k++)
    if (!out[k]) return sonde_graph_error(sonde_node_graph(t->opts.loss), err);
  t->eval = sonde_plan_new(sonde_node_graph(out[0]), out, NULL, n, &t->plan_opts, err);
  return t->eval ? sonde_trainer_set_inputs(t, t->eval, err) : err->code;
}

/* ---- the trainer -------------------------------------------------------------------------------------- */

int sonde_trainer_evaluates(const sonde_trainer *t) { return t->opts.feed->valid_rows > 0 && t->opts.eval_tokens >= 0; }

static int check(const sonde_trainer_opts *o, sonde_error *err) {
  int code = sonde_schedule_check(&o->schedule, err);
  if (code) return code;
  if (o->accumulate < 1)
    return sonde_fail(err, SONDE_EINVAL, "accumulate must be at least 1, not %d", o->accumulate);
  if (o->patience < 0)
    return sonde_fail(err, SONDE_EINVAL, "patience must be at least 0, not %lld", (long long)o->patience);
  int evaluates = o->feed->valid_rows > 0 && o->eval_tokens >= 0;
  if (o->n_metrics > SONDE_METRICS_MOST)
    return sonde_fail(err, SONDE_EINVAL, "%d metrics; at most %d are possible", o->n_metrics, SONDE_METRICS_MOST);
  if (o->n_courses > SONDE_COURSES_MOST)
    return sonde_fail(err, SONDE_EINVAL, "%d courses; at most %d are possible", o->n_courses, SONDE_COURSES_MOST);
  if (o->patience && (!evaluates || o->eval_every < 1))
    return sonde_fail(err, SONDE_EINVAL, "patience waits for a lower validation loss: give %s",
                      evaluates ? "eval_every, the updates between evaluations" : "a corpus with validation text");
  if (!(o->max_seconds >= 0))
    return sonde_fail(err, SONDE_EINVAL, "max_seconds must be at least 0, not %g", o->max_seconds);
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
                      "a memory of %.1f MiB (memory_budget, or what is free) is too little: weights, gradients and "
                      "optimizer states alone take %.1f MiB; make the model smaller",
                      (double)budget / 0x1p20, (double)state / 0x1p20);
  t->plan_opts.memory_budget = budget - state;
  return SONDE_OK;
}

/* The input of the graph that the feed's input k fills; NULL: the model does not read it. */
static const sonde_node *input_of(const sonde_trainer *t, int32_t k) {
  const sonde_node *n = sonde_find(t->graph, t->opts.feed->input[k].name);
  return n && n->kind == SONDE_KIND_INPUT ? n : NULL;
}

/* How many rows a micro-batch has. */
static int find_rows(sonde_trainer *t, sonde_error *err) {
  sonde_shape loss = sonde_node_shape(t->opts.loss);
  char t1[160], t2[160];
  t->items = sonde_shape_count(&loss);
  for (int32_t k = 0; k < t->opts.feed->inputs; k++) {
    const sonde_feed_input *in = &t->opts.feed->input[k];
    const sonde_node *node = input_of(t, k);
    if (!node) continue;
    int64_t all = sonde_shape_count(&node->shape), row = sonde_shape_count(&in->shape);
    if (!t->rows && row) t->rows = all / row;
    if (node->shape.dtype != in->shape.dtype || t->rows < 1 || all != t->rows * row)
      return sonde_fail(err, SONDE_ESHAPE,
                        "the model was traced for the input '%s' %s, which is no whole number of the data's rows, "
                        "%s: dtype and numbers of a row must be the same",
                        in->name, sonde_shape_text(&node->shape, t1, sizeof t1),
                        sonde_shape_text(&in->shape, t2, sizeof t2));
    if (t->opts.targets && !strcmp(in->name, t->opts.targets) && (in->shape.dtype != SONDE_I32 || all != t->items))
      return sonde_fail(err, SONDE_ESHAPE, "the targets '%s' %s are not one i32 for each of the %lld items of the loss",
                        in->name, sonde_shape_text(&node->shape, t1, sizeof t1), (long long)t->items);
  }
  if (!t->rows)
    return sonde_fail(err, SONDE_EINVAL, "the model reads no input that the data have; they have %s",
                      sonde_feed_text(t->opts.feed, t1, sizeof t1));
  if (t->items % t->rows)
    return sonde_fail(err, SONDE_ESHAPE, "a loss of %lld items is not as many for each of the %lld rows of the data",
                      (long long)t->items, (long long)t->rows);
  return SONDE_OK;
}

static int make_buffers(sonde_trainer *t, sonde_error *err) {
  int code = find_rows(t, err);
  for (int32_t k = 0; k < t->opts.feed->inputs && !code; k++) {
    const sonde_feed_input *in = &t->opts.feed->input[k];
    if (!(t->data[k] = sonde_alloc((size_t)(t->rows * sonde_shape_bytes(&in->shape)))))
      code = sonde_fail(err, SONDE_ENOMEM, "no memory for the trainer");
    if (t->opts.targets && !strcmp(in->name, t->opts.targets)) t->targets = t->data[k];
  }
  if (code) return code;
  const sonde_node *counted = sonde_find(t->graph, counted_name);
  if (counted && counted->kind == SONDE_KIND_INPUT) t->counted = sonde_alloc((size_t)t->rows * sizeof *t->counted);
  if (t->counted && (counted->shape.dtype != SONDE_F32 || sonde_shape_count(&counted->shape) != t->rows))
    return sonde_fail(err, SONDE_ESHAPE, "the input '%s' must be f32 [%lld], a number a row", counted_name,
                      (long long)t->rows);
  t->variance = sonde_alloc((size_t)(t->opts.n_probe + 1) * sizeof *t->variance);
  t->entropy = sonde_alloc((size_t)(t->opts.n_entropy + 1) * sizeof *t->entropy);
  if (!t->variance || !t->entropy || (counted && counted->kind == SONDE_KIND_INPUT && !t->counted))
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
  if (o->probe_every && o->n_probe && sonde_optim_measure(t->optim, err)) return err->code;
  int code = parts_alloc(&p, t, err);
  if (!code) code = make_tree(t, &p, err);
  if (!code) code = set_budget(t, err);
  if (!code) code = make_buffers(t, err);
  if (!code) code = make_eval_plan(t, err);
  if (!code && !(p.loss_sum = sonde_sum_all(o->loss))) code = sonde_graph_error(t->graph, err);
  p.total = o->total ? o->total : p.loss_sum;
  if (!code) code = make_plans(t, &p, err);
  t->trained = p.n;
  t->opts.factors = NULL;
  parts_free(&p);
  if (code == SONDE_ELIMIT && t->plan_opts.memory_budget)
    return sonde_wrap(err,
                      "memory of %.1f MiB (memory_budget, or what is free), of which weights, gradients and states "
                      "take %.1f MiB",
                      (double)o->memory_budget / 0x1p20, (double)state_bytes(t) / 0x1p20);
  if (code) return code;
  t->refresh = sonde_refresh_new(t->graph, o->params, o->schedule.steps, t->step[0][0], err);
  if (!t->refresh) return err->code;
  if (o->gather) t->gather = sonde_gathering_new(o->params, t->ctx->pool, o->gather, o->gather_values, err);
  return o->gather && !t->gather ? err->code : SONDE_OK;
}

/* Weights, and what else is asked for, of another run's checkpoint. */
static int start_from(sonde_trainer *t, sonde_error *err) {
  const sonde_trainer_opts *o = &t->opts;
  char folder[SONDE_CHECKPOINT_NAME];
  sonde_progress there = {0};
  int code = sonde_checkpoint_load(o->from, o->params, o->from_optimizer ? t->optim : NULL, &there, folder, err);
  if (code)
    return sonde_wrap(err, "from %s: its checkpoint does not fit this model and optimizer, or is damaged", o->from);
  if (o->from_optimizer) t->progress.first_update = there.first_update + there.step;
  if (o->from_text) t->progress.sequence = t->progress.first_sequence = there.sequence;
  return SONDE_OK;
}

static int resume(sonde_trainer *t, const char *dir, sonde_error *err) {
  char folder[SONDE_CHECKPOINT_NAME];
  sonde_progress *p = &t->progress;
  int code = sonde_checkpoint_load(dir, t->opts.params, t->optim, p, folder, err);
  if (code)
    return sonde_wrap(err, "the checkpoint is damaged or of another model; remove %s to start again", dir);
  if (p->sequence != p->first_sequence + p->step * t->opts.accumulate * t->rows || p->seed != t->opts.seed)
    return sonde_fail(err, SONDE_EINVAL,
                      "%s: the checkpoint was made with another seed, batch or accumulate; use another folder "
                      "or remove this one",
                      dir);
  if (t->opts.forget_stop) *p->stopped = 0;
  return sonde_checkpoint_adopt(dir, folder, err);
}

/* Cuts the metrics back to where the training is. */
static int rewind_metrics(sonde_trainer *t, sonde_error *err) {
  sonde_run *run = t->opts.run;
  char sum[65];
  int64_t numbers = 2 * (int64_t)t->opts.blocks + t->opts.n_probe + t->opts.n_entropy;
  int64_t line = METRICS_LINE + METRICS_PER_NUMBER * numbers + 2 * METRICS_NAME * t->opts.n_metrics;
  sonde_metrics *m = sonde_run_metrics(run, line, err);
  if (!m || sonde_metrics_rewind(m, t->progress.metrics_bytes, err)) return err->code;
  sonde_metrics_sha256(m, sum);
  if (!*t->progress.metrics_sha256 || strcmp(sum, t->progress.metrics_sha256) == 0) return SONDE_OK;
  sonde_warn("%s/metrics.jsonl: is not what was written: it was changed or is damaged, and so are the curves drawn of "
             "it",
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
  t->progress.n_metrics = o->n_metrics;
  for (int32_t k = 0; k < o->n_metrics; k++) {
    t->progress.metric_name[k] = o->metric[k].name;
    t->progress.metric[k] = (sonde_metric_state){0, NAN, NAN};
  }
  t->event.update_loss = NAN;
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
    t->last_tick = t->last_save = sonde_clock_seconds();
    return t;
  }
  sonde_trainer_free(t);
  return NULL;
}

void sonde_trainer_free(sonde_trainer *t) {
  if (!t) return;
  sonde_refresh_free(t->refresh);
  sonde_gathering_free(t->gather);
  for (int k = 0; k < 4; k++) sonde_plan_free(t->step[k / 2][k % 2]);
  sonde_plan_free(t->eval);
  sonde_tree_free(t->tree);
  sonde_optim_free(t->optim);
  if (t->uses) sonde_params_unuse(t->opts.params);
  sonde_params_free(t->opts.params);
  sonde_graph_free(t->graph);
  for (int32_t k = 0; k < SONDE_FEED_INPUTS; k++) sonde_release(t->data[k]);
  sonde_release(t->counted);
  sonde_release(t->variance);
  sonde_release(t->entropy);
  sonde_release(t);
}

int64_t sonde_trainer_step(const sonde_trainer *t) { return t->progress.step; }
int32_t sonde_trainer_blocks(const sonde_trainer *t) { return t->opts.blocks; }
int32_t sonde_trainer_probes(const sonde_trainer *t) { return t->opts.n_probe; }
int32_t sonde_trainer_entropies(const sonde_trainer *t) { return t->opts.n_entropy; }

int64_t sonde_trainer_forecast(sonde_ctx *ctx, const sonde_params *params, const sonde_optim_opts *optimizer,
                               int32_t accumulate) {
  int64_t gradients = 0;
  for (int64_t i = 0; i < sonde_params_count(params); i++) {
    const sonde_param *p = sonde_params_at(params, i);
    sonde_shape shape = sonde_tensor_shape(p->value);
    if (sonde_param_trained(p)) gradients += sonde_shape_bytes(&shape);
  }
  return 4 * sonde_params_elements(params) + sonde_optim_forecast(params, ctx->pool, optimizer) +
      sonde_tree_forecast(gradients, accumulate);
}

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

double sonde_trainer_flops(const sonde_trainer *t) { return t->step[0][0]->model_flops / (double)t->items; }

void sonde_trainer_profile(sonde_trainer *t) {
  for (int k = 0; k < 4; k++)
    if (t->step[k / 2][k % 2]) sonde_plan_profile(t->step[k / 2][k % 2], 1);
}

const sonde_plan *sonde_trainer_plan(const sonde_trainer *t, int k) { return t->step[k / 2][k % 2]; }
