/* bhyt.c - Bounded Hyperbolic Tanh: tanh of the input over kappa times its root mean square, by a learned factor
 * lambda.
 *
 * In front of the feed-forward layer the mean square is not measured but estimated, from that of the stream in front of
 * the attention, x, and a number a block:
 *
 *   v = mean(x^2) + c lambda1^2 / kappa^2,   c = |W_V W_O|_F^2 / (T D)
 *
 * where lambda1 is the first norm's, T the context of the training, and W_V is repeated for the query heads that share
 * it. No gradient flows through c and lambda1. c is a buffer: computed from the initialised weights, then in training
 * from those of the moment (sonde_plugin.h, site_refresh), and saved with the model.
 *
 * Options correct the estimate by learned numbers (variance), or measure in some blocks (exact_first, exact_blocks).
 *
 * The estimate holds for a stream x + attention(norm(x)); where the placement does something else before this norm, the
 * mean square is measured. Read from the block: "attn.norm_input", "attn.norm_mean_square" and "attn.norm_lambda" of
 * this norm at the first site, "attn.norm_factor" (of the placement) if it scales that norm, "attn.branch", and the
 * attention's "attn.v_weight", "attn.o_weight" and "attn.values". */
#define BHYT "bhyt"
#include <stdlib.h>

#include "bhyt_ops.h"

enum { VARIANCE = COMMON_OPTIONS, EXACT_FIRST, EXACT_BLOCKS };

static const sonde_option options[] = {
    BHYT_OPTIONS,
    [VARIANCE] = {"variance", 's', "plain", 0, 0, "plain|beta|eta|residual_aware",
                  "estimate v, with s = mean(x^2), e = c lambda1^2 / kappa^2 and learned numbers: s + e, s + beta e, "
                  "s (1 + eta), s (1 + beta) + alpha e; factors of e start at 1, those added to 1 at 0"},
    [EXACT_FIRST] = {"exact_first", 'i', "0", 0, 1e6, NULL, "so many blocks, from the first, measure the mean square"},
    [EXACT_BLOCKS] = {"exact_blocks", 's', "", 0, 0, NULL, "and so do these, from 0, with commas: 0,8"},
};

/* Whether the block measures; -1, and says why, where the options name blocks that there are not. */
static int is_exact(sonde_site *site, const sonde_value *opt) {
  const sonde_place *at = sonde_where(site);
  const int in_block = at->layer > 0;     /* which counts in the stack it was trained in; the final norm does not */
  if (in_block && opt[EXACT_FIRST].i > at->depth) {
    sonde_refuse(site, "exact_first: there are no %ld blocks; give 0..%d", (long)opt[EXACT_FIRST].i, at->depth);
    return -1;
  }
  int found = at->layer <= opt[EXACT_FIRST].i;
  for (const char *s = opt[EXACT_BLOCKS].s; *s;) {
    char *end;
    long block = *s >= '0' && *s <= '9' ? strtol(s, &end, 10) : -1;
    if (block < 0 || (*end && (*end != ',' || !end[1]))) {
      sonde_refuse(site, "exact_blocks must be numbers of blocks with commas between, such as 0,8, not '%s'",
                   opt[EXACT_BLOCKS].s);
      return -1;
    }
    if (in_block && block >= at->depth) {
      sonde_refuse(site, "exact_blocks: there is no block %ld; blocks are 0..%d", block, at->depth - 1);
      return -1;
    }
    found |= block == at->layer - 1;
    s = *end ? end + 1 : end;
  }
  return found;
}

/* c [1]. Repeating W_V's rows for a group of heads and multiplying is summing W_O's columns over the group. */
static sonde_node *attention_variance(const sonde_place *at, sonde_node *wv, sonde_node *wo, sonde_node *values) {
  const sonde_host *host = sonde_the_host;
  sonde_shape v = host->node_shape(values), o = host->node_shape(wo);
  int64_t kv = v.dim[2], head = v.dim[3], group = o.dim[1] / (kv * head);
  int64_t apart[4] = {at->width, kv, group, head}, summed[4] = {at->width, kv, 1, head};
  int64_t flat[2] = {at->width, kv * head}, one = 1;
  sonde_node *by_group = sonde_reshape(sonde_sum_to(sonde_reshape(wo, apart, 4), summed, 4), flat, 2);
  sonde_node *squares = sonde_sum_all(sonde_square(sonde_matmul(by_group, wv, 0, 0)));
  return sonde_reshape(sonde_scale(squares, 1.0 / ((double)at->trained_context * (double)at->width)), &one, 1);
}

static int is_sum_of(sonde_node *x, const sonde_node *a, const sonde_node *b) {
  sonde_node *in[SONDE_MAX_IN];
  if (!a || !b || sonde_the_host->node_inputs(x, in) != 2) return 0;
  return (in[0] == a && in[1] == b) || (in[0] == b && in[1] == a);
}

/* A learned number of the estimate [1]. */
static sonde_node *learned(sonde_site *site, const char *name, double first) {
  return sonde_vector(site, name, 1, SONDE_ROLE_GAIN, first);
}

/* square (1 + by), square [B, T], by [1] */
static sonde_node *enlarged(sonde_node *square, sonde_node *by) { return sonde_mul(square, sonde_affine(by, 1, 1)); }

/* The estimate of the stream's mean square by its own in front of the attention and what that adds. */
static void correct(sonde_site *site, const sonde_value *opt, sonde_node *square, sonde_node *added,
                    sonde_node *given[2]) {
  given[0] = square;
  given[1] = added;
  switch (opt[VARIANCE].s[0]) {
    case 'b': given[1] = sonde_mul(learned(site, "variance_beta", 1), added); break;
    case 'r':
      given[0] = enlarged(square, learned(site, "variance_beta", 0));
      given[1] = sonde_mul(learned(site, "variance_alpha", 1), added);
      break;
    default: break;
  }
}

/* given[0] and [1] stay NULL where the estimate does not hold. */
static int estimate(sonde_site *site, const sonde_value *opt, sonde_node *x, sonde_node *given[2]) {
  sonde_node *first = sonde_lookup(site, "attn.norm_input"), *square = sonde_lookup(site, "attn.norm_mean_square");
  sonde_node *lambda = sonde_lookup(site, "attn.norm_lambda"), *factor = sonde_lookup(site, "attn.norm_factor");
  sonde_node *wv = sonde_lookup(site, "attn.v_weight"), *wo = sonde_lookup(site, "attn.o_weight");
  sonde_node *values = sonde_lookup(site, "attn.values");
  if (first == x) given[0] = square;   /* both norms read the same stream: nothing was added */
  if (first == x || !is_sum_of(x, first, sonde_lookup(site, "attn.branch"))) return SONDE_OK;
  if (!square || !lambda || !wv || !wo || !values) return SONDE_OK;
  if (opt[VARIANCE].s[0] == 'e') {
    given[0] = enlarged(square, learned(site, "variance_eta", 0));
    return given[0] ? SONDE_OK : SONDE_EINVAL;
  }
  /* Folded weights are not those that c is of: it stays what it was. */
  sonde_node *variance = opt[FOLDED].i ? NULL : attention_variance(sonde_where(site), wv, wo, values);
  sonde_node *c = sonde_buffer(site, "attention_variance", 1, variance);
  if (!c) return SONDE_EINVAL;
  if (factor) lambda = sonde_mul(lambda, factor);
  const double kappa = kappa_at(sonde_where(site), opt);
  sonde_node *size = sonde_scale(sonde_square(sonde_detach(lambda)), 1.0 / (kappa * kappa));
  correct(site, opt, square, sonde_mul(c, size), given);
  return given[0] && given[1] ? SONDE_OK : SONDE_EINVAL;
}

static sonde_node *build(sonde_site *site, const sonde_value *opt, sonde_node *x) {
  sonde_node *given[2] = {NULL, NULL};
  const int exact = is_exact(site, opt);
  if (exact < 0) return NULL;
  if (!exact && !strcmp(sonde_where(site)->slot, "ffn") && estimate(site, opt, x, given)) return NULL;
  return norm(site, opt, x, given);
}

static const sonde_module functions = {sizeof functions, build};

static const sonde_plugin plugin = {
    .abi_major = SONDE_ABI_MAJOR,
    .abi_minor = SONDE_ABI_MINOR,
    .size = sizeof plugin,
    .name = BHYT,
    .kind = "norm",
    .version = "1.0",
    .build = SONDE_BUILD,
    .summary = "y = weight tanh(lambda x / (kappa sqrt(v + eps))), v the mean square, estimated after the attention",
    .citation = "Bounded Hyperbolic Tanh (BHyT), 2025",
    .options = options,
    .n_options = sizeof options / sizeof options[0],
    .ops = ops,
    .n_ops = sizeof ops / sizeof ops[0],
    .functions = &functions,
};
SONDE_PLUGIN(plugin)
