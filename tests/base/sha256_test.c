/* sha256_test.c - the examples of FIPS 180-4, and pieces of any length. */
#include "config.h"

#include "testing.h"
#include "base/sha256.h"

static void published_examples(void **state) {
  (void)state;
  static const struct { const char *text, *hex; } kat[] = {
    {"", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"},
    {"abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"},
    {"abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq",
     "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1"},
  };
  for (int i = 0; i < 3; i++) {
    sonde_sha256 s;
    char hex[65];
    sonde_sha256_init(&s);
    sonde_sha256_add(&s, kat[i].text, strlen(kat[i].text));
    sonde_sha256_hex(&s, hex);
    assert_string_equal(hex, kat[i].hex);
  }
}

static void a_million_a_in_uneven_pieces(void **state) {
  (void)state;
  char a[1000], hex[65];
  memset(a, 'a', sizeof a);
  sonde_sha256 s;
  sonde_sha256_init(&s);
  size_t left = 1000000;
  for (size_t n = 1; left; left -= n, n = n * 7 % 997) {
    if (n > left) n = left;
    sonde_sha256_add(&s, a, n);
  }
  sonde_sha256_add(&s, a, 0);
  sonde_sha256_hex(&s, hex);
  assert_string_equal(hex, "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
}

int main(void) {
  const struct CMUnitTest tests[] = {
    cmocka_unit_test(published_examples),
    cmocka_unit_test(a_million_a_in_uneven_pieces),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
