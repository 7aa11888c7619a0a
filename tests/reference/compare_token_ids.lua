-- compare_token_ids.lua - Sonde's ids beside those that make_token_ids.js wrote, and the texts that they are decoded
-- to.
--
--   sonde run compare_token_ids.lua TOKENIZER OUT [plain]
--
-- Prints how many differ and the first of them. Decoded texts are compared where the library's has no U+FFFD: that is
-- what it puts for bytes that are no UTF-8, which Sonde keeps.
local core = require "sonde.core"
local path, out = arg[1], arg[2]
local options = { plain = arg[3] == "plain", bare = arg[3] == "plain" }      -- special tokens are text, none is added
local tokenizer = core.tokenizer(path)

local function texts_of(name)
  local file = assert(io.open(name, "rb"))
  return function()
    local size = file:read(4)
    if not size then return nil end
    local a, b, c, d = size:byte(1, 4)
    local n = a + b * 256 + c * 65536 + d * 16777216
    return n == 0 and "" or file:read(n)
  end
end

local texts, decoded, ids = texts_of(out .. ".texts"), texts_of(out .. ".decoded"), assert(io.open(out .. ".ids"))
local count, bad, bad_text = 0, 0, 0
for text in texts do
  local got, expected, back = tokenizer:encode(text, options):values(), ids:read "l", decoded()
  local line = table.concat(got, " ")
  count = count + 1
  if line ~= expected then
    bad = bad + 1
    if bad <= 8 then print(string.format("%q\n  expected %s\n  got      %s", text, expected, line)) end
  elseif not back:find("\xef\xbf\xbd", 1, true) and tokenizer:decode(got) ~= back then
    bad_text = bad_text + 1
    if bad_text <= 5 then print(string.format("decoded: expected %q\n  got %q", back, tokenizer:decode(got))) end
  end
end
print(string.format("%s: %d texts, %d with other ids, %d decoded otherwise", path, count, bad, bad_text))
