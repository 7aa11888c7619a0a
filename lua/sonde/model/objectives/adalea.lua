-- adalea.lua - a warning that is learned earlier and earlier: AdaLEA (Suzuki, Kataoka, Aoki and Satoh, Anticipating
-- Traffic Accidents with Adaptive Loss and Large-scale Incident DB, arXiv 1804.02675). The equation was written from
-- memory and has not been compared with the paper's. The loss of a position is its cross-entropy times
--
--   exp(-growth max(0, s - reached - margin))
--
-- with s seconds before the event (0 where nothing happens), and `reached` the mean time (s) before the event at which
-- the model warned after the epoch before. It is a buffer that a hook sets (adalea of what clips:feed gives), saved
-- with the model; 0 until then, which is the exponential loss (Chan et al. 2016, Anticipating Accidents in Dashcam
-- Videos).

local objective = require "sonde.model.objective"

local options = {
  { name = "classes", type = "integer", min = 2, max = 2147483647, required = true,
    doc = "how many classes there are" },
  { name = "growth", type = "number", min = 0, max = 1000, preset = 1,
    doc = "a position counts less by this exponent a second before what was reached" },
  { name = "margin", type = "number", min = 0, max = 1000, preset = 0,
    doc = "seconds beyond what was reached in which all positions count alike" },
}
for _, option in ipairs(objective.regularizers) do options[#options + 1] = option end

objective.register("adalea", {
  doc = "the class of each position: cross-entropy, less for positions before those at which the model warned so far",
  options = options,
}, function(site, o, x)
  local n = site.batch * site.context
  local head = site:param("classifier.weight", { o.classes, site.width }, "head")
  local reached = site:param("adalea.reached", { 1 }, "buffer")
  local labels = site:input("labels", "i32", { n })
  local seconds = site:input("seconds", "f32", { n })
  local flat = x:reshape { n, site.width }
  site:publish("metric.accuracy", objective.hits(flat, head, labels))
  local weight = ((seconds - reached - o.margin):relu() * -o.growth):exp()
  return objective.cross_entropy(site, flat, head, labels, o) * weight
end)
