# Documentation, installed in the same layout as here, so that its links work: $(docdir)/README.md,
# $(docdir)/doc/probes.md.
nobase_dist_doc_DATA = README.md %D%/architecture.md %D%/backends.md %D%/decisions.md %D%/distillation.md \
  %D%/evaluation.md %D%/finetune.md %D%/folders.md \
  %D%/img/clips.png %D%/img/report.png %D%/logs.md %D%/lua-api.md %D%/models.md \
  %D%/norms.md %D%/plugins.md %D%/probes.md %D%/pruning.md %D%/runs.md %D%/serve.md %D%/sparsity.md %D%/training.md \
  %D%/video.md \
  %D%/results/bhyt.md \
  %D%/results/bhyt.png %D%/results/capacity_gap.md %D%/results/capacity_gap.png \
  %D%/results/capacity_gap_workstation.png \
  %D%/results/curse_of_depth.md %D%/results/curse_of_depth.png \
  %D%/results/layer_pruning.md %D%/results/minima.md %D%/results/minima.png %D%/results/near_miss.md \
  %D%/results/sparsity.md %D%/img/depth_scaling_demo.png %D%/img/sparsity_context_workstation.png \
  %D%/img/sparsity_pruned_demo.png
EXTRA_DIST += %D%/api.lua %D%/gen-lua-api.lua

# The page of the Lua API comes from the comments in lua/sonde: `make lua-api` writes it, and a test fails when it is
# out of date.
lua-api: sonde
	SONDE_LUA_PATH='$(abs_top_srcdir)/lua' ./sonde run '$(srcdir)/doc/gen-lua-api.lua' > lua-api.tmp
	mv lua-api.tmp '$(srcdir)/doc/lua-api.md'
.PHONY: lua-api

# The man pages come from what --help shows, the definitions for editors from the comments in lua/sonde; the program
# writes both, so a cross build has neither.
commandsdir = $(mandir)/man1
if RUNS_HERE
man.stamp: sonde$(EXEEXT) sonde-paths $(sondeplugin_LTLIBRARIES) $(nobase_dist_pkgdata_DATA) %D%/gen-man.lua
	$(AM_V_GEN)rm -rf man && $(MKDIR_P) man && ./sonde run '$(srcdir)/doc/gen-man.lua' man > /dev/null && touch $@
luacats/sonde.lua: sonde$(EXEEXT) sonde-paths $(sondeplugin_LTLIBRARIES) $(nobase_dist_pkgdata_DATA) \
  %D%/gen-luacats.lua %D%/api.lua
	$(AM_V_GEN)$(MKDIR_P) luacats && ./sonde run '$(srcdir)/doc/gen-luacats.lua' > $@.tmp && mv $@.tmp $@
luacatsdir = $(pkgdatadir)/luacats
nodist_luacats_DATA = luacats/sonde.lua
noinst_DATA += man.stamp
install-man-pages: man.stamp
	$(MKDIR_P) '$(DESTDIR)$(commandsdir)' && $(INSTALL_DATA) man/*.1 '$(DESTDIR)$(commandsdir)'
else
install-man-pages:
endif
install-data-local: install-man-pages
uninstall-local:
	rm -f '$(DESTDIR)$(commandsdir)'/sonde.1 '$(DESTDIR)$(commandsdir)'/sonde-*.1 '$(DESTDIR)$(bashcompletiondir)/sonde'
clean-local:
	rm -rf man luacats
.PHONY: install-man-pages
CLEANFILES += man.stamp
EXTRA_DIST += %D%/gen-man.lua %D%/gen-luacats.lua %D%/completion.bash

# bash-completion looks for a file of the command's name.
bashcompletiondir = $(datadir)/bash-completion/completions
install-completion:
	$(MKDIR_P) '$(DESTDIR)$(bashcompletiondir)'
	$(INSTALL_DATA) '$(srcdir)/doc/completion.bash' '$(DESTDIR)$(bashcompletiondir)/sonde'
install-data-local: install-completion
.PHONY: install-completion
