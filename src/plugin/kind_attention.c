/* kind_attention.c - the row of the kind "attention". */
#include "plugin/kind.h"
#include "plugin/kit.h"

static const kit_place places[] = {
    {"layer = 3", "attention", 3, 0},   {"layer = 6", "attention", 6, 0},
};

static const kit_kind kit_of = {KIT_MODULE, .place = places, .places = sizeof places / sizeof places[0]};

const sonde_kind sonde_kind_attention = {
    .name = "attention",
    .doc = "mixes tokens: what a token takes from those before it",
    .flags = SONDE_KIND_MODULE | SONDE_KIND_OPS,
    .preset = "causal",
    .functions = "sonde_module",
    .size = sizeof(sonde_module),
    .least = SONDE_SIZE_WITH(sonde_module, build),
    .check = sonde_module_check,
    .kit = &kit_of,
};
