# Benchmarks. EXTRA_DIST += %D%/x
