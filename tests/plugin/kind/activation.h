/* activation.h - the functions of a kind that the tests add, as sonde_plugin.h has those of the others. */
#ifndef TESTS_PLUGIN_ACTIVATION_H
#define TESTS_PLUGIN_ACTIVATION_H

#include "sonde_plugin.h"

typedef struct test_activation {
  uint32_t size;
  double (*value)(double x, const sonde_value *opt);
  double (*slope)(double x, const sonde_value *opt);   /* since its second release; NULL: nobody knows */
} test_activation;

#endif
