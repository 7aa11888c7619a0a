# Text: tokenizers, token shards, corpora, batches.
libsonde_la_SOURCES += %D%/alphabet.c %D%/batch.c %D%/batch.h %D%/bpe_count.c %D%/bpe_count.h %D%/bpe_file.c \
  %D%/bpe_file.h %D%/bpe_train.c %D%/bpe_train.h %D%/corpus.c %D%/corpus.h %D%/corpus_build.c %D%/corpus_cache.c \
  %D%/corpus_plan.c %D%/corpus_internal.h %D%/encode.c %D%/heap.h %D%/intern.c %D%/intern.h %D%/lines.c %D%/lines.h \
  %D%/pretoken.c %D%/pretoken.h %D%/shard.c %D%/shard.h %D%/source.c %D%/source.h %D%/source_file.c \
  %D%/source_packages.c %D%/tokenize.c %D%/tokenize.h %D%/tokenizer.c %D%/tokenizer.h %D%/tokenizer_internal.h \
  %D%/tokenizer_load.c %D%/tokenizer_pipeline.c %D%/unicode.c %D%/unicode.h
