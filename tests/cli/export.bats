#!/usr/bin/env bats
# sonde export: folders with code for transformers, run by PyTorch; GGUF files, read by a reader of our own; mistakes.

bats_require_minimum_version 1.5.0

setup_file() {
  cd "$BATS_FILE_TMPDIR" || exit 1
  for _ in $(seq 40); do echo "in the beginning there was a small text, and it said little of itself"; done > text.txt
  cat > make.lua <<'LUA'
local sonde, core = require "sonde", require "sonde.core"
local text = core.read_file "text.txt"
local tokenizer = core.tokenizer_train({ text }, { vocab = 270, special = { "<|endoftext|>", "<|turn|>" } })
local function save(name, options, with)
  local all = { vocab = tokenizer:vocab() + 3, width = 32, depth = 2, heads = 4, kv_heads = 2, ffn_hidden = 40,
    context = 24, init_std = 0.3 }
  for key, value in pairs(options) do all[key] = value end
  sonde.transformer(all):save(name, { tokenizer = with })
end
save("llama", {}, tokenizer)
save("lns", { placement = "lns", tie = true }, tokenizer)
save("scaled", { attention = { "causal", rope_scaling = "llama3", rope_factor = 4, rope_original_context = 8,
  rope_theta = 100 } }, tokenizer)
save("bhyt", { norm = "bhyt" }, tokenizer)
save("mute", {})
LUA
  "$SONDE" run make.lua
}

setup() {
  cd "$BATS_FILE_TMPDIR" || exit 1
}

torch_or_skip() {
  /usr/bin/python3 -c 'import torch' 2> /dev/null || skip "python3-torch is not installed"
}

# Folders of models with what Sonde computes on some tokens beside them, as remote_code.py wants them.
probed() {   # LUA that returns a list of options of sonde.transformer
  cat > probed.lua <<LUA
local sonde, core = require "sonde", require "sonde.core"
local list = (function() $1 end)()
LUA
  cat >> probed.lua <<'LUA'
local tokens = { { 1, 5, 2, 9, 0, 3, 7 }, { 4, 4, 12, 1, 8, 6, 2 } }
for k, options in ipairs(list) do
  local all = { vocab = 13, width = 16, depth = 3, heads = 4, kv_heads = 2, ffn_hidden = 20, context = 9, seed = k,
    init_std = 0.4 }
  for key, value in pairs(options) do all[key] = value end
  all.fold = nil
  local model = sonde.transformer(all):init()
  for _, param in ipairs(model:params():list()) do
    local tensor = model:params():find(param.name)
    for i = 1, (param.role == "gain" or param.role == "bias") and tensor:count() or 0 do
      tensor:set(i, tensor:get(i) + 0.3 * math.sin(7 * i + #param.name))
    end
  end
  model:refresh()
  if options.fold then model = model:fold() end
  local dir = ("probed/%03d"):format(k)
  model:save(dir)
  local trace = model:trace { batch = 2, context = 7 }
  local logits = sonde.value(trace:logits(), { tokens = tokens }):values()
  local losses, count = 0, 0
  for row = 1, 2 do
    for at = 1, 6 do
      local scores, sum, first = {}, 0, ((row - 1) * 7 + at - 1) * all.vocab
      for v = 1, all.vocab do scores[v] = logits[first + v]; sum = sum + math.exp(scores[v]) end
      losses, count = losses + math.log(sum) - scores[tokens[row][at + 1] + 1], count + 1
    end
  end
  core.json_save(dir .. "/probe.json", { tokens = tokens, logits = logits, loss = losses / count })
end
print(#list)
LUA
  rm -rf probed
  "$SONDE" run probed.lua
}

@test "PyTorch runs the code in the folder of every norm under every placement" {
  torch_or_skip
  n=$(probed '
    local list = {}
    for _, norm in ipairs(core.modules "norm") do
      for _, placement in ipairs(require("sonde.model.placement").names()) do
        local model = sonde.transformer { vocab = 5, width = 8, depth = 2, norm = norm, placement = placement }
        local other = require("sonde.io.arch").to_write(model, {})
        if other.whole then list[#list + 1] = { norm = norm, placement = placement } end
      end
    end
    return list')
  [ "$n" -gt 100 ]
  run /usr/bin/python3 "$abs_srcdir/tests/reference/remote_code.py" probed/*
  echo "$output"
  [ "$status" -eq 0 ]
  [ "$output" = "$n of $n folders" ]
}

@test "PyTorch runs the code with every option that it reads" {
  torch_or_skip
  n=$(probed '
    local list = {}
    local function add(options)
      options.placement = options.placement or "norm_after"
      list[#list + 1] = options
    end
    local function norms(name, all)
      for option, value in pairs(all) do add { norm = { name, [option] = value }, placement = "lns" } end
    end
    local bhyt = { kappa = 2, lambda_attn = 3, lambda_ffn = 2, lambda_final = 1.5, learn_lambda = false, eps = 0.1 }
    norms("bhyt", bhyt)
    norms("bhyt_star", bhyt)
    for _, variance in ipairs { "beta", "eta", "residual_aware" } do
      add { norm = { "bhyt", variance = variance }, placement = "pre_ln" }
      add { norm = { "bhyt", variance = variance, kappa_schedule = "decay", exact_first = 1 }, placement = "lns" }
    end
    for _, schedule in ipairs { "decay", "grow", "mild_grow" } do
      add { norm = { "bhyt_star", kappa_schedule = schedule, lambda_final = 1 } }
      add { norm = { "bhyt", kappa_schedule = schedule } , placement = "pre_ln" }
    end
    add { norm = { "bhyt", exact_first = 1 }, placement = "pre_ln" }
    add { norm = { "bhyt", exact_blocks = "0,2" }, placement = "pre_ln" }
    add { norm = { "bhyt", learn_lambda = false }, placement = { "parallel", shared = false } }
    norms("dyt", { alpha_attn = 2, alpha_ffn = 0.5, alpha_final = 3, bias = true })
    norms("derf", { alpha_attn = 2, alpha_ffn = 0.5, alpha_final = 3, shift = 0.5 })
    norms("layernorm", { bias = false, eps = 0.1 })
    norms("rmsnorm", { eps = 0.1 })
    for _, norm in ipairs { "rmsnorm", "dyt", "bhyt", "bhyt_star" } do
      add { norm = norm, placement = "lns", fold = true }
    end
    for _, placement in ipairs { { "mix_ln", a = 0.67 }, { "mix_ln", a = 0 }, { "keel", alpha = 3 }, { "lns_sandwich",
      both = false }, { "parallel", shared = false }, { "pre_post", first = 1 }, { "pre_sandwich", first = 2 },
      { "layerscale", scale = 0.3 }, { "skipinit", scale = 0.4 }, { "pre_post_pre_post", every = 2 },
      { "post_pre_post_pre", every = 3 } } do
      add { placement = placement, norm = "bhyt" }
    end
    for option, value in pairs { rope_theta = 50, window = 3, qk_norm = true, head_dim = 6 } do
      add { attention = { "causal", [option] = value } }
    end
    add { attention = { "causal", rope_theta = 0 } }
    add { attention = { "causal", qk_norm = true, qk_eps = 0.2 } }
    add { attention = { "causal", rope_scaling = "linear", rope_factor = 3 } }
    add { attention = { "causal", rope_scaling = "llama3", rope_factor = 4, rope_original_context = 8,
      rope_high_freq_factor = 3, rope_low_freq_factor = 0.5, rope_theta = 100 } }
    for option, value in pairs { bias = "qkv", clip = 0.3, score_scale = 0.7, softcap = 0.5, rope_partial = 0.5,
      rope_attention_factor = 1.3 } do
      add { attention = { "causal", [option] = value }, head_dim = 8 }
    end
    add { attention = { "causal", bias = "all", qk_norm = true, qk_norm_over = "all", clip = 0.9 } }
    for _, over in ipairs { "head", "each", "all" } do
      for _, kind in ipairs { "rms", "layer" } do
        add { attention = { "causal", qk_norm = true, qk_norm_over = over, qk_norm_kind = kind, clip = 0.9 } }
      end
    end
    for _, truncate in ipairs { true, false } do
      add { head_dim = 16, attention = { "causal", rope_scaling = "yarn", rope_factor = 4, rope_original_context = 64,
        rope_theta = 100, rope_truncate = truncate, rope_beta_fast = 4, rope_attention_factor = 1.1 } }
    end
    for _, act in ipairs { "gelu", "gelu_tanh", "quick_gelu", "relu", "relu2", "tanh", "sigmoid", "linear", "mish",
      "gelu_10" } do
      add { ffn = { "swiglu", activation = act, bias = act == "relu" } }
    end
    add { norm = { "rmsnorm", unit_offset = true } }
    add { norm = { "layernorm", gain = false } }
    add { norm = "bhyt", placement = { "pre_ln", branch_scale = 0.5 } }
    add { embed_scale = 3.5, logit_scale = 0.3, logit_softcap = 2 }
    for _, act in ipairs { "gelu", "gelu_tanh", "quick_gelu", "relu2", "tanh" } do
      add { ffn = { "mlp", activation = act, bias = act == "tanh" } }
    end
    for option, value in pairs { top_k = 1, hidden = 5, activation = "gelu", renormalize = true, shared = 6,
      balance = 0 } do
      add { ffn = { "moe", experts = 5, [option] = value } }
    end
    for _, how in ipairs { "sum", "mean", "gated" } do
      add { ffn = { "moe", top_k = 3, shared = 7, shared_combine = how, renormalize = how == "gated" } }
    end
    add { layers = { [1] = { ffn = { "moe", experts = 3, top_k = 3, z_loss = 1, balance_scaling = "released" } } } }
    add { norm = "layernorm", attention = { "causal", bias = "all" }, positions = "learned", position_offset = 2,
      embed_width = 8 }
    add { positions = "alibi", final_norm = "none", embed_width = 40, tie = true }
    add { positions = "alibi", heads = 6, head_dim = 8 }
    add { tie = true }
    add { tie = true, embed_scale = "fixed" }
    add { embed_scale = "learned" }
    add { final_norm = "layernorm" }
    add { layers = { [0] = { norm = "dyt", placement = "post_ln" }, [2] = { ffn = "mlp", layer = 1, depth = 9 } } }
    add { layers = { [0] = { without = "attn" }, [2] = { without = "ffn" } } }
    add { layers = { [1] = { share = 0 }, [2] = { share = 0 } } }
    add { layers = { [1] = { placement = "linear" } } }
    for _, own in ipairs { { ffn = { "swiglu", hidden = 28 } }, { attention = { "causal", kv_heads = 1 } } } do
      add { layers = { [1] = own }, placement = "pre_ln" }      -- a Llama, but with per_layer_config
    end
    add { heads = { 4, 2, 1 }, kv_heads = { 2, 2, 1 }, head_dim = 8, ffn_hidden = { 24, 40, 8 }, placement = "pre_ln" }
    add { heads = { 2, 1, 4 }, kv_heads = 1, head_dim = 8, ffn_hidden = { 8, 40, 8 },
      layers = { [1] = { without = "ffn" } } }
    return list')
  [ "$n" -gt 60 ]
  run /usr/bin/python3 "$abs_srcdir/tests/reference/remote_code.py" probed/*
  echo "$output"
  [ "$status" -eq 0 ]
  [ "$output" = "$n of $n folders" ]
}

@test "a wrong number in a folder is found" {   # the check above can fail
  torch_or_skip
  probed 'return { { placement = "post_ln" }, { norm = "dyt" } }'
  sed -i 's/torch.tanh(self.alpha \* wide(x))/torch.tanh(1.001 * self.alpha * wide(x))/' probed/002/norms_sonde.py
  run /usr/bin/python3 "$abs_srcdir/tests/reference/remote_code.py" probed/*
  echo "$output"
  [ "$status" -eq 1 ]
  [[ "$output" == *"probed/002: AssertionError: logits are "*" off"*"1 of 2 folders" ]]
}

@test "a GGUF file has the tensors of the folder, the sizes and the vocabulary" {
  command -v python3 > /dev/null || skip "python3 is not installed"
  for name in llama lns scaled; do
    "$SONDE" export --model $name --out $name-plain
    for dtype in f32 f16 bf16; do
      "$SONDE" export --model $name --out $name.gguf --dtype $dtype --json > facts.json
      python3 "$abs_srcdir/tests/reference/read_gguf.py" $name.gguf $name-plain > keys.json
      python3 - $name $dtype <<'PYTHON'
import json, math, sys
name, dtype = sys.argv[1:]
k, facts = json.load(open("keys.json")), json.load(open("facts.json"))
assert facts["format"] == "gguf" and facts["architecture"] == "llama" and facts["dtype"] == dtype, facts
assert bool(facts["folded"]) == (name == "lns"), facts
assert k["general.architecture"] == "llama" and k["general.name"] == name
assert k["general.file_type"] == {"f32": 0, "f16": 1, "bf16": 32}[dtype]
sizes = {"vocab_size": 273, "context_length": 24, "embedding_length": 32, "block_count": 2,
         "feed_forward_length": 40, "attention.head_count": 4, "attention.head_count_kv": 2, "attention.key_length": 8,
         "attention.value_length": 8, "rope.dimension_count": 8}
for key, value in sizes.items():
    assert k["llama." + key] == value, (key, k["llama." + key])
assert abs(k["llama.attention.layer_norm_rms_epsilon"] - 1e-6) < 1e-12
assert k["llama.rope.freq_base"] == (100 if name == "scaled" else 10000)
assert ("output.weight" in k["tensors"]) == (name != "lns")
kind = {"f32": 0, "f16": 1, "bf16": 30}[dtype]
assert all(t[1] == (kind if len(t[0]) > 1 else 0) for t in k["tensors"].values())
if name == "scaled":
    for i, divisor in enumerate(k["rope_freqs"]):
        v = 100 ** (-2 * i / 8)
        wave = 2 * math.pi / v
        smooth = (8 / wave - 1) / (4 - 1)
        wanted = v if wave < 8 / 4 else v / 4 if wave > 8 / 1 else (1 - smooth) * v / 4 + smooth * v
        assert abs(v / divisor - wanted) < 1e-6 * wanted, (i, divisor)
tree = json.load(open(f"{name}/tokenizer.json"))
tokens, types = k["tokenizer.ggml.tokens"], k["tokenizer.ggml.token_type"]
assert len(tokens) == len(types) == 273 and k["tokenizer.ggml.model"] == "gpt2"
for text, id in tree["model"]["vocab"].items():
    assert tokens[id] == text
special = {t["content"]: t["id"] for t in tree["added_tokens"]}
assert set(special) == {"<|endoftext|>", "<|turn|>"}
assert [i for i, t in enumerate(types) if t == 3] == sorted(special.values())
assert types[270:] == [5, 5, 5] and tokens[270:] == ["[PAD270]", "[PAD271]", "[PAD272]"]
merges = [" ".join(m) if isinstance(m, list) else m for m in tree["model"]["merges"]]
assert k["tokenizer.ggml.merges"] == merges and merges
assert k["tokenizer.ggml.eos_token_id"] == k["tokenizer.ggml.bos_token_id"] == special["<|endoftext|>"]
assert k["tokenizer.ggml.add_bos_token"] is False
PYTHON
    done
  done
}

@test "GGUF files of other architectures have the tensors of their folders, and the keys that they need" {
  command -v python3 > /dev/null || skip "python3 is not installed"
  cat > others.lua <<'LUA'
local sonde = require "sonde"
local gemma = { embed_scale = "fixed", tie = true, norm = { "rmsnorm", unit_offset = true },
  ffn = { "swiglu", activation = "gelu_tanh" } }
local function with(base, more)
  local all = {}
  for _, options in ipairs { base, more } do
    for key, value in pairs(options) do all[key] = value end
  end
  return all
end
local function attention(more) return with({ "causal", softcap = 50, score_scale = 8 ^ -0.5 }, more) end
local window = attention { window = 5 }
local flat = { "causal", rope_theta = 0 }
for name, options in pairs {
  qwen2 = { attention = { "causal", bias = "qkv" } }, qwen3 = { attention = { "causal", qk_norm = true } },
  biased = { attention = { "causal", bias = "all" }, ffn = { "swiglu", bias = true } },
  olmo2 = { placement = "norm_after", attention = { "causal", qk_norm = true, qk_norm_over = "all" } },
  olmo = { norm = { "layernorm", gain = false, bias = false }, attention = { "causal", clip = 0.9 } },
  granite = { embed_scale = 3, attention = { "causal", score_scale = 0.3 }, logit_scale = 0.5,
    placement = { "pre_ln", branch_scale = 0.4 } },
  smollm3 = { layers = { [3] = { attention = flat } } }, gemma = gemma,
  deci = { heads = { 4, 2, 4, 6 }, kv_heads = { 2, 1, 4, 2 }, ffn_hidden = { 40, 40, 16, 8 }, head_dim = 8 },
  gpt2 = { kv_heads = 4, norm = "layernorm", positions = "learned", attention = { "causal", bias = "all" },
    ffn = { "mlp", activation = "gelu_tanh", bias = true }, tie = true },
  gemma2 = with(gemma, { placement = "peri_ln", attention = attention {}, logit_softcap = 30,
    layers = { [0] = { attention = window }, [2] = { attention = window } } }),
} do
  local model = sonde.transformer(with({ vocab = 40, width = 32, depth = 4, heads = 4, kv_heads = 2, ffn_hidden = 40,
    context = 24, init_std = 0.3 }, options)):init()
  for _, param in ipairs(model:params():list()) do
    local tensor = model:params():find(param.name)
    for i = 1, (param.role == "gain" or param.role == "bias") and tensor:count() or 0 do
      tensor:set(i, tensor:get(i) + 0.3 * math.sin(7 * i + #param.name))
    end
  end
  sonde.export(model, "others/" .. name)
  sonde.export(model, "others/" .. name .. ".gguf", { vocabulary = false })
end
-- What its programs have no word for.
for message, options in pairs {
  ["'sliding_window' 5"] = { attention = { "causal", window = 5 } },
  ["scaled by 'yarn'"] = { attention = { "causal", rope_scaling = "yarn", rope_factor = 4 } },
  ["'relu'"] = { ffn = { "swiglu", activation = "relu" } },
  ["'per_layer_config'"] = { attention = { "causal", bias = "qkv" }, layers = { [1] = { ffn_hidden = 48 } } },
  ["heads of different widths"] = { layers = { [1] = { head_dim = 4 } } },
  ["self_attn.q_proj.bias"] = { attention = { "causal", bias = "all" }, layers = { [1] = { ffn_hidden = 48 } } },
  ["no architecture of other programs"] = { norm = "dyt" },
} do
  local model = sonde.transformer(with({ vocab = 40, width = 32, depth = 4, heads = 4, ffn_hidden = 40, context = 24 },
    options))
  local ok, text = pcall(sonde.export, model, "others/no.gguf", { vocabulary = false })
  assert(not ok and text:find(message, 1, true), message .. " is not in " .. tostring(text))
  assert(not require("sonde.core").exists "others/no.gguf")
end
LUA
  rm -rf others
  mkdir others
  "$SONDE" run others.lua
  for name in qwen2 qwen3 biased olmo2 olmo granite smollm3 gpt2 gemma gemma2 deci; do
    python3 "$abs_srcdir/tests/reference/read_gguf.py" others/$name.gguf others/$name > others/$name.json
  done
  python3 - <<'PYTHON'
import json
k = {name: json.load(open(f"others/{name}.json")) for name in (
    "qwen2 qwen3 biased olmo2 olmo granite smollm3 gpt2 gemma gemma2 deci".split())}
for name, keys in k.items():
    arch = "llama" if name == "biased" else name
    assert keys["general.architecture"] == arch and keys[arch + ".block_count"] == 4, name
    assert keys["tokenizer.ggml.model"] == "no_vocab"
assert k["deci"]["deci.attention.head_count"] == [4, 2, 4, 6] and k["deci"]["deci.attention.key_length"] == 8
assert k["deci"]["deci.attention.head_count_kv"] == [2, 1, 4, 2]
assert k["deci"]["deci.feed_forward_length"] == [40, 40, 16, 8] and k["deci"]["deci.rope.dimension_count"] == 8
def near(a, b): return abs(a - b) < 1e-6
assert {t.rsplit(".", 1)[0].split(".")[-1] for t in k["qwen2"]["tensors"] if t.endswith("bias")} == {
    "attn_q", "attn_k", "attn_v"}
assert "blk.0.ffn_gate.bias" in k["biased"]["tensors"] and "blk.0.attn_output.bias" in k["biased"]["tensors"]
assert near(k["granite"]["granite.attention.scale"], 0.3) and near(k["granite"]["granite.embedding_scale"], 3)
assert near(k["granite"]["granite.residual_scale"], 0.4) and near(k["granite"]["granite.logit_scale"], 2)
assert near(k["olmo"]["olmo.attention.clamp_kqv"], 0.9) and not any("norm" in t for t in k["olmo"]["tensors"])
assert k["gemma2"]["gemma2.attention.sliding_window"] == 5
assert k["gemma2"]["gemma2.attn_logit_softcapping"] == 50 and k["gemma2"]["gemma2.final_logit_softcapping"] == 30
PYTHON
}

@test "the vocabulary of a SentencePiece model has scores, kinds and a chat template" {
  command -v python3 > /dev/null || skip "python3 is not installed"
  rm -rf spm
  cp -r mute spm
  cat > spm/tokenizer.json <<'JSON'
{"version": "1.0", "added_tokens": [{"id": 0, "content": "<unk>", "special": true}, {"id": 1, "content": "<s>",
"special": true}, {"id": 2, "content": "</s>", "special": true}, {"id": 9, "content": "<turn>", "special": false}],
"normalizer": {"type": "Sequence", "normalizers": [{"type": "Prepend", "prepend": "▁"}, {"type": "Replace",
"pattern": {"String": " "}, "content": "▁"}]}, "pre_tokenizer": null,
"post_processor": {"type": "TemplateProcessing", "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}},
{"Sequence": {"id": "A", "type_id": 0}}], "pair": [], "special_tokens": {"<s>": {"id": "<s>", "ids": [1],
"tokens": ["<s>"]}}}, "decoder": null,
"model": {"type": "BPE", "unk_token": "<unk>", "byte_fallback": true, "vocab": {"<unk>": 0, "<s>": 1, "</s>": 2,
"<0x0A>": 3, "▁a": 4, "ab": 5, "▁": 6, "a": 7, "b": 8}, "merges": ["▁ a", ["a", "b"]]}}
JSON
  echo '{"bos_token": "</s>", "eos_token": "</s>", "chat_template": [{"name": "tools", "template": "no"},
    {"name": "default", "template": "{{ yes }}"}]}' > spm/tokenizer_config.json
  cat > vocabulary.lua <<'LUA'
local core = require "sonde.core"
local file, files = core.gguf(), {}
for _, name in ipairs { "tokenizer.json", "tokenizer_config.json" } do files[name] = core.read_file("spm/" .. name) end
require("sonde.io.arch.formats.vocabulary").put(function(kind, key, value) file[kind](file, key, value) end, files, 12,
  {}, error)
file:save("spm.gguf", {}, {})
LUA
  "$SONDE" run vocabulary.lua
  python3 "$abs_srcdir/tests/reference/read_gguf.py" spm.gguf > keys.json
  python3 - <<'PYTHON'
import json
k = {key.replace("tokenizer.ggml.", ""): value for key, value in json.load(open("keys.json")).items()}
assert k["model"] == "llama" and k["pre"] == "default" and "merges" not in k
assert k["tokens"] == ["<unk>", "<s>", "</s>", "<0x0A>", "▁a", "ab", "▁", "a", "b", "<turn>", "[PAD10]", "[PAD11]"]
assert k["token_type"] == [2, 3, 3, 6, 1, 1, 1, 1, 1, 4, 5, 5], k["token_type"]
assert k["scores"] == [0, 0, 0, 0, -1, -2, 0, 0, 0, 0, 0, 0], k["scores"]
assert k["bos_token_id"] == 1 and k["eos_token_id"] == 2 and k["add_bos_token"] is True
assert k["add_space_prefix"] is True and k["tokenizer.chat_template"] == "{{ yes }}"
PYTHON
  # A new folder says as much: the token in front of a text is the tokenizer's, not the end of text.
  "$SONDE" export --model mute --tokenizer spm/tokenizer.json --out spm-said
  grep -q '"bos_token": *"<s>"' spm-said/tokenizer_config.json
  grep -q '"eos_token": *"</s>"' spm-said/tokenizer_config.json
  grep -q '"bos_token_id": *1,' spm-said/config.json
}

@test "what it says, and where it goes" {
  run "$SONDE" export --model lns --out said
  echo "$output"
  [ "$status" -eq 0 ]
  [[ "${lines[0]}" == "folded: the factors of LayerNorm Scaling are in the norms' gains"* ]]
  [[ "$output" == *"said: llama, f32; opens in transformers, vLLM and others, as LlamaForCausalLM" ]]
  run "$SONDE" export --model bhyt --out said-bhyt --dtype bf16 --shard-size 20KB
  [ "$status" -eq 0 ]
  [ "$output" = "said-bhyt: sonde, bf16; opens in transformers with trust_remote_code=True" ]
  [ -f said-bhyt/model.safetensors.index.json ]
  cmp said/tokenizer.json lns/tokenizer.json
  grep -q '"tokenizer_class": *"PreTrainedTokenizerFast"' said/tokenizer_config.json
}

@test "mistakes are said in one line, and nothing is left behind" {
  refused() {   # MESSAGE ARGUMENTS..
    local message="$1"
    shift
    run --separate-stderr "$SONDE" export "$@"
    echo "$stderr"
    [ "$status" -ne 0 ]
    [ "${#stderr_lines[@]}" -eq 1 ]
    [[ "$stderr" == *"$message"* ]]
  }
  refused "there is something already" --model llama --out lns
  refused "is a folder; a GGUF model is one file" --model llama --out lns --format gguf
  refused "no architecture of other programs is like it" --model bhyt --out no.gguf
  refused "the model has no tokenizer.json for the vocabulary; leave it out with --no-vocabulary" --model mute \
    --out no.gguf
  refused "shard_size is for folders" --model llama --out no.gguf --shard-size 1GB
  refused "shard_size takes a number of bytes" --model llama --out no --shard-size many
  sed 's/"use_regex": *true/"use_regex": false/' llama/tokenizer.json > split.json
  if ! cmp -s split.json llama/tokenizer.json; then
    refused "the first split of its tokenizer is none that GGUF has a name for" --model llama --tokenizer split.json \
      --out no.gguf
  fi
  [ ! -e no.gguf ]
  [ ! -e no ]
  "$SONDE" export --model mute --out mute.gguf --no-vocabulary
  [ -s mute.gguf ]
}
