-- Folders that look like a Llama and were trained with their norms in other places: the placement is given when they
-- open.

local lu = require "luaunit"
local core = require "sonde.core"
local sonde = require "sonde"

local folder = os.tmpname()
os.remove(folder)

local function model_of(placement)
  return sonde.transformer { vocab = 23, width = 16, depth = 4, heads = 2, context = 12, init_std = 0.3, seed = 5,
    placement = placement, init = "normal" }:init()
end

local function loss(model)
  local trace = model:trace { context = 12 }
  local tokens, targets = {}, {}
  for i = 1, 12 do tokens[i], targets[i] = (i * 7) % 23, (i * 5) % 23 end
  return sonde.value(trace:mean_loss(), { tokens = tokens, targets = targets })
end

-- The folder that the authors' code saves of this model: a Llama's config.json, and their names for the norms.
local function save_as_authors(model, renamed)
  core.remove_tree(folder)
  model_of("pre_ln"):save(folder)
  local config = core.json_load(folder .. "/config.json")
  config.sonde = nil
  core.json_save(folder .. "/config.json", config)
  local names, tensors, dtypes = {}, {}, {}
  for i, param in ipairs(model:params():list()) do
    local block, rest = string.match(param.name, "^model%.layers%.(%d+)%.(.*)%.weight$")
    local name = param.name
    local called = block and renamed(tonumber(block), rest)
    if called then name = "model.layers." .. block .. "." .. called .. ".weight" end
    names[i], tensors[i], dtypes[i] = name, model:params():find(param.name), "f32"
  end
  core.weights_save(folder .. "/model.safetensors", names, tensors, dtypes)
end

-- Norms other than 1, so that one in the wrong place is seen.
local function varied(model)
  for k, param in ipairs(model:params():list()) do
    if param.role == "gain" then
      local values = {}
      for i = 1, 16 do values[i] = 0.5 + (i * 3 + k * 5) % 11 / 10 end
      model:params():find(param.name):fill(values)
    end
  end
  return model
end

local post = { post_self_attn_layernorm = "post_attention_layernorm",
  post_mlp_layernorm = "post_feedforward_layernorm" }
local sandwich = { post_self_attn_layernorm = "post_attention_layernorm",
  post_mlp_layernorm = "post_feedforward_layernorm",
  post_attention_layernorm = "pre_feedforward_layernorm" }

local cases = {
  { "lns", function() return nil end },
  { { "mix_ln", a = 0.5 }, function(block, rest) return block < 2 and post[rest] or nil end },
  { "post_ln", function(_, rest) return post[rest] end },
  { "deepnorm", function(_, rest) return post[rest] end },
  { "sandwich", function(_, rest) return sandwich[rest] end },
}

TestPlacement = {}

function TestPlacement:test_of_an_authors_folder()
  for _, case in ipairs(cases) do
    local name = type(case[1]) == "table" and case[1][1] or case[1]
    local model = varied(model_of(case[1]))
    save_as_authors(model, case[2])
    local opened = sonde.load(folder, { placement = case[1] })
    lu.assertEquals(loss(opened), loss(model), name)
    lu.assertEquals(opened.layers[1].placement.name, name)
    local smaller = sonde.prune(opened, { blocks = { 1 } })
    lu.assertEquals(#smaller.layers, 3)
    -- Saved, the folder says it, and is not taken for a Llama again.
    local mine = folder .. "-mine"
    opened:save(mine)
    lu.assertEquals(core.json_load(mine .. "/config.json").model_type, "sonde")
    lu.assertEquals(loss(sonde.load(mine)), loss(model), name)
    local ok, message = pcall(sonde.load, mine, { placement = "pre_ln" })
    lu.assertFalse(ok)
    lu.assertStrContains(message, "the section 'sonde' says where the norms are")
    core.remove_tree(mine)
  end
end

function TestPlacement:test_without_it_a_folder_is_a_llama()
  local model = varied(model_of "lns")
  save_as_authors(model, function() return nil end)
  lu.assertTrue(math.abs(loss(sonde.load(folder)) - loss(model)) > 1e-3)
end

function TestPlacement:test_mistakes()
  save_as_authors(varied(model_of "lns"), function() return nil end)
  for placement, said in pairs { lms = "did you mean 'lns'?",
      post_ln = "the weights have no 'model.layers.0.post_feedforward_layernorm" } do
    local ok, message = pcall(sonde.load, folder, { placement = placement })
    lu.assertFalse(ok)
    lu.assertStrContains(message, said)
  end
end

function TestPlacement:test_on_the_command_line()
  local io_ = require "sonde.io"
  local model = varied(model_of { "mix_ln", a = 0.5 })
  save_as_authors(model, cases[2][2])
  lu.assertEquals(loss(io_.of_command { model = folder, placement = { "mix_ln", "a=0.5" } }), loss(model))
  local ok, message = pcall(io_.of_command, { model = folder, placement = { "mix_ln", "a" } })
  lu.assertFalse(ok)
  lu.assertStrContains(message, "--placement takes NAME,option=value,.., not 'a'")
  for _, command in ipairs { "eval", "probe", "prune", "generate", "attention" } do
    local found = false
    for _, field in ipairs(require("sonde.cmd." .. command).options) do found = found or field.name == "placement" end
    lu.assertTrue(found, command)
  end
  core.remove_tree(folder)
end

os.exit(lu.LuaUnit.run("-o", "tap"), true)
