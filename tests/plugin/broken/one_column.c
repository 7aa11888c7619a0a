/* A gradient that is wrong for rows of one number only. */
#define NAME "one_column"
#define WRONG(rows, width, i, k) (width == 1)
#include "doubled.h"
