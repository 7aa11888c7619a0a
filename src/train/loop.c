/* loop.c - the training loop: steps, and at their boundaries evaluation, metrics and checkpoints. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "train/trainer_state.h"

enum { ENDED = SONDE_TRAIN_DONE | SONDE_TRAIN_DIVERGED | SONDE_TRAIN_INTERRUPTED };

static int due(int64_t every, int64_t step) { return every > 0 && step % every == 0; }

/* ---- one update --------------------------------------------------------------------------------------- */

/* The items of a micro-batch that count, when its first `rows` rows are data. What else fills it is marked as such. */
static int64_t count_items(sonde_trainer *t, int64_t rows) {
  int64_t of_rows = rows * (t->items / t->rows), n = of_rows;
  for (int64_t k = 0; t->counted && k < t->rows; k++) t->counted[k] = k < rows;
  if (!t->targets) return n;
  for (int64_t k = 0; k < of_rows; k++) n -= t->targets[k] == SONDE_IGNORE;
  for (int64_t k = of_rows; k < t->items; k++) t->targets[k] = SONDE_IGNORE;
  return n;
}

/* A metric's sum over a micro-batch, from output `at` of its plan: a node of one number is a mean. */
static double metric_sum(sonde_plan *plan, int at, const sonde_node *node, int64_t counted) {
  sonde_shape shape = sonde_node_shape(node);
  double x = *(const float *)sonde_plan_output(plan, at);
  return sonde_shape_count(&shape) > 1 ? x : x * (double)counted;
}

/* Sums over an update's micro-batches. */
typedef struct sums { double loss, metric[SONDE_METRICS_MOST]; int64_t counted; } sums;

/* Runs micro-batch k of an update; adds its gradients, its loss and its metrics to their trees, so that after the last
 * one s has the sums, and its variances and entropies to those of t. */
static int run_batch(sonde_trainer *t, int32_t k, int probe, sums *s, sonde_error *err) {
  sonde_plan *plan = t->step[sonde_tree_aside(t->tree, k)][probe];
  int code = t->opts.feed->train(t->opts.feed, t->progress.sequence, t->rows, t->data, err);
  if (code) return code;
  int64_t counted = count_items(t, t->rows);
  s->counted += counted;
  sonde_plan_set_step(plan, (uint64_t)(t->progress.sequence / t->rows));
  code = sonde_trainer_set_inputs(t, plan, err);
  if (!code) code = sonde_plan_run(plan, err);
  if (code) return code;
  if ((code = sonde_tree_add(t->tree, k, err))) return code;
  s->loss = sonde_tree_number(t->loss, k, t->opts.accumulate, *(const float *)sonde_plan_output(plan, 0));
  int first = 1 + (int)t->trained;
  for (int32_t j = 0; j < t->opts.n_metrics; j++)
    if (t->opts.metric[j].node)
      s->metric[j] = sonde_tree_number(t->metric[j], k, t->opts.accumulate,
                                       metric_sum(plan, first++, t->opts.metric[j].node, counted));
  for (int32_t j = 0; probe && j < t->opts.n_probe; j++)
    t->variance[j] += *(const float *)sonde_plan_output(plan, first++) / t->opts.accumulate;
  for (int32_t j = 0; probe && j < t->opts.n_entropy; j++)
    t->entropy[j] += *(const float *)sonde_plan_output(plan, first++) / t->opts.accumulate;
  t->progress.sequence += t->rows;
  return SONDE_OK;
}

/* Says in the event why the update was not made. */
static void say_why(sonde_trainer *t, int64_t step, double loss, const sonde_update_result *r) {
  sonde_train_event *e = &t->event;
  const double x = r->skipped == SONDE_SKIPPED_LOSS ? loss : r->norm.global;
  if (r->skipped == SONDE_SKIPPED_BOUND)
    snprintf(e->reason, sizeof e->reason, "the loss %.4g at step %lld is over its bound of %.4g", loss, (long long)step,
             t->opts.loss_bound);
  else
    snprintf(e->reason, sizeof e->reason, "%s is %s at step %lld",
             r->skipped == SONDE_SKIPPED_LOSS ? "the loss" : "the gradient",
             isnan(x) ? "NaN" : "infinite", (long long)step);
}

/* One update. SONDE_OK with t->event.what DIVERGED leaves weights and counters as they were. */
static int run_step(sonde_trainer *t, sonde_error *err) {
  sonde_progress *p = &t->progress, before = *p;
  int64_t step = p->step + 1, tokens = t->items * t->opts.accumulate;
  int probe = t->step[0][1] && due(t->opts.probe_every, step), code = SONDE_OK;
  double start = sonde_clock_seconds();
  sums s = {0};
  for (int32_t k = 0; k < t->opts.n_courses; k++) t->course[k] = (float)t->opts.course[k].value[step - 1];
  if (probe) {
    memset(t->variance, 0, (size_t)t->opts.n_probe * sizeof *t->variance);
    memset(t->entropy, 0, (size_t)t->opts.n_entropy * sizeof *t->entropy);
  }
  for (int32_t k = 0; k < t->opts.accumulate && !code; k++) code = run_batch(t, k, probe, &s, err);
  if (code) return code;
  if (!s.counted)
    return sonde_fail(err, SONDE_EINVAL, "update %lld has no item that counts: all of its targets are %d",
                      (long long)step, SONDE_IGNORE);
  double loss = s.loss / (double)s.counted, scale = 1.0 / (double)s.counted;
  t->event.update_loss = loss;
  const double lr = sonde_schedule_lr(&t->opts.schedule, step);
  const sonde_update_block block = {loss, t->opts.loss_bound, scale, lr, p->first_update + step, probe};
  sonde_update_result made = {0};
  if (t->gather && (code = sonde_gathering_add(t->gather, t->optim, scale, err))) return code;
  if ((code = sonde_optim_update(t->optim, &block, &made, err))) return code;
  t->norm = made.norm.global;
  t->event.block_norm = made.norm.block;
  if (probe) t->event.variance = t->variance, t->event.entropy = t->entropy;
  if (made.skipped) {
    say_why(t, step, loss, &made);
    *p = before;
    p->loss_sum += loss;
    p->loss_steps++;
    t->event.what |= SONDE_TRAIN_DIVERGED;
    return SONDE_OK;
  }
  t->lr = lr;
  if (probe) t->event.update_ratio = made.ratio;
  if ((code = sonde_refresh_after(t->refresh, step, err))) return code;
  double seconds = sonde_clock_seconds() - start;
  p->step = step;
  p->tokens += tokens;
  p->seconds += seconds;
  p->loss_sum += loss;
  p->loss_steps++;
  for (int32_t k = 0; k < t->opts.n_metrics; k++) p->metric[k].sum += s.metric[k] * scale;
  t->interval_seconds += seconds;
  t->interval_tokens += tokens;
  t->interval_steps++;
  return SONDE_OK;
}

/* ---- evaluation --------------------------------------------------------------------------------------- */

int sonde_trainer_evaluate(sonde_trainer *t, double *loss, double *metric, int64_t *items, sonde_error *err) {
  const sonde_feed *feed = t->opts.feed;
  if (!sonde_trainer_evaluates(t)) return sonde_fail(err, SONDE_EINVAL, "there are no validation data to evaluate on");
  int64_t rows = feed->valid_rows, per_row = t->items / t->rows, wanted = (t->opts.eval_tokens + per_row - 1) / per_row;
  sums s = {0};
  if (wanted > 0 && wanted < rows) rows = wanted;
  for (int64_t row = 0; row < rows; row += t->rows) {
    int64_t n = rows - row < t->rows ? rows - row : t->rows;
    int code = feed->valid(feed, row, n, t->data, err), at = 1;
    if (code) return code;
    int64_t counted = count_items(t, n);
    code = sonde_trainer_set_inputs(t, t->eval, err);
    if (!code) code = sonde_plan_run(t->eval, err);
    if (code) return code;
    s.loss += *(const float *)sonde_plan_output(t->eval, 0);
    for (int32_t k = 0; k < t->opts.n_metrics; k++)
      if (t->opts.metric[k].eval) s.metric[k] += metric_sum(t->eval, at++, t->opts.metric[k].eval, counted);
    s.counted += counted;
  }
  if (!s.counted) return sonde_fail(err, SONDE_EINVAL, "the validation data have no item that counts");
  *loss = s.loss / (double)s.counted;
  for (int32_t k = 0; metric && k < t->opts.n_metrics; k++)
    metric[k] = t->opts.metric[k].eval ? s.metric[k] / (double)s.counted : NAN;
  if (items) *items = s.counted;
  return SONDE_OK;
}

/* ---- what happens between updates --------------------------------------------------------------------- */

static void fill_event(sonde_trainer *t) {
  const sonde_progress *p = &t->progress;
  sonde_train_event *e = &t->event;
  e->step = p->step;
  e->steps = t->opts.schedule.steps;
  e->tokens = p->tokens;
  e->loss = p->loss_steps ? p->loss_sum / (double)p->loss_steps : p->loss;
  for (int32_t k = 0; k < t->opts.n_metrics; k++) {
    double last = p->loss_steps ? p->metric[k].sum / (double)p->loss_steps : p->metric[k].last;
    t->mean[k] = t->opts.metric[k].node ? last : NAN;
    t->val_mean[k] = p->metric[k].val;
  }
  e->metric = t->mean;
  e->val_metric = t->val_mean;
  e->val_loss = p->val_loss;
  e->has_val_loss = !isnan(p->val_loss) || p->stale > 0;     /* stale counts every evaluation that gave NaN */
  e->best_loss = p->best_loss;
  e->lr = t->lr;
  e->grad_norm = t->norm;
  e->seconds = p->seconds;
  if (t->interval_steps) {
    e->tokens_per_s = (double)t->interval_tokens / t->interval_seconds;
    e->ms_per_step = 1e3 * t->interval_seconds / (double)t->interval_steps;
    e->mfu = t->opts.peak_flops > 0 ? e->tokens_per_s * sonde_trainer_flops(t) / t->opts.peak_flops : 0;
  }
  e->eta = (double)(e->steps - e->step) * e->ms_per_step * 1e-3;
}

static void write_means(const sonde_trainer *t, sonde_metrics *m, const char *of, const double *mean) {
  for (int32_t k = 0; k < t->opts.n_metrics; k++) {
    char key[METRICS_NAME];
    snprintf(key, sizeof key, "%s/%s", of, t->opts.metric[k].name);
    if (!isnan(mean[k])) sonde_metrics_number(m, key, mean[k]);
  }
}

int sonde_trainer_record(sonde_trainer *t, const char *name, double value, sonde_error *err) {
  sonde_metrics *m = t->opts.run ? sonde_run_metrics(t->opts.run, 0, err) : NULL;
  if (strlen(name) >= METRICS_NAME || strpbrk(name, "\"\\\n"))
    return sonde_fail(err, SONDE_EINVAL, "'%.40s..' is too long for the name of a metric, or has quotes", name);
  if (!m) return SONDE_OK;
  int code = sonde_run_check(t->opts.run, err);
  if (code) return code;
  sonde_metrics_begin(m);
  sonde_metrics_integer(m, "step", t->event.step);
  sonde_metrics_integer(m, "tokens", t->event.tokens);
  sonde_metrics_number(m, "wall", t->event.seconds);
  sonde_metrics_number(m, name, value);
  return sonde_metrics_end(m, err);
}

static int write_metrics(sonde_trainer *t, sonde_error *err) {
  const sonde_train_event *e = &t->event;
  sonde_metrics *m = t->opts.run ? sonde_run_metrics(t->opts.run, 0, err) : NULL;
  if (!m) return SONDE_OK;
  int code = sonde_run_check(t->opts.run, err);
  if (code) return code;
  sonde_metrics_begin(m);
  sonde_metrics_integer(m, "step", e->step);
  sonde_metrics_integer(m, "tokens", e->tokens);
  sonde_metrics_number(m, "wall", e->seconds);
  sonde_metrics_number(m, "train/loss", e->loss);
  write_means(t, m, "train", t->mean);
  if (e->what & SONDE_TRAIN_EVAL) {
    sonde_metrics_number(m, "val/loss", e->val_loss);
    write_means(t, m, "val", t->val_mean);
  }
  sonde_metrics_number(m, "lr", e->lr);
  sonde_metrics_number(m, "grad_norm", e->grad_norm);
  sonde_metrics_number(m, "tok_per_s", e->tokens_per_s);
  if (e->mfu > 0) sonde_metrics_number(m, "mfu", e->mfu);
  if (t->opts.blocks) sonde_metrics_numbers(m, "block/grad_norm", e->block_norm, t->opts.blocks);
  if (due(t->opts.probe_every, e->step) && e->variance)
    sonde_metrics_numbers(m, "block/variance", e->variance, t->opts.n_probe);
  if (due(t->opts.probe_every, e->step) && e->entropy && t->opts.n_entropy)
    sonde_metrics_numbers(m, "block/attention_entropy", e->entropy, t->opts.n_entropy);
  if (due(t->opts.probe_every, e->step) && e->update_ratio && t->opts.blocks)
    sonde_metrics_numbers(m, "block/update_ratio", e->update_ratio, t->opts.blocks);
  return sonde_metrics_end(m, err);
}

/* Starts a new interval of means. */
static void next_interval(sonde_trainer *t) {
  t->progress.loss = t->event.loss;
  t->progress.loss_sum = 0;
  for (int32_t k = 0; k < t->opts.n_metrics; k++)
    t->progress.metric[k] = (sonde_metric_state){0, t->mean[k], t->progress.metric[k].val};
  t->progress.loss_steps = 0;
  t->interval_seconds = 0;
  t->interval_tokens = t->interval_steps = 0;
}

static int save(sonde_trainer *t, sonde_error *err) {
  if (!t->opts.run) return SONDE_OK;
  int code = sonde_run_check(t->opts.run, err);
  sonde_metrics *m = code ? NULL : sonde_run_metrics(t->opts.run, 0, err);
  if (!m || (code = sonde_metrics_sync(m, err))) return err->code;
  t->progress.metrics_bytes = sonde_metrics_size(m);
  sonde_metrics_sha256(m, t->progress.metrics_sha256);
  t->event.what |= SONDE_TRAIN_CHECKPOINT;
  t->last_save = sonde_clock_seconds();
  return sonde_checkpoint_save(sonde_run_dir(t->opts.run), t->opts.params, t->optim, &t->progress, err);
}

static int save_due(const sonde_trainer *t) {
  const sonde_trainer_opts *o = &t->opts;
  return due(o->checkpoint_every, t->progress.step) ||
         (o->checkpoint_seconds > 0 && sonde_clock_seconds() - t->last_save >= o->checkpoint_seconds);
}

/* Whether the training ends here, and in the event why, if that is before the last update. */
static int is_over(sonde_trainer *t) {
  const sonde_trainer_opts *o = &t->opts;
  const sonde_progress *p = &t->progress;
  char *reason = t->event.reason;
  *reason = 0;
  if (p->step >= o->schedule.steps) return 1;
  if (*p->stopped) snprintf(reason, sizeof t->event.reason, "%s", p->stopped);
  else if (o->patience && p->stale >= o->patience && isnan(p->best_loss))
    snprintf(reason, sizeof t->event.reason, "the validation loss was NaN in %lld evaluations, at step %lld of %lld",
             (long long)p->stale, (long long)p->step, (long long)o->schedule.steps);
  else if (o->patience && p->stale >= o->patience)
    snprintf(reason, sizeof t->event.reason,
             "no lower validation loss than %.4f in %lld evaluations, at step %lld of %lld",
             p->best_loss, (long long)p->stale, (long long)p->step, (long long)o->schedule.steps);
  else if (o->max_seconds > 0 && p->seconds >= o->max_seconds)
    snprintf(reason, sizeof t->event.reason, "the %.4g minutes it may take are over, at step %lld of %lld",
             o->max_seconds / 60, (long long)p->step, (long long)o->schedule.steps);
  return *reason != 0;
}

static int evaluate(sonde_trainer *t, sonde_error *err) {
  sonde_progress *p = &t->progress;
  double metric[SONDE_METRICS_MOST];
  int code = sonde_trainer_evaluate(t, &p->val_loss, metric, NULL, err);
  if (code) return code;
  if (isnan(p->val_loss)) p->val_loss = NAN;                   /* without a sign, which would be printed */
  for (int32_t k = 0; k < t->opts.n_metrics; k++) p->metric[k].val = metric[k];
  t->event.what |= SONDE_TRAIN_EVAL;
  /* The first loss that is a number is lower than none; NaN never is, so that stale counts it. */
  const int lower = isnan(p->best_loss) ? !isnan(p->val_loss) : p->val_loss < p->best_loss;
  p->stale = lower ? 0 : p->stale + 1;
  if (lower) p->best_loss = p->val_loss;
  return SONDE_OK;
}

static int log_line(sonde_trainer *t, sonde_error *err) {
  int code = write_metrics(t, err);
  if (code) return code;
  t->event.what |= SONDE_TRAIN_LOG;
  next_interval(t);
  return SONDE_OK;
}

/* Whether a hook comes after this update, before it is saved: a stop that the hook wants is in the checkpoint then, and
 * a training that is killed in between comes back to the hook. */
static int hook_due(const sonde_trainer *t) {
  if (t->opts.hook_eval && (t->event.what & SONDE_TRAIN_EVAL)) return 1;
  for (int32_t k = 0; k < t->opts.n_hooks; k++)
    if (due(t->opts.hook_every[k], t->progress.step)) return 1;
  return 0;
}

static int at_boundary(sonde_trainer *t, sonde_error *err) {
  const sonde_trainer_opts *o = &t->opts;
  sonde_train_event *e = &t->event;
  int64_t step = t->progress.step;
  int diverged = e->what & SONDE_TRAIN_DIVERGED, last = !diverged && is_over(t), code = SONDE_OK;
  if (sonde_trainer_evaluates(t) && !diverged && (last || due(o->eval_every, step))) {
    if ((code = evaluate(t, err))) return code;
    last = last || is_over(t);                                 /* out of patience */
  }
  fill_event(t);
  if (last || diverged || due(o->log_every, step) || (e->what & SONDE_TRAIN_EVAL) ||
      (o->n_probe && due(o->probe_every, step)))
    if ((code = log_line(t, err))) return code;
  if (!diverged && hook_due(t)) {
    e->what |= SONDE_TRAIN_HOOK;
    t->pending = 1;
    return SONDE_OK;
  }
  if (last) e->what |= SONDE_TRAIN_DONE;
  if (!diverged && (last || save_due(t))) code = save(t, err);
  return code;
}

/* What is left to do at a boundary after its hooks, which may have ended the training. */
static int after_hooks(sonde_trainer *t, sonde_error *err) {
  uint32_t before = t->event.what;
  int last = is_over(t), code = SONDE_OK;
  t->event.what = 0;
  t->pending = 0;
  if (!last) return save_due(t) ? save(t, err) : SONDE_OK;
  if (sonde_trainer_evaluates(t) && !(before & SONDE_TRAIN_EVAL) && (code = evaluate(t, err))) return code;
  fill_event(t);
  if (((t->event.what & SONDE_TRAIN_EVAL) || !(before & SONDE_TRAIN_LOG)) && (code = log_line(t, err))) return code;
  t->event.what |= SONDE_TRAIN_DONE;
  return save(t, err);
}

void sonde_trainer_stop(sonde_trainer *t, const char *reason) {
  if (t->event.what & ENDED) return;
  snprintf(t->progress.stopped, sizeof t->progress.stopped, "%s", reason);
  t->pending = 1;
}

/* A stop asked for from outside: nothing of the run is lost. */
static int interrupt(sonde_trainer *t, sonde_error *err) {
  fill_event(t);
  t->event.what |= SONDE_TRAIN_INTERRUPTED;
  return save(t, err);
}

/* Whether the feed has the rows of the next update; the event says which ones these are. */
static int is_ready(sonde_trainer *t) {
  const sonde_feed *feed = t->opts.feed;
  t->event.sequence = t->progress.sequence;
  t->event.rows = t->rows * t->opts.accumulate;
  if (!feed->ready || feed->ready(feed, t->event.sequence, t->event.rows)) return 1;
  t->event.what |= SONDE_TRAIN_PREPARE;
  t->waits_since = sonde_clock_seconds();
  return 0;
}

/* The time that somebody took to bring rows is time of training. */
static void count_wait(sonde_trainer *t) {
  if (!t->waits_since) return;
  const double seconds = sonde_clock_seconds() - t->waits_since;
  t->progress.seconds += seconds;
  t->interval_seconds += seconds;
  t->waits_since = 0;
}

int sonde_trainer_run(sonde_trainer *t, sonde_train_event *event, sonde_error *err) {
  int code = SONDE_OK;
  count_wait(t);
  if (!t->uses) sonde_params_use(t->opts.params);
  t->uses = 1;
  if (t->pending) code = after_hooks(t, err);
  else if (!(t->event.what & ENDED)) t->event.what = 0;
  if (!code && !t->event.what && is_over(t)) {
    fill_event(t);
    t->event.what = SONDE_TRAIN_DONE;
  }
  while (!t->event.what && !code) {
    if (t->opts.stop && *t->opts.stop) {
      code = interrupt(t, err);
      break;
    }
    if (!is_ready(t)) break;
    if ((code = run_step(t, err)) || (code = at_boundary(t, err))) break;
    double now = sonde_clock_seconds();
    if (!t->event.what && t->opts.tick_seconds > 0 && now - t->last_tick >= t->opts.tick_seconds)
      t->event.what |= SONDE_TRAIN_TICK;
    if (t->event.what) t->last_tick = now;
  }
  *event = t->event;
  return code;
}
