# Tests of sonde serve, with curl.
bats_tests += %D%/serve.bats
EXTRA_DIST += %D%/expected.lua
