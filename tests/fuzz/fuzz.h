/* fuzz.h - a fuzz target: libFuzzer's entry points. A target feeds the bytes to one reader of foreign files and uses
 * what it accepts as a caller would; it must neither crash, hang, leak nor read outside. */
#ifndef TESTS_FUZZ_FUZZ_H
#define TESTS_FUZZ_FUZZ_H

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Where a target has it: called once before all inputs, for what lasts as long as the process. */
int LLVMFuzzerInitialize(int *argc, char ***argv) __attribute__((weak));

/* How many mutations a target without a fuzzer takes, where an input is dear; not defined: the driver's own number. */
extern const int64_t fuzz_runs __attribute__((weak));

/* Stops where a property does not hold, so that every fuzzer takes it for a crash. */
#define FUZZ_CHECK(holds) do { if (!(holds)) abort(); } while (0)

#endif
