-- A folder of another architecture is one file: keys of its own, tensors that hold several parameters, or one turned.

local lu = require "luaunit"
local sonde = require "sonde"
local core = require "sonde.core"
local arch = require "sonde.io.arch"

local scratch = os.tmpname()
os.remove(scratch)
core.mkdirs(scratch)

local WIDTH, DEPTH, HEADS, VOCAB = 8, 2, 2, 11

-- As GPT-2 has it: one tensor [in, 3 out] for queries, keys and values, and every matrix the other way round.
local function tensors(_, params)
  local entries, fused = {}, {}
  local function turned(x) return x:transpose() end
  for _, param in ipairs(params) do
    local block, rest = param.name:match "^model%.layers%.(%d+)%.(.*)$"
    if block and rest:find "^self_attn%.[qkv]_proj" then
      if not fused[block] then
        fused[block] = { tensor = "h." .. block .. ".attn.c_attn.weight", params = {} }
        fused[block].split = function(x)
          local parts = {}
          for k = 1, 3 do parts[k] = x:slice(2, (k - 1) * WIDTH + 1, k * WIDTH):transpose() end
          return parts
        end
        fused[block].join = function(nodes)
          local parts = {}
          for k, node in ipairs(nodes) do parts[k] = node:transpose() end
          return sonde.concat(parts, 2)
        end
        entries[#entries + 1] = fused[block]
      end
      table.insert(fused[block].params, param.name)
    elseif block and #param.dims == 2 then
      entries[#entries + 1] = { tensor = "h." .. block .. "." .. rest, params = { param.name },
        split = function(x) return { turned(x) } end, join = function(nodes) return turned(nodes[1]) end }
    else
      local name = block and "h." .. block .. "." .. rest or param.name:gsub("^model%.embed_tokens", "wte")
      entries[#entries + 1] = { tensor = name, params = { param.name } }
    end
  end
  return entries
end

local KEYS = { n_embd = "width", n_layer = "depth", n_head = "heads", n_vocab = "vocab", n_positions = "context" }

arch.register("fused", {
  class = "FusedLMHeadModel", head = "lm_head.weight", embedding = "wte.weight", tied_by = "tied",
  options = function(tree, refuse)
    local options = { tie = tree.tied, norm = "rmsnorm", ffn = "swiglu", ffn_hidden = 16 }
    for key, option in pairs(KEYS) do
      if type(tree[key]) ~= "number" then refuse("there is no '" .. key .. "'") end
      options[option] = tree[key]
    end
    return options
  end,
  why_not = function(model) return model.layers[1].placement.name ~= "pre_ln" and "the placement is another" or nil end,
  write = function(model, tree)
    for key, option in pairs(KEYS) do tree[key] = model.config[option] end
    tree.tied = model.config.tie
  end,
  owns = function(name) return KEYS[name] ~= nil or name == "tied" end,
  changes = function(now, before)
    return now.config.heads ~= before.config.heads and { "n_head is another" } or {}
  end,
  tensors = tensors,
})

local function model_of(options)
  local all = { vocab = VOCAB, width = WIDTH, depth = DEPTH, heads = HEADS, ffn_hidden = 16, context = 6, seed = 5,
    init_std = 0.3 }
  for key, value in pairs(options or {}) do all[key] = value end
  return sonde.transformer(all):init()
end

-- The folder as its own programs would write it: the weights computed by hand from those of a model.
local function foreign(model, tied)
  local dir = scratch .. "/foreign" .. tostring(tied)
  core.mkdirs(dir)
  local names, list, params = {}, {}, model:params()
  local function add(name, dims, values)
    names[#names + 1], list[#list + 1] = name, core.tensor("f32", dims, values)
  end
  local function values(name) return params:find(name):values(), params:find(name):dims() end
  for block = 0, DEPTH - 1 do
    local prefix, all = "model.layers." .. block .. ".", {}
    for k, which in ipairs { "q", "k", "v" } do
      local w = values(prefix .. "self_attn." .. which .. "_proj.weight")
      for o = 1, WIDTH do
        for i = 1, WIDTH do all[(i - 1) * 3 * WIDTH + (k - 1) * WIDTH + o] = w[(o - 1) * WIDTH + i] end
      end
    end
    add("h." .. block .. ".attn.c_attn.weight", { WIDTH, 3 * WIDTH }, all)
  end
  for _, param in ipairs(params:list()) do
    local block, rest = param.name:match "^model%.layers%.(%d+)%.(.*)$"
    local w, dims = values(param.name)
    if not block then
      add((param.name:gsub("^model%.embed_tokens", "wte")), dims, w)
    elseif not rest:find "[qkv]_proj" then
      local turned = w
      if #dims == 2 then
        turned = {}
        for o = 1, dims[1] do
          for i = 1, dims[2] do turned[(i - 1) * dims[1] + o] = w[(o - 1) * dims[2] + i] end
        end
        dims = { dims[2], dims[1] }
      end
      add("h." .. block .. "." .. rest, dims, turned)
    end
  end
  core.weights_save(dir .. "/model.safetensors", names, list)
  core.json_save(dir .. "/config.json", { model_type = "fused", architectures = { "FusedLMHeadModel" }, n_embd = WIDTH,
    n_layer = DEPTH, n_head = HEADS, n_vocab = VOCAB, n_positions = 6, tied = tied or false, extra = "carried" })
  return dir
end

local function logits(model)
  local trace = model:trace { batch = 1, context = 6 }
  return sonde.value(trace:logits(), { tokens = { { 1, 5, 2, 9, 0, 3 } } }):values()
end

local function bytes_of(dir)
  local file, list = core.weights_open(dir), {}
  for _, name in ipairs(file:names()) do list[name] = file:find(name).dims end
  file:close()
  return list
end

TestArchitectures = {}

function TestArchitectures:test_parts_of_tensors_and_turned_ones()
  for _, tied in ipairs { false, true } do
    local model = model_of { tie = tied }
    local dir = foreign(model, tied)
    local read = sonde.load(dir)
    lu.assertEquals(logits(read), logits(model))
    lu.assertEquals(read:params():sha256(), model:params():sha256())
    -- And back: the same tensors under the same keys, as it came from there.
    local again = dir .. "-again"
    read:save(again)
    lu.assertEquals(bytes_of(again), bytes_of(dir))
    local tree = core.json_load(again .. "/config.json")
    lu.assertEquals({ tree.model_type, tree.architectures[1], tree.n_embd, tree.extra },
      { "fused", "FusedLMHeadModel", WIDTH, "carried" })
    lu.assertEquals(sonde.load(again):params():sha256(), model:params():sha256())
  end
end

function TestArchitectures:test_what_it_cannot_say_becomes_sondes_own()
  local dir = foreign(model_of(), false)
  local tree = core.json_load(dir .. "/config.json")
  local model = sonde.load(dir)
  model.layers[1].placement = { name = "lns", options = {}, build = require("sonde.model.placement").find("lns").build }
  model:save(dir .. "-lns")
  local now = core.json_load(dir .. "-lns/config.json")
  lu.assertEquals({ now.model_type, now.extra }, { "sonde", "carried" })
  lu.assertEquals(tree.n_layer, DEPTH)
end

function TestArchitectures:test_an_edited_folder_and_mistakes()
  local dir = foreign(model_of(), false)
  sonde.load(dir):save(dir .. "-own")
  local path = dir .. "-own/config.json"
  local tree = core.json_load(path)
  tree.n_head = 4
  core.json_save(path, tree)
  lu.assertEquals(sonde.load(dir .. "-own").config.heads, 4)      -- its own keys count before the section "sonde"
  tree.n_head, tree.sonde = nil, nil
  core.json_save(path, tree)
  lu.assertErrorMsgContains("there is no 'n_head'", sonde.load, dir .. "-own")
  tree.model_type = "gpt3"
  core.json_save(path, tree)
  lu.assertErrorMsgContains("model_type 'gpt3' is not supported; known: fused, ", sonde.load, dir .. "-own")
  tree.model_type = "sonde"
  core.json_save(path, tree)
  lu.assertErrorMsgContains("needs the section 'sonde'", sonde.load, dir .. "-own")
end

-- A Llama's folder stays one, and one whose model came from another architecture does not take its keys along.
function TestArchitectures:test_a_model_keeps_its_architecture()
  local dir = scratch .. "/llama"
  model_of():save(dir)
  lu.assertEquals(core.json_load(dir .. "/config.json").model_type, "llama")      -- from no folder
  lu.assertEquals(arch.to_write(model_of { norm = "layernorm" }, {}).name, "fused")
  lu.assertEquals(arch.to_write(model_of(), { model_type = "fused" }).name, "fused")
  lu.assertEquals(arch.to_write(model_of { placement = "lns" }, { model_type = "fused" }).name, "sonde")
  local llama, fused = arch.registry:find "llama", arch.registry:find "fused"
  lu.assertFalse(arch.keeps(llama, { model_type = "fused", n_embd = 8 }, "n_embd"))
  lu.assertTrue(arch.keeps(llama, { model_type = "fused" }, "extra"))
  lu.assertTrue(arch.keeps(fused, { model_type = "fused" }, "n_embd"))
end

local result = lu.LuaUnit.run("-o", "tap")
core.remove_tree(scratch)
os.exit(result, true)
