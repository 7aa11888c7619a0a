# Documentation.
EXTRA_DIST += README.md %D%/decisions.md %D%/gen-lua-api.lua %D%/img/report.png %D%/results/curse_of_depth.md %D%/results/curse_of_depth.png %D%/lua-api.md %D%/norms.md %D%/plugins.md

# The page of the Lua API comes from the comments in lua/sonde: `make lua-api` writes it anew, a test says when it is old.
lua-api: sonde
	SONDE_LUA_PATH='$(abs_top_srcdir)/lua' ./sonde run '$(srcdir)/doc/gen-lua-api.lua' > lua-api.tmp
	mv lua-api.tmp '$(srcdir)/doc/lua-api.md'
.PHONY: lua-api
EXTRA_DIST += %D%/probes.md
EXTRA_DIST += %D%/pruning.md
