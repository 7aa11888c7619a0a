--- documents.lua - the option document_mask: attention that keeps the documents of a packed row apart. Training,
-- evaluation and probes take it alike.

local core = require "sonde.core"

local documents = {}

--- The options, for schemas.
---@type sonde.schema
documents.fields = {
  { name = "document_mask", type = "boolean|integer", min = 0, max = 2147483647,
    doc = "attention does not look into an earlier document of the row; documents end with the corpus's end-of-text "
      .. "token, or "
      .. "with the token of this id" },
  { name = "document_positions", type = "boolean",
    doc = "with document_mask: positions count from the first token of each document; default: of the row" },
}

--- Those options behind the ones of a schema.
---@param schema sonde.schema
---@return sonde.schema
function documents.with(schema)
  for _, field in ipairs(documents.fields) do schema[#schema + 1] = field end
  return schema
end

-- The token that ends a document of the source, or nil where nothing says so.
local function end_of(source, model)
  local tokenizer = type(source) == "table" and source.tokenizer or model:has_tokenizer() and model:tokenizer()
  return tokenizer and tokenizer:eot()
end

--- What the options are to a trace of the model: {document_end =, document_positions =}, empty without a mask.
---@param options {document_mask: boolean|integer|nil, document_positions: boolean|nil}
---@param source sonde.corpus|integer[]|sonde.tensor
---@param model sonde.model
---@param what string              whose options they are, for messages
---@param where? fun(): string
---@return table
function documents.of_trace(options, source, model, what, where)
  local function refuse(text) error((where or core.where)() .. text, 0) end
  local last = options.document_mask
  if not last then
    if options.document_positions then refuse("option 'document_positions' of " .. what .. " needs document_mask") end
    return {}
  end
  if not model.config.vocab then
    refuse("option 'document_mask' of " .. what .. " is for models of tokens; this one reads features: leave it out")
  end
  if last == true then last = end_of(source, model) end
  if not last then
    refuse("option 'document_mask' of " .. what .. ": no tokenizer says which token ends a document; give its id in "
      .. "place "
      .. "of true")
  end
  if last >= model.config.vocab then
    refuse(string.format("option 'document_mask' of %s: %d is no token of a vocabulary of %d", what, last,
      model.config.vocab))
  end
  return { document_end = last, document_positions = options.document_positions or nil }
end

return documents
