/* kind_ffn.c - the row of the kind "ffn". */
#include "plugin/kind.h"
#include "plugin/kit.h"

static const kit_place places[] = {
    {"layer = 3", "ffn", 3, 0},   {"layer = 6", "ffn", 6, 0},
};

static const kit_kind kit_of = {KIT_MODULE, .place = places, .places = sizeof places / sizeof places[0]};

const sonde_kind sonde_kind_ffn = {
    .name = "ffn",
    .doc = "works on each token by itself: the feed-forward layer of a block",
    .flags = SONDE_KIND_MODULE | SONDE_KIND_OPS,
    .preset = "swiglu",
    .functions = "sonde_module",
    .size = sizeof(sonde_module),
    .least = SONDE_SIZE_WITH(sonde_module, build),
    .check = sonde_module_check,
    .kit = &kit_of,
};
