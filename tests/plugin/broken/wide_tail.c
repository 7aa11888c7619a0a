/* A gradient whose kernel has room for 256 numbers of a row, and treats those behind them otherwise. */
#define NAME "wide_tail"
#define WRONG(rows, width, i, k) (k >= 256)
#include "doubled.h"
