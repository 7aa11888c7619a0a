# Experiments: a script for each question, its settings beside it.
EXTRA_DIST += %D%/depth_sweep.lua %D%/first.lua %D%/depth_sweep/demo.yaml %D%/depth_sweep/paper.yaml %D%/depth_sweep/workstation.yaml
