/* dump.c - a plan for people: the schedule as text, the nodes as Graphviz DOT. */
#include "config.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/file.h"
#include "graph/fused.h"

static const char *node_name(const pnode *n) {
  static const char *const kinds[] = {"op", "result", "input", "leaf", "constant"};
  return n->def ? n->def->name : kinds[n->kind];
}

static void dump_step(const sonde_plan *p, const step *s, int32_t k, FILE *out) {
  char t[160];
  fprintf(out, "%5d  ", k);
  if (p->profile) fprintf(out, "%10.3f ms  ", (double)s->ns * 1e-6);
  if (s->kind == STEP_COPY) {
    fprintf(out, "copy %%%d to output %d\n", s->from, s->output);
    return;
  }
  const pnode *n = &p->node[s->node];
  if (s->kind == STEP_OP) {
    fprintf(out, "%-18s", n->def->name);
    for (int j = 0; j < n->n_out; j++)
      if (p->uses[value_of(s->node, j)])
        fprintf(out, " %%%d %s", value_of(s->node, j), sonde_shape_text(&n->shape[j], t, sizeof t));
    fprintf(out, " <-");
    for (int j = 0; j < n->n_in; j++)
      fprintf(out, " %%%d %s", n->in[j], sonde_shape_text(plan_shape(p, n->in[j]), t, sizeof t));
  } else {
    fprintf(out, "fused (");
    const fused *f = s->f;
    for (int j = 0; j < f->program.n_op; j++) fprintf(out, "%s%s", j ? " " : "", f->program.op[j].def->name);
    fprintf(out, ")");
    for (int j = 0; j < f->program.n_out; j++)
      fprintf(out, " %%%d %s", f->out[j], sonde_shape_text(plan_shape(p, f->out[j]), t, sizeof t));
    fprintf(out, " <-");
    for (int j = 0; j < f->program.n_in; j++)
      fprintf(out, " %%%d %s", f->in[j], sonde_shape_text(plan_shape(p, f->in[j]), t, sizeof t));
  }
  fprintf(out, "  [%s%s]\n", sonde_node_scope(n->src),
          n->lazy && n->def && !n->backward && n->block >= 0 ? ", again" : "");
}

const char *sonde_plan_step_time(const sonde_plan *p, int64_t k, double *seconds) {
  if (k < 0 || k >= p->n_step) return NULL;
  const step *s = &p->step[k];
  *seconds = (double)s->ns * 1e-9;
  return s->kind == STEP_OP ? p->node[s->node].def->name : s->kind == STEP_FUSED ? "fused" : "copy";
}

const char *sonde_plan_step_module(const sonde_plan *p, int64_t k) {
  return k >= 0 && k < p->n_step ? sonde_node_scope(p->node[p->step[k].node].src) : NULL;
}

static void dump_text(const sonde_plan *p, FILE *out) {
  const sonde_plan_info *i = &p->info;
  fprintf(out,
          "nodes %lld, steps %lld, arena %.2f MiB, tensors %.2f MiB, %.4g GFLOP, %.4g GB moved, %d blocks recomputed\n",
          (long long)i->nodes, (long long)i->steps, (double)i->arena_bytes / (1 << 20),
          (double)i->leaf_bytes / (1 << 20), i->flops * 1e-9, i->bytes * 1e-9, i->recomputed_blocks);
  for (int32_t k = 0; k < p->n_step; k++) dump_step(p, &p->step[k], k, out);
}

static void dump_dot(const sonde_plan *p, FILE *out) {
  char t[160];
  fprintf(out, "digraph plan {\n  node [shape=box, fontname=\"sans-serif\", fontsize=10];\n");
  for (int32_t k = 0; k < p->count; k++) {
    const pnode *n = &p->node[k];
    const char *named = n->src->name ? n->src->name : sonde_node_scope(n->src);
    fprintf(out, "  n%d [label=\"%s\\n%s\\n%s\"%s%s];\n", k, node_name(n), sonde_shape_text(&n->shape[0], t, sizeof t),
            named, n->backward ? ", style=filled, fillcolor=\"#dddddd\"" : "",
            n->kind == SONDE_KIND_LEAF ? ", shape=ellipse" : "");
    for (int j = 0; j < n->n_in; j++) fprintf(out, "  n%d -> n%d;\n", value_node(n->in[j]), k);
  }
  fprintf(out, "}\n");
}

int sonde_plan_dump(const sonde_plan *p, const char *path, int dot, sonde_error *err) {
  sonde_outfile *f = sonde_outfile_open(path, err);
  if (!f) return err ? err->code : SONDE_EIO;
  if (dot) dump_dot(p, sonde_outfile_stream(f));
  else dump_text(p, sonde_outfile_stream(f));
  return sonde_outfile_commit(f, err);
}

char *sonde_plan_text(const sonde_plan *p, int dot, sonde_error *err) {
  char *text = NULL;
  size_t size = 0;
  FILE *f = open_memstream(&text, &size);
  if (f && dot) dump_dot(p, f);
  else if (f) dump_text(p, f);
  if (f && !fclose(f)) return text;
  free(text);
  sonde_fail(err, SONDE_ENOMEM, "no memory for the text of a plan");
  return NULL;
}
