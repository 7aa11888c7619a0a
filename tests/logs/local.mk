# Tests of what other programs read: the database by SQL, event files, man pages, completion.
bats_tests += %D%/query.bats %D%/tensorboard.bats %D%/manual.bats %D%/completion.bats
EXTRA_DIST += %D%/read_events.py
