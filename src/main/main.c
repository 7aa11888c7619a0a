/* main.c - the sonde program. */
#include <stdio.h>
#include "sonde.h"

int main(void) {
  printf("sonde %s\n", sonde_version());
  return 0;
}
