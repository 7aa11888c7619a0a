/* A gradient whose vector loop forgets what is left of a row behind whole eights. */
#define NAME "odd_tail"
#define WRONG(rows, width, i, k) (k >= width / 8 * 8)
#include "doubled.h"
