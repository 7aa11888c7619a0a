# Values from a foreign implementation, and the scripts that made them.
EXTRA_DIST += %D%/make_ops.py %D%/ops.json
