/* corpus_test.c - corpora: the split, the cache and what becomes of a damaged one, tokenizers and shards. */
#include <sys/stat.h>
#include <sys/wait.h>
#include "corpus.h"

/* ---- the split ----------------------------------------------------------------------------------------- */

/* 2000 documents, of which every text stands there twice. */
static const char *make_pairs(const char *name) {
  sonde_bytes b = {0};
  for (int i = 0; i < 2000; i++) {
    char line[80];
    sonde_bytes_add(&b, line, snprintf(line, sizeof line, "{\"text\": \"this is document %d\"}\n", i % 1000));
  }
  make_file(name, b.data, b.n);
  sonde_bytes_free(&b);
  return path;
}

static void equal_documents_fall_on_one_side(void **state) {
  (void)state;
  sonde_corpus *c = must_open(make_pairs("pairs.jsonl"), (sonde_corpus_opts){.validation = 0.2});
  int64_t held = sonde_corpus_documents(c, SONDE_VALIDATION);
  assert_in_range(held, 320, 480);
  assert_int_equal(held % 2, 0);
  assert_int_equal(held + sonde_corpus_documents(c, SONDE_TRAIN), 2000);
  char *train = text_of(c, SONDE_TRAIN), *valid = text_of(c, SONDE_VALIDATION);
  for (int i = 0; i < 1000; i++) {
    char doc[64];
    snprintf(doc, sizeof doc, "document %d|", i);
    assert_int_equal(!strstr(train, doc), !!strstr(valid, doc));
  }
  assert_int_equal(sonde_corpus_text_bytes(c, SONDE_VALIDATION), (int64_t)strlen(valid) - held);
  sonde_release(train);
  sonde_release(valid);
  sonde_corpus_free(c);
}

/* A text without a second document is cut, and neither side is left empty. */
static void few_documents_give_their_tail_for_validation(void **state) {
  static const char line[] = "{\"text\": \"some words of a text, and some more of them\"}\n";
  (void)state;
  for (int documents = 1; documents <= 3; documents++)
    for (int share = 1; share < 10; share += 4) {
      sonde_bytes b = {0};
      for (int i = 0; i < documents; i++) sonde_bytes_add(&b, line, sizeof line - 1);
      sonde_corpus *c = must_open(make_file("few.jsonl", b.data, b.n), (sonde_corpus_opts){.validation = share / 10.0});
      char *train = text_of(c, SONDE_TRAIN), *valid = text_of(c, SONDE_VALIDATION);
      assert_true(strlen(train) > 1 && strlen(valid) > 1);
      int64_t whole = sonde_corpus_text_bytes(c, SONDE_TRAIN) + sonde_corpus_text_bytes(c, SONDE_VALIDATION);
      assert_int_equal(whole, ((int64_t)sizeof line - 14) * documents);
      assert_true(llabs(sonde_corpus_text_bytes(c, SONDE_VALIDATION) - whole * share / 10) < 12);
      sonde_release(train);
      sonde_release(valid);
      sonde_bytes_free(&b);
      sonde_corpus_free(c);
    }
  refused(TEXT("tiny.txt", "x"), NONE, SONDE_EINVAL, "no document for");
}

/* ---- the cache ----------------------------------------------------------------------------------------- */

static void entry_stat(const sonde_corpus *c, struct stat *st) {
  char file[700];
  snprintf(file, sizeof file, "%s/train.tok", sonde_corpus_cached(c));
  assert_int_equal(stat(file, st), 0);
}

static void a_second_opening_takes_what_is_there(void **state) {
  struct stat a, b;
  char hash[65], entry[600];
  (void)state;
  make_pairs("cached.jsonl");
  sonde_corpus *c = must_open(path, NONE);
  entry_stat(c, &a);
  snprintf(hash, sizeof hash, "%s", sonde_corpus_hash(c));
  snprintf(entry, sizeof entry, "%s", sonde_corpus_cached(c));
  sonde_corpus_free(c);
  c = must_open(path, NONE);
  entry_stat(c, &b);
  assert_int_equal(a.st_ino, b.st_ino);
  assert_string_equal(sonde_corpus_hash(c), hash);
  sonde_corpus_free(c);
  /* other options, or another file of that name: another entry */
  c = must_open(path, (sonde_corpus_opts){.vocab = 310});
  assert_string_not_equal(sonde_corpus_cached(c), entry);
  sonde_corpus_free(c);
  TEXT("cached.jsonl", "{\"text\": \"something else\"}\n");
  c = must_open(path, NONE);
  assert_string_not_equal(sonde_corpus_cached(c), entry);
  assert_string_not_equal(sonde_corpus_hash(c), hash);
  sonde_corpus_free(c);
}

static void a_damaged_entry_is_made_anew(void **state) {
  static const char *const files[] = {"train.tok", "validation.tok", "tokenizer.json"};
  sonde_error err = {0};
  char hash[65], file[700], spec[300], *data;
  int64_t n;
  (void)state;
  snprintf(spec, sizeof spec, "%s", make_pairs("damaged.jsonl"));
  sonde_corpus *c = must_open(spec, NONE);
  snprintf(hash, sizeof hash, "%s", sonde_corpus_hash(c));
  char entry[600];
  snprintf(entry, sizeof entry, "%s", sonde_corpus_cached(c));
  sonde_corpus_free(c);
  for (int how = 0; how < 3; how++)
    for (int k = 0; k < 3; k++) {
      snprintf(file, sizeof file, "%s/%s", entry, files[k]);
      assert_int_equal(sonde_file_read(file, 0, &data, &n, &err), 0);
      data[n / 2] ^= 1;
      if (how == 2)
        assert_int_equal(unlink(file), 0);
      else
        assert_int_equal(sonde_file_write(file, data, how ? n / 3 : n, &err), 0);
      sonde_release(data);
      c = must_open(spec, NONE);
      assert_string_equal(sonde_corpus_hash(c), hash);
      sonde_corpus_free(c);
    }
}

static void two_processes_at_once_get_the_same(void **state) {
  enum { CHILDREN = 4 };
  int ends[2];
  char hash[CHILDREN][64];
  pid_t child[CHILDREN];
  (void)state;
  make_pairs("race.jsonl");
  assert_int_equal(pipe(ends), 0);
  for (int k = 0; k < CHILDREN; k++) {
    child[k] = fork();
    if (child[k]) continue;
    sonde_error err = {0};
    sonde_corpus_opts o = {.cache = cache, .vocab = 300};
    sonde_pool *own = sonde_pool_new(1, &err);
    sonde_corpus *c = open_one(path, &o, own, &err);
    _exit(!c || write(ends[1], sonde_corpus_hash(c), 64) != 64);
  }
  for (int k = 0; k < CHILDREN; k++) {
    int status;
    assert_int_equal(waitpid(child[k], &status, 0), child[k]);
    assert_int_equal(status, 0);
    assert_int_equal(read(ends[0], hash[k], 64), 64);
    assert_memory_equal(hash[k], hash[0], 64);
  }
  close(ends[0]);
  close(ends[1]);
}

static void an_unwritable_cache_says_which_folder(void **state) {
  sonde_error err = {0};
  (void)state;
  TEXT("file", "not a folder");
  char blocked[320];
  snprintf(blocked, sizeof blocked, "%s/inside", path);
  TEXT("w.txt", "text text text");
  sonde_corpus_opts o = {.cache = blocked, .vocab = 300};
  assert_null(open_one(path, &o, pool, &err));
  assert_non_null(strstr(err.text, "/file"));
}

/* ---- tokenizers and shards ----------------------------------------------------------------------------- */

static void a_given_tokenizer_is_used(void **state) {
  char tokenizer[400], spec[300];
  (void)state;
  snprintf(spec, sizeof spec, "%s", make_pairs("given.jsonl"));
  sonde_corpus *c = must_open(spec, (sonde_corpus_opts){.vocab = 290});
  snprintf(tokenizer, sizeof tokenizer, "%s/given.json", folder);
  sonde_error err = {0};
  assert_int_equal(sonde_tokenizer_save(sonde_corpus_tokenizer(c), tokenizer, &err), 0);
  sonde_corpus *d = must_open(spec, (sonde_corpus_opts){.tokenizer = tokenizer});
  assert_string_equal(sonde_corpus_hash(c), sonde_corpus_hash(d));
  assert_int_equal(sonde_corpus_vocab(d), 290);
  sonde_corpus_free(c);
  sonde_corpus_free(d);
  refused(spec, (sonde_corpus_opts){.tokenizer = tokenizer, .vocab = 300}, SONDE_EINVAL, "vocabulary of 300");
}

static void an_entry_opens_as_a_folder_and_a_shard_as_a_file(void **state) {
  sonde_error err = {0};
  char file[700];
  (void)state;
  sonde_corpus *c = must_open(make_pairs("folder.jsonl"), NONE);
  sonde_corpus *d = must_open(sonde_corpus_cached(c), (sonde_corpus_opts){.vocab = 300});
  assert_string_equal(sonde_corpus_hash(c), sonde_corpus_hash(d));
  assert_non_null(sonde_corpus_tokenizer(d));
  assert_null(sonde_corpus_cached(d));
  sonde_corpus_free(d);
  snprintf(file, sizeof file, "%s/train.tok", sonde_corpus_cached(c));
  d = must_open(file, (sonde_corpus_opts){.validation = 0.1});
  int64_t documents = sonde_corpus_documents(c, SONDE_TRAIN),
          held = sonde_corpus_documents(d, SONDE_VALIDATION);
  assert_int_equal(held, (documents + 9) / 10);
  assert_int_equal(sonde_corpus_documents(d, SONDE_TRAIN), documents - held);
  assert_int_equal(sonde_corpus_stream(d, SONDE_TRAIN).tokens +
                     sonde_corpus_stream(d, SONDE_VALIDATION).tokens,
                   sonde_corpus_stream(c, SONDE_TRAIN).tokens);
  int32_t last;
  sonde_stream s = sonde_corpus_stream(d, SONDE_TRAIN);
  assert_int_equal(sonde_stream_read(&s, s.tokens - 1, 1, &last, &err), 0);
  assert_int_equal(last, sonde_tokenizer_eot(sonde_corpus_tokenizer(c)));
  sonde_corpus_free(d);
  sonde_corpus_free(c);
}

/* Nothing that is not asked for is taken for asked for, and what is asked for and cannot be is told. */
static void tokens_say_their_vocabulary(void **state) {
  sonde_error err = {0};
  sonde_corpus_opts o = {.cache = cache};
  int32_t head[256] = {20240520, 1, 3};
  uint16_t ids[] = {50256, 0, 7}, wide[400];
  char file[1024 + sizeof ids];
  (void)state;
  memcpy(file, head, 1024);
  memcpy(file + 1024, ids, sizeof ids);
  make_file("gpt2.bin", file, sizeof file);
  sonde_corpus *c = open_one(path, &o, pool, &err);
  if (!c) fail_msg("%s", err.text);
  assert_int_equal(sonde_corpus_vocab(c), 50257);
  sonde_corpus_free(c);
  make_file("bare.bin", ids, sizeof ids);
  assert_null(open_one(path, &o, pool, &err));
  assert_non_null(strstr(err.text, "bare u16 tokens do not say their vocabulary"));
  refused(path, (sonde_corpus_opts){.vocab = 50000}, SONDE_EINVAL, "token 0 is the id 50256");
  for (int i = 0; i < 400; i++) wide[i] = i % 2 ? 1 : (uint16_t)(i * 97 + 5);
  refused(make_file("wide.bin", wide, sizeof wide), (sonde_corpus_opts){.vocab = 65536}, SONDE_EFORMAT, "u32 tokens");
  make_file("bare.bin", ids, sizeof ids);
  refused(path, (sonde_corpus_opts){.vocab = 50257, .max_bytes = 5}, SONDE_EINVAL, "the option max_bytes is for texts");
  refused(path, (sonde_corpus_opts){.vocab = 50257, .field = "x"}, SONDE_EINVAL, "the option field is for texts");
}

static void special_tokens_are_letters_unless_asked_for(void **state) {
  (void)state;
  for (int special = 0; special < 2; special++) {
    sonde_corpus *c = must_open(TEXT("special.jsonl", "{\"text\": \"a<|endoftext|>b\"}"),
                                (sonde_corpus_opts){.validation = -1, .special = special});
    char *text = text_of(c, SONDE_TRAIN);
    assert_string_equal(text, special ? "a|b|" : "a<|endoftext|>b|");
    sonde_release(text);
    sonde_corpus_free(c);
  }
}

static void bare_shards_open_with_a_vocabulary(void **state) {
  uint16_t ids[100];
  char dir[300];
  sonde_error err = {0};
  (void)state;
  for (int i = 0; i < 100; i++) ids[i] = (uint16_t)i;
  snprintf(dir, sizeof dir, "%s/bare", folder);
  assert_int_equal(sonde_mkdirs(dir, &err), 0);
  make_file("bare/train.bin", ids, sizeof ids);
  refused(dir, (sonde_corpus_opts){.vocab = 100}, SONDE_ENOENT, "val.bin");
  make_file("bare/val.bin", ids, 20);
  sonde_corpus *c = must_open(dir, (sonde_corpus_opts){.vocab = 100});
  assert_int_equal(sonde_corpus_stream(c, SONDE_TRAIN).tokens, 100);
  assert_int_equal(sonde_corpus_stream(c, SONDE_VALIDATION).tokens, 10);
  assert_null(sonde_corpus_tokenizer(c));
  sonde_corpus_free(c);
  make_file("one.bin", ids, sizeof ids);
  c = must_open(path, (sonde_corpus_opts){.vocab = 100});
  assert_int_equal(sonde_corpus_stream(c, SONDE_TRAIN).tokens, 95);
  sonde_stream s = sonde_corpus_stream(c, SONDE_VALIDATION);
  int32_t first;
  assert_int_equal(sonde_stream_read(&s, 0, 1, &first, &err), 0);
  assert_int_equal(first, 95);
  assert_int_equal(strlen(sonde_corpus_hash(c)), 64);
  sonde_corpus_free(c);
}

int main(void) {
  const struct CMUnitTest tests[] = {
    cmocka_unit_test(equal_documents_fall_on_one_side),
    cmocka_unit_test(few_documents_give_their_tail_for_validation),
    cmocka_unit_test(a_second_opening_takes_what_is_there),
    cmocka_unit_test(a_damaged_entry_is_made_anew),
    cmocka_unit_test(two_processes_at_once_get_the_same),
    cmocka_unit_test(an_unwritable_cache_says_which_folder),
    cmocka_unit_test(a_given_tokenizer_is_used),
    cmocka_unit_test(an_entry_opens_as_a_folder_and_a_shard_as_a_file),
    cmocka_unit_test(tokens_say_their_vocabulary),
    cmocka_unit_test(special_tokens_are_letters_unless_asked_for),
    cmocka_unit_test(bare_shards_open_with_a_vocabulary),
  };
  return cmocka_run_group_tests(tests, setup, teardown);
}
