/* npz.h - arrays of a NumPy archive (.npz: a ZIP file of .npy members, stored or deflated). */
#ifndef SONDE_IO_NPZ_H
#define SONDE_IO_NPZ_H

#include "tensor/tensor.h"

/* The member `name` (without .npy) as f32: from little-endian floats of 4 or 8 bytes, integers of 1 to 8 bytes, and
 * booleans, in C order. ENOENT: there is no such member; EFORMAT: damaged, or of another type; ELIMIT: more than 2^28
 * numbers. What a member says of its size is believed only as far as the file bears it out. */
sonde_tensor *sonde_npz_read(const char *path, const char *name, sonde_error *err);

#endif
