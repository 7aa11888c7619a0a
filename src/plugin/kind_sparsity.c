/* kind_sparsity.c - the row of the kind "sparsity". */
#include "plugin/kind.h"
#include "plugin/kit.h"

static int check(const void *functions, sonde_error *err) {
  const sonde_sparsity *f = functions;
  if (!f->score == !f->prune)
    return sonde_fail(err, SONDE_EINVAL, "its sonde_sparsity has %s: it is one of them",
                      f->score ? "both score and prune" : "neither score nor prune");
  if (f->needs & ~(uint32_t)(SONDE_NEEDS_NORM | SONDE_NEEDS_GRAM))
    return sonde_fail(err, SONDE_EINVAL, "it needs 0x%x; what this Sonde has are the norms and the Gram matrix of the "
                      "inputs", f->needs);
  if (f->scope < 0 || f->scope >= SONDE_SCOPE_COUNT)
    return sonde_fail(err, SONDE_EINVAL, "its scope is %d, which is no sonde_scope", f->scope);
  return 0;
}

const sonde_kind sonde_kind_sparsity = {
    .name = "sparsity",
    .doc = "says what each weight of a matrix is worth, or prunes it",
    .flags = SONDE_KIND_SCRIPT,
    .preset = "magnitude",
    .functions = "sonde_sparsity",
    .size = sizeof(sonde_sparsity),
    .least = SONDE_SIZE_WITH(sonde_sparsity, prune),
    .check = check,
    .kit = &kit_sparsity,
};
