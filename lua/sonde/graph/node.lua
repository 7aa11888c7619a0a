--- node.lua - values of a graph: operators, and a method for each op.
--
-- Shapes are lists, slowest dimension first. Axes count from 1; negative ones from the end (-1 is the last). Shapes
-- broadcast by numpy's rule. An operand may be a number wherever an elementwise op takes a second node.

local core = require "sonde.core"
local args = require "sonde.base.args"
local sorted_keys = require "sonde.base.sorted_keys"

---@class sonde.node
---@field neg fun(self): sonde.node           -x
---@field exp fun(self): sonde.node           e^x
---@field log fun(self): sonde.node           ln x
---@field sqrt fun(self): sonde.node          x^(1/2)
---@field rsqrt fun(self): sonde.node         x^(-1/2)
---@field square fun(self): sonde.node        x^2
---@field reciprocal fun(self): sonde.node    1/x
---@field abs fun(self): sonde.node           |x|
---@field sign fun(self): sonde.node          -1, 0 or 1
---@field tanh fun(self): sonde.node
---@field erf fun(self): sonde.node
---@field sigmoid fun(self): sonde.node       1/(1 + e^-x)
---@field silu fun(self): sonde.node          x sigmoid(x)
---@field gelu fun(self): sonde.node          erf form
---@field gelu_tanh fun(self): sonde.node     tanh form
---@field relu fun(self): sonde.node          max(x, 0)
---@field relu2 fun(self): sonde.node         max(x, 0)^2
---@field sin fun(self): sonde.node
---@field cos fun(self): sonde.node
---@field softmax fun(self): sonde.node       over the last axis
---@field log_softmax fun(self): sonde.node   over the last axis
---@field argmax fun(self): sonde.node        i32: place (from 0) of the largest along the last axis
---@operator add(sonde.node|number): sonde.node
---@operator sub(sonde.node|number): sonde.node
---@operator mul(sonde.node|number): sonde.node
---@operator div(sonde.node|number): sonde.node
---@operator pow(number): sonde.node
---@operator unm: sonde.node
local node = {}

local op = core.op

local function fail(text)
  error(core.where() .. text, 0)
end

local function check(value, method)
  if not core.is_node(value) then fail(method .. ": a node is needed, not a " .. type(value)) end
  return value
end

local dtypes = { f32 = 0, bf16 = 1, i32 = 2 }

local function axis_of(dims, axis, method)
  local k = axis
  if type(k) == "number" and k < 0 then k = #dims + 1 + k end
  if type(k) ~= "number" or k ~= math.floor(k) or k < 1 or k > #dims then
    fail(method .. ": there is no axis " .. tostring(axis) .. " among " .. #dims)
  end
  return math.floor(k)
end

local function with_rank(dims)
  local list = { #dims }
  for k, dim in ipairs(dims) do list[k + 1] = dim end
  return list
end

-- ---- elementwise --------------------------------------------------------------------------------------------

--- a x + b.
---@param a number
---@param b number
---@return sonde.node
function node:affine(a, b)
  return op("affine", { self }, { a, b })
end

local function binary(name, a, b)
  return op(name, { check(a, name), check(b, name) })
end

local function add(a, b)
  if type(b) == "number" then return op("affine", { a }, { 1, b }) end
  if type(a) == "number" then return op("affine", { b }, { 1, a }) end
  return binary("add", a, b)
end

local function sub(a, b)
  if type(b) == "number" then return op("affine", { a }, { 1, -b }) end
  if type(a) == "number" then return op("affine", { b }, { -1, a }) end
  return binary("sub", a, b)
end

local function mul(a, b)
  if type(b) == "number" then return op("affine", { a }, { b, 0 }) end
  if type(a) == "number" then return op("affine", { b }, { a, 0 }) end
  return binary("mul", a, b)
end

local function div(a, b)
  if type(b) == "number" then return op("affine", { a }, { 1 / b, 0 }) end
  if type(a) == "number" then return op("affine", { op("reciprocal", { b }) }, { a, 0 }) end
  return binary("div", a, b)
end

local powers = { [-1] = "reciprocal", [-0.5] = "rsqrt", [0.5] = "sqrt", [2] = "square" }

local LARGEST_POWER = 1024                                      -- of those that products make

-- x^n by squaring: right for negative x too, of which there is no logarithm.
local function product(a, n)
  local power
  while true do
    if n % 2 == 1 then power = power and op("mul", { power, a }) or a end
    n = math.floor(n / 2)
    if n == 0 then return power end
    a = op("square", { a })
  end
end

local function pow(a, b)
  if type(b) ~= "number" or not core.is_node(a) then fail("x ^ p: x is a node and p a number") end
  if b == 0 or b == 1 then return op("affine", { a }, { b, 1 - b }) end      -- a value of its own, like every result
  if powers[b] then return op(powers[b], { a }) end
  if b == math.floor(b) and math.abs(b) <= LARGEST_POWER then
    local power = product(a, math.floor(math.abs(b)))
    return b < 0 and op("reciprocal", { power }) or power
  end
  local function by_logarithm(x) return op("exp", { op("affine", { op("log", { x }) }, { b, 0 }) }) end
  if b < 1 then return by_logarithm(a) end
  local one, none = core.node_graph(a):constant(1, {}), core.node_graph(a):constant(0, {})
  -- at 0 the slope is 0, not 0 times infinity
  return op("where", { a, by_logarithm(op("where", { a, a, one })), none })
end

--- The larger of two values, element by element.
---@param other sonde.node|number
---@return sonde.node
function node:max(other)
  if type(other) == "number" then other = core.node_graph(self):constant(other, {}) end
  return binary("max", self, other)
end

--- The smaller of two values, element by element.
---@param other sonde.node|number
---@return sonde.node
function node:min(other)
  if type(other) == "number" then other = core.node_graph(self):constant(other, {}) end
  return binary("min", self, other)
end

--- 1 where the value is greater than `other`, else 0; no gradient.
---@param other sonde.node|number
---@return sonde.node
function node:greater(other)
  if type(other) == "number" then other = core.node_graph(self):constant(other, {}) end
  return binary("greater", self, other)
end

--- `a` where this value is not 0, else `b`.
---@param a sonde.node
---@param b sonde.node
---@return sonde.node
function node:where(a, b)
  return op("where", { self, check(a, "where"), check(b, "where") })
end

--- silu(self) * up.
---@param up sonde.node
---@return sonde.node
function node:swiglu(up)
  return binary("swiglu", self, up)
end

for _, name in ipairs { "neg", "exp", "log", "sqrt", "rsqrt", "square", "reciprocal", "abs", "sign", "tanh", "erf",
  "sigmoid", "silu", "gelu", "gelu_tanh", "relu", "relu2", "sin", "cos", "softmax", "log_softmax", "argmax" } do
  node[name] = function(self) return op(name, { self }) end
end

-- ---- reductions ---------------------------------------------------------------------------------------------

-- The shape with the axes (a number, a list, or nil for all of them) reduced to 1; and how many elements each result
-- is made of. All axes: a scalar.
local function reduced(self, axes, method)
  local dims = core.node_dims(self)
  local count = 1
  if axes == nil then
    for _, dim in ipairs(dims) do count = count * dim end
    return {}, count
  end
  if type(axes) == "number" then axes = { axes } end
  for _, axis in ipairs(axes) do
    local k = axis_of(dims, axis, method)
    count = count * dims[k]
    dims[k] = 1
  end
  return dims, count
end

--- Sum over the axes, which stay as ones; over everything, to a scalar, without axes.
---@param axes? integer|integer[]
---@return sonde.node
function node:sum(axes)
  return op("sum", { self }, nil, with_rank((reduced(self, axes, "sum"))))
end

--- Mean over the axes, which stay as ones; over everything, to a scalar, without axes.
---@param axes? integer|integer[]
---@return sonde.node
function node:mean(axes)
  local dims, count = reduced(self, axes, "mean")
  return op("sum", { self }, nil, with_rank(dims)) * (1 / count)
end

--- Largest element over the axes, which stay as ones; over everything, to a scalar, without axes.
---@param axes? integer|integer[]
---@return sonde.node
function node:amax(axes)
  return op("amax", { self }, nil, with_rank((reduced(self, axes, "amax"))))
end

--- Variance over the axes, the mean subtracted; unbiased (divided by n - 1) unless `biased`.
---@param axes? integer|integer[]
---@param biased? boolean
---@return sonde.node
function node:variance(axes, biased)
  local _, count = reduced(self, axes, "variance")
  local centred = self - self:mean(axes)
  return centred:square():sum(axes) * (1 / (biased and count or count - 1))
end

-- ---- shapes -------------------------------------------------------------------------------------------------

--- The shape, as a list.
---@return integer[]
function node:dims()
  return core.node_dims(self)
end

--- "f32", "bf16" or "i32".
---@return string
function node:dtype()
  return core.node_dtype(self)
end

--- The same elements under another shape; one dim may be -1.
---@param dims integer[]
---@return sonde.node
function node:reshape(dims)
  return op("reshape", { self }, nil, with_rank(dims))
end

--- Repeats along axes of length 1 (and new leading ones) up to a shape.
---@param dims integer[]
---@return sonde.node
function node:expand(dims)
  return op("expand", { self }, nil, with_rank(dims))
end

--- Axis k of the result is axis order[k] of this value.
---@param order integer[]
---@return sonde.node
function node:permute(order)
  local dims, list = core.node_dims(self), { #order }
  for k, axis in ipairs(order) do list[k + 1] = axis_of(dims, axis, "permute") - 1 end
  return op("permute", { self }, nil, list)
end

--- Exchanges two axes; the last two without arguments.
---@param a? integer
---@param b? integer
---@return sonde.node
function node:transpose(a, b)
  local dims, order = core.node_dims(self), {}
  local i, j = axis_of(dims, a or -2, "transpose"), axis_of(dims, b or -1, "transpose")
  for k = 1, #dims do order[k] = k end
  order[i], order[j] = j, i
  return self:permute(order)
end

--- The elements first..last (from 1, both included) along one axis.
---@param axis integer
---@param first integer
---@param last? integer   default: the last one
---@return sonde.node
function node:slice(axis, first, last)
  local dims = core.node_dims(self)
  local k = axis_of(dims, axis, "slice")
  last = last or dims[k]
  return op("slice", { self }, nil, { k - 1, first - 1, last - first + 1 })
end

--- The same numbers as another dtype.
---@param dtype "f32"|"bf16"|"i32"
---@return sonde.node
function node:cast(dtype)
  local number = dtypes[dtype]
  if not number then fail("cast: unknown dtype '" .. tostring(dtype) .. "'; known: f32, bf16, i32") end
  return op("cast", { self }, nil, { number })
end

-- ---- layers -------------------------------------------------------------------------------------------------

--- Matrix product over the last two axes. `w` of rank 2 is shared by all leading axes.
---@param w sonde.node
---@param options? {transpose_a: boolean, transpose_b: boolean, f32: boolean}   f32: with any compute dtype
---@return sonde.node
function node:matmul(w, options)
  options = options or {}
  local flags = { options.transpose_a and 1 or 0, options.transpose_b and 1 or 0 }
  return op(options.f32 and "matmul_f32" or "matmul", { self, check(w, "matmul") }, nil, flags)
end

--- x w^T for a weight [out, in], as in a linear layer.
---@param w sonde.node
---@return sonde.node
function node:linear(w)
  return op("matmul", { self, check(w, "linear") }, nil, { 0, 1 })
end

--- Rows of this table [V, D] by index (i32) [..] -> [.., D].
---@param index sonde.node
---@return sonde.node
function node:gather(index)
  return op("gather", { self, check(index, "gather") })
end

--- Places (from 0) of the k largest values along the last axis, in falling order, of equals the lower: i32 [.., k].
---@param k integer
---@return sonde.node
function node:top_k(k)
  return op("top_k", { self }, nil, { k })
end

--- This value [.., C] at an index (i32) [.., K], from 0, along the last axis -> [.., K].
---@param index sonde.node
---@return sonde.node
function node:take_along(index)
  return op("take_along", { self, check(index, "take_along") })
end

--- Zeros [.., C] to which this value [.., K] is added at an index (i32) [.., K], from 0, along the last axis.
---@param index sonde.node
---@param columns integer   C
---@return sonde.node
function node:put_along(index, columns)
  return op("put_along", { check(index, "put_along"), self }, nil, { columns })
end

--- Of the experts of each token (this value), i32 [.., K]: the tokens in the order of their experts, i32 [R];
--- result(2): the row there of each choice, i32 [.., K]; result(3): where each expert's rows begin, i32 [E + 1].
---@param experts integer
---@return sonde.node
function node:expert_order(experts)
  return op("expert_order", { self }, nil, { experts })
end

--- Linear layers of E experts: the rows of this value [R, in] from offsets[e] to offsets[e + 1] times w[e]^T.
---@param w sonde.node         [E, out, in]
---@param offsets sonde.node   i32 [E + 1]
---@return sonde.node   [R, out]
function node:linear_by_expert(w, offsets)
  return op("grouped_matmul", { self, check(w, "linear_by_expert"), check(offsets, "linear_by_expert") }, nil, { 1 })
end

--- The sum over K of weight [.., K] times the row of this value [R, D] that place i32 [.., K] says -> [.., D].
---@param weight sonde.node
---@param place sonde.node
---@return sonde.node
function node:expert_sum(weight, place)
  return op("expert_sum", { self, check(weight, "expert_sum"), check(place, "expert_sum") })
end

--- x / sqrt(mean(x^2) + eps) * gain over the last axis.
---@param gain sonde.node   [D]
---@param eps? number       default 1e-6
---@return sonde.node
function node:rmsnorm(gain, eps)
  return op("rmsnorm", { self, check(gain, "rmsnorm") }, { eps or 1e-6 })
end

--- (x - mean) / sqrt(variance + eps) * gain + bias over the last axis.
---@param gain sonde.node   [D]
---@param bias sonde.node   [D]
---@param eps? number       default 1e-5
---@return sonde.node
function node:layernorm(gain, bias, eps)
  return op("layernorm", { self, check(gain, "layernorm"), check(bias, "layernorm") }, { eps or 1e-5 })
end

--- Rotary position embedding of x [B, T, H, Dh], halves rotated as in Hugging Face's Llama.
---@param theta? number     default 10000
---@param offset? integer   position of the first token, default 0
---@param positions? sonde.node   i32 [B, T]: the position of each token, to which offset is added; default: 0, 1, 2, ..
---@return sonde.node
function node:rope(theta, offset, positions)
  return op("rope", { self, positions }, { theta or 10000, 1 }, { offset or 0 })
end

--- The position of each token of x [B, T, ..] (this value): 0, 1, .., i32 [B, T]; in generation token by token that in
--- the whole sequence.
---@return sonde.node
function node:positions()
  return op("positions", { self })
end

---@class sonde.attention_options
---@field scale? number         0: 1/sqrt(Dh)
---@field softcap? number       c: scores are c tanh(score / c); 0: as they are
---@field causal? boolean       true by default
---@field window? integer       how many keys back a query sees, itself included; 0: all
---@field sinks? integer        how many of the first keys it sees beside a window or blocks
---@field block_size? integer   keys of a block
---@field block_stride? integer s: it sees its own block, the s-th before it, the 2s-th, ..
---@field blocks? sonde.node    lists of blocks that it sees (node:attention_blocks), which bring the starts
---@field starts? sonde.node    i32 [B, T], the first key that each query sees (node:document_starts)
---@field slopes? sonde.node    f32 [H], what a head's score loses a token that its key is back (node:alibi_slopes)

--- softmax(scale q k^T) v for q [B, T, H, Dh] (this value), k and v [B, T, KV, Dh]. Its result(2) is the log-sum-exp of
--- each query's scores [B, H, T], its result(3) the entropy of its weights [B, H, T], nats; neither has a gradient.
---@param k sonde.node
---@param v sonde.node
---@param options? sonde.attention_options
---@return sonde.node
function node:attention(k, v, options)
  options = options or {}
  local causal = options.causal ~= false and 1 or 0
  local inputs = { self, check(k, "attention"), check(v, "attention") }
  inputs[#inputs + 1] = options.starts
  inputs[#inputs + 1] = options.blocks
  inputs[#inputs + 1] = options.slopes
  return op("attention", inputs, { options.scale or 0, options.softcap or 0 },
    { causal, options.window or 0, options.sinks or 0, options.block_size or 0, options.block_stride or 0 })
end

---@class sonde.block_options
---@field size? integer         keys of a block, 64 by default
---@field top? integer          how many blocks are chosen, 2 by default
---@field every? integer        for how many queries in a row the first of them chooses; default: size
---@field starts? sonde.node    as for attention

--- The blocks of keys k [B, T, KV, Dh] that each query of q [B, T, H, Dh] (this value) sees, as lists for
--- node:attention: the first block, the query's own, and those between them whose mean key has the highest product with
--- the query.
---@param k sonde.node
---@param options? sonde.block_options
---@return sonde.node
function node:attention_blocks(k, options)
  options = options or {}
  local size = options.size or 64
  return op("attention_blocks", { self, check(k, "attention_blocks"), self, options.starts }, nil,
    { size, options.top or 2, options.every or size })
end

--- The slopes of ALiBi for a number of heads, f32 [H], with this value [1] as the largest exponent (the paper's is 8).
---@param heads integer
---@return sonde.node
function node:alibi_slopes(heads)
  return op("alibi_slopes", { self }, nil, { heads })
end

--- 1 at the k largest |x| of each row [.., n] (of equal ones the first), else 0; no gradient flows through it.
---@param k integer
---@return sonde.node
function node:topk_mask(k)
  return op("topk_mask", { self }, nil, { k }):detach()
end

--- Of tokens i32 [B, T] (this value) in rows of several documents: where the document of each token starts in its row;
--- its result(2) is how far each token is from there.
---@param last integer     the token that ends a document
---@return sonde.node
function node:document_starts(last)
  return op("document_starts", { self }, nil, { last })
end

--- Cross-entropy of logits [.., V] against targets i32 [..], in nats; 0 where a target is -1.
---@param targets sonde.node
---@return sonde.node
function node:cross_entropy(targets)
  return op("cross_entropy", { self, check(targets, "cross_entropy") })
end

--- Cross-entropy of each token under softmax(x w^T) without ever holding all logits: x [N, D], w [V, D] -> [N].
---@param w sonde.node
---@param targets sonde.node   i32 [N]; -1: ignored
---@param softcap? number       c: the logits are c tanh(logit / c); default 0: as they are
---@return sonde.node
function node:lm_loss(w, targets, softcap)
  return op("lm_loss", { self, check(w, "lm_loss"), check(targets, "lm_loss") }, { softcap or 0 })
end

--- Zero with probability p, else x / (1 - p); another mask each step.
---@param p number
---@param seed? integer
---@return sonde.node
function node:dropout(p, seed)
  return op("dropout", { self }, { p }, { seed or 0 })
end

-- ---- the graph ----------------------------------------------------------------------------------------------

--- Names the value, so that graph:find(name) gives it (a tap). Returns the node.
---@param name string
---@return sonde.node
function node:name(name)
  return core.node_name(self, name)
end

--- The value, through which no gradient flows.
---@return sonde.node
function node:detach()
  return op("detach", { self })
end

--- The further result number i (from 1) of an op with several.
---@param i integer
---@return sonde.node
function node:result(i)
  return core.result(self, i)
end

--- The gradients of sum(self * upstream) by each node of the list.
---@param wrt sonde.node[]
---@param upstream? sonde.node   default: ones
---@return sonde.node[]
function node:grad(wrt, upstream)
  return core.grad(self, wrt, upstream)
end

--- The op that made it, or "input", "leaf", "constant".
---@return string
function node:op()
  return core.node_op(self)
end

--- The nodes it was made from.
---@return sonde.node[]
function node:inputs()
  return core.node_inputs(self)
end

--- The graph it belongs to.
---@return sonde.graph
function node:graph()
  return core.node_graph(self)
end

-- ---- what they take ----------------------------------------------------------------------------------------

local takes = require "sonde.graph.takes"
for name in pairs(node) do takes[name] = takes[name] or { takes.self } end
takes.self = nil
args.declare(node, "node:", takes)

-- ---- the metatable ------------------------------------------------------------------------------------------

local function unknown_method(_, key)
  local near = core.nearest(tostring(key), sorted_keys(node))
  fail("a node has no method '" .. tostring(key) .. "'" .. (near and "; did you mean '" .. near .. "'?" or ""))
end

setmetatable(node, { __index = unknown_method })

core.node_operators {
  __index = node, __add = add, __sub = sub, __mul = mul, __div = div, __pow = pow,
  __unm = function(a) return op("neg", { a }) end,
}
core.node_operators = nil

return node
