# Tests of src/plugin and of the plugins.
c_tests += %D%/options_test %D%/registry_test %D%/conformance_test %D%/planning_test %D%/reference_test
%C%_options_test_SOURCES = %D%/options_test.c
%C%_registry_test_SOURCES = %D%/registry_test.c
%C%_conformance_test_SOURCES = %D%/conformance_test.c
%C%_planning_test_SOURCES = %D%/planning_test.c tests/graph/make.h
%C%_reference_test_SOURCES = %D%/reference_test.c

bats_tests += %D%/command.bats %D%/crash.bats %D%/kind.bats %D%/old_header.bats

# The program with one more kind of plugins.
check_helpers += %D%/kind/sonde_activation
%C%_kind_sonde_activation_SOURCES = %D%/kind/kind_activation.c %D%/kind/activation.h
%C%_kind_sonde_activation_LDADD = $(sonde_OBJECTS) $(sonde_LDADD)
EXTRA_DIST += %D%/kind/template/activation.c

# Plugins that only tests load. They are compiled the way an author does it, without libtool and the tree's flags.
test_plugins = %D%/broken/aborts_at_load.c %D%/broken/adds_up.c %D%/broken/bad_default.c %D%/broken/climbs.c \
  %D%/broken/crash_in_build.c %D%/broken/crash_in_run.c %D%/broken/crash_in_update.c %D%/broken/deep_stack.c \
  %D%/broken/dies_at_load.c %D%/broken/endless.c %D%/broken/exits.c %D%/broken/exits_at_load.c %D%/broken/foreign_op.c \
  %D%/broken/hangs.c %D%/broken/hidden_state.c %D%/broken/identity.c %D%/broken/idle_option.c %D%/broken/idle_weight.c \
  %D%/broken/ignores_decay.c %D%/broken/ignores_decay_whole.c %D%/broken/ignores_scale_ahead.c %D%/broken/late_rows.c \
  %D%/broken/leaks_over_batch.c %D%/broken/odd_tail.c %D%/broken/one_column.c %D%/broken/untrained_gain.c \
  %D%/broken/wide_tail.c %D%/broken/ignores_scale.c %D%/broken/leaks.c %D%/broken/little_scratch.c \
  %D%/broken/looks_ahead.c %D%/broken/looks_ahead_last.c %D%/broken/grows_with_context.c %D%/broken/odd_context.c \
  %D%/broken/large_tile.c %D%/broken/own_rate.c %D%/broken/skips_head.c %D%/broken/loops_at_entry.c \
  %D%/broken/lost_scale.c %D%/broken/missing_symbol.c %D%/broken/moves_at_rest.c %D%/broken/newer_minor.c \
  %D%/broken/no_entry.c %D%/broken/no_functions.c %D%/broken/no_gradient.c %D%/broken/no_range.c \
  %D%/broken/no_reason.c %D%/broken/op_without_doc.c %D%/broken/other_build.c %D%/broken/overrun.c %D%/broken/prints.c \
  %D%/broken/reads_past.c %D%/broken/scratch_overrun.c %D%/broken/shared_state.c %D%/broken/stale_scratch.c \
  %D%/broken/short_descriptor.c %D%/broken/state_overrun.c %D%/broken/swallows_nan.c %D%/broken/thread_dependent.c \
  %D%/broken/tile_dependent.c %D%/broken/twin.c %D%/broken/unknown_kind.c %D%/broken/wrong_bf16.c \
  %D%/broken/wrong_gradient.c %D%/broken/wrong_major.c %D%/broken/wrong_shape.c %D%/modules/bounded.c \
  %D%/modules/larger.c %D%/modules/masked.c plugins/template/attention.c plugins/template/attention_primitive.c \
  plugins/template/ffn.c plugins/template/ffn_primitive.c plugins/template/norm.c plugins/template/norm_primitive.c \
  plugins/template/optimizer.c plugins/template/sparsity.c %D%/broken/all_alike.c %D%/broken/changes_weights.c \
  %D%/broken/dead_inputs.c %D%/broken/forgets_sums.c %D%/broken/keeps_too_many.c %D%/broken/leaks_scores.c \
  %D%/broken/moving_average.c %D%/broken/outside_scores.c %D%/broken/score_and_prune.c %D%/broken/ungrouped.c \
  %D%/broken/worker_scores.c %D%/broken/counts_terms.c %D%/broken/leaks_terms.c
EXTRA_DIST += $(test_plugins) %D%/broken/broken.h %D%/broken/doubled.h %D%/old_header/1.0/sonde.h \
  %D%/old_header/1.0/sonde_build.h %D%/old_header/1.0/sonde_plugin.h %D%/old_header/1.1/sonde.h \
  %D%/old_header/1.1/sonde_build.h %D%/old_header/1.1/sonde_plugin.h %D%/old_header/1.2/sonde.h \
  %D%/old_header/1.2/sonde_build.h %D%/old_header/1.2/sonde_plugin.h %D%/old_header/1.3/sonde.h \
  %D%/old_header/1.3/sonde_build.h %D%/old_header/1.3/sonde_plugin.h %D%/old_header/attention.c %D%/old_header/ffn.c \
  %D%/old_header/norm.c %D%/old_header/old.h %D%/old_header/optimizer.c %D%/old_header/train.lua \
  %D%/two_files/kernel.c %D%/two_files/plugin.c %D%/two_files/two_files.h

%D%/broken/.built: $(test_plugins) src/sonde.h src/sonde_plugin.h src/sonde_build.h %D%/broken/broken.h \
  %D%/broken/doubled.h
	$(AM_V_GEN)$(MKDIR_P) %D%/broken %D%/modules %D%/template && \
	for f in $(test_plugins); do \
	  $(CC) $(CFLAGS) -Wall -Wextra -fPIC -shared -fvisibility=hidden -I$(top_srcdir)/src \
	    -o %D%/`echo $$f | $(SED) 's|^%D%/||; s|^plugins/||; s|c$$|so|'` $(top_srcdir)/$$f -lm || exit 1; \
	done && touch $@
EXTRA_%C%_conformance_test_DEPENDENCIES = %D%/broken/.built
EXTRA_%C%_registry_test_DEPENDENCIES = %D%/broken/.built
EXTRA_%C%_planning_test_DEPENDENCIES = %D%/broken/.built

MOSTLYCLEANFILES += %D%/broken/.built %D%/broken/*.so %D%/modules/*.so %D%/template/*.so
