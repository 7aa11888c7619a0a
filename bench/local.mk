# Benchmarks: PyTorch peers of `sonde bench`, and the program that runs both in turns.
EXTRA_DIST += %D%/compare %D%/sparsity.lua %D%/statistics.lua %D%/torch_depth.py %D%/torch_llama.py
