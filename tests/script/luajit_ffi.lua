-- Run by LuaJIT: loads libsonde.so through the FFI with the public header as it stands, traces, differentiates, plans
-- and runs one small graph. Arguments: the library, the header after the preprocessor. Prints TAP.

local ffi = require "ffi"

local library, header = arg[1], arg[2]
local count = 0

local function check(condition, what)
  count = count + 1
  print((condition and "ok " or "not ok ") .. count .. " - " .. what)
end

local file = assert(io.open(header))
ffi.cdef(file:read "*a")
file:close()
local C = ffi.load(library)

local err = ffi.new "sonde_error"

local function shape(dims)
  local s = ffi.new "sonde_shape"
  s.dtype, s.rank = C.SONDE_F32, #dims
  for k = 0, 4 do s.dim[k] = dims[k + 1] or 1 end
  return s
end

local function op(graph, name, inputs, i)
  local attr = ffi.new "sonde_attr"
  for k, value in ipairs(i or {}) do attr.i[k - 1] = value end
  return C.sonde_op(graph, name, ffi.new("sonde_node *[?]", #inputs, inputs), #inputs, attr)
end

check(ffi.string(C.sonde_version()):match "^%d+%.%d+", "the version is readable")

local ctx = ffi.gc(C.sonde_ctx_new(2, err), C.sonde_ctx_free)
check(ctx ~= nil and C.sonde_ctx_threads(ctx) == 2, "a runtime with two threads")

-- y = sum(tanh(x w^T)), and dy/dw
local graph = ffi.gc(C.sonde_graph_new(ctx, err), C.sonde_graph_free)
local w = ffi.gc(C.sonde_tensor_new(shape { 3, 2 }, err), C.sonde_tensor_free)
local weights = ffi.cast("float *", C.sonde_tensor_write(w, nil))
for k = 0, 5 do weights[k] = 0.1 * (k + 1) end
local x = C.sonde_input(graph, "x", shape { 1, 2 })
local leaf = C.sonde_leaf(graph, "w", w)
local y = op(graph, "sum", { op(graph, "tanh", { op(graph, "matmul", { x, leaf }, { 0, 1 }) }) }, { 0 })
check(y ~= nil and C.sonde_graph_error(graph, err) == C.SONDE_OK, "a graph is traced")

local grad = ffi.new("sonde_node *[1]")
check(C.sonde_grad(y, nil, ffi.new("sonde_node *[1]", { leaf }), 1, grad, err) == C.SONDE_OK, "and differentiated")

local plan = ffi.gc(C.sonde_plan_new(graph, ffi.new("sonde_node *[2]", { y, grad[0] }), nil, 2, nil, err),
  C.sonde_plan_free)
check(plan ~= nil, "and planned")

local input = ffi.new("float[2]", { 0.5, -1 })
check(C.sonde_plan_set_input(plan, "x", input, err) == C.SONDE_OK and C.sonde_plan_run(plan, err) == C.SONDE_OK,
  "and run")

local value, expected = ffi.cast("const float *", C.sonde_plan_output(plan, 0))[0], 0
local gradient, worst = ffi.cast("const float *", C.sonde_plan_output(plan, 1)), 0
local function tanh(z) return (math.exp(2 * z) - 1) / (math.exp(2 * z) + 1) end
for row = 0, 2 do
  local t = tanh(0.5 * weights[2 * row] - weights[2 * row + 1])
  expected = expected + t
  for column = 0, 1 do
    worst = math.max(worst, math.abs(gradient[2 * row + column] - (1 - t * t) * input[column]))
  end
end
check(math.abs(value - expected) < 1e-6, "the value is right: " .. tonumber(value) .. " for " .. expected)
check(worst < 1e-6, "the gradient is right")

check(op(graph, "tnh", { x }) == nil and C.sonde_graph_error(graph, err) == C.SONDE_EINVAL
  and ffi.string(err.text):find("did you mean 'tanh'", 1, true), "a wrong name is refused with a reason")

print("1.." .. count)
