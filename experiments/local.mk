# Experiments, a script for each question, its settings beside it: x.lua lands in $(pkgdatadir)/experiments/x.lua.
nobase_dist_pkgdata_DATA += %D%/bhyt.lua %D%/bhyt/demo.yaml %D%/bhyt/paper.yaml %D%/bhyt/workstation.yaml \
  %D%/curse_in_families.lua %D%/curse_in_families/demo.yaml %D%/curse_of_depth.lua %D%/curse_of_depth/demo.yaml \
  %D%/curse_of_depth/paper.yaml %D%/curse_of_depth/workstation.yaml %D%/depth_sweep.lua %D%/depth_sweep/demo.yaml \
  %D%/depth_sweep/paper.yaml %D%/depth_sweep/workstation.yaml %D%/first.lua %D%/layer_pruning.lua \
  %D%/layer_pruning/demo.yaml %D%/layer_pruning/paper.yaml %D%/layer_pruning/workstation.yaml
