/* process_test.c - a copy of the process: what it says, how it ends, and that it ends with the first one. */
#include "config.h"

#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#include "testing.h"
#include "base/process.h"

/* Reads all that it says, until it has ended. */
static void until_ended(sonde_process *p, char *text, int *status, int *number) {
  int64_t n = 0, more;
  for (int k = 0; k < 200; k++) {
    int over = sonde_process_ended(p, status, number);
    while ((more = sonde_process_read(p, text + n, 100 - n)) > 0) n += more;
    text[n] = '\0';
    if (over) return;
    sonde_process_wait(&p, 1, 1);
  }
  fail_msg("it does not end");
}

static void what_it_says_and_its_status_arrive(void **state) {
  (void)state;
  char text[101];
  int status, number;
  sonde_process *p;
  assert_int_equal(sonde_process_fork(&p, NULL), 0);
  if (!p) {
    char byte;
    fprintf(stderr, "%d bytes of input", (int)read(STDIN_FILENO, &byte, 1));
    sonde_process_leave(7);
  }
  until_ended(p, text, &status, &number);
  assert_string_equal(text, "0 bytes of input");
  assert_int_equal(status, 7);
  assert_int_equal(number, 0);
  sonde_process_close(p);
}

static void a_signal_that_ended_it_is_told_from_a_status(void **state) {
  (void)state;
  char text[101];
  int status, number;
  sonde_process *p;
  assert_int_equal(sonde_process_fork(&p, NULL), 0);
  if (!p) {
    for (;;) pause();
  }
  assert_int_equal(sonde_process_ended(p, &status, &number), 0);
  sonde_process_signal(p, SIGUSR1);
  until_ended(p, text, &status, &number);
  assert_int_equal(number, SIGUSR1);
  sonde_process_close(p);
}

static void closing_it_ends_it(void **state) {
  (void)state;
  sonde_process *p;
  assert_int_equal(sonde_process_fork(&p, NULL), 0);
  if (!p) {
    for (;;) pause();
  }
  sonde_process_close(p);      /* waits for it */
  assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
}

static void it_ends_with_the_process_that_made_it(void **state) {
  (void)state;
  int fd[2];
  char byte;
  assert_int_equal(pipe(fd), 0);
  pid_t middle = fork();
  if (!middle) {
    sonde_process *p;
    close(fd[0]);
    if (sonde_process_fork(&p, NULL)) _exit(1);
    if (!p) {
      for (;;) pause();      /* keeps the pipe open */
    }
    if (write(fd[1], "x", 1) != 1) _exit(1);
    raise(SIGKILL);
  }
  close(fd[1]);
  assert_int_equal(read(fd[0], &byte, 1), 1);
  assert_int_equal(read(fd[0], &byte, 1), 0);      /* both have ended; without that the test hangs until alarm */
  close(fd[0]);
  waitpid(middle, NULL, 0);
}

int main(void) {
  alarm(300);
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(what_it_says_and_its_status_arrive),
      cmocka_unit_test(a_signal_that_ended_it_is_told_from_a_status),
      cmocka_unit_test(closing_it_ends_it),
      cmocka_unit_test(it_ends_with_the_process_that_made_it),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
