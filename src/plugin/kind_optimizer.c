/* kind_optimizer.c - the row of the kind "optimizer". */
#include "plugin/kind.h"
#include "plugin/kit.h"

static int check(const void *functions, sonde_error *err) {
  const sonde_optimizer *o = functions;
  if (!o->update) return sonde_fail(err, SONDE_EINVAL, "its sonde_optimizer has no update function");
  if (o->states < 0 || o->states > 8 || (o->states && !o->state_names))
    return sonde_fail(err, SONDE_EINVAL, "%d states; give 0 to 8, with their names", o->states);
  for (int k = 0; k < o->states; k++)
    if (!sonde_is_name(o->state_names[k]))
      return sonde_fail(err, SONDE_EINVAL, "state %d needs a name of a-z, 0-9 and _", k + 1);
  return 0;
}

const sonde_kind sonde_kind_optimizer = {
    .name = "optimizer",
    .doc = "moves the parameters by their gradients",
    .preset = "adamw",
    .functions = "sonde_optimizer",
    .size = sizeof(sonde_optimizer),
    .least = SONDE_SIZE_WITH(sonde_optimizer, update),
    .check = check,
    .kit = &kit_optimizer,
};
