/* cases.c - see cases.h. */
#include "cases.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static uint32_t mix(uint32_t h) {
  h ^= h >> 16;
  h *= 0x7feb352du;
  h ^= h >> 15;
  h *= 0x846ca68bu;
  return h ^ h >> 16;
}

static double number(const op_made *m, int64_t k) {
  double u = (mix((uint32_t)k + m->seed) >> 8) / 16777216.0;
  if (m->steps) u = floor(u * (double)m->steps) / (double)m->steps;
  return m->lo + (m->hi - m->lo) * u;
}

void op_numbers(float *x, int64_t n, const op_made *made) {
  for (int64_t k = 0; k < n; k++) x[k] = (float)number(made, k);
}

double op_projection(const float *x, int64_t n, uint32_t seed) {
  op_made weight = {.seed = seed, .lo = -1, .hi = 1};
  double sum = 0;
  for (int64_t k = 0; k < n; k++) sum += x[k] * (double)(float)number(&weight, k);
  return sum;
}

/* ---- the file ---------------------------------------------------------------------------------------- */

static sonde_shape shape_of(const json_t *list, int dtype) {
  sonde_shape s = {dtype, (int32_t)json_array_size(list), {1, 1, 1, 1, 1}};
  assert_in_range(s.rank, 0, SONDE_MAX_RANK);
  for (int k = 0; k < s.rank; k++) s.dim[k] = json_integer_value(json_array_get(list, (size_t)k));
  return s;
}

static double value_of(const json_t *o, const char *key) {
  return json_number_value(json_object_get(o, key));
}

static const char *string_of(const json_t *o, const char *key) {
  return json_string_value(json_object_get(o, key));
}

static op_expected expected_of(const json_t *o, double **room) {
  const json_t *values = json_object_get(o, "values");
  op_expected e = {shape_of(json_object_get(o, "shape"), SONDE_F32), (int)json_array_size(values), *room,
                   value_of(o, "projection"), value_of(o, "norm")};
  assert_true(e.n > 0);
  for (int k = 0; k < e.n; k++) *(*room)++ = json_number_value(json_array_get(values, (size_t)k));
  return e;
}

static op_case case_of(const json_t *o, double **room) {
  op_case c = {.name = string_of(o, "name"), .op = string_of(o, "op"), .result = (int)value_of(o, "result"),
               .seed = (uint32_t)value_of(o, "seed"),
               .differences = json_is_true(json_object_get(o, "differences"))};
  const json_t *list;
  assert_true(c.name && c.op);
  list = json_object_get(o, "f");
  for (size_t k = 0; k < json_array_size(list); k++) c.attr.f[k] = json_number_value(json_array_get(list, k));
  list = json_object_get(o, "i");
  for (size_t k = 0; k < json_array_size(list); k++)
    c.attr.i[k] = json_integer_value(json_array_get(list, k));
  list = json_object_get(o, "in");
  for (; c.n_in < (int)json_array_size(list); c.n_in++) {
    const json_t *m = json_array_get(list, (size_t)c.n_in);
    int dtype = strcmp(string_of(m, "dtype"), "i32") ? SONDE_F32 : SONDE_I32;
    c.in[c.n_in] = (op_made){shape_of(json_object_get(m, "shape"), dtype), (uint32_t)value_of(m, "seed"),
                             value_of(m, "lo"), value_of(m, "hi"), (int64_t)value_of(m, "steps")};
  }
  list = json_object_get(o, "out");
  for (; c.n_out < (int)json_array_size(list); c.n_out++)
    c.out[c.n_out] = expected_of(json_array_get(list, (size_t)c.n_out), room);
  list = json_object_get(o, "din");
  for (; c.n_wrt < (int)json_array_size(list); c.n_wrt++) {
    c.wrt[c.n_wrt] = (int)json_integer_value(json_array_get(json_object_get(o, "wrt"), (size_t)c.n_wrt));
    c.din[c.n_wrt] = expected_of(json_array_get(list, (size_t)c.n_wrt), room);
  }
  assert_true(c.n_in > 0 && c.n_out > 0);
  return c;
}

op_cases *op_cases_load(void) {
  const char *top = getenv("abs_srcdir");
  char path[4096];
  json_error_t err;
  snprintf(path, sizeof path, "%s/tests/reference/ops.json", top ? top : ".");
  op_cases *all = calloc(1, sizeof *all);
  assert_non_null(all);
  all->file = json_load_file(path, 0, &err);
  if (!all->file) fail_msg("%s: %s", path, err.text);
  const json_t *list = json_object_get(all->file, "cases");
  size_t samples = (size_t)value_of(all->file, "samples");
  all->stride = (int64_t)value_of(all->file, "stride");
  all->projection_seed = (uint32_t)value_of(all->file, "projection_seed");
  all->n = (int)json_array_size(list);
  assert_true(all->n > 0 && samples > 0 && all->stride > 0);
  all->at = calloc((size_t)all->n, sizeof *all->at);
  all->values = calloc((size_t)all->n * samples * (SONDE_MAX_OUT + SONDE_MAX_IN), sizeof *all->values);
  assert_true(all->at && all->values);
  double *room = all->values;
  for (int k = 0; k < all->n; k++) all->at[k] = case_of(json_array_get(list, (size_t)k), &room);
  return all;
}

void op_cases_free(op_cases *all) {
  json_decref(all->file);
  free(all->values);
  free(all->at);
  free(all);
}

/* ---- running ----------------------------------------------------------------------------------------- */

sonde_ctx *op_ctx_new(int threads) {
  sonde_error err = {0};
  sonde_ctx *ctx = sonde_ctx_new(threads, &err);
  if (!ctx) fail_msg("no runtime: %s", err.text);
  return ctx;
}

static sonde_tensor *made_tensor(const op_made *m) {
  sonde_error err = {0};
  sonde_tensor *t = sonde_tensor_new(&m->shape, &err);
  if (!t) fail_msg("no tensor: %s", err.text);
  int64_t n = sonde_shape_count(&m->shape);
  if (m->shape.dtype == SONDE_F32) op_numbers(sonde_tensor_write(t, NULL), n, m);
  else
    for (int64_t k = 0; k < n; k++) ((int32_t *)sonde_tensor_write(t, NULL))[k] = (int32_t)lround(number(m, k));
  return t;
}

static void must(int rc, const char *what, const op_case *c, const sonde_error *err) {
  if (rc) fail_msg("%s: %s: %s", c->name, what, err->text);
}

/* Differentiates y by the inputs of the case; its upstream gradient is input number k of r->up. */
static void differentiate(op_run *r, const op_case *c, sonde_node *y, int k, sonde_node *const *wrt) {
  sonde_error err = {0};
  op_made up = {.shape = sonde_node_shape(y), .seed = c->seed + (uint32_t)k, .lo = -1, .hi = 1};
  r->up[k] = made_tensor(&up);
  sonde_node *dy = sonde_input(r->g, (char[]){'u', (char)('0' + k), 0}, &up.shape);
  must(sonde_grad(y, dy, wrt, c->n_wrt, r->node + r->n_out + r->n_din, &err), "gradient", c, &err);
  r->n_din += c->n_wrt;
}

static void trace(op_run *r, const op_case *c, int order) {
  sonde_error err = {0};
  sonde_node *in[SONDE_MAX_IN], *wrt[SONDE_MAX_IN];
  for (int k = 0; k < c->n_in; k++) {
    in[k] = sonde_input(r->g, (char[]){'x', (char)('0' + k), 0}, &c->in[k].shape);
    r->in[k] = made_tensor(&c->in[k]);
  }
  sonde_node *y = sonde_op(r->g, c->op, in, c->n_in, &c->attr);
  must(sonde_graph_error(r->g, &err), "tracing", c, &err);
  for (r->n_out = 0; r->n_out < c->n_out; r->n_out++) r->node[r->n_out] = sonde_result(y, r->n_out);
  for (int k = 0; k < c->n_wrt; k++) wrt[k] = in[c->wrt[k]];
  if (order > 0 && c->n_wrt) differentiate(r, c, r->node[c->result], 0, wrt);
  if (order > 1 && c->n_wrt) differentiate(r, c, r->node[r->n_out], 1, wrt);
  must(sonde_graph_error(r->g, &err), "tracing", c, &err);
}

/* The upstream gradient of a result that does not depend on the inputs is no part of the plan: no error. */
int op_run_set(op_run *r, sonde_error *err) {
  int rc = 0;
  for (int k = 0; k < SONDE_MAX_IN && r->in[k] && !rc; k++)
    rc = sonde_plan_set_input(r->plan, (char[]){'x', (char)('0' + k), 0}, sonde_tensor_write(r->in[k], NULL), err);
  for (int k = 0; k < 2 && r->up[k] && !rc; k++) {
    sonde_error none = {0};
    sonde_plan_set_input(r->plan, (char[]){'u', (char)('0' + k), 0}, sonde_tensor_write(r->up[k], NULL), &none);
  }
  return rc;
}

op_run *op_run_new(sonde_ctx *ctx, const op_case *c, int order, int no_fuse) {
  sonde_error err = {0};
  op_run *r = calloc(1, sizeof *r);
  assert_non_null(r);
  r->g = sonde_graph_new(ctx, &err);
  if (!r->g) fail_msg("%s: %s", c->name, err.text);
  trace(r, c, order);
  for (int k = 0; k < r->n_out + r->n_din; k++) {
    sonde_shape s = sonde_node_shape(r->node[k]);
    r->value[k] = sonde_tensor_new(&s, &err);
    if (!r->value[k]) fail_msg("%s: %s", c->name, err.text);
  }
  sonde_plan_opts opts = {.no_fuse = no_fuse};
  r->plan = sonde_plan_new(r->g, r->node, r->value, r->n_out + r->n_din, &opts, &err);
  if (!r->plan) fail_msg("%s: plan: %s", c->name, err.text);
  return r;
}

void op_run_free(op_run *r) {
  sonde_plan_free(r->plan);
  sonde_graph_free(r->g);
  for (int k = 0; k < SONDE_MAX_IN; k++) sonde_tensor_free(r->in[k]);
  for (int k = 0; k < OP_MAX_NODES; k++) {
    free(r->as_f32[k]);
    sonde_tensor_free(r->value[k]);
  }
  for (int k = 0; k < 2; k++) sonde_tensor_free(r->up[k]);
  free(r);
}

void op_run_run(op_run *r, uint64_t step) {
  sonde_error err = {0};
  if (op_run_set(r, &err)) fail_msg("input: %s", err.text);
  for (int k = 0; k < r->n_out + r->n_din; k++)
    memset(sonde_tensor_write(r->value[k], NULL), 0x7f, (size_t)sonde_tensor_bytes(r->value[k]));
  sonde_plan_set_step(r->plan, step);
  if (sonde_plan_run(r->plan, &err)) fail_msg("run: %s", err.text);
}

const float *op_run_value(op_run *r, int k, int64_t *n) {
  sonde_shape s = sonde_node_shape(r->node[k]);
  const void *x = sonde_tensor_write(r->value[k], NULL);
  *n = sonde_shape_count(&s);
  if (s.dtype == SONDE_F32) return x;
  assert_int_equal(s.dtype, SONDE_I32);
  if (!r->as_f32[k]) r->as_f32[k] = calloc((size_t)*n, sizeof(float));
  assert_non_null(r->as_f32[k]);
  for (int64_t j = 0; j < *n; j++) r->as_f32[k][j] = (float)((const int32_t *)x)[j];
  return r->as_f32[k];
}
