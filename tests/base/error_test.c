/* error_test.c - error texts: one line, never past the end, context in front, near names. */
#include "config.h"

#include <errno.h>
#include "testing.h"
#include "base/error.h"

static void codes_have_names(void **state) {
  (void)state;
  assert_string_equal(sonde_code_name(SONDE_OK), "OK");
  assert_string_equal(sonde_code_name(SONDE_EINVAL), "EINVAL");
  assert_string_equal(sonde_code_name(SONDE_EDIVERGED), "EDIVERGED");
  assert_string_equal(sonde_code_name(SONDE_EBUG), "EBUG");
  assert_string_equal(sonde_code_name(SONDE_EBUG - 1), "unknown");
  assert_string_equal(sonde_code_name(1), "unknown");
  assert_string_equal(sonde_code_name(INT32_MIN), "unknown");
}

static void fail_formats_and_returns_the_code(void **state) {
  (void)state;
  sonde_error e;
  assert_int_equal(sonde_fail(&e, SONDE_ESHAPE, "got %d, want %s", 3, "four"), SONDE_ESHAPE);
  assert_int_equal(e.code, SONDE_ESHAPE);
  assert_string_equal(e.text, "got 3, want four");
  assert_int_equal(sonde_fail(NULL, SONDE_EIO, "nobody listens"), SONDE_EIO);
}

static void texts_stay_on_one_line(void **state) {
  (void)state;
  sonde_error e;
  sonde_fail(&e, SONDE_ENOENT, "no file '%s'", "a\nb\r\nc");
  assert_string_equal(e.text, "no file 'a?b??c'");
  sonde_fail(&e, SONDE_EINVAL, "tensor '%s'", "\033[2J\t\177 \xc2\x9b" "2J \xc3\xa9");
  assert_string_equal(e.text, "tensor '?[2J?? ??2J \xc3\xa9'");
  sonde_wrap(&e, "%s", "a\nfile");
  assert_string_equal(e.text, "a?file: tensor '?[2J?? ??2J \xc3\xa9'");
  errno = EIO;
  sonde_fail_errno(&e, SONDE_EIO, "cannot read '%s'", "a\nb");
  assert_string_equal(e.text, "cannot read 'a?b': Input/output error");
}

static void errno_is_read_before_anything_else(void **state) {
  (void)state;
  sonde_error e;
  errno = ENOSPC;
  assert_int_equal(sonde_fail_errno(&e, SONDE_EIO, "cannot write '%s'", "x"), SONDE_EIO);
  assert_string_equal(e.text, "cannot write 'x': No space left on device");
}

static void long_texts_are_cut(void **state) {
  (void)state;
  char word[3000];
  sonde_error e;
  memset(word, 'x', sizeof word - 1);
  word[sizeof word - 1] = '\0';
  sonde_fail(&e, SONDE_EINVAL, "%s", word);
  assert_int_equal(strlen(e.text), sizeof e.text - 1);
  errno = EIO;
  sonde_fail_errno(&e, SONDE_EINVAL, "%s", word);
  assert_int_equal(strlen(e.text), sizeof e.text - 1);
  sonde_wrap(&e, "%s", word);
  assert_int_equal(strlen(e.text), sizeof e.text - 1);
}

static void wrap_puts_context_in_front(void **state) {
  (void)state;
  sonde_error e;
  sonde_fail(&e, SONDE_EINVAL, "unknown option");
  assert_int_equal(sonde_wrap(&e, "block %d", 3), SONDE_EINVAL);
  assert_int_equal(sonde_wrap(&e, "model"), SONDE_EINVAL);
  assert_string_equal(e.text, "model: block 3: unknown option");
}

static void wrap_keeps_the_head_when_both_are_too_long(void **state) {
  (void)state;
  sonde_error e;
  char tail[901];
  memset(tail, 't', 900);
  tail[900] = '\0';
  sonde_fail(&e, SONDE_EIO, "%s", tail);
  sonde_wrap(&e, "%0200d", 7);
  assert_int_equal(strlen(e.text), sizeof e.text - 1);
  assert_memory_equal(e.text + 198, "07: ttt", 7);
}

static void nearest_name(void **state) {
  (void)state;
  static const char *const names[] = {"layernorm", "rmsnorm", "lr", "context"};
  assert_string_equal(sonde_nearest("rmsnrom", names, 4), "rmsnorm");     /* a swap counts once */
  assert_string_equal(sonde_nearest("layer_norm", names, 4), "layernorm");
  assert_string_equal(sonde_nearest("contxt", names, 4), "context");
  assert_string_equal(sonde_nearest("l", names, 4), "lr");
  assert_null(sonde_nearest("dropout", names, 4));
  assert_null(sonde_nearest("", names, 0));
  assert_string_equal(sonde_nearest("rmsnorm", names, 4), "rmsnorm");
}

static void nearest_survives_very_long_words(void **state) {
  (void)state;
  char word[1001];
  memset(word, 'a', 1000);
  word[1000] = '\0';
  const char *names[] = {"lr", word};
  assert_null(sonde_nearest(word, names, 2));
  assert_null(sonde_nearest("aaa", names + 1, 1));
}

int main(void) {
  const struct CMUnitTest tests[] = {
    cmocka_unit_test(codes_have_names),
    cmocka_unit_test(fail_formats_and_returns_the_code),
    cmocka_unit_test(texts_stay_on_one_line),
    cmocka_unit_test(errno_is_read_before_anything_else),
    cmocka_unit_test(long_texts_are_cut),
    cmocka_unit_test(wrap_puts_context_in_front),
    cmocka_unit_test(wrap_keeps_the_head_when_both_are_too_long),
    cmocka_unit_test(nearest_name),
    cmocka_unit_test(nearest_survives_very_long_words),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
