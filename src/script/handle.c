/* handle.c - C objects as Lua userdata, and the calls that work with them: who uses what, and when it may be freed.
 *
 * Lua code can run in the middle of any function here: a step of the collector runs finalisers at every allocation.
 * It may close a handle whose pointer a running function uses. So close() and the collector only invalidate the handle;
 * its object is freed when nothing uses it any more and no function of the binding is running (`calls`). */
#include "config.h"

#include <stdint.h>
#include <string.h>

#include "base/mem.h"
#include "script/script.h"

/* What Lua holds. It has one user value, for whom it anchors. A node has no box: its pointer belongs to the graph,
 * whose handle is its user value. */
typedef struct handle {
  const sonde_lua_type *type;
  void *box;                     /* sonde_lua_box, NULL once closed; of a node the sonde_node */
} handle;

/* ---- functions under way ---- */

typedef struct function {
  const char *name;
  lua_CFunction run;
  const sonde_lua_type *self;    /* of argument 1 of a method; NULL: a plain function */
} function;

enum { MAX_CALLS = 256, MAX_FUNCTIONS = 512 };   /* Lua lets C calls nest 200 deep */

static function functions[MAX_FUNCTIONS];
static int n_functions;

/* The calls under way, each by the address of its frame. An error jumps over a call's end; that it is dead is seen by
 * its address: all frames deeper than the one that asks have gone. (Lua's coroutines share one C stack.) */
static struct call { uintptr_t frame; int function; } calls[MAX_CALLS];
static int n_calls;
static sonde_lua_box *unused;    /* unused boxes, to be freed */

static int under_way(const void *frame) {
  while (n_calls && calls[n_calls - 1].frame <= (uintptr_t)frame) n_calls--;
  return n_calls;
}

static void drop(sonde_lua_box *box) {
  if (!box || --box->refs) return;
  box->next = unused;
  unused = box;
}

static void free_unused(void) {
  while (unused) {
    sonde_lua_box *box = unused;
    unused = box->next;
    if (box->p && !box->foreign) box->type->free(box->p);
    for (int k = 0; k < box->slots; k++) drop(box->uses[k].box);   /* after its user */
    sonde_release(box->uses);
    sonde_release(box);
  }
}

static int call_function(lua_State *L) {
  lua_Integer k = lua_tointeger(L, lua_upvalueindex(1));
  const void *frame = __builtin_frame_address(0);
  int n = under_way(frame);
  if (k < 0 || k >= n_functions || n == MAX_CALLS) return sonde_lua_fail(L, "calls nested too deeply");
  calls[n] = (struct call){(uintptr_t)frame, (int)k};
  n_calls = n + 1;
  if (functions[k].self) sonde_lua_handle(L, 1, functions[k].self);
  int results = functions[k].run(L);
  n_calls = n;
  if (!n) free_unused();
  return results;
}

const char *sonde_lua_function_name(int *method) {
  if (!under_way(__builtin_frame_address(0))) return NULL;
  const function *f = &functions[calls[n_calls - 1].function];
  *method = f->self != NULL;
  return f->name;
}

void sonde_lua_holds_nothing(void) {
  if (under_way(__builtin_frame_address(0))) n_calls--;
  if (!n_calls) free_unused();
}

void sonde_lua_push_function(lua_State *L, const char *name, lua_CFunction run, const sonde_lua_type *self,
                             int upvalues) {
  int k = 0;
  while (k < n_functions && !(functions[k].run == run && functions[k].self == self)) k++;
  if (k == MAX_FUNCTIONS) luaL_error(L, "too many functions");
  functions[k] = (function){name, run, self};
  if (k == n_functions) n_functions++;
  lua_pushinteger(L, k);
  lua_insert(L, -1 - upvalues);
  lua_pushcclosure(L, call_function, 1 + upvalues);
}

static void add_functions(lua_State *L, const luaL_Reg *list, const sonde_lua_type *self) {
  for (; list->name; list++) {
    sonde_lua_push_function(L, list->name, list->func, self, 0);
    lua_setfield(L, -2, list->name);
  }
}

void sonde_lua_functions(lua_State *L, const luaL_Reg *list) { add_functions(L, list, NULL); }

/* ---- handles ---- */

/* Refuses userdata of other libraries, and those of Sonde with a changed metatable. */
static handle *handle_at(lua_State *L, int index, const sonde_lua_type *type) {
  handle *h = lua_touserdata(L, index);
  if (lua_type(L, index) != LUA_TUSERDATA || lua_rawlen(L, index) != sizeof *h || !lua_getmetatable(L, index))
    return NULL;
  lua_rawgetp(L, LUA_REGISTRYINDEX, type);
  int same = lua_rawequal(L, -1, -2) && h->type == type;
  lua_pop(L, 2);
  return same ? h : NULL;
}

/* The handle at `index`, of any type; NULL: it is not a handle. */
static handle *any_handle(lua_State *L, int index) {
  handle *h = lua_touserdata(L, index);
  return lua_type(L, index) == LUA_TUSERDATA && lua_rawlen(L, index) == sizeof *h ? handle_at(L, index, h->type) : NULL;
}

/* close(), __close and the collector. */
static void take_away(lua_State *L, int closed) {
  handle *h = any_handle(L, 1);
  if (!h || !h->type->free) {
    if (closed) sonde_lua_fail(L, "close: a handle is needed here, not a %s", luaL_typename(L, 1));
    return;
  }
  sonde_lua_box *box = h->box;
  h->box = NULL;
  if (box) box->closed |= closed;
  drop(box);
  if (!under_way(__builtin_frame_address(0))) free_unused();
}

static int handle_close(lua_State *L) {
  take_away(L, 1);
  return 0;
}

static int handle_gc(lua_State *L) {
  take_away(L, 0);
  return 0;
}

static int handle_tostring(lua_State *L) {
  const handle *h = any_handle(L, 1);
  if (!h || !h->type->free) return sonde_lua_fail(L, "a handle is needed here, not a %s", luaL_typename(L, 1));
  const sonde_lua_box *box = h->box;
  if (box && box->p) lua_pushfstring(L, "%s: %p", h->type->name, box->p);
  else lua_pushfstring(L, "%s (closed)", h->type->name);
  return 1;
}

void sonde_lua_metatable(lua_State *L, const sonde_lua_type *type) {
  if (lua_rawgetp(L, LUA_REGISTRYINDEX, type) == LUA_TTABLE) return;
  lua_pop(L, 1);
  lua_newtable(L);
  lua_pushstring(L, type->name);
  lua_setfield(L, -2, "__name");
  lua_pushstring(L, type->name);           /* what getmetatable gives */
  lua_setfield(L, -2, "__metatable");
  lua_pushcfunction(L, handle_tostring);
  lua_setfield(L, -2, "__tostring");
  lua_newtable(L);
  if (type->methods) add_functions(L, type->methods, type);
  if (type->free) {
    lua_pushcfunction(L, handle_gc);
    lua_setfield(L, -3, "__gc");
    lua_pushcfunction(L, handle_close);
    lua_setfield(L, -3, "__close");
    lua_pushcfunction(L, handle_close);
    lua_setfield(L, -2, "close");
  }
  lua_setfield(L, -2, "__index");
  lua_pushvalue(L, -1);
  lua_rawsetp(L, LUA_REGISTRYINDEX, type);
}

static handle *new_handle(lua_State *L, const sonde_lua_type *type) {
  sonde_lua_metatable(L, type);
  handle *h = lua_newuserdatauv(L, sizeof *h, 1);
  *h = (handle){type, NULL};
  lua_insert(L, -2);
  lua_setmetatable(L, -2);
  return h;
}

sonde_lua_box *sonde_lua_new(lua_State *L, const sonde_lua_type *type, int slots) {
  handle *h = new_handle(L, type);
  sonde_lua_box *box = h->box = sonde_alloc(sizeof *box);
  if (!box) sonde_lua_fail(L, "no memory for a %s", type->name);
  box->type = type;
  box->refs = 1;
  sonde_lua_slots(L, box, slots);
  return box;
}

void sonde_lua_slots(lua_State *L, sonde_lua_box *box, int slots) {
  if (!slots) return;
  box->uses = sonde_alloc((size_t)slots * sizeof *box->uses);
  if (!box->uses) sonde_lua_fail(L, "no memory for a %s", box->type->name);
  box->slots = slots;
}

void sonde_lua_new_inner(lua_State *L, const sonde_lua_type *type, void *p, int owner) {
  owner = lua_absindex(L, owner);
  new_handle(L, type)->box = p;
  lua_pushvalue(L, owner);
  lua_setiuservalue(L, -2, 1);
}

void *sonde_lua_inner(lua_State *L, int index, const sonde_lua_type *type) {
  const handle *h = handle_at(L, index, type);
  return h ? h->box : NULL;
}

int sonde_lua_is(lua_State *L, int index, const sonde_lua_type *type) { return handle_at(L, index, type) != NULL; }

int sonde_lua_is_open(lua_State *L, int index, const sonde_lua_type *type) {
  const handle *h = handle_at(L, index, type);
  const sonde_lua_box *box = h ? h->box : NULL;
  return box && box->p;
}

/* What a box has borrowed, itself or through what it has borrowed, and has been closed; NULL: nothing. */
static const sonde_lua_box *closed_behind(const sonde_lua_box *box) {
  for (int k = 0; k < box->slots; k++) {
    const sonde_lua_box *used = box->uses[k].box;
    if (!used || !box->uses[k].open) continue;
    const sonde_lua_box *closed = used->closed || !used->p ? used : closed_behind(used);
    if (closed) return closed;
  }
  return NULL;
}

/* Some kinds of handles are several things by their names ("params", "windows"). */
static int is_plural(const sonde_lua_type *type) {
  return type->name[strlen(type->name) - 1] == 's';
}

sonde_lua_box *sonde_lua_box_of(lua_State *L, int arg, const sonde_lua_type *type) {
  const handle *h = handle_at(L, arg, type);
  if (!h) sonde_lua_fail(L, "a %s is needed here, not a %s", type->name, luaL_typename(L, arg));
  sonde_lua_box *box = h->box;
  if (!box || !box->p)
    sonde_lua_fail(L, is_plural(type) ? "these %s have been closed" : "this %s has been closed", type->name);
  const sonde_lua_box *closed = closed_behind(box);
  if (closed)
    sonde_lua_fail(L, "the %s of %s %s %s been closed", closed->type->name, is_plural(type) ? "these" : "this",
                   type->name, is_plural(closed->type) ? "have" : "has");
  return box;
}

void *sonde_lua_handle(lua_State *L, int arg, const sonde_lua_type *type) { return sonde_lua_box_of(L, arg, type)->p; }

void *sonde_lua_opt_handle(lua_State *L, int arg, const sonde_lua_type *type) {
  return lua_isnoneornil(L, arg) ? NULL : sonde_lua_handle(L, arg, type);
}

static void use(lua_State *L, sonde_lua_box *box, int value, int slot, int open) {
  const handle *h = any_handle(L, value);
  sonde_lua_box *used = h && h->type->free ? h->box : NULL;
  if (!used || !used->p) sonde_lua_fail(L, "a %s has been closed while it was being used", h ? "handle" : "value");
  used->refs++;
  drop(box->uses[slot].box);
  box->uses[slot].box = used;
  box->uses[slot].open = open;
}

void sonde_lua_keep(lua_State *L, sonde_lua_box *box, int value, int slot) { use(L, box, value, slot, 0); }
void sonde_lua_borrow(lua_State *L, sonde_lua_box *box, int value, int slot) { use(L, box, value, slot, 1); }

void sonde_lua_leave(sonde_lua_box *box, int slot) {
  drop(box->uses[slot].box);
  box->uses[slot].box = NULL;
}

void sonde_lua_lend(sonde_lua_box *box, void *p) {
  box->p = p;
  box->foreign = 1;
  box->refs++;
}

void sonde_lua_unlend(sonde_lua_box *box) {
  box->p = NULL;
  drop(box);
}

/* ---- bytes ---- */

enum { BATCH = 1 << 20 };   /* a step per MiB: small tensors do not each pay for one */

void sonde_lua_account(lua_State *L, sonde_lua_box *box, int64_t bytes) {
  static int64_t debt;
  if (bytes > box->bytes) debt += bytes - box->bytes;
  box->bytes = bytes;
  if (debt < BATCH) return;
  int64_t kib = debt / 1024;
  debt = 0;
  lua_gc(L, LUA_GCSTEP, (int)(kib < 1 << 30 ? kib : 1 << 30));
}
