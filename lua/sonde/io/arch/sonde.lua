--- sonde - every model that Sonde can make: its options are the section "sonde" of config.json, its tensors its
--- parameters.
--
-- Keys of other architectures beside the section must be true of the model: programs that know those may read them.

local arch = require "sonde.io.arch"
local llama = require "sonde.io.arch.llama"

local sonde = {
  class = "SondeForCausalLM", doc = "what no other architecture can say", whole = true,
  head = llama.head, embedding = llama.embedding, prefix = llama.prefix, tied_by = llama.tied_by,
  passes_over = llama.passes_over, check = llama.check,
}

--- Nothing is too much for it.
function sonde.why_not() return nil end

--- The keys of other architectures do not go into its folders.
---@param name string
---@return boolean
function sonde.owns(name)
  for _, each in ipairs(arch.registry:names()) do
    local other = arch.registry:get(each)
    if not other.whole and other.owns(name) then return true end
  end
  return false
end

--- The number of tokens, which programs want to know of any model.
---@param model sonde.model
---@param tree table
function sonde.write(model, tree)
  tree.vocab_size = model.config.vocab
end

arch.register("sonde", sonde)

return sonde
