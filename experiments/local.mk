# Experiments. EXTRA_DIST += %D%/x.lua
