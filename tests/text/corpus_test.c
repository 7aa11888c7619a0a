/* corpus_test.c - corpora: documents out of files, the split, the cache and what becomes of a damaged one. */
#include <sys/stat.h>
#include <sys/wait.h>
#include <zlib.h>
#include <zstd.h>
#include "../base/testing.h"
#include "base/log.h"
#include "base/mem.h"
#include "io/bytes.h"
#include "text/batch.h"
#include "text/corpus.h"

static char folder[256], cache[300], path[300];
static sonde_pool *pool;

static int setup(void **state) {
  sonde_error err = {0};
  (void)state;
  sonde_log_level(SONDE_LOG_QUIET);
  test_folder(folder, sizeof folder);
  snprintf(cache, sizeof cache, "%s/cache", folder);
  snprintf(path, sizeof path, "%s/none", folder);
  pool = sonde_pool_new(2, &err);
  return pool == NULL;
}

static int teardown(void **state) {
  (void)state;
  sonde_pool_free(pool);
  test_folder_drop(folder);
  return 0;
}

static const char *make_file(const char *name, const void *data, int64_t n) {
  sonde_error err = {0};
  snprintf(path, sizeof path, "%s/%s", folder, name);
  assert_int_equal(sonde_file_write(path, data, n, &err), 0);
  return path;
}

static sonde_corpus *open_with(const char *spec, sonde_corpus_opts o, sonde_error *err) {
  o.cache = cache;
  if (!o.vocab && !o.tokenizer) o.vocab = 300;
  return sonde_corpus_open(spec, &o, pool, err);
}

static sonde_corpus *must_open(const char *spec, sonde_corpus_opts o) {
  sonde_error err = {0};
  sonde_corpus *c = open_with(spec, o, &err);
  if (!c) fail_msg("%s", err.text);
  return c;
}

/* One side's text, its documents parted by '|'. Freed by the caller. */
static char *text_of(const sonde_corpus *c, sonde_split split) {
  sonde_error err = {0};
  sonde_stream s = sonde_corpus_stream(c, split);
  sonde_tokenizer *t = sonde_corpus_tokenizer(c);
  int32_t *ids = malloc((size_t)(s.tokens + 1) * sizeof *ids);
  sonde_bytes out = {0};
  assert_int_equal(sonde_stream_read(&s, 0, s.tokens, ids, &err), 0);
  sonde_bytes_add(&out, "", 0);
  for (int64_t i = 0; i < s.tokens; i++) {
    int64_t n;
    const char *p = sonde_tokenizer_bytes(t, ids[i], &n);
    int end = ids[i] == sonde_tokenizer_eot(t);
    sonde_bytes_add(&out, end ? "|" : p, end ? 1 : n);
  }
  free(ids);
  return out.data;
}

static void text_is(const char *spec, sonde_corpus_opts o, const char *want) {
  o.validation = -1;
  sonde_corpus *c = must_open(spec, o);
  char *got = text_of(c, SONDE_TRAIN);
  assert_string_equal(got, want);
  assert_int_equal(sonde_corpus_stream(c, SONDE_VALIDATION).tokens, 0);
  sonde_release(got);
  sonde_corpus_free(c);
}

static void refused(const char *spec, sonde_corpus_opts o, int code, const char *what) {
  sonde_error err = {0};
  sonde_corpus *c = open_with(spec, o, &err);
  if (c) fail_msg("not refused: %s", spec);
  if (err.code != code || !strstr(err.text, what)) fail_msg("'%s' (%d) lacks '%s'", err.text, err.code, what);
}

#define NONE ((sonde_corpus_opts){0})
#define TEXT(name, s) make_file(name, s, (int64_t)strlen(s))

/* ---- sources ------------------------------------------------------------------------------------------- */

static void marked_text_is_cut_at_its_marks(void **state) {
  (void)state;
  text_is(
    TEXT("a.txt", "one\n\ntwo\n<|endoftext|>\nthree\n<|endoftext|>\r\n<|endoftext|>\nfour <|endoftext|>"),
    NONE, "one\n\ntwo\n|three\n|four <|endoftext|>|");
}

static void plain_text_is_cut_at_blank_lines(void **state) {
  sonde_bytes b = {0};
  int64_t documents;
  (void)state;
  for (int i = 0; i < 2000; i++) {
    char line[64];
    int n = snprintf(line, sizeof line, "line %d of the text\n%s", i, i % 10 == 9 ? "\n" : "");
    sonde_bytes_add(&b, line, n);
  }
  sonde_corpus *c = must_open(make_file("b.txt", b.data, b.n), (sonde_corpus_opts){.validation = -1});
  char *got = text_of(c, SONDE_TRAIN), *p = got;
  documents = sonde_corpus_documents(c, SONDE_TRAIN);
  assert_in_range(documents, 5, b.n / 4096 + 1);
  for (int64_t i = 0; i < documents; i++) {
    char *end = strchr(p, '|');
    assert_non_null(end);
    if (i + 1 < documents) {
      assert_in_range(end - p, 4096, 4096 + 400);
      assert_memory_equal(end - 2, "\n\n", 2);
    }
    p = end + 1;
  }
  assert_int_equal(p - got, b.n + documents);
  sonde_release(got);
  sonde_corpus_free(c);
  b.n = 0;
  for (int i = 0; i < 40000; i++) sonde_bytes_add(&b, "no blank\n", 9);
  c = must_open(make_file("c.txt", b.data, b.n), (sonde_corpus_opts){.validation = -1});
  assert_int_equal(sonde_corpus_documents(c, SONDE_TRAIN), 360000 / 65536 + 1);
  sonde_corpus_free(c);
  sonde_bytes_free(&b);
}

static void json_lines_give_a_field(void **state) {
  (void)state;
  TEXT("a.jsonl", "{\"text\": \"one\\ntwo\", \"n\": 1}\n\n{\"n\": 2, \"text\": \"\\u6df1\"}\r\n{\"text\": "
                  "\"\"}\n{\"text\": \"last\"}");
  text_is(path, NONE, "one\ntwo|\xe6\xb7\xb1|last|");
  text_is(path, (sonde_corpus_opts){.max_bytes = 8}, "one\ntwo|\xe6\xb7\xb1|");
  refused(path, (sonde_corpus_opts){.field = "body"}, SONDE_EFORMAT,
          "a.jsonl:1: no text in the field 'body'");
  text_is(TEXT("b.jsonl", "{\"body\": \"x\"}\n"), (sonde_corpus_opts){.field = "body"}, "x|");
  refused(TEXT("c.jsonl", "{\"text\": \"x\"}\n{\"text\": \n"), NONE, SONDE_EFORMAT, "c.jsonl:2: not JSON");
  refused(TEXT("d.jsonl", "{\"text\": \"x\"}\n[1]\n"), NONE, SONDE_EFORMAT, "d.jsonl:2");
  refused(TEXT("e.jsonl", ""), NONE, SONDE_EINVAL, "no document");
}

static void compressed_files_are_read_and_truncated_ones_refused(void **state) {
  sonde_error err = {0};
  char gz[300], *data;
  int64_t n;
  (void)state;
  snprintf(gz, sizeof gz, "%s/z.jsonl.gz", folder);
  gzFile f = gzopen(gz, "wb");
  for (int i = 0; i < 1000; i++) gzprintf(f, "{\"text\": \"document number %d\"}\n", i * i);
  gzclose(f);
  sonde_corpus *c = must_open(gz, (sonde_corpus_opts){.validation = -1});
  assert_int_equal(sonde_corpus_documents(c, SONDE_TRAIN), 1000);
  sonde_corpus_free(c);
  assert_int_equal(sonde_file_read(gz, 0, &data, &n, &err), 0);
  make_file("cut.jsonl.gz", data, n / 2);
  refused(path, NONE, SONDE_EFORMAT, "cut short");
  data[n / 2] ^= 0x55;
  make_file("bad.jsonl.gz", data, n);
  refused(path, NONE, SONDE_EFORMAT, "bad.jsonl.gz");
  sonde_release(data);
}

/* What stands in fields that nobody reads does not matter, and a line without text is no document. */
static void odd_lines_do_not_end_a_corpus(void **state) {
  (void)state;
  text_is(TEXT("odd.jsonl", "\xef\xbb\xbf{\"text\": \"one\"}\n"
                            "{\"score\": NaN, \"n\": [-Infinity, 123456789012345678901234567890, 1e999], \"text\": \"two\"}\n"
                            "{\"url\": \"\\ud83d\", \"text\": \"three\", \"text2\": {\"text\": \"no\"}}\n"
                            "{\"text\": null}\n{\"other\": 1}\n{\"te\\u0078t\": \"four\", \"a\": \"}\\\"{\"}\n"),
          NONE, "one|two|three|four|");
  sonde_corpus_opts skip = {.skip = 1};
  static const char *const damaged[] = {"{\"text\": \"cut", "{\"text\": 5}", "{\"text\": \"\\ud83d\"}", "[1]", "{\"text\" \"x\"}",
                                        "{\"text\": \"x\"} {}", "{\"text\": }", "{text: 1}", "{\"a\": [1, \"text\": \"x\"}"};
  for (size_t i = 0; i < sizeof damaged / sizeof *damaged; i++) {
    char lines[200];
    snprintf(lines, sizeof lines, "{\"text\": \"before\"}\n%s\n{\"text\": \"after\"}\n", damaged[i]);
    TEXT("damaged.jsonl", lines);
    refused(path, NONE, SONDE_EFORMAT, "damaged.jsonl:2: ");
    text_is(path, skip, "before|after|");
  }
}

static void zstd_is_read_and_what_is_no_text_refused(void **state) {
  static const char text[] = "a text that is packed, and packed again\n";
  char packed[256], twice[512], random[4000];
  (void)state;
  size_t n = ZSTD_compress(packed, sizeof packed, text, sizeof text - 1, 3);
  memcpy(twice, packed, n);
  memcpy(twice + n, packed, n);
  text_is(make_file("z.txt.zst", twice, (int64_t)(2 * n)), NONE,
          "a text that is packed, and packed again\na text that is packed, and packed again\n|");
  refused(make_file("cut.txt.zst", packed, (int64_t)n - 3), NONE, SONDE_EFORMAT, "cut.txt.zst: the compressed data");
  refused(TEXT("no.txt.zst", text), NONE, SONDE_EFORMAT, "not a zstd file");
  refused(TEXT("b.txt", "BZh91AY&SY"), NONE, SONDE_EFORMAT, "b.txt: packed by bzip2");
  refused(make_file("x.jsonl", "\xfd" "7zXZ\0\0", 7), NONE, SONDE_EFORMAT, "x.jsonl: packed by xz");
  for (size_t i = 0; i < sizeof random; i++) random[i] = (char)(i * i * 2654435761u >> 13);
  refused(make_file("r.txt", random, sizeof random), NONE, SONDE_EFORMAT, "r.txt: not a text");
  refused(make_file("wide.txt", "\xff\xfe" "a\0t\0e\0x\0t\0", 12), NONE, SONDE_EFORMAT, "wide.txt: not a text");
  text_is(TEXT("latin.txt", "a caf\xe9 in a text is a slip and not a binary file"), NONE,
          "a caf\xe9 in a text is a slip and not a binary file|");
}

static void lists_folders_and_patterns_are_read_in_order(void **state) {
  sonde_error err = {0};
  char dir[300], pattern[320];
  (void)state;
  snprintf(dir, sizeof dir, "%s/many/below", folder);
  assert_int_equal(sonde_mkdirs(dir, &err), 0);
  TEXT("many/b.txt", "second");
  TEXT("many/a.jsonl", "{\"text\": \"first\"}");
  TEXT("many/below/c.txt", "third");
  TEXT("many/readme.pdf", "no");
  snprintf(dir, sizeof dir, "%s/many", folder);
  text_is(dir, NONE, "first|second|third|");
  snprintf(pattern, sizeof pattern, "%s/many/[ab].*", folder);
  text_is(pattern, NONE, "first|second|");
  snprintf(pattern, sizeof pattern, "%s/many/*.none", folder);
  refused(pattern, NONE, SONDE_ENOENT, "no file fits");
}

static void a_mixture_is_drawn_by_weight(void **state) {
  sonde_error err = {0};
  char a[300], b[300];
  const char *one[] = {a}, *two[] = {b};
  sonde_bytes text = {0};
  (void)state;
  for (int i = 0; i < 3000; i++) sonde_bytes_add(&text, "{\"text\": \"aaaa aaaa\"}\n", 22);
  snprintf(a, sizeof a, "%s", make_file("a.jsonl", text.data, text.n));
  text.n = 0;
  for (int i = 0; i < 300; i++) sonde_bytes_add(&text, "{\"text\": \"bbbb bbbb\"}\n", 22);
  snprintf(b, sizeof b, "%s", make_file("b.jsonl", text.data, text.n));
  sonde_bytes_free(&text);
  sonde_corpus_part parts[] = {{one, 1, 1}, {two, 1, 3}};
  sonde_corpus_opts o = {.cache = cache, .vocab = 257, .validation = 0.3};
  sonde_corpus *c = sonde_corpus_open_parts(parts, 2, &o, pool, &err);
  if (!c) fail_msg("%s", err.text);
  assert_non_null(strstr(sonde_corpus_spec(c), "0.75 "));
  char *valid = text_of(c, SONDE_VALIDATION);
  int64_t as = 0, bs = 0;
  for (char *p = valid; *p; p++) as += *p == 'a', bs += *p == 'b';
  assert_true(as > 200 && labs(3 * as - bs) < as / 8);
  sonde_release(valid);
  sonde_batches rows;
  assert_int_equal(sonde_batches_init(&rows, sonde_corpus_stream(c, SONDE_TRAIN), 8, 1, &err), 0);
  int32_t x[8], y[8], again[8], from_b = 0;
  for (int64_t i = 0; i < 2048; i++) {
    int is_b = 0;
    assert_int_equal(sonde_batches_fill(&rows, i, 1, x, y, &err), 0);
    for (int k = 0; k < 8; k++) {
      int64_t n;
      const char *p = sonde_tokenizer_bytes(sonde_corpus_tokenizer(c), x[k], &n);
      is_b |= memchr(p, 'b', (size_t)n) && *p != '<';
    }
    from_b += is_b;
    assert_int_equal(sonde_batches_fill(&rows, i, 1, again, y, &err), 0);
    assert_memory_equal(x, again, sizeof x);
  }
  assert_int_equal(from_b, 1536);      /* three quarters, exactly */
  char hash[65];
  snprintf(hash, sizeof hash, "%s", sonde_corpus_hash(c));
  sonde_corpus_free(c);
  parts[1].weight = 2;
  c = sonde_corpus_open_parts(parts, 2, &o, pool, &err);
  assert_non_null(c);
  assert_string_not_equal(hash, sonde_corpus_hash(c));
  sonde_corpus_free(c);
  parts[1].weight = 0;
  assert_null(sonde_corpus_open_parts(parts, 2, &o, pool, &err));
  assert_non_null(strstr(err.text, "weight of 0"));
}

static void what_is_no_corpus_is_refused(void **state) {
  (void)state;
  refused("defualt", NONE, SONDE_EINVAL, "did you mean 'default'?");
  refused("a.pdf", NONE, SONDE_EINVAL, "unknown corpus 'a.pdf'");
  refused("/nonexistent/a.txt", NONE, SONDE_ENOENT, "/nonexistent/a.txt");
  sonde_error err = {0};
  char empty[300];
  snprintf(empty, sizeof empty, "%s/empty", folder);
  assert_int_equal(sonde_mkdirs(empty, &err), 0);
  refused(empty, NONE, SONDE_ENOENT, "train.tok");
  TEXT("ok.txt", "some text that is fine, some text that is fine");
  refused(path, (sonde_corpus_opts){.validation = 1}, SONDE_EINVAL, "validation");
  refused(path, (sonde_corpus_opts){.vocab = 12}, SONDE_EINVAL, "vocabulary");
  refused(path, (sonde_corpus_opts){.tokenizer = "/nonexistent.json"}, SONDE_ENOENT, "/nonexistent.json");
}

static void the_bible_has_its_chapters(void **state) {
  (void)state;
  if (!sonde_path_exists("/usr/lib/bible.data")) {
    refused("default", NONE, SONDE_ENOENT, "apt install bible-kjv");
    return;
  }
  sonde_corpus *c = must_open("default", (sonde_corpus_opts){.validation = -1, .max_bytes = 100000});
  char *text = text_of(c, SONDE_TRAIN);
  assert_ptr_equal(strstr(text, "In the beginning God created the heaven and the earth.\nAnd the earth"),
                   text);
  assert_non_null(strstr(text, "|Thus the heavens and the earth were finished"));
  assert_null(strstr(text, "Ge1:"));
  sonde_release(text);
  sonde_corpus_free(c);
}

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
    sonde_corpus *c = sonde_corpus_open(path, &o, own, &err);
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
  assert_null(sonde_corpus_open(path, &o, pool, &err));
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
  sonde_corpus *c = sonde_corpus_open(path, &o, pool, &err);
  if (!c) fail_msg("%s", err.text);
  assert_int_equal(sonde_corpus_vocab(c), 50257);
  sonde_corpus_free(c);
  make_file("bare.bin", ids, sizeof ids);
  assert_null(sonde_corpus_open(path, &o, pool, &err));
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
    cmocka_unit_test(marked_text_is_cut_at_its_marks),
    cmocka_unit_test(plain_text_is_cut_at_blank_lines),
    cmocka_unit_test(json_lines_give_a_field),
    cmocka_unit_test(compressed_files_are_read_and_truncated_ones_refused),
    cmocka_unit_test(odd_lines_do_not_end_a_corpus),
    cmocka_unit_test(zstd_is_read_and_what_is_no_text_refused),
    cmocka_unit_test(lists_folders_and_patterns_are_read_in_order),
    cmocka_unit_test(a_mixture_is_drawn_by_weight),
    cmocka_unit_test(what_is_no_corpus_is_refused),
    cmocka_unit_test(the_bible_has_its_chapters),
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
