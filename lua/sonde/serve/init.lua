--- sonde.serve - a model folder behind HTTP, with OpenAI's interface for completions: what requests mean.
--
-- The HTTP server (src/serve) hands over one request after the other. A request with a mistake gets an answer with
-- {"error": {message, type, param, code}}; anything else that goes wrong is a failure of the server, status 500.

-- What lives here: this file answers requests; completions.lua does /v1/completions, with answer.lua for how an answer
-- is written, tokens.lua what concerns the tokenizer.

local core = require "sonde.core"
local args = require "sonde.base.args"
local completions = require "sonde.serve.completions"
local logprobs = require "sonde.eval.logprobs"
local refusal = require "sonde.serve.refusal"
local sorted_keys = require "sonde.base.sorted_keys"
local tokens = require "sonde.serve.tokens"

local serve = {}

local JSON = "application/json"
local CONNECTIONS, WAITING = 512, 4096      -- open connections and requests in the queue, at most

local routes = {
  ["/v1/completions"] = completions.answer, ["/tokenize"] = tokens.tokenize, ["/detokenize"] = tokens.detokenize,
}

---@class sonde.service
---@field model sonde.model
---@field tokenizer sonde.tokenizer
---@field scorer sonde.logprob_scorer
---@field name string           what clients call the model
---@field dir string            its folder, which they may name as well
---@field context integer       tokens of a prompt and its continuation, at most
---@field max_prompts integer
---@field dtype string
---@field number integer        of the last request
---@field checked? boolean      that the model can be generated from has been tried

-- The pages that the server gives by itself, also while a request is being computed.
local function pages_of(service)
  local known = { id = service.name, object = "model", created = os.time(), owned_by = "sonde",
    max_model_len = service.context }
  return {
    ["/health"] = core.json_encode { status = "ok" } .. "\n",
    ["/v1/models"] = core.json_encode { object = "list", data = core.list { known } } .. "\n",
    ["/tokenizer_info"] = core.json_encode(tokens.info(service)) .. "\n",
  }
end

local function route_of(request, pages)
  local path, method = request:path(), request:method()
  local route = routes[path]
  if route and method == "POST" then return route end
  if route or pages[path] then
    refusal.raise(405, string.format("%s takes %s, not %s", path, route and "POST" or "GET", method))
  end
  local known = sorted_keys(pages)
  for _, each in ipairs(sorted_keys(routes)) do known[#known + 1] = each end
  refusal.raise(404, "there is no " .. path .. " here; this server has " .. table.concat(known, ", "))
end

local function body_of(request)
  local ok, body = pcall(core.json_decode, request:body(), "the body")
  if not ok then refusal.raise(400, (string.gsub(body, "^the body:", "the body of the request is no JSON: line "))) end
  if type(body) ~= "table" or getmetatable(body) then
    refusal.raise(400, "the body of the request is no JSON object")
  end
  return body
end

--- Answers one request.
---@param service sonde.service
---@param pages table<string, string>
---@param request userdata
local function answer(service, pages, request)
  local ok, failure = pcall(function()
    refusal.check_client(request)
    local route = route_of(request, pages)
    service.number = service.number + 1
    route(service, request, body_of(request))
  end)
  if ok then return end
  local status, text = refusal.text(failure)
  if status >= 500 then
    io.stderr:write("sonde: ", request:path(), ": ", (string.gsub(tostring(failure), "%c", " ")), "\n")
  end
  -- An answer that was begun can only be cut off.
  pcall(request.answer, request, status, JSON, text)
end

--- Serves a model until SIGINT or SIGTERM; then the requests that have arrived are finished.
---@param model sonde.model
---@param options table       host, port, name, dir, context, max_prompts, max_body, dtype
---@param ready fun(port: integer)   called when requests are accepted
function serve.run(model, options, ready)
  local service = {
    model = model, tokenizer = model:tokenizer(), name = options.name, dir = options.dir, dtype = options.dtype,
    context = options.context or model.config.context, max_prompts = options.max_prompts, number = 0,
  }
  service.scorer = logprobs.scorer(model, { dtype = options.dtype, longest = service.context })
  local pages = pages_of(service)
  local server = core.http_server { host = options.host, port = options.port, max_body = options.max_body,
    connections = CONNECTIONS, waiting = WAITING, pages = pages }
  ready(server:port())
  for request in function() return server:take() end do
    answer(service, pages, request)
    request:close()
  end
  server:close()
  service.scorer:close()
end

return args.declare(serve, "serve.", {
  run = {
    { name = "model", type = "model", required = true }, { name = "options", type = "table", required = true },
    { name = "ready", type = "function", required = true },
  },
})
