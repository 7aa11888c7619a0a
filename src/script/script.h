/* script.h - how C is handed to Lua 5.4: what every binding file stands on. Part of the program, not of libsonde.
 *
 * Each area has one `void sonde_bind_<area>(lua_State *L)` that adds functions to the table on top of the stack,
 * "sonde.core", with luaL_setfuncs and leaves the stack as it was. The Lua side of the API
 * (checks of options, defaults, documentation) stands in lua/sonde/ above that table; so a binding takes plain
 * arguments and is as thin as it can be.
 *
 * Rules of a binding:
 *  - Check all arguments first, then allocate: a Lua error jumps over the frame and frees nothing.
 *  - Whatever C owns across a call that may raise sits in a handle (sonde_lua_new) before the call: the collector
 *    gives it back. Scratch of a variable size is a lua_newuserdatauv on the stack.
 *  - A C function called from Lua returns results or raises; it never returns nil plus a message.
 *  - Bytes that C allocates for a handle are reported to the collector (sonde_lua_account).
 */
#ifndef SONDE_SCRIPT_H
#define SONDE_SCRIPT_H

#include <lua.h>
#include <lauxlib.h>
#include "graph/params.h"

/* ---- the areas -------------------------------------------------------------------------------------- */

#define SONDE_BINDINGS(X) X(tensor) X(graph) X(plan) X(params) X(weights) X(module) X(windows) X(tree) X(files) \
  X(terminal) X(plugin) X(text) X(train) X(record) X(bench) X(decode) X(linalg)
#define SONDE_DECLARE(area) void sonde_bind_##area(lua_State *L);
SONDE_BINDINGS(SONDE_DECLARE)
#undef SONDE_DECLARE

/* ---- the state -------------------------------------------------------------------------------------- */

/* Makes "sonde.core" available to require, and the Lua library in `lua_dir` ahead of the default path.
 * `lua_dir` also tells library frames from the user's: errors name the user's line. */
void sonde_lua_open(lua_State *L, const char *lua_dir);

/* The runtime of this state, made at the first call with the threads of core.set_threads (default: the cores the
 * process may use). Raises. lua_close gives it back after every handle, so a handle's free function may use it. */
sonde_ctx *sonde_lua_ctx(lua_State *L);

/* From now on the state computes with this runtime, which the caller keeps and frees: for a process of its own in which
 * the former one's threads do not exist. */
void sonde_lua_borrow_ctx(lua_State *L, sonde_ctx *ctx);

/* SIGINT, SIGTERM and SIGHUP ask for a clean stop: the flag below is set, and Lua code that runs on is stopped by an error
 * "interrupted" at its next instruction. Whoever reads the flag in C and stops (the trainer) raises EINTR through
 * sonde_lua_check, which takes the request as heard. A second signal ends the process at once. */
void sonde_lua_catch_signals(lua_State *L);
const volatile int *sonde_lua_stop_flag(void);
/* Forgets a request to stop, and catches the next one: for a prompt, which outlives what it runs. */
void sonde_lua_go_on(void);

/* ---- errors ------------------------------------------------------------------------------------------ */

/* Pushes "file:line: " of the innermost Lua frame that is not in the library itself, or "" if there is none. */
void sonde_lua_where(lua_State *L);

/* Raises err->text with that place in front when rc < 0; does nothing otherwise. */
void sonde_lua_check(lua_State *L, int rc, const sonde_error *err);

/* Raises err->text with that place in front, for a call that gave NULL. Does not return. */
void sonde_lua_raise(lua_State *L, const sonde_error *err) __attribute__((noreturn));

/* Raises a message of one's own with that place in front. Does not return. */
int sonde_lua_fail(lua_State *L, const char *fmt, ...) __attribute__((format(printf, 2, 3), noreturn));

/* ---- handles ----------------------------------------------------------------------------------------- */

/* A kind of handle. `free` gets the pointer once: at close(), at the end of a to-be-closed variable, or from the
 * collector; it never sees NULL and must not raise. */
typedef struct sonde_lua_type {
  const char *name;                /* "plan": as in "this plan has been closed" */
  void (*free)(void *p);
  const luaL_Reg *methods;         /* functions of the handle, h:method(); ended by {NULL, NULL}; may be NULL */
} sonde_lua_type;

typedef struct sonde_lua_box {
  void *p;                         /* NULL while half-built and after close */
  const sonde_lua_type *type;
  int64_t bytes;                   /* what was reported to the collector for it */
} sonde_lua_box;

/* Pushes an empty handle with `slots` values it can keep alive (sonde_lua_keep); put the pointer into ->p next. Its
 * metatable is made at the first use and has close(), __gc, __close and a readable __tostring. */
sonde_lua_box *sonde_lua_new(lua_State *L, const sonde_lua_type *type, int slots);

/* Pushes the metatable of a type (made if need be), to add to it. */
void sonde_lua_metatable(lua_State *L, const sonde_lua_type *type);

/* The pointer in argument `arg`; raises if it is something else, or closed. */
void *sonde_lua_handle(lua_State *L, int arg, const sonde_lua_type *type);
/* The same, NULL when the argument is nil or absent. */
void *sonde_lua_opt_handle(lua_State *L, int arg, const sonde_lua_type *type);
/* Whether a value is a handle of this type, open or closed. */
int sonde_lua_is(lua_State *L, int index, const sonde_lua_type *type);

/* The handle at `box` keeps the value at `value` alive, in slot 1..slots. */
void sonde_lua_keep(lua_State *L, int box, int value, int slot);

/* Tells the collector that the handle's C side now holds `bytes`; the debt is paid in batches of GC steps. The
 * handle must be anchored on the stack: a step may run other handles' finalisers. */
void sonde_lua_account(lua_State *L, sonde_lua_box *box, int64_t bytes);

/* ---- option tables ------------------------------------------------------------------------------------ */

/* Field `key` of the table at `table` (which may also be nil: everything is preset). A wrong type raises with the
 * key's name. A string is borrowed from the table. Unknown keys are the business of the Lua side (args.lua). */
int64_t sonde_lua_field_int(lua_State *L, int table, const char *key, int64_t preset);
double sonde_lua_field_number(lua_State *L, int table, const char *key, double preset);
int sonde_lua_field_bool(lua_State *L, int table, const char *key, int preset);
const char *sonde_lua_field_string(lua_State *L, int table, const char *key, const char *preset);

/* A list of numbers in argument `arg`, at most `max`: into out; returns how many. Raises "`what` ...". */
int sonde_lua_integers(lua_State *L, int arg, const char *what, int64_t *out, int max);
int sonde_lua_numbers(lua_State *L, int arg, const char *what, double *out, int max);

/* ---- what binding files share --------------------------------------------------------------------------- */

extern const sonde_lua_type sonde_lua_tensor;   /* sonde_tensor */
extern const sonde_lua_type sonde_lua_params;   /* sonde_params */
extern const sonde_lua_type sonde_lua_graph;    /* sonde_graph */
extern const sonde_lua_type sonde_lua_plan;     /* sonde_plan; keeps its graph alive by itself */

/* A node's box keeps its graph's handle alive; both functions raise when that graph has been closed. */
sonde_node *sonde_lua_to_node(lua_State *L, int arg);
/* Whether a value is a node. */
int sonde_lua_is_node(lua_State *L, int index);
/* The same without looking whether the graph is closed: for who keeps the graph by other means (a plan does). */
sonde_node *sonde_lua_kept_node(lua_State *L, int arg);
/* Pushes a node of the graph whose handle (or one of whose nodes) stands at `owner`. A NULL node raises the graph's
 * first error and clears it, so that a session that caught it goes on with the same graph. */
void sonde_lua_push_node(lua_State *L, int owner, sonde_node *n);
/* A list of nodes in argument `arg`, at most `max`: into out; returns how many. Raises "`what` ...". */
int sonde_lua_nodes(lua_State *L, int arg, const char *what, sonde_node **out, int max);

/* Pushes a new handle on a tensor and takes a reference of its own. */
void sonde_lua_push_tensor(lua_State *L, sonde_tensor *t);
/* Adds the times of a plan's steps to the table on top of the stack, {op = seconds}. */
void sonde_lua_add_times(lua_State *L, const sonde_plan *plan);

/* Pushes a new, zero-filled tensor. */
sonde_tensor *sonde_lua_new_tensor(lua_State *L, const sonde_shape *shape);

/* The value at `index` as a tree: leaves a handle that owns it on the stack. Raises what cannot be one. */
struct json_t *sonde_lua_to_tree(lua_State *L, int index);
/* Pushes a tree as Lua values: a null in an object is an absent key, in a list false. A tree that C owns must be in a
 * handle (sonde_lua_new_tree), because this may raise. */
void sonde_lua_push_tree(lua_State *L, const struct json_t *tree);
/* Pushes an empty handle for a tree (json_t); put the pointer into ->p next. */
sonde_lua_box *sonde_lua_new_tree(lua_State *L);

/* A role by its name ("embed", "qk", ...), and back; first values as {kind = "normal"|"xavier"|"fill", a =, b =}. */
int sonde_lua_to_role(lua_State *L, int arg);
const char *sonde_lua_role_name(int role);
sonde_init sonde_lua_to_init(lua_State *L, int arg);

/* Calls the build function of a script's module for a site that C has made; NULL when it failed, with the reason in the
 * site's graph. The script's handles on the site are of no use afterwards. */
struct sonde_entry;
struct sonde_site;
struct sonde_value;
sonde_node *sonde_lua_call_module(lua_State *L, const struct sonde_entry *e, struct sonde_site *site,
                                  const struct sonde_value *values, sonde_node *x);

/* "f32", "bf16" or "i32" and a list of dims, in two arguments. */
sonde_shape sonde_lua_to_shape(lua_State *L, int dtype_arg, int dims_arg);
/* Pushes the dims of a shape as a list. */
void sonde_lua_push_dims(lua_State *L, const sonde_shape *shape);

#endif
