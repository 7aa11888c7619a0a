# Tests of the command line.
bats_tests += %D%/program.bats
