/* checkpoint.c - see checkpoint.h. */
#include "train/checkpoint.h"

#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/log.h"
#include "base/mem.h"
#include "io/json.h"
#include "io/safetensors.h"

enum { PATH_BYTES = 4096, NAME_BYTES = SONDE_CHECKPOINT_NAME, FORMAT = 2, SUMS_BYTES = 512 };

static const char *const link_name = "checkpoint", *const folder_prefix = "checkpoint-";

/* DIR/name, or "" (which no call takes for a path) when that is too long. */
static const char *join(char out[PATH_BYTES], const char *dir, const char *name) {
  if (snprintf(out, PATH_BYTES, "%s/%s", dir, name) >= PATH_BYTES) *out = 0;
  return out;
}

/* What RUN/checkpoint points at; "" if it is no link. */
static const char *target_of(const char *run_dir, char out[NAME_BYTES]) {
  char path[PATH_BYTES];
  ssize_t n = readlink(join(path, run_dir, link_name), out, NAME_BYTES - 1);
  out[n > 0 ? n : 0] = 0;
  return out;
}

int sonde_checkpoint_exists(const char *run_dir) {
  char path[PATH_BYTES];
  struct stat st;
  return lstat(join(path, run_dir, link_name), &st) == 0;
}

/* ---- state.json --------------------------------------------------------------------------------------- */

/* {name: [sum, last, val]} */
static json_t *metrics_tree(const sonde_progress *p) {
  json_t *all = json_object();
  for (int32_t k = 0; k < p->n_metrics && all; k++) {
    const sonde_metric_state *m = &p->metric[k];
    json_object_set_new(
        all, p->metric_name[k],
        json_pack("[o, o, o]", sonde_json_number(m->sum), sonde_json_number(m->last), sonde_json_number(m->val)));
  }
  return all;
}

static int save_state(const char *dir, const sonde_progress *p, sonde_error *err) {
  char path[PATH_BYTES], seed[32];
  snprintf(seed, sizeof seed, "%" PRIu64, p->seed);   /* as text: JSON's integers are signed */
  static const char layout[] =
      "{s:i, s:I, s:I, s:I, s:s, s:I, s:s, s:f, s:f, s:I, s:o, s:o, s:o, s:I, s:I, s:I, s:o, s:s}";
  json_t *o = json_pack(
      layout, "format", FORMAT, "step", (json_int_t)p->step, "tokens", (json_int_t)p->tokens, "sequence",
      (json_int_t)p->sequence, "seed", seed, "metrics_bytes", (json_int_t)p->metrics_bytes, "metrics_sha256",
      p->metrics_sha256, "seconds", p->seconds, "loss_sum", p->loss_sum, "loss_steps", (json_int_t)p->loss_steps,
      "loss", sonde_json_number(p->loss), "val_loss", sonde_json_number(p->val_loss), "best_loss",
      sonde_json_number(p->best_loss), "stale", (json_int_t)p->stale, "first_sequence", (json_int_t)p->first_sequence,
      "first_update", (json_int_t)p->first_update, "metrics", metrics_tree(p), "stopped", p->stopped);
  if (!o) return sonde_fail(err, SONDE_ENOMEM, "%s: no memory for the checkpoint's state", dir);
  int code = sonde_json_save(o, join(path, dir, "state.json"), 2, err);
  json_decref(o);
  return code;
}

static double value_or_nan(const json_t *v) { return json_is_number(v) ? json_number_value(v) : NAN; }
static double number_or_nan(const json_t *o, const char *key) { return value_or_nan(json_object_get(o, key)); }

/* What older ones may lack. */
static void load_later_fields(const json_t *o, sonde_progress *p) {
  const char *sum = json_string_value(json_object_get(o, "metrics_sha256")),
             *stopped = json_string_value(json_object_get(o, "stopped"));
  p->best_loss = number_or_nan(o, "best_loss");
  p->stale = json_integer_value(json_object_get(o, "stale"));
  p->first_sequence = json_integer_value(json_object_get(o, "first_sequence"));
  p->first_update = json_integer_value(json_object_get(o, "first_update"));
  snprintf(p->metrics_sha256, sizeof p->metrics_sha256, "%s", sum ? sum : "");
  snprintf(p->stopped, sizeof p->stopped, "%s", stopped ? stopped : "");
  for (int32_t k = 0; k < p->n_metrics; k++) {
    const json_t *m = json_object_get(json_object_get(o, "metrics"), p->metric_name[k]);
    p->metric[k] = (sonde_metric_state){json_number_value(json_array_get(m, 0)), value_or_nan(json_array_get(m, 1)),
                                        value_or_nan(json_array_get(m, 2))};
  }
}

static int load_state(const char *dir, sonde_progress *p, int *found, sonde_error *err) {
  char path[PATH_BYTES];
  const char *seed = NULL;
  json_int_t step, tokens, sequence, metrics, steps;
  int format = 0;
  json_t *o = sonde_json_load(join(path, dir, "state.json"), 1 << 20, err);
  if (!o) return err->code;
  int bad = json_unpack(o, "{s:i, s:I, s:I, s:I, s:s, s:I, s:F, s:F, s:I}", "format", &format, "step", &step,
                        "tokens", &tokens, "sequence", &sequence, "seed", &seed, "metrics_bytes", &metrics,
                        "seconds", &p->seconds, "loss_sum", &p->loss_sum, "loss_steps", &steps);
  if (!bad && format >= 1 && format <= FORMAT && step >= 0 && tokens >= 0 && sequence >= 0 && metrics >= 0 &&
      steps >= 0) {
    p->step = step;
    p->tokens = tokens;
    p->sequence = sequence;
    p->seed = strtoull(seed, NULL, 10);
    p->metrics_bytes = metrics;
    p->loss_steps = steps;
    p->loss = number_or_nan(o, "loss");
    p->val_loss = number_or_nan(o, "val_loss");
    load_later_fields(o, p);
  } else if (!bad && format > FORMAT) {
    bad = sonde_fail(err, SONDE_EFORMAT, "%s: made by a newer Sonde (format %d, this one knows %d)", path,
                     format, FORMAT);
  } else {
    bad = sonde_fail(err, SONDE_EFORMAT, "%s: is no state of a checkpoint", path);
  }
  json_decref(o);
  if (found) *found = format;
  return bad ? err->code : SONDE_OK;
}

/* ---- tensors ------------------------------------------------------------------------------------------ */

typedef struct items { sonde_st_item *item; sonde_shape *shape; char (*name)[NAME_BYTES]; int64_t n; } items;

static int items_alloc(items *l, int64_t n, sonde_error *err) {
  l->item = sonde_alloc((size_t)n * sizeof *l->item);
  l->shape = sonde_alloc((size_t)n * sizeof *l->shape);
  l->name = sonde_alloc((size_t)n * sizeof *l->name);
  return l->item && l->shape && l->name ? SONDE_OK
                                        : sonde_fail(err, SONDE_ENOMEM, "no memory for a checkpoint");
}

static void items_free(items *l) {
  sonde_release(l->item);
  sonde_release(l->shape);
  sonde_release(l->name);
}

static int items_add(items *l, const char *prefix, const char *name, const sonde_tensor *t, sonde_error *err) {
  int64_t k = l->n++;
  snprintf(l->name[k], NAME_BYTES, "%s%s%s", prefix, *prefix ? "." : "", name);
  l->shape[k] = sonde_tensor_shape(t);
  const void *x = sonde_tensor_read(t, err);
  l->item[k] = (sonde_st_item){l->name[k], SONDE_ST_F32, l->shape[k].rank, l->shape[k].dim, x, 0};
  return x ? SONDE_OK : SONDE_EIO;
}

/* Writes one file: the weights (states 0), or each of the optimizer's `states` of each parameter. */
static int save_tensors(const char *path, const sonde_params *params, const sonde_optim *optim, int states,
                        int64_t step, sonde_error *err) {
  char text[32];
  const char *meta[] = {"format", "sonde", "step", text, NULL};
  items l = {0};
  int64_t n = sonde_params_count(params);
  snprintf(text, sizeof text, "%" PRId64, step);
  int code = items_alloc(&l, n * (states ? states : 1) + 1, err);
  for (int64_t i = 0; i < n && !code; i++) {
    const sonde_param *p = sonde_params_at(params, i);
    if (!states) code = items_add(&l, "", p->name, p->value, err);
    for (int k = 0; k < states && !code; k++)
      if (sonde_optim_state(optim, i, k))
        code = items_add(&l, sonde_optim_state_name(optim, k), p->name, sonde_optim_state(optim, i, k), err);
  }
  if (!code) code = sonde_st_save(path, l.item, l.n, meta, err);
  items_free(&l);
  return code;
}

static int load_tensor(const sonde_st *st, const char *path, const char *prefix, const char *name,
                       sonde_tensor *t, sonde_error *err) {
  char full[NAME_BYTES];
  snprintf(full, sizeof full, "%s%s%s", prefix, *prefix ? "." : "", name);
  const sonde_st_entry *e = sonde_st_find(st, full);
  if (!e) return sonde_fail(err, SONDE_EFORMAT, "%s: has no '%s'; it belongs to another model", path, full);
  return sonde_st_read_tensor(e, t, err) ? sonde_wrap(err, "%s", path) : SONDE_OK;
}

/* A buffer that serves the sparsity of a weight, which a checkpoint that was made without it may lack: a sum of
 * gradients, which begins at 0, or a mask that takes nothing out. One that does must not be lost without a word. */
static int is_optional(const sonde_param *p) {
  if (!p->of || p->role != SONDE_ROLE_BUFFER || p->init.kind != SONDE_INIT_FILL) return 0;
  if (p->init.a == 0) return 1;
  const sonde_shape shape = sonde_tensor_shape(p->value);
  const float *x = sonde_tensor_read(p->value, NULL);
  int64_t k = 0, n = sonde_shape_count(&shape);
  while (x && k < n && x[k] == (float)p->init.a) k++;
  return k == n;
}

static int fill(const sonde_param *p, sonde_error *err) {
  sonde_shape shape = sonde_tensor_shape(p->value);
  float *x = sonde_tensor_write(p->value, err);
  for (int64_t k = 0; x && k < sonde_shape_count(&shape); k++) x[k] = (float)p->init.a;
  return x ? SONDE_OK : err->code;
}

/* Refuses weights of other names than the model's, with the first that is missing or too many. */
static int check_names(const sonde_st *st, const char *path, const sonde_params *params, sonde_error *err) {
  for (int64_t i = 0; i < sonde_params_count(params); i++)
    if (!is_optional(sonde_params_at(params, i)) && !sonde_st_find(st, sonde_params_at(params, i)->name))
      return sonde_fail(err, SONDE_EFORMAT, "%s: lacks '%s', which this model has", path,
                        sonde_params_at(params, i)->name);
  for (int64_t i = 0; i < sonde_st_count(st); i++) {
    const sonde_param *p = sonde_params_find(params, sonde_st_at(st, i)->name);
    if (!p || sonde_param_view(p, SONDE_VIEW_SHARE))
      return sonde_fail(err, SONDE_EFORMAT, "%s: has '%s', of which this model has no value of its own", path,
                        sonde_st_at(st, i)->name);
  }
  return SONDE_OK;
}

static int load_tensors(const char *path, sonde_params *params, sonde_optim *optim, int states, int64_t step,
                        sonde_error *err) {
  int64_t n = sonde_params_count(params), expected = 0;
  sonde_st *st = sonde_st_open(path, err);
  if (!st) return err->code;
  for (int64_t i = 0; i < n; i++) {
    const sonde_param *p = sonde_params_at(params, i);
    expected += !states && (!is_optional(p) || sonde_st_find(st, p->name));
    for (int k = 0; k < states; k++) expected += sonde_optim_state(optim, i, k) != NULL;
  }
  const char *saved_step = sonde_st_meta(st, "step");
  int code = states ? SONDE_OK : check_names(st, path, params, err);
  if (code) {
    sonde_st_free(st);
    return code;
  }
  if (!saved_step || strtoll(saved_step, NULL, 10) != step || sonde_st_count(st) != expected)
    code = sonde_fail(err, SONDE_EFORMAT,
                      "%s: is not of step %" PRId64 " of this model (it holds %" PRId64
                      " tensors of step %s, %" PRId64 " are needed)",
                      path, step, sonde_st_count(st), saved_step ? saved_step : "none", expected);
  for (int64_t i = 0; i < n && !code; i++) {
    const sonde_param *p = sonde_params_at(params, i);
    if (!states)
      code = is_optional(p) && !sonde_st_find(st, p->name) ? fill(p, err)
                                                           : load_tensor(st, path, "", p->name, p->value, err);
    for (int k = 0; k < states && !code; k++)
      if (sonde_optim_state(optim, i, k))
        code = load_tensor(st, path, sonde_optim_state_name(optim, k), p->name, sonde_optim_state(optim, i, k), err);
  }
  sonde_st_free(st);
  return code;
}

/* ---- checksums ---------------------------------------------------------------------------------------- */

static const char *const summed[] = {"model.safetensors", "optimizer.safetensors", "state.json"};
enum { N_SUMMED = sizeof summed / sizeof *summed };

/* SHA256SUMS of the files that are there, a line each. */
static int sums_of(const char *dir, char out[SUMS_BYTES], sonde_error *err) {
  char path[PATH_BYTES], hex[65];
  int n = 0;
  for (int k = 0; k < N_SUMMED; k++) {
    if (!sonde_path_exists(join(path, dir, summed[k]))) continue;
    int code = sonde_file_sha256(path, hex, err);
    if (code) return code;
    n += snprintf(out + n, SUMS_BYTES - (size_t)n, "%s  %s\n", hex, summed[k]);
  }
  return SONDE_OK;
}

static int save_sums(const char *dir, sonde_error *err) {
  char path[PATH_BYTES], text[SUMS_BYTES] = "";
  int code = sums_of(dir, text, err);
  return code ? code : sonde_file_write(join(path, dir, "SHA256SUMS"), text, (int64_t)strlen(text), err);
}

/* The file whose line in `sums` is not the one of `now`. */
static const char *first_difference(const char *sums, const char *now) {
  for (int k = 0; k < N_SUMMED; k++) {
    const char *line = strstr(now, summed[k]);
    while (line && line > now && line[-1] != '\n') line--;
    size_t n = line ? strcspn(line, "\n") + 1 : 0;
    if (line ? strncmp(sums, line, n) != 0 : strstr(sums, summed[k]) != NULL) return summed[k];
    sums += n;
  }
  return "SHA256SUMS";
}

/* EFORMAT or ENOENT: the folder holds no whole checkpoint. A checkpoint of format 1, which has no checksums, passes. */
static int verify(const char *dir, sonde_error *err) {
  char path[PATH_BYTES], now[SUMS_BYTES] = "", *sums = NULL;
  int64_t size;
  sonde_progress p = {0};
  if (!sonde_path_exists(join(path, dir, "SHA256SUMS"))) {
    int format, code = load_state(dir, &p, &format, err);
    if (code || format == 1) return code;
    return sonde_fail(err, SONDE_EFORMAT, "%s: is missing", path);
  }
  int code = sonde_file_read(path, 1 << 16, &sums, &size, err);
  if (!code) code = sums_of(dir, now, err);
  if (!code && (size != (int64_t)strlen(now) || memcmp(sums, now, (size_t)size) != 0))
    code =
        sonde_fail(err, SONDE_EFORMAT, "%s/%s: is not what was written (its SHA-256 is another one than in SHA256SUMS)",
                   dir, first_difference(sums, now));
  sonde_release(sums);
  return code;
}

/* ---- the folder --------------------------------------------------------------------------------------- */

/* Points RUN/checkpoint at RUN/folder, in one rename. */
static int switch_link(const char *run_dir, const char *folder, sonde_error *err) {
  char fresh[PATH_BYTES], path[PATH_BYTES];
  join(fresh, run_dir, "checkpoint.new");
  join(path, run_dir, link_name);
  if (unlink(fresh) != 0 && errno != ENOENT)
    return sonde_fail_errno(err, SONDE_EIO, "%s: cannot remove", fresh);
  if (symlink(folder, fresh) != 0) return sonde_fail_errno(err, SONDE_EIO, "%s: cannot make the link", fresh);
  if (rename(fresh, path) != 0) {
    int code = sonde_fail_errno(err, SONDE_EIO, "%s: cannot switch to the new checkpoint", path);
    unlink(fresh);
    return code;
  }
  return SONDE_OK;
}

static int64_t step_of(const char *name) {
  size_t n = strlen(folder_prefix);
  char *end;
  if (strncmp(name, folder_prefix, n) != 0 || name[n] < '0' || name[n] > '9') return -1;
  int64_t step = strtoll(name + n, &end, 10);
  return *end ? -1 : step;
}

/* The largest step below `bound` that has a folder here; -1: none. */
static int64_t newest_below(const char *run_dir, int64_t bound) {
  int64_t newest = -1;
  struct dirent *e;
  DIR *d = opendir(run_dir);
  while (d && (e = readdir(d))) {
    int64_t step = step_of(e->d_name);
    if (step < bound && step > newest) newest = step;
  }
  if (d) closedir(d);
  return newest;
}

/* Removes the checkpoint folders but the one of that name. What cannot be removed only takes room. */
static void tidy(const char *run_dir, const char *keep) {
  char path[PATH_BYTES];
  struct dirent *e;
  sonde_error err = {0};
  DIR *d = opendir(run_dir);
  while (d && (e = readdir(d)))
    if (strncmp(e->d_name, folder_prefix, strlen(folder_prefix)) == 0 && strcmp(e->d_name, keep) != 0 &&
        sonde_remove_tree(join(path, run_dir, e->d_name), &err))
      sonde_warn("%s; this older checkpoint stays", err.text);
  if (d) closedir(d);
}

static int write_folder(const char *dir, const sonde_params *params, const sonde_optim *optim,
                        const sonde_progress *progress, sonde_error *err) {
  char path[PATH_BYTES];
  int states = sonde_optim_states(optim), code = sonde_remove_tree(dir, err);
  if (!code && mkdir(dir, 0777)) code = sonde_fail_errno(err, SONDE_EIO, "cannot create the folder '%s'", dir);
  if (!code) code = save_tensors(join(path, dir, summed[0]), params, optim, 0, progress->step, err);
  if (!code && states) code = save_tensors(join(path, dir, summed[1]), params, optim, states, progress->step, err);
  if (!code) code = save_state(dir, progress, err);
  if (!code) code = save_sums(dir, err);
  return code ? code : sonde_sync_folder(dir, err);
}

int sonde_checkpoint_save(const char *run_dir, const sonde_params *params, const sonde_optim *optim,
                          const sonde_progress *progress, sonde_error *err) {
  char folder[NAME_BYTES], now[NAME_BYTES], dir[PATH_BYTES];
  int code = SONDE_OK;
  snprintf(folder, sizeof folder, "%s%" PRId64, folder_prefix, progress->step);
  if (strcmp(target_of(run_dir, now), folder) != 0) {   /* else this very step is saved */
    code = write_folder(join(dir, run_dir, folder), params, optim, progress, err);
    if (!code) code = switch_link(run_dir, folder, err);
    if (code) {                                         /* the checkpoint before stays the valid one */
      sonde_error ignored;
      if (strcmp(target_of(run_dir, now), folder) != 0) sonde_remove_tree(dir, &ignored);
      return code;
    }
  }
  /* Until the switch is on disk a crash may bring the old link back, so the old folder must be there too. */
  code = sonde_sync_folder(run_dir, err);
  if (!code) tidy(run_dir, folder);
  return code;
}

/* Into `folder` the name of the newest whole checkpoint. A file that cannot be read now (EIO) is no reason to give up
 * the newest one: that is an error. */
static int choose(const char *run_dir, char folder[NAME_BYTES], sonde_error *err) {
  char target[NAME_BYTES], dir[PATH_BYTES];
  if (!*target_of(run_dir, target))
    return sonde_fail(
        err, SONDE_EFORMAT,
        "%s/%s: is a folder, not the link it was made as; rename it to %s1 and run ln -s %s1 %s in %s", run_dir,
        link_name, folder_prefix, folder_prefix, link_name, run_dir);
  strcpy(folder, target);
  int code = verify(join(dir, run_dir, folder), err);
  for (int64_t step = newest_below(run_dir, INT64_MAX); (code == SONDE_EFORMAT || code == SONDE_ENOENT) && step >= 0;
       step = newest_below(run_dir, step)) {
    sonde_error other = {0};
    snprintf(folder, NAME_BYTES, "%s%" PRId64, folder_prefix, step);
    if (strcmp(folder, target) == 0) continue;
    int worse = verify(join(dir, run_dir, folder), &other);
    if (worse && worse != SONDE_EFORMAT && worse != SONDE_ENOENT) return *err = other, worse;
    if (worse) continue;
    sonde_warn("%s; going on from the whole checkpoint before it, %s/%s", err->text, run_dir, folder);
    *err = (sonde_error){0};
    return SONDE_OK;
  }
  return code;
}

static int load_folder(const char *dir, sonde_params *params, sonde_optim *optim, sonde_progress *progress,
                       sonde_error *err) {
  char path[PATH_BYTES];
  int states = optim ? sonde_optim_states(optim) : 0;
  int code = load_state(dir, progress, NULL, err);
  if (!code) code = load_tensors(join(path, dir, summed[0]), params, optim, 0, progress->step, err);
  if (!code && states) code = load_tensors(join(path, dir, summed[1]), params, optim, states, progress->step, err);
  return code;
}

int sonde_checkpoint_load(const char *run_dir, sonde_params *params, sonde_optim *optim, sonde_progress *progress,
                          char folder[NAME_BYTES], sonde_error *err) {
  char dir[PATH_BYTES];
  int code = choose(run_dir, folder, err);
  if (!code) code = load_folder(join(dir, run_dir, folder), params, optim, progress, err);
  return code;
}

int sonde_checkpoint_adopt(const char *run_dir, const char *folder, sonde_error *err) {
  char now[NAME_BYTES];
  int code = strcmp(target_of(run_dir, now), folder) != 0 ? switch_link(run_dir, folder, err) : SONDE_OK;
  if (!code) code = sonde_sync_folder(run_dir, err);
  if (!code) tidy(run_dir, folder);
  return code;
}
