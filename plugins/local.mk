# Plugins that are installed, one file each.
sondeplugin_LTLIBRARIES += \
  %D%/norm/bhyt.la %D%/norm/bhyt_star.la %D%/norm/derf.la %D%/norm/dyt.la %D%/norm/layernorm.la %D%/norm/rmsnorm.la \
  %D%/attention/causal.la \
  %D%/distill/forward_kl.la %D%/distill/jsd.la %D%/distill/reverse_kl.la %D%/distill/skewed_kl.la \
  %D%/distill/soft_ce.la %D%/distill/total_variation.la \
  %D%/ffn/mlp.la %D%/ffn/moe.la %D%/ffn/swiglu.la \
  %D%/optimizer/adamw.la %D%/optimizer/lion.la %D%/optimizer/muon.la %D%/optimizer/sgd.la \
  %D%/sparsity/gate.la %D%/sparsity/magnitude.la %D%/sparsity/movement.la %D%/sparsity/random.la \
  %D%/sparsity/sparsegpt.la %D%/sparsity/wanda.la

%C%_norm_bhyt_la_SOURCES = %D%/norm/bhyt.c %D%/norm/bhyt_ops.h %D%/norm/gain.h %D%/norm/tanh_rows.h
%C%_norm_bhyt_la_CPPFLAGS = $(MODCPPFLAGS)
%C%_norm_bhyt_la_LDFLAGS = $(MODFLAGS)
%C%_norm_bhyt_star_la_SOURCES = %D%/norm/bhyt_star.c %D%/norm/bhyt_ops.h %D%/norm/gain.h %D%/norm/tanh_rows.h
%C%_norm_bhyt_star_la_CPPFLAGS = $(MODCPPFLAGS)
%C%_norm_bhyt_star_la_LDFLAGS = $(MODFLAGS)
%C%_norm_derf_la_SOURCES = %D%/norm/derf.c %D%/norm/tanh_rows.h
%C%_norm_derf_la_CPPFLAGS = $(MODCPPFLAGS)
%C%_norm_derf_la_LDFLAGS = $(MODFLAGS)
%C%_norm_dyt_la_SOURCES = %D%/norm/dyt.c %D%/norm/gain.h %D%/norm/tanh_rows.h
%C%_norm_dyt_la_CPPFLAGS = $(MODCPPFLAGS)
%C%_norm_dyt_la_LDFLAGS = $(MODFLAGS)
%C%_norm_layernorm_la_SOURCES = %D%/norm/layernorm.c
%C%_norm_layernorm_la_CPPFLAGS = $(MODCPPFLAGS)
%C%_norm_layernorm_la_LDFLAGS = $(MODFLAGS)
%C%_norm_rmsnorm_la_SOURCES = %D%/norm/rmsnorm.c %D%/norm/gain.h
%C%_norm_rmsnorm_la_CPPFLAGS = $(MODCPPFLAGS)
%C%_norm_rmsnorm_la_LDFLAGS = $(MODFLAGS)
%C%_attention_causal_la_SOURCES = %D%/attention/causal.c %D%/bias.h
%C%_attention_causal_la_CPPFLAGS = $(MODCPPFLAGS)
%C%_attention_causal_la_LDFLAGS = $(MODFLAGS)
%C%_distill_forward_kl_la_SOURCES = %D%/distill/forward_kl.c %D%/distill/divergence.h
%C%_distill_forward_kl_la_CPPFLAGS = $(MODCPPFLAGS)
%C%_distill_forward_kl_la_LDFLAGS = $(MODFLAGS)
%C%_distill_jsd_la_SOURCES = %D%/distill/jsd.c %D%/distill/divergence.h
%C%_distill_jsd_la_CPPFLAGS = $(MODCPPFLAGS)
%C%_distill_jsd_la_LDFLAGS = $(MODFLAGS)
%C%_distill_reverse_kl_la_SOURCES = %D%/distill/reverse_kl.c %D%/distill/divergence.h
%C%_distill_reverse_kl_la_CPPFLAGS = $(MODCPPFLAGS)
%C%_distill_reverse_kl_la_LDFLAGS = $(MODFLAGS)
%C%_distill_skewed_kl_la_SOURCES = %D%/distill/skewed_kl.c %D%/distill/divergence.h
%C%_distill_skewed_kl_la_CPPFLAGS = $(MODCPPFLAGS)
%C%_distill_skewed_kl_la_LDFLAGS = $(MODFLAGS)
%C%_distill_soft_ce_la_SOURCES = %D%/distill/soft_ce.c %D%/distill/divergence.h
%C%_distill_soft_ce_la_CPPFLAGS = $(MODCPPFLAGS)
%C%_distill_soft_ce_la_LDFLAGS = $(MODFLAGS)
%C%_distill_total_variation_la_SOURCES = %D%/distill/total_variation.c %D%/distill/divergence.h
%C%_distill_total_variation_la_CPPFLAGS = $(MODCPPFLAGS)
%C%_distill_total_variation_la_LDFLAGS = $(MODFLAGS)
%C%_ffn_mlp_la_SOURCES = %D%/ffn/mlp.c %D%/ffn/activation.h %D%/bias.h
%C%_ffn_mlp_la_CPPFLAGS = $(MODCPPFLAGS)
%C%_ffn_mlp_la_LDFLAGS = $(MODFLAGS)
%C%_ffn_moe_la_SOURCES = %D%/ffn/moe.c %D%/ffn/activation.h
%C%_ffn_moe_la_CPPFLAGS = $(MODCPPFLAGS)
%C%_ffn_moe_la_LDFLAGS = $(MODFLAGS)
%C%_ffn_swiglu_la_SOURCES = %D%/ffn/swiglu.c %D%/ffn/activation.h %D%/bias.h
%C%_ffn_swiglu_la_CPPFLAGS = $(MODCPPFLAGS)
%C%_ffn_swiglu_la_LDFLAGS = $(MODFLAGS)
%C%_optimizer_adamw_la_SOURCES = %D%/optimizer/adamw.c
%C%_optimizer_adamw_la_CPPFLAGS = $(MODCPPFLAGS)
%C%_optimizer_adamw_la_LDFLAGS = $(MODFLAGS)
%C%_optimizer_lion_la_SOURCES = %D%/optimizer/lion.c
%C%_optimizer_lion_la_CPPFLAGS = $(MODCPPFLAGS)
%C%_optimizer_lion_la_LDFLAGS = $(MODFLAGS)
%C%_optimizer_muon_la_SOURCES = %D%/optimizer/muon.c
%C%_optimizer_muon_la_CPPFLAGS = $(MODCPPFLAGS)
%C%_optimizer_muon_la_LDFLAGS = $(MODFLAGS)
%C%_optimizer_sgd_la_SOURCES = %D%/optimizer/sgd.c
%C%_optimizer_sgd_la_CPPFLAGS = $(MODCPPFLAGS)
%C%_optimizer_sgd_la_LDFLAGS = $(MODFLAGS)
%C%_sparsity_gate_la_SOURCES = %D%/sparsity/gate.c %D%/sparsity/descriptor.h
%C%_sparsity_gate_la_CPPFLAGS = $(MODCPPFLAGS)
%C%_sparsity_gate_la_LDFLAGS = $(MODFLAGS)
%C%_sparsity_magnitude_la_SOURCES = %D%/sparsity/magnitude.c %D%/sparsity/descriptor.h
%C%_sparsity_magnitude_la_CPPFLAGS = $(MODCPPFLAGS)
%C%_sparsity_magnitude_la_LDFLAGS = $(MODFLAGS)
%C%_sparsity_movement_la_SOURCES = %D%/sparsity/movement.c %D%/sparsity/descriptor.h
%C%_sparsity_movement_la_CPPFLAGS = $(MODCPPFLAGS)
%C%_sparsity_movement_la_LDFLAGS = $(MODFLAGS)
%C%_sparsity_random_la_SOURCES = %D%/sparsity/random.c %D%/sparsity/descriptor.h
%C%_sparsity_random_la_CPPFLAGS = $(MODCPPFLAGS)
%C%_sparsity_random_la_LDFLAGS = $(MODFLAGS)
%C%_sparsity_sparsegpt_la_SOURCES = %D%/sparsity/sparsegpt.c %D%/sparsity/descriptor.h
%C%_sparsity_sparsegpt_la_CPPFLAGS = $(MODCPPFLAGS)
%C%_sparsity_sparsegpt_la_LDFLAGS = $(MODFLAGS)
%C%_sparsity_wanda_la_SOURCES = %D%/sparsity/wanda.c %D%/sparsity/descriptor.h
%C%_sparsity_wanda_la_CPPFLAGS = $(MODCPPFLAGS)
%C%_sparsity_wanda_la_LDFLAGS = $(MODFLAGS)

# What `sonde plugin new` copies.
nobase_dist_pkgdata_DATA += \
  %D%/template/Makefile %D%/template/README.md %D%/template/README_lua.md %D%/template/attention.c \
  %D%/template/attention.lua %D%/template/attention_primitive.c %D%/template/distill.c %D%/template/distill.lua \
  %D%/template/ffn.c %D%/template/ffn.lua \
  %D%/template/ffn_primitive.c %D%/template/norm.c %D%/template/norm.lua %D%/template/norm_primitive.c \
  %D%/template/optimizer.c %D%/template/sparsity.c %D%/template/sparsity.lua
