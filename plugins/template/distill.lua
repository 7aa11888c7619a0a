--- template.lua - a divergence of the student's distribution q from the teacher's p: Hellinger's.
--
-- build gives the term of each class, by elementwise ops of nodes that have a number for each class: log q is its x,
-- and "p", "log_p" and "q" are looked up. The loss of a token is the sum of its terms.

local sonde = require "sonde"

sonde.distill("template", {
  summary = "weight sum (sqrt p - sqrt q)^2",
  citation = "Hellinger, Neue Begruendung der Theorie quadratischer Formen, 1909",
  options = {
    { name = "weight", preset = 0.5, min = 0.01, max = 10, doc = "factor of the squared distance" },
  },
}, function(site, options, log_q)
  local root_p, root_q = (site:lookup "log_p" * 0.5):exp(), (log_q * 0.5):exp()
  return (root_p - root_q):square() * options.weight
end)
