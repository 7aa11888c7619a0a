/* shard_test.c - what is written comes back, foreign kinds are read, damaged files are refused. */
#include "../base/testing.h"
#include "base/mem.h"
#include "base/sha256.h"
#include "text/shard.h"

static char folder[256], path[300];
static const char *const TOKENIZER = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";

static int setup(void **state) {
  (void)state;
  snprintf(path, sizeof path, "%s/x.tok", test_folder(folder, sizeof folder));
  return 0;
}

static int teardown(void **state) {
  (void)state;
  test_folder_drop(folder);
  return 0;
}

static void write_file(const void *data, size_t n) {
  sonde_error err = {0};
  assert_int_equal(sonde_file_write(path, data, (int64_t)n, &err), 0);
}

static void what_is_written_comes_back(void **state) {
  static const int64_t vocabs[] = {65536, 65537};
  sonde_error err = {0};
  (void)state;
  for (int k = 0; k < 2; k++) {
    int32_t ids[7] = {0, 1, 65535, 2, 3, 4, (int32_t)vocabs[k] - 1}, got[7];
    int64_t offsets[] = {0, 3, 3, 7};
    sonde_shard_info info = {vocabs[k], 99, TOKENIZER};
    assert_int_equal(sonde_shard_write(path, ids, 7, offsets, 3, &info, &err), 0);
    sonde_shard *s = sonde_shard_open(path, 0, &err);
    if (!s) fail_msg("%s", err.text);
    sonde_stream v = sonde_shard_stream(s);
    assert_int_equal(v.width, k ? 4 : 2);
    assert_int_equal(v.tokens, 7);
    assert_int_equal(v.vocab, vocabs[k]);
    assert_int_equal(sonde_stream_read(&v, 0, 7, got, &err), 0);
    assert_memory_equal(got, ids, sizeof ids);
    assert_int_equal(sonde_stream_read(&v, 3, 2, got, &err), 0);
    assert_int_equal(got[1], 3);
    assert_int_equal(sonde_stream_read(&v, 3, 5, got, &err), SONDE_EINVAL);
    assert_int_equal(sonde_stream_read(&v, -1, 2, got, &err), SONDE_EINVAL);
    assert_int_equal(sonde_stream_read(&v, INT64_MAX, 1, got, &err), SONDE_EINVAL);
    assert_int_equal(sonde_shard_documents(s), 3);
    for (int64_t i = 0; i <= 3; i++) assert_int_equal(sonde_shard_document(s, i), offsets[i]);
    assert_int_equal(sonde_shard_text_bytes(s), 99);
    assert_string_equal(sonde_shard_tokenizer(s), TOKENIZER);
    sonde_sha256 sha;
    char hex[65];
    sonde_sha256_init(&sha);
    sonde_sha256_add(&sha, v.data, (size_t)(v.tokens * v.width));
    sonde_sha256_hex(&sha, hex);
    assert_string_equal(sonde_shard_hash(s), hex);
    sonde_shard_free(s);
    assert_null(sonde_shard_open(path, vocabs[k] - 1, &err));
    assert_int_equal(err.code, SONDE_EINVAL);
  }
}

static void ids_outside_the_vocabulary_are_not_written_nor_read(void **state) {
  sonde_error err = {0};
  int32_t ids[2] = {1, 5}, got[2];
  int64_t offsets[] = {0, 2};
  (void)state;
  sonde_shard_info info = {5, 0, ""};
  assert_int_equal(sonde_shard_write(path, ids, 2, offsets, 1, &info, &err), SONDE_EINVAL);
  ids[1] = -1;
  assert_int_equal(sonde_shard_write(path, ids, 2, offsets, 1, &info, &err), SONDE_EINVAL);
  uint32_t raw[2] = {1, 0x80000001u};
  sonde_stream s = {.data = raw, .width = 4, .tokens = 2, .vocab = 5};
  assert_int_equal(sonde_stream_read(&s, 0, 2, got, &err), SONDE_EFORMAT);
  assert_int_equal(sonde_stream_read(&s, 0, 1, got, &err), 0);
}

static void an_empty_shard_is_fine(void **state) {
  sonde_error err = {0};
  int64_t offsets[] = {0};
  (void)state;
  sonde_shard_info info = {300, 0, ""};
  assert_int_equal(sonde_shard_write(path, NULL, 0, offsets, 0, &info, &err), 0);
  sonde_shard *s = sonde_shard_open(path, 0, &err);
  assert_non_null(s);
  assert_int_equal(sonde_shard_stream(s).tokens, 0);
  assert_string_equal(sonde_shard_tokenizer(s), "");
  sonde_shard_free(s);
}

static void every_flipped_byte_and_every_length_is_noticed(void **state) {
  sonde_error err = {0};
  int32_t ids[5] = {9, 8, 7, 6, 5};
  int64_t offsets[] = {0, 2, 5}, n;
  char *data;
  (void)state;
  sonde_shard_info info = {300, 40, TOKENIZER};
  assert_int_equal(sonde_shard_write(path, ids, 5, offsets, 2, &info, &err), 0);
  assert_int_equal(sonde_file_read(path, 0, &data, &n, &err), 0);
  for (int64_t cut = 0; cut < n; cut++) {
    write_file(data, (size_t)cut);
    assert_null(sonde_shard_open(path, 0, &err));
    assert_int_equal(err.code, SONDE_EFORMAT);
  }
  int noticed = 0;
  for (int64_t i = 0; i < n; i++) {
    data[i] ^= 0x41;
    write_file(data, (size_t)n);
    sonde_shard *s = sonde_shard_open(path, 0, &err);
    noticed += !s;
    sonde_shard_free(s);
    data[i] ^= 0x41;
  }
  assert_int_equal(noticed, n);
  sonde_release(data);
}

static void counts_near_2_to_63_are_refused(void **state) {
  static const int64_t counts[] = {INT64_MAX, INT64_MIN, -1, INT64_MAX / 2, INT64_MAX / 8};
  sonde_error err = {0};
  char head[264] = {0};
  (void)state;
  memcpy(head, "SONDETOK", 8);
  int32_t version_width[2] = {2, 2};
  int64_t vocab = 300;
  memcpy(head + 8, version_width, 8);
  memcpy(head + 32, &vocab, 8);
  for (size_t i = 0; i < sizeof counts / sizeof *counts; i++)
    for (int field = 16; field <= 24; field += 8) {
      memset(head + 16, 0, 16);
      memcpy(head + field, &counts[i], 8);
      write_file(head, sizeof head);
      assert_null(sonde_shard_open(path, 0, &err));
      assert_int_equal(err.code, SONDE_EFORMAT);
    }
}

static void foreign_shards_are_read(void **state) {
  sonde_error err = {0};
  char bin[320];
  int32_t head[256] = {20240520, 1, 3}, got[3];
  uint16_t narrow[3] = {7, 50256, 8};
  uint32_t wide[3] = {7, 128255, 8};
  char file[1024 + sizeof wide];
  (void)state;
  memcpy(file, head, sizeof head);
  memcpy(file + 1024, narrow, sizeof narrow);
  write_file(file, 1024 + sizeof narrow);
  sonde_shard *s = sonde_shard_open(path, 0, &err);
  if (!s) fail_msg("%s", err.text);
  sonde_stream v = sonde_shard_stream(s);
  assert_int_equal(v.vocab, 50257);
  assert_int_equal(sonde_stream_read(&v, 0, 3, got, &err), 0);
  assert_int_equal(got[1], 50256);
  assert_int_equal(sonde_shard_documents(s), 0);
  sonde_shard_free(s);
  write_file(file, 1024 + sizeof narrow - 1);
  assert_null(sonde_shard_open(path, 0, &err));
  head[0] = 20240801, head[1] = 7;
  memcpy(file, head, sizeof head);
  memcpy(file + 1024, wide, sizeof wide);
  write_file(file, 1024 + sizeof wide);
  s = sonde_shard_open(path, 0, &err);
  v = sonde_shard_stream(s);
  assert_int_equal(sonde_stream_read(&v, 1, 1, got, &err), 0);
  assert_int_equal(got[0], 128255);
  sonde_shard_free(s);
  snprintf(bin, sizeof bin, "%s/x.bin", folder);
  assert_int_equal(sonde_file_write(bin, narrow, sizeof narrow, &err), 0);
  assert_null(sonde_shard_open(bin, 0, &err));
  assert_int_equal(err.code, SONDE_EINVAL);
  s = sonde_shard_open(bin, 50257, &err);
  v = sonde_shard_stream(s);
  assert_int_equal(v.tokens, 3);
  assert_int_equal(sonde_stream_read(&v, 0, 3, got, &err), 0);
  sonde_shard_free(s);
  assert_int_equal(sonde_file_write(bin, narrow, 5, &err), 0);
  assert_null(sonde_shard_open(bin, 50257, &err));
  write_file(narrow, sizeof narrow);
  assert_null(sonde_shard_open(path, 50257, &err));      /* not called .bin */
  assert_int_equal(err.code, SONDE_EFORMAT);
}

int main(void) {
  const struct CMUnitTest tests[] = {
    cmocka_unit_test(what_is_written_comes_back),
    cmocka_unit_test(ids_outside_the_vocabulary_are_not_written_nor_read),
    cmocka_unit_test(an_empty_shard_is_fine),
    cmocka_unit_test(every_flipped_byte_and_every_length_is_noticed),
    cmocka_unit_test(counts_near_2_to_63_are_refused),
    cmocka_unit_test(foreign_shards_are_read),
  };
  return cmocka_run_group_tests(tests, setup, teardown);
}
