/* plan_makers.h - what makes a node of each kind of op, and the values that it takes: shared by plan_graph.c, which has
 * the ops of tensors, and plan_models.c, which has those of models. */
#ifndef TESTS_FUZZ_PLAN_MAKERS_H
#define TESTS_FUZZ_PLAN_MAKERS_H

#include "plan_graph.h"
#include "sonde_build.h"

enum { LARGEST = 20000, F32 = SONDE_F32, BF16 = SONDE_BF16, I32 = SONDE_I32 };

/* A node of that op on values of the maker; NULL where none can be made of them. */
typedef sonde_node *(*plan_make)(maker *m, const char *op);
typedef struct plan_maker { const char *op; plan_make make; } plan_maker;
extern const plan_maker plan_makers_of_models[];      /* ends with {NULL, NULL} */

int64_t plan_dim(maker *m);
int plan_real(maker *m);                              /* F32 or BF16 */
int plan_second(maker *m, int first);                  /* of a product: F32 may follow BF16 */
sonde_shape plan_shape_of(int dtype, int rank, const int64_t *dims);
sonde_shape plan_any_shape(maker *m, int dtype, int least, int most);        /* of a rank from least to most */
/* Values: of that shape (one that is there, one made from it, or a new one); of any shape; integers from lo to hi. */
sonde_node *plan_operand(maker *m, sonde_shape s);
sonde_node *plan_any(maker *m, int dtype, int least, int most);
sonde_node *plan_integers(maker *m, const sonde_shape *s, int64_t lo, int64_t hi);
sonde_node *plan_call(maker *m, const char *op, int n, sonde_node *const *in, const sonde_attr *at);

#define PLAN_MANY(type, ...) (int)(sizeof((type[]){__VA_ARGS__}) / sizeof(type)), (type[]){__VA_ARGS__}
#define SHAPE(dtype, ...) plan_shape_of(dtype, PLAN_MANY(int64_t, __VA_ARGS__))
#define CALL(op, at, ...) plan_call(m, op, PLAN_MANY(sonde_node *, __VA_ARGS__), at)

#endif
