/* gather.c - see gather.h. */
#include "train/gather.h"

#include <stdio.h>

#include "base/crash.h"
#include "base/mem.h"
#include "graph/params.h"
#include "tensor/tensor.h"

typedef struct gathered {
  int64_t param;               /* its number */
  sonde_parameter is;
  sonde_tensor *weight, *sum;
  const float *w, *g;          /* while an update runs */
  float *to;
} gathered;

struct sonde_gathering {
  sonde_params *params;
  sonde_pool *pool;
  const sonde_sparsity *method;
  const sonde_value *values;
  gathered *matrix;
  int64_t n;
  double scale;
};

sonde_gathering *sonde_gathering_new(sonde_params *params, sonde_pool *pool, const sonde_sparsity *method,
                               const sonde_value *values, sonde_error *err) {
  const int64_t count = sonde_params_count(params);
  char name[600];
  sonde_gathering *g = sonde_alloc(sizeof *g);
  if (g) g->matrix = sonde_alloc((size_t)(count + 1) * sizeof *g->matrix);
  if (!g || !g->matrix) {
    sonde_release(g);
    sonde_fail(err, SONDE_ENOMEM, "no memory to gather gradients");
    return NULL;
  }
  g->params = sonde_params_ref(params), g->pool = pool, g->method = method, g->values = values;
  for (int64_t k = 0; k < count; k++) {
    const sonde_param *p = sonde_params_at(params, k);
    snprintf(name, sizeof name, "%s.gathered", p->name);
    const sonde_param *sum = sonde_params_find(params, name);
    if (!sum || !sonde_param_trained(p)) continue;
    g->matrix[g->n++] = (gathered){.param = k, .is = {sizeof(sonde_parameter), p->role, p->name, p->value->shape},
                                   .weight = p->value, .sum = sum->value};
  }
  if (g->n) return g;
  sonde_gathering_free(g);
  sonde_fail(err, SONDE_EINVAL, "no matrix that is trained has room for what the sparsity method gathers");
  return NULL;
}

void sonde_gathering_free(sonde_gathering *g) {
  if (!g) return;
  sonde_params_free(g->params);
  sonde_release(g->matrix);
  sonde_release(g);
}

static void add_matrix(void *arg, int64_t index, int worker) {
  const sonde_gathering *g = arg;
  const gathered *m = &g->matrix[index];
  const int64_t in = m->is.shape.dim[m->is.shape.rank - 1];
  (void)worker;
  const sonde_sparse s = {.size = sizeof s, .parameter = &m->is, .out = sonde_shape_count(&m->is.shape) / in, .in = in,
                          .w = m->w};
  g->method->gather(&s, g->values, m->g, g->scale, m->to);
}

int sonde_gathering_add(sonde_gathering *g, const sonde_optim *optim, double scale, sonde_error *err) {
  for (int64_t k = 0; k < g->n; k++) {
    gathered *m = &g->matrix[k];
    if (!(m->w = sonde_tensor_read(m->weight, err)) || !(m->to = sonde_tensor_write(m->sum, err)) ||
        !(m->g = sonde_tensor_read(sonde_optim_grad(optim, m->param), err)))
      return SONDE_EIO;
  }
  g->scale = scale;
  sonde_doing("the gathering of gradients", NULL, "", g->method->gather);
  sonde_pool_run(g->pool, g->n, add_matrix, g);
  sonde_doing_nothing();
  return SONDE_OK;
}
