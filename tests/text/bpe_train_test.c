/* bpe_train_test.c - training: the merges of the foreign library, the same at any thread count. */
#include "reference.h"

static json_t *ref;
static sonde_pool *pool;

static int setup(void **state) {
  sonde_error err = {0};
  (void)state;
  ref = reference_load();
  pool = sonde_pool_new(2, &err);
  return pool == NULL;
}

static int teardown(void **state) {
  (void)state;
  json_decref(ref);
  sonde_pool_free(pool);
  return 0;
}

/* The lines of the reference, each with its line end. Freed with free_texts. */
static sonde_text *lines(int64_t *n) {
  const json_t *list = json_object_get(ref, "lines"), *line;
  size_t i;
  sonde_text *texts = malloc(json_array_size(list) * sizeof *texts);
  json_array_foreach(list, i, line) {
    char *s = malloc(json_string_length(line) + 2);
    texts[i].data = s;
    texts[i].n = snprintf(s, json_string_length(line) + 2, "%s\n", json_string_value(line));
  }
  *n = (int64_t)json_array_size(list);
  return texts;
}

static void free_texts(sonde_text *texts, int64_t n) {
  for (int64_t i = 0; i < n; i++) free((char *)texts[i].data);
  free(texts);
}

/* The trained file as a tree. */
static json_t *saved(const sonde_tokenizer *t) {
  char folder[256], path[300];
  sonde_error err = {0};
  snprintf(path, sizeof path, "%s/t.json", test_folder(folder, sizeof folder));
  assert_int_equal(sonde_tokenizer_save(t, path, &err), 0);
  json_t *tree = sonde_json_load(path, 0, &err);
  assert_non_null(tree);
  test_folder_drop(folder);
  return tree;
}

static void merges_are_those_of_the_foreign_library(void **state) {
  sonde_error err = {0};
  int64_t n;
  (void)state;
  sonde_text *texts = lines(&n);
  sonde_bpe_opts opts = {.vocab = 30000, .min_count = 1};
  sonde_tokenizer *t = sonde_bpe_train(texts, n, &opts, pool, &err);
  assert_non_null(t);
  json_t *tree = saved(t), *want = json_object_get(ref, "merges");
  const json_t *got = json_object_get(json_object_get(tree, "model"), "merges");
  assert_true(json_array_size(want) > 250);
  assert_int_equal(json_array_size(got), json_array_size(want));
  for (size_t i = 0; i < json_array_size(want); i++)
    assert_string_equal(json_string_value(json_array_get(got, i)),
                        json_string_value(json_array_get(want, i)));
  json_decref(tree);
  sonde_tokenizer_free(t);
  free_texts(texts, n);
}

/* Many documents of words drawn with unequal frequency: several tiles for the pool. */
static sonde_text *made_up(int64_t n) {
  sonde_text *texts = malloc((size_t)n * sizeof *texts);
  uint64_t x = 1;
  for (int64_t i = 0; i < n; i++) {
    size_t room = 4000, at = 0;
    char *s = malloc(room);
    while (at + 24 < room) {
      x = x * 6364136223846793005u + 1442695040888963407u;
      uint64_t r = (x >> 33) % 1000, word = r * r * r / 1000000;
      at += (size_t)snprintf(s + at, room - at, " w%llx%c",
                             (unsigned long long)(word * 2654435761u & 0xfffff), 'a' + (int)(word % 5));
    }
    texts[i] = (sonde_text){s, (int64_t)at};
  }
  return texts;
}

static void threads_change_nothing(void **state) {
  enum { TEXTS = 400 };
  sonde_error err = {0};
  char hash[65] = "";
  (void)state;
  sonde_text *texts = made_up(TEXTS);
  for (int threads = 1; threads <= 5; threads += 2) {
    sonde_pool *p = sonde_pool_new(threads, &err);
    sonde_bpe_opts opts = {.vocab = 700};
    sonde_tokenizer *t = sonde_bpe_train(texts, TEXTS, &opts, p, &err);
    assert_non_null(t);
    assert_int_equal(sonde_tokenizer_vocab(t), 700);
    if (*hash) assert_string_equal(hash, sonde_tokenizer_hash(t));
    snprintf(hash, sizeof hash, "%s", sonde_tokenizer_hash(t));
    sonde_tokenizer_free(t);
    sonde_pool_free(p);
  }
  /* nor does the order of the texts */
  sonde_text last = texts[0];
  memmove(texts, texts + 1, (TEXTS - 1) * sizeof *texts);
  texts[TEXTS - 1] = last;
  sonde_bpe_opts opts = {.vocab = 700};
  sonde_tokenizer *t = sonde_bpe_train(texts, TEXTS, &opts, pool, &err);
  assert_string_equal(hash, sonde_tokenizer_hash(t));
  sonde_tokenizer_free(t);
  free_texts(texts, TEXTS);
}

static void the_vocabulary_has_the_size_asked_for(void **state) {
  static const char *const special[] = {"<a>", "<b>", "<c>"};
  sonde_error err = {0};
  sonde_text text = {"aaaa aaaa bb bb \xff\xfe", 18};
  (void)state;
  sonde_bpe_opts opts = {.vocab = 261, .special = special, .n_special = 3};
  sonde_tokenizer *t = sonde_bpe_train(&text, 1, &opts, pool, &err);
  assert_int_equal(sonde_tokenizer_vocab(t), 261);
  assert_int_equal(sonde_tokenizer_special(t, "<c>"), 2);
  assert_int_equal(sonde_tokenizer_eot(t), -1);
  sonde_ids ids = reference_encode(t, "<b>\xff!", 5, 0);
  assert_int_equal(ids.n, 3);
  assert_int_equal(ids.id[0], 1);
  sonde_ids_free(&ids);
  sonde_tokenizer_free(t);
  opts.vocab = 1000;               /* more than there are pairs seen twice */
  t = sonde_bpe_train(&text, 1, &opts, pool, &err);
  assert_in_range(sonde_tokenizer_vocab(t), 261, 270);
  sonde_tokenizer_free(t);
  opts.vocab = 258;
  assert_null(sonde_bpe_train(&text, 1, &opts, pool, &err));
  assert_int_equal(err.code, SONDE_EINVAL);
  opts.vocab = 259;
  t = sonde_bpe_train(NULL, 0, &opts, pool, &err);
  assert_int_equal(sonde_tokenizer_vocab(t), 259);
  sonde_tokenizer_free(t);
}

static void any_allocation_may_fail(void **state) {
  sonde_error err = {0};
  sonde_text text = {"the cat the hat the cat", 23};
  int64_t failures = 0;
  (void)state;
  sonde_pool *p = sonde_pool_new(1, &err);
  int64_t live = sonde_alloc_live();
  for (int64_t nth = 1;; nth++) {
    sonde_bpe_opts opts = {.vocab = 262};
    sonde_alloc_fail_at(nth);
    sonde_tokenizer *t = sonde_bpe_train(&text, 1, &opts, p, &err);
    sonde_alloc_fail_at(0);
    if (!t && err.code != SONDE_ENOMEM) fail_msg("allocation %lld: %s", (long long)nth, err.text);
    int done = t != NULL;
    sonde_tokenizer_free(t);
    assert_int_equal(sonde_alloc_live(), live);
    if (done) break;
    failures++;
  }
  assert_true(failures > 10);
  sonde_pool_free(p);
}

/* Runs of one letter make tokens as long as themselves: whatever is trained is a file that is read. */
static void what_is_trained_can_be_read(void **state) {
  enum { LONGEST = (1 << 18) + 1 };
  sonde_error err = {0};
  char folder[256], path[300];
  (void)state;
  snprintf(path, sizeof path, "%s/t.json", test_folder(folder, sizeof folder));
  char *run = malloc(LONGEST);
  memset(run, 'a', LONGEST);
  for (int64_t n = 1 << 15; n < LONGEST; n *= 2)
    for (int64_t more = -1; more <= 1; more++) {
      sonde_text text = {run, n + more};
      sonde_bpe_opts opts = {.vocab = 300};
      sonde_tokenizer *t = sonde_bpe_train(&text, 1, &opts, pool, &err);
      if (!t) fail_msg("%lld: %s", (long long)(n + more), err.text);
      assert_int_equal(sonde_tokenizer_save(t, path, &err), 0);
      sonde_tokenizer *again = sonde_tokenizer_load(path, &err);
      if (!again) fail_msg("%lld: %s", (long long)(n + more), err.text);
      sonde_ids a = reference_encode(t, run, n + more, 0), b = reference_encode(again, run, n + more, 0);
      assert_int_equal(a.n, b.n);
      assert_memory_equal(a.id, b.id, (size_t)a.n * sizeof *a.id);
      sonde_ids_free(&a);
      sonde_ids_free(&b);
      sonde_tokenizer_free(t);
      sonde_tokenizer_free(again);
    }
  free(run);
  test_folder_drop(folder);
}

static void special_tokens_are_apart_from_all_others(void **state) {
  static const struct { const char *names[2], *what; } bad[] = {
    {{"<s>", ""}, "empty"}, {{"<s>", "<s>"}, "there twice"}, {{"<s>", "a\xff"}, "no UTF-8"},
    {{"<s>", "a"}, "spelled like a token"},
    {{"<s>", "the"}, "spelled like a token"}, {{"\xc4\xa0", "<s>"}, "spelled like a token"}};
  sonde_text text = {"the then the them", 17};
  (void)state;
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
    sonde_error err = {0};
    sonde_bpe_opts opts = {.vocab = 264, .special = bad[i].names, .n_special = 2};
    sonde_tokenizer *t = sonde_bpe_train(&text, 1, &opts, pool, &err);
    if (t || err.code != SONDE_EINVAL || !strstr(err.text, bad[i].what))
      fail_msg("'%s' lacks '%s'", err.text, bad[i].what);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
    cmocka_unit_test(merges_are_those_of_the_foreign_library),
    cmocka_unit_test(threads_change_nothing),
    cmocka_unit_test(the_vocabulary_has_the_size_asked_for),
    cmocka_unit_test(any_allocation_may_fail),
    cmocka_unit_test(what_is_trained_can_be_read),
    cmocka_unit_test(special_tokens_are_apart_from_all_others),
  };
  return cmocka_run_group_tests(tests, setup, teardown);
}
