# Documentation, installed in the same layout as here, so that its links work: $(docdir)/README.md,
# $(docdir)/doc/probes.md.
nobase_dist_doc_DATA = README.md %D%/architecture.md %D%/backends.md %D%/decisions.md %D%/evaluation.md %D%/folders.md \
  %D%/img/report.png %D%/lua-api.md %D%/models.md \
  %D%/norms.md %D%/plugins.md %D%/probes.md %D%/pruning.md %D%/runs.md %D%/training.md %D%/results/bhyt.md \
  %D%/results/bhyt.png %D%/results/curse_of_depth.md %D%/results/curse_of_depth.png %D%/results/layer_pruning.md
EXTRA_DIST += %D%/gen-lua-api.lua

# The page of the Lua API comes from the comments in lua/sonde: `make lua-api` writes it, and a test fails when it is
# out of date.
lua-api: sonde
	SONDE_LUA_PATH='$(abs_top_srcdir)/lua' ./sonde run '$(srcdir)/doc/gen-lua-api.lua' > lua-api.tmp
	mv lua-api.tmp '$(srcdir)/doc/lua-api.md'
.PHONY: lua-api
