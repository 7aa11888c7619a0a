# Text: tokenizers, token shards, corpora, batches.
libsonde_la_SOURCES += %D%/alphabet.c %D%/alphabet.h %D%/batch.c %D%/batch.h %D%/bpe_count.c %D%/bpe_count.h \
  %D%/bpe_file.c %D%/bpe_file.h %D%/bpe_train.c %D%/bpe_train.h %D%/charsmap.c %D%/charsmap.h %D%/corpus.c \
  %D%/corpus.h %D%/corpus_build.c %D%/corpus_cache.c %D%/corpus_plan.c %D%/corpus_internal.h %D%/decoder.c \
  %D%/decoder.h %D%/encode.c %D%/encoder.h %D%/heap.h %D%/intern.c %D%/intern.h %D%/lines.c %D%/lines.h %D%/merge.c \
  %D%/normalize.c %D%/normalize.h %D%/pieces.c %D%/pieces.h %D%/pretoken.c %D%/pretoken.h %D%/regex.c %D%/regex.h \
  %D%/sentencepiece.c %D%/shard.c %D%/shard.h %D%/source.c %D%/source.h %D%/source_file.c %D%/source_packages.c \
  %D%/tokenize.c %D%/tokenize.h %D%/tokenizer.c %D%/tokenizer.h %D%/tokenizer_added.c %D%/tokenizer_decoder.c \
  %D%/tokenizer_files.c %D%/tokenizer_files.h %D%/tokenizer_internal.h %D%/tokenizer_load.c %D%/tokenizer_model.c \
  %D%/tokenizer_norms.c %D%/tokenizer_post.c %D%/tokenizer_stages.c %D%/trie.c %D%/trie.h %D%/unicode.c \
  %D%/unicode.h %D%/unigram.c %D%/vocab_merges.c %D%/wordpiece.c
