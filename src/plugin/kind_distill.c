/* kind_distill.c - the row of the kind "distill". */
#include "plugin/kind.h"
#include "plugin/kit.h"

const sonde_kind sonde_kind_distill = {
    .name = "distill",
    .doc = "a divergence of a student's distribution from its teacher's, as a term of each class",
    .flags = SONDE_KIND_MODULE,
    .preset = "forward_kl",
    .functions = "sonde_module",
    .size = sizeof(sonde_module),
    .least = SONDE_SIZE_WITH(sonde_module, build),
    .check = sonde_module_check,
    .kit = &kit_distill,
};
