--- refusal.lua - the mistakes of a request: an error with the status and the fields that the answer has.

local core = require "sonde.core"
local clean = require("sonde.eval.pieces").clean

local refusal = {}
local mark = {}

--- Raises the answer to a request with a mistake.
---@param status integer
---@param message string
---@param param? string      which field of the request
---@param code? string       "model_not_found", "context_length_exceeded"
function refusal.raise(status, message, param, code)
  error(setmetatable({ status = status, message = message, param = param, code = code }, mark), 0)
end

--- Ends what is computed for a client that has closed its connection. Its log line has the status that proxies give.
---@param request userdata
function refusal.check_client(request)
  if not request:gone() then return end
  request:note "the client closed the connection"
  refusal.raise(499, "the client closed the connection")
end

--- The status and the JSON of an answer to what was raised: by raise, or by anything else, which is a failure of ours.
---@param failure any
---@return integer status, string body
function refusal.text(failure)
  local ours = getmetatable(failure) ~= mark
  local of = ours and { status = 500, message = tostring(failure) } or failure
  return of.status, core.json_encode { error = {
    message = clean(of.message), type = of.status >= 500 and "server_error" or "invalid_request_error",
    param = of.param or core.null, code = of.code or core.null,
  } } .. "\n"
end

return refusal
