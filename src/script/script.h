/* script.h - the Lua 5.4 binding: functions that all binding files use. Part of the program, not of libsonde.
 *
 * Each area has one `void sonde_bind_<area>(lua_State *L)` that adds functions to the table on top of the stack,
 * "sonde.core", with sonde_lua_functions and leaves the stack unchanged. The Lua API (checks of options, defaults,
 * documentation) is in lua/sonde/ and calls that table; so a binding is thin and takes plain arguments.
 *
 * Rules of a binding. Lua code may run wherever Lua allocates (a finaliser), and a Lua error is a longjmp over the
 * frame:
 *  - Read arguments with the functions below only: they check the type, name the function in error messages, and read
 *    tables raw, from private copies.
 *  - Read option tables and lists first, then fetch handles. The pointer of a handle is valid until the function
 *    returns, even if the handle is closed meanwhile. An object that keeps the pointer longer must keep the handle
 *    alive: sonde_lua_borrow.
 *  - A string is borrowed from an argument or from a copied table; it is invalid once its value is popped.
 *  - Check all arguments first, then allocate. Memory that C owns across a call that may raise belongs in a handle
 *    (sonde_lua_new) before the call. Scratch of variable size is a lua_newuserdatauv on the stack.
 *  - A C function called from Lua returns results or raises; it never returns nil plus a message.
 *  - Bytes that C allocates for a handle are reported to the collector (sonde_lua_account).
 */
#ifndef SONDE_SCRIPT_H
#define SONDE_SCRIPT_H

#include <lua.h>
#include <lauxlib.h>
#include "graph/params.h"

typedef struct sonde_lua_type sonde_lua_type;

/* ---- the areas -------------------------------------------------------------------------------------- */

#define SONDE_BINDINGS(X) X(tensor) X(graph) X(plan) X(params) X(weights) X(module) X(windows) X(tree) X(files) \
  X(terminal) X(plugin) X(text) X(feed) X(train) X(record) X(bench) X(decode) X(eval) X(linalg) \
  X(serve) X(teacher) X(video) X(clips) X(sparsity) X(process)
#define SONDE_DECLARE(area) void sonde_bind_##area(lua_State *L);
SONDE_BINDINGS(SONDE_DECLARE)
#undef SONDE_DECLARE

/* ---- the state -------------------------------------------------------------------------------------- */

/* Makes "sonde.core" available to require, and puts the Lua library in `lua_dir` before the default path. Stack frames
 * of files in `lua_dir` are the library's, so that errors name the user's line. */
void sonde_lua_open(lua_State *L, const char *lua_dir);

/* The runtime of this state, created at the first call with the threads of core.set_threads (default: the cores the
 * process may use). Raises. lua_close frees it after all handles, so a handle's free function may use it. */
sonde_ctx *sonde_lua_ctx(lua_State *L);

/* Makes the state use this runtime, which the caller owns: for a forked child, where the threads of the former runtime
 * do not exist. */
void sonde_lua_borrow_ctx(lua_State *L, sonde_ctx *ctx);

/* SIGINT, SIGTERM, SIGHUP (unless nohup has it ignored), SIGUSR1, SIGUSR2 and SIGXCPU request a clean stop: the flag
 * below is set, and running Lua code is stopped by an error "interrupted" at its next instruction. C code that reads
 * the flag and stops (the trainer) raises EINTR through sonde_lua_check, which clears the request. A second SIGINT,
 * SIGTERM or SIGHUP, half a second later or more, ends the process at once. */
void sonde_lua_catch_signals(lua_State *L);
const volatile int *sonde_lua_stop_flag(void);
/* Between on = 1 and on = 0 a line of input is read: a signal stops nothing, and the reader queries its number (0:
 * none). on = 0 returns it too, and clears it. */
int sonde_lua_prompt(int on);
int sonde_lua_prompt_signal(void);     /* from any thread */
/* Between on = 1 and on = 0 requests are served: a signal stops nothing, the server queries its number as above, and a
 * second SIGINT, SIGTERM or SIGHUP ends the process at once. */
void sonde_lua_serving(int on);

/* ---- errors ------------------------------------------------------------------------------------------ */

/* Pushes "file:line: " of the innermost Lua frame that is not in the library itself, or "" if there is none. */
void sonde_lua_where(lua_State *L);

/* If rc < 0, raises err->text with that position in front. */
void sonde_lua_check(lua_State *L, int rc, const sonde_error *err);

/* Raises err->text with that position in front, for a call that returned NULL. Does not return. */
void sonde_lua_raise(lua_State *L, const sonde_error *err) __attribute__((noreturn));

/* Raises a message with that position in front. Does not return. */
int sonde_lua_fail(lua_State *L, const char *fmt, ...) __attribute__((format(printf, 2, 3), noreturn));

/* ---- functions ------------------------------------------------------------------------------------------- */

/* Adds functions to the table on top of the stack. All functions that Lua can call are created by this, or are methods
 * in the list of a type: the pointers of their handles are not freed while they run. */
void sonde_lua_functions(lua_State *L, const luaL_Reg *list);
/* Pushes one function, with `upvalues` more upvalues from the top of the stack (from lua_upvalueindex(2) on). `self`:
 * the type of argument 1, or NULL. */
void sonde_lua_push_function(lua_State *L, const char *name, lua_CFunction run, const sonde_lua_type *self,
                             int upvalues);
/* Declares that the running function uses no pointer of a handle from here on: for one that runs scripts for long. */
void sonde_lua_holds_nothing(void);
/* The name of the running function, for messages; NULL outside all. *method: whether its first argument is the
 * handle. */
const char *sonde_lua_function_name(int *method);

/* ---- handles ----------------------------------------------------------------------------------------- */

/* A type of handle. `free` is called once with the pointer, when the handle is closed or collected and nothing uses it
 * any more; the pointer is not NULL, and free must not raise. */
struct sonde_lua_type {
  const char *name;                /* "plan": as in "this plan has been closed" */
  void (*free)(void *p);           /* NULL: it is part of another handle's object, and cannot be closed */
  const luaL_Reg *methods;         /* functions of the handle, h:method(); ended by {NULL, NULL}; may be NULL */
};

/* The object behind a handle: it outlives the handle while another object uses it. */
typedef struct sonde_lua_box {
  void *p;                         /* NULL until it is complete */
  const sonde_lua_type *type;
  int64_t bytes;                   /* reported to the collector */
  int refs, closed, foreign;       /* closed: by the user; foreign: p is not freed here */
  int slots;
  struct sonde_lua_box *next;
  struct sonde_lua_use { struct sonde_lua_box *box; int open; } *uses;   /* [slots] */
} sonde_lua_box;

/* Pushes an empty handle that can use `slots` others; the caller sets ->p. Its metatable is created at the first use
 * and has close(), __gc, __close and __tostring. */
sonde_lua_box *sonde_lua_new(lua_State *L, const sonde_lua_type *type, int slots);

/* Pushes the metatable of a type (created if necessary), to add to it. */
void sonde_lua_metatable(lua_State *L, const sonde_lua_type *type);

/* The pointer of the handle in argument `arg`; raises if it has another type or is closed, or if a handle that it has
 * borrowed is. */
void *sonde_lua_handle(lua_State *L, int arg, const sonde_lua_type *type);
sonde_lua_box *sonde_lua_box_of(lua_State *L, int arg, const sonde_lua_type *type);
/* The same, NULL when the argument is nil or absent. */
void *sonde_lua_opt_handle(lua_State *L, int arg, const sonde_lua_type *type);
/* Whether a value is a handle of this type, open or closed; and whether it is an open one. */
int sonde_lua_is(lua_State *L, int index, const sonde_lua_type *type);
int sonde_lua_is_open(lua_State *L, int index, const sonde_lua_type *type);

/* Makes the box use the handle at `value`, in slot 0..slots - 1 (replacing the former one): that object is not freed
 * before its user. keep: the user works even after the handle is closed. borrow: then the user can only be closed
 * too. */
void sonde_lua_keep(lua_State *L, sonde_lua_box *box, int value, int slot);
void sonde_lua_borrow(lua_State *L, sonde_lua_box *box, int value, int slot);

/* Sets the number of slots of a box that uses nothing yet. */
void sonde_lua_slots(lua_State *L, sonde_lua_box *box, int slots);
/* Empties that slot. */
void sonde_lua_leave(sonde_lua_box *box, int slot);

/* Gives the box a pointer that the caller owns, until unlend; until then the box exists, even if the handle is
 * closed. */
void sonde_lua_lend(sonde_lua_box *box, void *p);
void sonde_lua_unlend(sonde_lua_box *box);

/* Pushes a handle of a part of the object of the handle at `owner`, which becomes its user value 1. */
void sonde_lua_new_inner(lua_State *L, const sonde_lua_type *type, void *p, int owner);
void *sonde_lua_inner(lua_State *L, int index, const sonde_lua_type *type);   /* NULL: it is something else */

/* Reports to the collector that the handle's object now has `bytes` of C memory; GC steps are run in batches. The
 * handle must be anchored on the stack: a step may run other handles' finalisers. */
void sonde_lua_account(lua_State *L, sonde_lua_box *box, int64_t bytes);

/* ---- arguments ---------------------------------------------------------------------------------------- */

/* Raises "function: argument 2 must be `want`, not ...". */
int sonde_lua_refuse(lua_State *L, int arg, const char *want);

/* A value for a message; pushes something, and calls no __tostring. */
const char *sonde_lua_shown(lua_State *L, int index);

/* Checked arguments. A string has no zero bytes; bytes may. opt: the preset if it is nil or absent. */
const char *sonde_lua_string(lua_State *L, int arg);
const char *sonde_lua_opt_string(lua_State *L, int arg, const char *preset);
const char *sonde_lua_bytes(lua_State *L, int arg, size_t *n);
int64_t sonde_lua_integer(lua_State *L, int arg, int64_t min, int64_t max);
int64_t sonde_lua_opt_integer(lua_State *L, int arg, int64_t preset, int64_t min, int64_t max);
double sonde_lua_number(lua_State *L, int arg);
double sonde_lua_opt_number(lua_State *L, int arg, double preset);
int sonde_lua_choice(lua_State *L, int arg, const char *preset, const char *const *names);   /* names ended by NULL */

/* ---- tables ------------------------------------------------------------------------------------------- */

/* Replaces the table in argument `arg` by a private copy. Raises if it is no table, or has a metatable (other than a
 * list's mark). options: the same, nil being an empty table. */
void sonde_lua_own(lua_State *L, int arg, const char *what);
void sonde_lua_options(lua_State *L, int arg);

/* Raises if a private table has a key that is not among `keys` (ended by NULL): for methods that scripts call; calls
 * from the library have checked options (args.lua). */
void sonde_lua_known(lua_State *L, int table, const char *const *keys);

/* Field `key` of a private table. A wrong type raises with the key's name. A string is borrowed from the table. */
int64_t sonde_lua_field_int(lua_State *L, int table, const char *key, int64_t preset);
int64_t sonde_lua_field_integer(lua_State *L, int table, const char *key, int64_t preset, int64_t min, int64_t max);
double sonde_lua_field_number(lua_State *L, int table, const char *key, double preset);
int sonde_lua_field_bool(lua_State *L, int table, const char *key, int preset);
const char *sonde_lua_field_string(lua_State *L, int table, const char *key, const char *preset);

/* The list in argument `arg`, which becomes a private copy: at most `max` numbers into out; returns their number. */
int sonde_lua_integers(lua_State *L, int arg, const char *what, int64_t *out, int max);
int sonde_lua_numbers(lua_State *L, int arg, const char *what, double *out, int max);
/* Of any length, in memory that is pushed on the stack. */
const int64_t *sonde_lua_new_integers(lua_State *L, int arg, const char *what, int64_t *n);
const char **sonde_lua_strings(lua_State *L, int arg, const char *what, int *n);
void **sonde_lua_handles(lua_State *L, int arg, const char *what, int *n, void *take(lua_State *L, int index));

/* Marks the table on top of the stack as a list, since an empty table could be either. */
void sonde_lua_mark_list(lua_State *L);
int sonde_lua_is_marked(lua_State *L, int index);

/* ---- what binding files share --------------------------------------------------------------------------- */

extern const sonde_lua_type sonde_lua_tensor;   /* sonde_tensor */
extern const sonde_lua_type sonde_lua_params;   /* sonde_params */
extern const sonde_lua_type sonde_lua_graph;    /* sonde_graph */
extern const sonde_lua_type sonde_lua_run;      /* sonde_run */
extern const sonde_lua_type sonde_lua_corpus;   /* sonde_corpus */
extern const sonde_lua_type sonde_lua_feed;     /* sonde_feed */
extern const sonde_lua_type sonde_lua_cache;    /* sonde_taught */

/* A tensor's numbers, to be read, or to be read and written; raise. */
const void *sonde_lua_read(lua_State *L, const sonde_tensor *t);
void *sonde_lua_write(lua_State *L, sonde_tensor *t);

/* The node in argument `arg`; raises if it is not a node, or if its graph is closed. */
sonde_node *sonde_lua_to_node(lua_State *L, int arg);
/* Whether a value is a node. */
int sonde_lua_is_node(lua_State *L, int index);
/* Pushes a node of the graph whose handle (or one of whose nodes) is at `owner`. A NULL node raises the graph's first
 * error and clears it, so that a session that caught it can continue with the same graph. */
void sonde_lua_push_node(lua_State *L, int owner, sonde_node *n);
/* The list of nodes in argument `arg`, in memory that is pushed on the stack. */
sonde_node **sonde_lua_nodes(lua_State *L, int arg, const char *what, int *n);

/* The logits [rows, vocab] that are output `output` (from 1) of the last run of the plan in argument `arg`; raises
 * otherwise. */
const float *sonde_lua_logits(lua_State *L, int arg, int64_t output, int64_t rows, int64_t vocab);

/* Pushes a new handle of a tensor, with a reference of its own. */
void sonde_lua_push_tensor(lua_State *L, sonde_tensor *t);
/* Adds the times of a plan's steps to two tables by their places on the stack: {op = seconds}, {module = seconds}. */
void sonde_lua_add_times(lua_State *L, int ops, int modules, const sonde_plan *plan);

/* Pushes a new, zero-filled tensor. */
sonde_tensor *sonde_lua_new_tensor(lua_State *L, const sonde_shape *shape);

/* The numbers at `values`, a table or one number, into a tensor. */
void sonde_lua_fill(lua_State *L, sonde_tensor *t, int values);

/* The value at `index` as a tree: leaves a handle that owns it on the stack. Raises if it cannot be converted. */
struct json_t *sonde_lua_to_tree(lua_State *L, int index);
/* Pushes a tree as Lua values: a null in an object is an absent key, in a list false. A tree that C owns must be in a
 * handle (sonde_lua_new_tree), because this may raise. */
void sonde_lua_push_tree(lua_State *L, const struct json_t *tree, int nulls);
/* Pushes an empty handle for a tree (json_t); the caller sets ->p. */
sonde_lua_box *sonde_lua_new_tree(lua_State *L);

/* A role by its name ("embed", "qk", ...), and back; first values as {kind = "normal"|"xavier"|"fill", a =, b =}. */
int sonde_lua_to_role(lua_State *L, int arg);
const char *sonde_lua_role_name(int role);
sonde_init sonde_lua_to_init(lua_State *L, int arg);

/* Calls the build function of a script's module for a site created in C; NULL if it failed, with the reason in the
 * site's graph. The script's handles of the site are invalid afterwards. state: the lua_State, for those who call
 * through a pointer. */
struct sonde_entry;
struct sonde_site;
struct sonde_value;
sonde_node *sonde_lua_call_module(void *state, const struct sonde_entry *e, struct sonde_site *site,
                                  const struct sonde_value *values, sonde_node *x);
/* The options of a module in the table (or nil) at `index`, checked and completed: in a handle that is pushed. */
const struct sonde_value *sonde_lua_values(lua_State *L, const struct sonde_entry *e, int index);

/* Pushes the values of a module's options, {option = value}. */
void sonde_lua_push_values(lua_State *L, const struct sonde_entry *e, const struct sonde_value *values);

/* Lets the function of a script's sparsity method score a matrix, all of whose members are there: as sonde_sparsity's
 * score. */
struct sonde_sparse;
int sonde_lua_call_score(void *state, const struct sonde_entry *e, const struct sonde_sparse *s,
                         const struct sonde_value *values, float *score, sonde_error *err);

/* "f32", "bf16" or "i32" and a list of dims, in two arguments. */
sonde_shape sonde_lua_to_shape(lua_State *L, int dtype_arg, int dims_arg);
/* Pushes the dims of a shape as a list. */
void sonde_lua_push_dims(lua_State *L, const sonde_shape *shape);

/* Fields of the table on the stack's top. NaN, a number that is not known, and NULL are left out. */
void sonde_lua_set_number(lua_State *L, const char *key, double value);
void sonde_lua_set_integer(lua_State *L, const char *key, int64_t value);
void sonde_lua_set_string(lua_State *L, const char *key, const char *value);
void sonde_lua_set_flag(lua_State *L, const char *key, int on);

#endif
