/* entry.c - what can be done with one entry of the registry (registry.h): options, building, listing. */
#include <stdio.h>
#include <string.h>

#include "base/crash.h"
#include "graph/graph.h"
#include "plugin/kind.h"
#include "plugin/options.h"
#include "plugin/registry.h"

char *sonde_entry_text(const sonde_entry *e, char *buf, size_t size) {
  snprintf(buf, size, "%s '%s'", e->kind, e->name);
  return buf;
}

sonde_value *sonde_entry_values(const sonde_entry *e, const json_t *given, sonde_error *err) {
  char what[200];
  return sonde_options_parse(sonde_entry_text(e, what, sizeof what), e->options, e->n_options, given, err);
}

int sonde_entry_begin(const sonde_entry *e, sonde_site *site, sonde_node *x) {
  const sonde_place *at = sonde_site_place(site);
  sonde_graph *g = sonde_site_graph(site);
  char text[160];
  sonde_site_enter(site, e->kind, e->name);
  if (!x) return g->first.code ? g->first.code : SONDE_EINVAL;
  if (x->g != g) sonde_site_refuse(site, "its input belongs to another graph");
  else if (x->shape.rank != 3 || x->shape.dim[0] != at->batch || x->shape.dim[1] != at->context ||
           x->shape.dim[2] != at->width)
    sonde_site_refuse(site, "its input is %s; here it must be [%lld, %lld, %lld]",
                      sonde_shape_text(&x->shape, text, sizeof text), (long long)at->batch, (long long)at->context,
                      (long long)at->width);
  return g->first.code;
}

/* What is wrong with a result that is there. */
static void check_result(sonde_site *site, const sonde_node *x, const sonde_node *y) {
  char a[160], b[160];
  if (y->g != x->g) sonde_site_refuse(site, "its result belongs to another graph");
  else if (!sonde_shape_equal(&y->shape, &x->shape) || y->shape.dtype != SONDE_F32)
    sonde_site_refuse(site, "its result is %s; it must have the shape of its input, %s",
                      sonde_shape_text(&y->shape, a, sizeof a), sonde_shape_text(&x->shape, b, sizeof b));
}

sonde_node *sonde_entry_end(sonde_site *site, sonde_node *x, sonde_node *y) {
  sonde_graph *g = sonde_site_graph(site);
  char where[200];
  if (!g->first.code) {
    if (y) check_result(site, x, y);
    else sonde_site_refuse(site, "it gave no result and no reason");
    if (!g->first.code) return y;
    g->first.code = SONDE_EBUG;
  }
  /* A failure inside an op of the module does not know the site; one that came from the site does. */
  sonde_site_text(site, where, sizeof where);
  if (strncmp(g->first.text, where, strlen(where))) sonde_wrap(&g->first, "%s", where);
  return NULL;
}

sonde_node *sonde_entry_build(const sonde_entry *e, sonde_site *site, const sonde_value *values, sonde_node *x) {
  if (sonde_entry_begin(e, site, x)) return NULL;
  if (!e->plugin || !sonde_kind_is_module(e->kind)) return sonde_site_refuse(site, "it has no build function in C");
  const sonde_module *m = e->plugin->functions;
  char where[200];
  sonde_doing("the building of", e->name, sonde_site_text(site, where, sizeof where), m->build);
  sonde_node *y = m->build(site, values, x);
  sonde_doing_nothing();
  return sonde_entry_end(site, x, y);
}

const void *sonde_entry_functions(const sonde_entry *e, const char *kind, sonde_error *err) {
  if (e->plugin && !strcmp(e->kind, kind)) return e->plugin->functions;
  sonde_fail(err, SONDE_EINVAL, "%s '%s' is no %s in C", e->kind, e->name, kind);
  return NULL;
}

static json_t *option_json(const sonde_option *o) {
  char type[2] = {o->type, '\0'}, takes[400];
  json_t *j = json_pack("{s:s, s:s, s:s, s:s?, s:s}", "name", o->name, "type", type, "takes",
                        sonde_option_takes(o, takes, sizeof takes), "default", o->preset, "doc", o->doc);
  if (j && (o->min != 0 || o->max != 0)) {
    json_object_set_new(j, "min", json_real(o->min));
    json_object_set_new(j, "max", json_real(o->max));
  }
  if (j && o->choices) json_object_set_new(j, "choices", json_string(o->choices));
  return j;
}

json_t *sonde_entry_json(const sonde_entry *e) {
  json_t *options = json_array(), *ops = json_array();
  for (int k = 0; k < e->n_options; k++) json_array_append_new(options, option_json(&e->options[k]));
  for (int k = 0; e->plugin && k < e->plugin->n_ops; k++)
    json_array_append_new(ops, json_string(e->plugin->ops[k].name));
  return json_pack("{s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:s?, s:s?, s:o, s:o}", "kind", e->kind, "name", e->name,
                   "version", e->version, "summary", e->summary, "citation", e->citation, "path", e->path, "language",
                   e->language, "status", e->skipped ? "skipped" : "loaded", "why", e->skipped, "suggests",
                   e->suggests, "options", options, "ops", ops);
}
