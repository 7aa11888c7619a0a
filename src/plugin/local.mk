# Plugins: interface, loader, registry, sites, options, conformance kit.
libsonde_la_SOURCES += %D%/conformance.c %D%/conformance.h %D%/divergence.c %D%/divergence.h %D%/entry.c %D%/host.c \
  %D%/host.h %D%/kind.c %D%/kind.h %D%/kind_attention.c %D%/kind_distill.c %D%/kind_ffn.c %D%/kind_norm.c \
  %D%/kind_optimizer.c %D%/kind_sparsity.c %D%/kit.h %D%/kit_child.c %D%/kit_distill.c %D%/kit_gradient.c \
  %D%/kit_guards.c %D%/kit_module.c %D%/kit_optimizer.c %D%/kit_options.c %D%/kit_rig.c %D%/kit_sparsity.c \
  %D%/kit_speed.c %D%/kit_state.c %D%/loader.c %D%/loader.h %D%/options.c %D%/options.h %D%/registry.c %D%/registry.h \
  %D%/site.c %D%/site.h %D%/sparsity.c %D%/sparsity.h
