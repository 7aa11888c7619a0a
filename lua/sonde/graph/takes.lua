--- takes.lua - the arguments of a node's methods beside itself, by method; `self` is those of all others.

local function required(name, kind) return { name = name, type = kind, required = true } end

local self = required("self", "node")
local other = { name = "other", type = "node|number", required = true, infinite = true }
local scale = { name = "a", type = "number", required = true, infinite = true }
local shift = { name = "b", type = "number", required = true, infinite = true }
local integer = { name = "entry", type = "integer" }
local dims = { name = "dims", type = "list", of = integer, required = true }
local axes = { name = "axes", type = "integer|list", of = integer }
local eps = { name = "eps", type = "number" }
local matmul_options = { name = "options", type = "table", fields = {
  { name = "transpose_a", type = "boolean" }, { name = "transpose_b", type = "boolean" },
  { name = "f32", type = "boolean" },
} }
local attention_options = { name = "options", type = "table", fields = {
  { name = "scale", type = "number" }, { name = "softcap", type = "number" }, { name = "causal", type = "boolean" },
  { name = "window", type = "integer", min = 0 }, { name = "sinks", type = "integer", min = 0 },
  { name = "block_size", type = "integer", min = 0 }, { name = "block_stride", type = "integer", min = 0 },
  { name = "blocks", type = "node" }, { name = "starts", type = "node" }, { name = "slopes", type = "node" },
} }
local block_options = { name = "options", type = "table", fields = {
  { name = "size", type = "integer", min = 1 }, { name = "top", type = "integer", min = 0 },
  { name = "every", type = "integer", min = 1 }, { name = "starts", type = "node" },
} }

local takes = {
  self = self,
  affine = { self, scale, shift },
  max = { self, other }, min = { self, other }, greater = { self, other },
  where = { self, required("a", "node"), required("b", "node") },
  swiglu = { self, required("up", "node") },
  sum = { self, axes }, mean = { self, axes }, amax = { self, axes },
  variance = { self, axes, { name = "biased", type = "boolean" } },
  reshape = { self, dims }, expand = { self, dims },
  permute = { self, { name = "order", type = "list", of = integer, required = true } },
  transpose = { self, { name = "a", type = "integer" }, { name = "b", type = "integer" } },
  slice = { self, required("axis", "integer"), required("first", "integer"), { name = "last", type = "integer" } },
  cast = { self, required("dtype", "string") },
  matmul = { self, required("w", "node"), matmul_options }, linear = { self, required("w", "node") },
  gather = { self, required("index", "node") }, top_k = { self, required("k", "integer") },
  take_along = { self, required("index", "node") },
  put_along = { self, required("index", "node"), required("columns", "integer") },
  expert_order = { self, required("experts", "integer") },
  linear_by_expert = { self, required("w", "node"), required("offsets", "node") },
  expert_sum = { self, required("weight", "node"), required("place", "node") },
  rmsnorm = { self, required("gain", "node"), eps },
  layernorm = { self, required("gain", "node"), required("bias", "node"), eps },
  rope = { self, { name = "theta", type = "number" }, { name = "offset", type = "integer" },
    { name = "positions", type = "node" } },
  topk_mask = { self, required("k", "integer") },
  document_starts = { self, required("last", "integer") }, alibi_slopes = { self, required("heads", "integer") },
  attention = { self, required("k", "node"), required("v", "node"), attention_options },
  attention_blocks = { self, required("k", "node"), block_options },
  cross_entropy = { self, required("targets", "node") },
  lm_loss = { self, required("w", "node"), required("targets", "node"), { name = "softcap", type = "number" } },
  dropout = { self, required("p", "number"), { name = "seed", type = "integer" } },
  name = { self, required("name", "string") },
  result = { self, required("i", "integer") },
  grad = { self, { name = "wrt", type = "list", of = { name = "entry", type = "node" }, required = true },
    { name = "upstream", type = "node" } },
}

return takes
