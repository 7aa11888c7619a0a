# Tests of the Lua library.
lua_tests += %D%/architectures.lua %D%/documents.lua %D%/eval.lua %D%/export.lua %D%/folder.lua \
  %D%/generate.lua %D%/gpts.lua %D%/graph.lua %D%/llamas.lua %D%/model.lua %D%/placements.lua %D%/registry.lua \
  %D%/views.lua
lua_tests += %D%/likelihoods.lua %D%/tasks.lua
bats_tests += %D%/generate_command.bats
