/* A gradient that is wrong behind the first hundred tokens. */
#define NAME "late_rows"
#define WRONG(rows, width, i, k) (i >= 100)
#include "doubled.h"
