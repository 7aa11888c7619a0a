/* template.c - a divergence of the student's distribution q from the teacher's p: Hellinger's.
 *
 * build appends elementwise ops of the core: the term of each class, of p, log p, q and log q. The loss of a token is
 * the sum of its terms, and its gradient follows from theirs. The host streams the vocabulary through them, restricts
 * them to the teacher's likeliest classes, and sets the temperature. The ops are in sonde_build.h. */
#include "sonde_plugin.h"

enum { WEIGHT };

static const sonde_option options[] = {
    [WEIGHT] = {"weight", 'f', "0.5", 0.01, 10, NULL, "factor of the squared distance"},
};

/* log_q, and all that is looked up, have a number for each class; so has the result. */
static sonde_node *build(sonde_site *site, const sonde_value *opt, sonde_node *log_q) {
  sonde_node *root_p = sonde_exp(sonde_scale(sonde_lookup(site, "log_p"), 0.5));
  sonde_node *root_q = sonde_exp(sonde_scale(log_q, 0.5));
  return sonde_scale(sonde_square(sonde_sub(root_p, root_q)), opt[WEIGHT].f);
}

static const sonde_module functions = {sizeof functions, build};

static const sonde_plugin plugin = {
    .abi_major = SONDE_ABI_MAJOR,
    .abi_minor = SONDE_ABI_MINOR,
    .size = sizeof plugin,
    .name = "template",
    .kind = "distill",
    .version = "0.1",
    .build = SONDE_BUILD,
    .summary = "weight sum (sqrt p - sqrt q)^2",
    .citation = "Hellinger, Neue Begruendung der Theorie quadratischer Formen, 1909",
    .options = options,
    .n_options = sizeof options / sizeof options[0],
    .functions = &functions,
};
SONDE_PLUGIN(plugin)
