# Tests of src/text.
c_tests += %D%/added_test %D%/batch_test %D%/bpe_train_test %D%/corpus_test %D%/files_test %D%/kinds_test \
  %D%/shard_test %D%/sources_test %D%/tokenizer_test
%C%_added_test_SOURCES = %D%/added_test.c %D%/reference.h
%C%_batch_test_SOURCES = %D%/batch_test.c
%C%_bpe_train_test_SOURCES = %D%/bpe_train_test.c %D%/reference.h
%C%_corpus_test_SOURCES = %D%/corpus_test.c %D%/corpus.h
%C%_files_test_SOURCES = %D%/files_test.c %D%/reference.h
%C%_kinds_test_SOURCES = %D%/kinds_test.c %D%/reference.h
%C%_sources_test_SOURCES = %D%/sources_test.c %D%/corpus.h
%C%_sources_test_LDADD = $(LDADD) $(ZLIB_LIBS) $(ZSTD_LIBS)
%C%_shard_test_SOURCES = %D%/shard_test.c
%C%_tokenizer_test_SOURCES = %D%/tokenizer_test.c %D%/reference.h
lua_tests += %D%/folders.lua %D%/meeting.lua %D%/text.lua
