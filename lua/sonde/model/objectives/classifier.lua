-- classifier.lua - a class for each position, from what stands before it: the cross-entropy of the class.

local objective = require "sonde.model.objective"

local options = {
  { name = "classes", type = "integer", min = 2, max = 2147483647, required = true,
    doc = "how many classes there are" },
}
for _, option in ipairs(objective.regularizers) do options[#options + 1] = option end

objective.register("classifier", {
  doc = "the class of each position: cross-entropy over the classes, and accuracy",
  options = options,
  bound = function(o) return 4 * math.log(o.classes) end,
}, function(site, o, x)
  local n = site.batch * site.context
  local head = site:param("classifier.weight", { o.classes, site.width }, "head")
  local labels = site:input("labels", "i32", { n })
  local flat = x:reshape { n, site.width }
  site:publish("metric.accuracy", objective.hits(flat, head, labels))
  return objective.cross_entropy(site, flat, head, labels, o)
end)
