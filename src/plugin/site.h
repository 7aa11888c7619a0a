/* site.h - the place in a model that one module is built for: where it stands, whose parameters it takes, and what
 * the other modules of its block have published. Made by the model builder for each module call of a trace. */
#ifndef SONDE_PLUGIN_SITE_H
#define SONDE_PLUGIN_SITE_H

#include "graph/params.h"

/* How a model's parameters start, by role. GAIN and BIAS start at the value that the module asks for. */
typedef struct sonde_policy {
  sonde_init init[SONDE_ROLE_COUNT];
} sonde_policy;

/* N(0, std^2) for every matrix. */
sonde_policy sonde_policy_normal(double std);

/* What the modules of one call of a block have published, by name: the last of a name, but each of "loss.NAME" and
 * "metric.NAME". Reference counted. */
typedef struct sonde_block sonde_block;
sonde_block *sonde_block_new(sonde_error *err);
void sonde_block_free(sonde_block *b);
/* What has been published, in order: how many, and the name (into *name) and node of number k. */
int64_t sonde_block_count(const sonde_block *b);
sonde_node *sonde_block_at(const sonde_block *b, int64_t k, const char **name);

typedef struct sonde_site_spec {
  sonde_graph *graph;            /* of the trace; must outlive the site */
  sonde_params *params;          /* the model's; must outlive the site */
  sonde_policy policy;
  sonde_block *block;            /* NULL: publishing and lookup see this site alone */
  int layer, depth;              /* 1..L and L; layer 0 outside the blocks */
  int number;                    /* of the block in its model, from 1, where that is not its layer (pruned models);
                                    0: layer */
  const char *slot;              /* as in sonde_place; copied */
  const char *prefix;            /* of the parameters' names, with its dot: "model.layers.3.self_attn."; copied */
  int64_t width, batch, context;
  int64_t trained_context;       /* 0: context */
} sonde_site_spec;

sonde_site *sonde_site_new(const sonde_site_spec *spec, sonde_error *err);
void sonde_site_free(sonde_site *site);

/* Names the module that is being built here, for messages: "norm", "rmsnorm". Both are borrowed until the next call. */
void sonde_site_enter(sonde_site *site, const char *kind, const char *name);
/* "block 2, norm 'attn' (rmsnorm)": blocks count from 0 in messages, as in the names of parameters. Returns buf. */
char *sonde_site_text(const sonde_site *site, char *buf, size_t size);

sonde_graph *sonde_site_graph(const sonde_site *site);
sonde_params *sonde_site_params(const sonde_site *site);

/* What plugins reach through the host table (sonde_plugin.h says what each does). A parameter is a leaf of the graph
 * under its full name: asking twice in one trace gives the same node. */
const sonde_place *sonde_site_place(const sonde_site *site);
sonde_node *sonde_site_param(sonde_site *site, const char *name, const int64_t *dim, int rank, int role,
                             double value);
/* The graph's input of that name, made if it is not there; refused where it is there with another dtype or shape. */
sonde_node *sonde_site_input(sonde_site *site, const char *name, const sonde_shape *shape);
sonde_node *sonde_site_publish(sonde_site *site, const char *name, sonde_node *n);
sonde_node *sonde_site_lookup(sonde_site *site, const char *name);
sonde_node *sonde_site_refresh(sonde_site *site, sonde_node *buffer, sonde_node *value, int64_t every);
sonde_node *sonde_site_refuse(sonde_site *site, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

#endif
