# Tests of the Lua library.
lua_tests += %D%/architectures.lua %D%/documents.lua %D%/eval.lua %D%/export.lua %D%/folder.lua \
  %D%/folder_keys.lua %D%/generate.lua %D%/gguf.lua %D%/gpts.lua %D%/graph.lua %D%/likelihoods.lua %D%/llamas.lua \
  %D%/model.lua %D%/moe.lua %D%/patterns.lua %D%/placements.lua %D%/registry.lua %D%/tasks.lua %D%/views.lua
EXTRA_DIST += %D%/foreign_folder.lua
bats_tests += %D%/generate_command.bats
