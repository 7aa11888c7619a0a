/* sources_test.c - documents out of files of every kind, lists and mixtures of them, and what is refused. */
#include <zlib.h>
#include <zstd.h>
#include "corpus.h"
#include "text/batch.h"

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
  text_is(TEXT("odd.jsonl",
               "\xef\xbb\xbf{\"text\": \"one\"}\n"
               "{\"score\": NaN, \"n\": [-Infinity, 123456789012345678901234567890, 1e999], \"text\": \"two\"}\n"
               "{\"url\": \"\\ud83d\", \"text\": \"three\", \"text2\": {\"text\": \"no\"}}\n"
               "{\"text\": null}\n{\"other\": 1}\n{\"te\\u0078t\": \"four\", \"a\": \"}\\\"{\"}\n"),
          NONE, "one|two|three|four|");
  sonde_corpus_opts skip = {.skip = 1};
  static const char *const damaged[] = {"{\"text\": \"cut", "{\"text\": 5}", "{\"text\": \"\\ud83d\"}", "[1]",
                                        "{\"text\" \"x\"}",
                                        "{\"text\": \"x\"} {}", "{\"text\": }", "{text: 1}",
                                        "{\"a\": [1, \"text\": \"x\"}"};
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
  refused(make_file("short.txt", "\xff\xfe" "a\0", 4), NONE, SONDE_EFORMAT, "UTF-16");
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
  sonde_corpus *c = sonde_corpus_open(parts, 2, &o, pool, &err);
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
  c = sonde_corpus_open(parts, 2, &o, pool, &err);
  assert_non_null(c);
  assert_string_not_equal(hash, sonde_corpus_hash(c));
  sonde_corpus_free(c);
  parts[1].weight = 0;
  assert_null(sonde_corpus_open(parts, 2, &o, pool, &err));
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
  };
  return cmocka_run_group_tests(tests, setup, teardown);
}
