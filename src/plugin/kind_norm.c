/* kind_norm.c - the row of the kind "norm". */
#include "plugin/kind.h"
#include "plugin/kit.h"

static const kit_place places[] = {
    {"slot = attn", "attn", 3, 0},   {"slot = ffn", "ffn", 3, 1},       {"slot = final", "final", 0, 0},
    {"slot = ffn_out, layer = 6", "ffn_out", 6, 1},
};

static const kit_kind kit_of = {KIT_MODULE, .place = places, .places = sizeof places / sizeof places[0]};

const sonde_kind sonde_kind_norm = {
    .name = "norm",
    .doc = "normalises the input of a branch, or the stream",
    .flags = SONDE_KIND_MODULE | SONDE_KIND_OPS,
    .preset = "rmsnorm",
    .functions = "sonde_module",
    .size = sizeof(sonde_module),
    .least = SONDE_SIZE_WITH(sonde_module, build),
    .check = sonde_module_check,
    .kit = &kit_of,
};
