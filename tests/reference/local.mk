# Values from a foreign implementation, and the scripts that made them.
EXTRA_DIST += %D%/make_ops.py %D%/ops.json
EXTRA_DIST += %D%/make_llama.py %D%/llama_gqa %D%/llama_sharded_f16 %D%/llama_tied_bf16
EXTRA_DIST += %D%/make_safetensors.py %D%/halves.safetensors
EXTRA_DIST += %D%/make_train.py %D%/train.json
EXTRA_DIST += %D%/make_plugins.py %D%/plugins.json
EXTRA_DIST += %D%/make_tokenizers.js %D%/tokenizers.json
EXTRA_DIST += %D%/make_tokenizer_kinds.js %D%/tokenizer_kinds.json
EXTRA_DIST += %D%/make_token_ids.js %D%/make_sentencepiece_ids.py %D%/compare_token_ids.lua
EXTRA_DIST += %D%/make_sentencepiece.py %D%/sentencepiece.json
EXTRA_DIST += %D%/make_added_tokens.js %D%/added_tokens.json
EXTRA_DIST += %D%/make_norms.py %D%/norms.json
EXTRA_DIST += %D%/make_probes.py %D%/llama_probes
EXTRA_DIST += %D%/make_lstsq.py %D%/lstsq.json
EXTRA_DIST += %D%/fit_bounded.py
EXTRA_DIST += %D%/make_objectives.py %D%/objectives.json
EXTRA_DIST += %D%/remote_code.py %D%/read_gguf.py
EXTRA_DIST += %D%/make_tasks.py %D%/tasks.json
