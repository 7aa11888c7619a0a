# Text: tokenizers, token shards, corpora, batches.
libsonde_la_SOURCES += \
  %D%/alphabet.c %D%/bpe_count.c %D%/bpe_count.h %D%/bpe_file.c %D%/bpe_file.h %D%/bpe_train.c %D%/bpe_train.h \
  %D%/encode.c %D%/heap.h %D%/intern.c %D%/intern.h %D%/pretoken.c %D%/pretoken.h %D%/tokenizer.c %D%/tokenizer.h \
  %D%/tokenizer_internal.h %D%/tokenizer_load.c %D%/tokenizer_pipeline.c %D%/unicode.c %D%/unicode.h
