# Tests of the command line. bats_tests += %D%/x.bats
