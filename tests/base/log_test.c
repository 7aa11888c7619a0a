/* log_test.c - levels, one line a message, nothing on stdout. */
#include "config.h"

#include "testing.h"
#include "base/log.h"
#include "base/mem.h"

static char *say_all(int level, const char *word) {
  static char text[8192];
  FILE *f = tmpfile();
  int saved = dup(2);
  dup2(fileno(f), 2);
  sonde_log_level(level);
  sonde_warn("w %s", word);
  sonde_info("i %s", word);
  dup2(saved, 2);
  close(saved);
  rewind(f);
  text[fread(text, 1, sizeof text - 1, f)] = '\0';
  fclose(f);
  sonde_log_level(SONDE_LOG_INFO);
  return text;
}

static void levels(void **state) {
  (void)state;
  assert_string_equal(say_all(SONDE_LOG_QUIET, "x"), "");
  assert_string_equal(say_all(SONDE_LOG_WARN, "x"), "sonde: warning: w x\n");
  assert_string_equal(say_all(SONDE_LOG_INFO, "x"), "sonde: warning: w x\ni x\n");
}

static void one_line_each(void **state) {
  (void)state;
  assert_string_equal(say_all(SONDE_LOG_WARN, "a\nb"), "sonde: warning: w a?b\n");
  char word[5000];
  memset(word, 'x', sizeof word - 1);
  word[sizeof word - 1] = '\0';
  char *text = say_all(SONDE_LOG_WARN, word);
  assert_int_equal(strlen(text), 2047);
  assert_int_equal(text[2046], '\n');
}

int main(void) {
  const struct CMUnitTest tests[] = {
    cmocka_unit_test(levels),
    cmocka_unit_test(one_line_each),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
