-- weighted_classifier.lua - a class for each position, where positions count by a weight: a warning counts more the
-- nearer the event is.

local objective = require "sonde.model.objective"

local options = {
  { name = "classes", type = "integer", min = 2, max = 2147483647, required = true,
    doc = "how many classes there are" },
}
for _, option in ipairs(objective.regularizers) do options[#options + 1] = option end

objective.register("weighted_classifier", {
  doc = "the class of each position: cross-entropy over the classes times the position's weight, and accuracy",
  options = options,
}, function(site, o, x)
  local n = site.batch * site.context
  local head = site:param("classifier.weight", { o.classes, site.width }, "head")
  local labels = site:input("labels", "i32", { n })
  local weights = site:input("weights", "f32", { n })
  local flat = x:reshape { n, site.width }
  site:publish("metric.accuracy", objective.hits(flat, head, labels))
  return objective.cross_entropy(site, flat, head, labels, o) * weights
end)
