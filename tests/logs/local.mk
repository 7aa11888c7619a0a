# Tests of what other programs read: the database by SQL, event files, man pages, completion.
bats_tests += %D%/query.bats %D%/tensorboard.bats %D%/manual.bats %D%/completion.bats %D%/luacats.bats
EXTRA_DIST += %D%/luacats_check.lua %D%/read_events.py
