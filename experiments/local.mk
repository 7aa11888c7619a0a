# Experiments, a script for each question, its settings beside it: x.lua lands in $(pkgdatadir)/experiments/x.lua.
nobase_dist_pkgdata_DATA += %D%/bhyt.lua %D%/bhyt/demo.yaml %D%/bhyt/paper.yaml %D%/bhyt/workstation.yaml \
  %D%/curse_in_families.lua %D%/curse_in_families/demo.yaml %D%/curse_of_depth.lua %D%/curse_of_depth/demo.yaml \
  %D%/curse_of_depth/paper.yaml %D%/curse_of_depth/workstation.yaml %D%/depth_sweep.lua %D%/depth_sweep/demo.yaml \
  %D%/depth_sweep/paper.yaml %D%/depth_sweep/workstation.yaml %D%/first.lua %D%/layer_pruning.lua \
  %D%/layer_pruning/demo.yaml %D%/layer_pruning/paper.yaml %D%/layer_pruning/workstation.yaml
nobase_dist_pkgdata_DATA += %D%/depth_scaling.lua %D%/depth_scaling/demo.yaml %D%/depth_scaling/paper.yaml \
  %D%/depth_scaling/workstation.yaml
nobase_dist_pkgdata_DATA += %D%/sparsity_context.lua %D%/sparsity_context/demo.yaml %D%/sparsity_context/paper.yaml \
  %D%/sparsity_context/workstation.yaml
nobase_dist_pkgdata_DATA += %D%/sparsity_gqa.lua %D%/sparsity_gqa/demo.yaml %D%/sparsity_gqa/paper.yaml \
  %D%/sparsity_gqa/workstation.yaml
nobase_dist_pkgdata_DATA += %D%/sparsity_weight_decay.lua %D%/sparsity_weight_decay/demo.yaml \
  %D%/sparsity_weight_decay/paper.yaml %D%/sparsity_weight_decay/workstation.yaml
nobase_dist_pkgdata_DATA += %D%/minima.lua %D%/minima/demo.yaml %D%/minima/paper.yaml %D%/minima/workstation.yaml
nobase_dist_pkgdata_DATA += %D%/recipe.lua %D%/recipe/demo.yaml %D%/recipe/paper.yaml %D%/recipe/workstation.yaml
nobase_dist_pkgdata_DATA += %D%/sparsity_moe.lua %D%/sparsity_moe/demo.yaml %D%/sparsity_moe/paper.yaml \
  %D%/sparsity_moe/workstation.yaml
nobase_dist_pkgdata_DATA += %D%/distill_losses.lua %D%/distill_losses/demo.yaml %D%/distill_losses/paper.yaml \
  %D%/distill_losses/workstation.yaml
nobase_dist_pkgdata_DATA += %D%/sparsity_pruned.lua %D%/sparsity_pruned/demo.yaml %D%/sparsity_pruned/paper.yaml \
  %D%/sparsity_pruned/workstation.yaml
nobase_dist_pkgdata_DATA += %D%/capacity_gap.lua %D%/capacity_gap/demo.yaml %D%/capacity_gap/paper.yaml \
  %D%/capacity_gap/variations.yaml %D%/capacity_gap/workstation.yaml
nobase_dist_pkgdata_DATA += %D%/near_miss.lua %D%/near_miss/demo.yaml %D%/near_miss/paper.yaml \
  %D%/near_miss/workstation.yaml
