/* pointwise.c - see pointwise.h. The planner lowers and simplifies the nodes; what it leaves is copied: each op with
 * its stretch function, attributes and the places of its operands. */
#include "config.h"
#include "ops/pointwise.h"

#include <pthread.h>
#include <string.h>

#include "graph/plan.h"

enum { STRETCH = SONDE_POINTWISE_STRETCH, MOST_OPS = 64, MOST_CONSTANTS = 16, MOST_FUNCTIONS = 1 << 16 };
/* Operands by number: the inputs, then the constants, then the registers that results are put in. */
enum { CONSTANTS = SONDE_POINTWISE_INPUTS, RESULTS = CONSTANTS + MOST_CONSTANTS, OPERANDS = RESULTS + MOST_OPS };

typedef struct pointwise_op {
  void (*vec)(const sonde_vec *v);
  sonde_attr attr;
  int16_t n_in, in[4], reg;            /* where its result is put */
} pointwise_op;

struct sonde_pointwise {
  int32_t n_op, n_value, n_constant;   /* n_value: the ops that y needs come first */
  int16_t y, dy;
  float constant[MOST_CONSTANTS];
  pointwise_op op[MOST_OPS];
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static const sonde_pointwise *function[MOST_FUNCTIONS];
static int64_t n_functions;

/* ---- from nodes -------------------------------------------------------------------------------------------- */

typedef struct making {
  const sonde_plan *p;
  sonde_node *const *in;
  int n_in;
  int16_t *place;                      /* of each node of the plan, -1: none yet */
  sonde_pointwise *f;
  sonde_error *err;
} making;

static int add_input(making *m, const pnode *n, int16_t *place) {
  for (int k = 0; k < m->n_in; k++)
    if (n->src == m->in[k]) return *place = (int16_t)k, SONDE_OK;
  return sonde_fail(m->err, SONDE_EINVAL, "it reads '%s', which is none of its inputs",
                    n->src && n->src->name ? n->src->name : "a value of its own");
}

static int add_constant(making *m, const pnode *n, int16_t *place) {
  sonde_pointwise *f = m->f;
  for (int32_t k = 0; k < f->n_constant; k++)
    if (f->constant[k] == (float)n->constant) return *place = (int16_t)(CONSTANTS + k), SONDE_OK;
  if (f->n_constant == MOST_CONSTANTS)
    return sonde_fail(m->err, SONDE_ELIMIT, "it has more than %d different constants", MOST_CONSTANTS);
  f->constant[f->n_constant] = (float)n->constant;
  *place = (int16_t)(CONSTANTS + f->n_constant++);
  return SONDE_OK;
}

static int add_node(making *m, int32_t at);

static int add_op(making *m, const pnode *n, int16_t *place) {
  sonde_pointwise *f = m->f;
  if (!(n->def->flags & SONDE_OP_ELEMENTWISE) || !n->def->vec || n->n_in > 4 || (n->def->flags & SONDE_OP_RANDOM))
    return sonde_fail(m->err, SONDE_EINVAL, "op '%s' is not elementwise: each class's term is made of its own numbers",
                      n->def->name);
  for (int k = 0; k < n->n_in; k++) {
    int rc = add_node(m, value_node(n->in[k]));
    if (rc) return rc;
  }
  if (f->n_op == MOST_OPS) return sonde_fail(m->err, SONDE_ELIMIT, "it is of more than %d ops", MOST_OPS);
  pointwise_op *o = &f->op[f->n_op];     /* all of it zero, padding too: functions are compared by their bytes */
  o->vec = n->def->vec;
  o->attr = n->attr;
  o->n_in = n->n_in;
  for (int k = 0; k < n->n_in; k++) o->in[k] = m->place[value_node(n->in[k])];
  *place = (int16_t)(RESULTS + f->n_op++);
  return SONDE_OK;
}

/* The same numbers: detach, reshape. */
static int pass_on(making *m, const pnode *n, int16_t *place) {
  int rc = add_node(m, value_node(n->in[0]));
  *place = m->place[value_node(n->in[0])];
  return rc;
}

static int add_node(making *m, int32_t at) {
  const pnode *n = &m->p->node[at];
  int16_t *place = &m->place[at];
  if (*place >= 0) return SONDE_OK;
  return n->kind == SONDE_KIND_INPUT ? add_input(m, n, place)
         : n->kind == SONDE_KIND_CONST ? add_constant(m, n, place)
         : plan_is_view(n) ? pass_on(m, n, place)
         : n->def ? add_op(m, n, place)
                  : sonde_fail(m->err, SONDE_EINVAL, "it has a parameter: a divergence has none");
}

static int copy_nodes(making *m, int with_slope) {
  const sonde_plan *p = m->p;
  for (int32_t k = 0; k < p->count; k++) m->place[k] = -1;
  int rc = add_node(m, value_node(p->out[0]));
  m->f->n_value = m->f->n_op;
  m->f->y = rc ? 0 : m->place[value_node(p->out[0])];
  if (rc || !with_slope) return rc;
  rc = add_node(m, value_node(p->out[1]));
  m->f->dy = rc ? 0 : m->place[value_node(p->out[1])];
  return rc;
}

/* A register is free again behind the last op that reads it; that op may write there itself. */
static void assign_registers(sonde_pointwise *f) {
  int last[OPERANDS] = {0}, free_regs[MOST_OPS], n_free = 0, n = 0;
  for (int k = 0; k < f->n_op; k++)
    for (int j = 0; j < f->op[k].n_in; j++) last[f->op[k].in[j]] = k;
  last[f->y] = last[f->dy] = f->n_op;
  for (int k = 0; k < f->n_op; k++) {
    for (int j = 0; j < f->op[k].n_in; j++) {
      int16_t in = f->op[k].in[j];
      if (in < RESULTS || last[in] != k) continue;
      free_regs[n_free++] = f->op[in - RESULTS].reg;
      last[in] = -1;                   /* an op may read it twice */
    }
    f->op[k].reg = (int16_t)(n_free ? free_regs[--n_free] : n++);
  }
}

/* The number of an equal function, or of this one, which then stays. */
static int64_t number_of(sonde_pointwise *f, sonde_error *err) {
  int64_t number = 0;
  pthread_mutex_lock(&lock);
  while (number < n_functions && memcmp(function[number], f, sizeof *f)) number++;
  if (number == n_functions && n_functions < MOST_FUNCTIONS) function[n_functions++] = f;
  else sonde_release(f);
  pthread_mutex_unlock(&lock);
  return number < MOST_FUNCTIONS ? number + 1 : sonde_fail(err, SONDE_ELIMIT, "more than %d divergences in one process",
                                                           MOST_FUNCTIONS);
}

int64_t sonde_pointwise_of(sonde_node *const *in, int n_in, sonde_node *y, sonde_node *dy, sonde_error *err) {
  sonde_node *out[2] = {y, dy};
  sonde_plan_opts opts = {.no_fuse = 1};
  sonde_plan *p = sonde_plan_new(y->g, out, NULL, dy ? 2 : 1, &opts, err);
  if (!p) return err->code;
  making m = {.p = p, .in = in, .n_in = n_in, .err = err, .place = sonde_alloc((size_t)p->count * sizeof *m.place),
              .f = sonde_alloc(sizeof *m.f)};
  int rc = m.place && m.f ? copy_nodes(&m, dy != NULL) : sonde_fail(err, SONDE_ENOMEM, "no memory for a divergence");
  sonde_release(m.place);
  sonde_plan_free(p);
  if (!rc) {
    assign_registers(m.f);
    return number_of(m.f, err);
  }
  sonde_release(m.f);
  return rc;
}

const sonde_pointwise *sonde_pointwise_at(int64_t number) {
  pthread_mutex_lock(&lock);
  const sonde_pointwise *f = number > 0 && number <= n_functions ? function[number - 1] : NULL;
  pthread_mutex_unlock(&lock);
  return f;
}

double sonde_pointwise_flops(const sonde_pointwise *f) { return f->n_op; }

/* ---- the run ----------------------------------------------------------------------------------------------- */

void sonde_pointwise_run(const sonde_pointwise *f, const float *const *in, int64_t n, float *y, float *dy) {
  static const sonde_step_block block = {sizeof block, 0};
  float room[MOST_CONSTANTS + MOST_OPS][STRETCH];
  const float *at[OPERANDS];
  int32_t n_op = dy ? f->n_op : f->n_value;
  for (int k = 0; k < SONDE_POINTWISE_INPUTS; k++) at[k] = in[k];
  for (int32_t k = 0; k < f->n_constant; k++) {
    at[CONSTANTS + k] = room[k];
    for (int64_t i = 0; i < n; i++) room[k][i] = f->constant[k];
  }
  for (int32_t k = 0; k < n_op; k++) {
    const pointwise_op *o = &f->op[k];
    const int place = RESULTS + k;
    sonde_vec v = {.n = n, .attr = &o->attr, .block = &block};
    v.out = place == f->y ? y : dy && place == f->dy ? dy : room[MOST_CONSTANTS + o->reg];
    for (int j = 0; j < o->n_in; j++) v.in[j] = at[o->in[j]];
    o->vec(&v);
    at[place] = v.out;
  }
  if (at[f->y] != y) memcpy(y, at[f->y], (size_t)n * sizeof *y);
  if (dy && at[f->dy] != dy) memcpy(dy, at[f->dy], (size_t)n * sizeof *dy);
}
