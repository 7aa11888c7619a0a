/* two_files.h - what the two files of the plugin share. */
#include "sonde_plugin.h"

extern const sonde_op_def two_files_ops[2] __attribute__((visibility("hidden")));
