-- language_model.lua - each token from those before it: the cross-entropy of the next token.

local names = require "sonde.model.names"
local objective = require "sonde.model.objective"

objective.register("language_model", {
  doc = "the next token of each position: cross-entropy over the vocabulary",
  options = objective.regularizers, perplexity = true, scores_tokens = true,
  bound = function(_, config) return 4 * math.log(math.max(2, config.vocab)) end,
}, function(site, options, x, config)
  local head = site:param(names.head, { config.vocab, site.width }, "head")
  local targets = site:input("targets", "i32", { site.batch * site.context })
  local flat = objective.scaled(x, config):reshape { site.batch * site.context, site.width }
  return objective.cross_entropy(site, flat, head, targets, options, config.logit_softcap)
end)
