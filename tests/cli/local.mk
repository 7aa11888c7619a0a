# Tests of the command line.
bats_tests += %D%/docs.bats %D%/json.bats %D%/eval.bats %D%/export.bats %D%/program.bats %D%/train.bats
bats_tests += %D%/finetune.bats %D%/tasks.bats
