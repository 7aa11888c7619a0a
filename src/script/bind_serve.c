/* bind_serve.c - the HTTP server in Lua: requests are taken and answered one at a time. */
#include "config.h"

#include "base/mem.h"
#include "script/script.h"

#ifdef HAVE_MICROHTTPD

#include "serve/http.h"

enum { PAGES = 16 };
static const double LOOK_SECONDS = 0.1;      /* how often a waiting server looks for a signal */

static void free_server(void *p) {
  sonde_lua_serving(0);
  sonde_http_stop(p);
}
static void free_request(void *p) { sonde_http_drop(p); }

static const luaL_Reg server_methods[], request_methods[];
static const sonde_lua_type server_type = {"server", free_server, server_methods};
static const sonde_lua_type request_type = {"request", free_request, request_methods};

static sonde_http *to_server(lua_State *L) { return sonde_lua_handle(L, 1, &server_type); }
static sonde_http_request *to_request(lua_State *L) { return sonde_lua_handle(L, 1, &request_type); }

/* core.http_server{host, port, max_body, connections, waiting, pages = {path = JSON}} -> server. From here on INT and
 * TERM stop no Lua code: requests that arrive are refused, and server:take says that a stop was requested. */
static int core_http_server(lua_State *L) {
  sonde_error err = {0};
  sonde_http_page page[PAGES];
  lua_settop(L, 1);
  sonde_lua_options(L, 1);
  sonde_http_opts o = {.host = sonde_lua_field_string(L, 1, "host", "127.0.0.1"),
                       .port = (int)sonde_lua_field_integer(L, 1, "port", 0, 0, 65535),
                       .max_body = sonde_lua_field_integer(L, 1, "max_body", 1 << 20, 1, INT64_MAX),
                       .connections = (int)sonde_lua_field_integer(L, 1, "connections", 1, 1, 100000),
                       .waiting = (int)sonde_lua_field_integer(L, 1, "waiting", 1, 1, 100000),
                       .page = page,
                       .is_stopping = sonde_lua_prompt_signal};
  if (lua_getfield(L, 1, "pages") != LUA_TNIL) {
    sonde_lua_own(L, 2, "the pages");
    for (lua_pushnil(L); lua_next(L, 2); lua_pop(L, 1)) {
      if (o.n_pages == PAGES || lua_type(L, -2) != LUA_TSTRING || lua_type(L, -1) != LUA_TSTRING)
        return sonde_lua_fail(L, "pages are at most %d texts by their paths", PAGES);
      page[o.n_pages++] = (sonde_http_page){lua_tostring(L, -2), lua_tostring(L, -1)};   /* the table keeps them */
    }
  }
  sonde_lua_box *box = sonde_lua_new(L, &server_type, 0);
  box->p = sonde_http_start(&o, &err);
  if (!box->p) sonde_lua_raise(L, &err);
  sonde_lua_serving(1);
  return 1;
}

/* server:port() */
static int server_port(lua_State *L) {
  lua_pushinteger(L, sonde_http_port(to_server(L)));
  return 1;
}

/* server:take() -> the next request; nil when a signal requested the end and nothing waits any more */
static int server_take(lua_State *L) {
  sonde_http *h = to_server(L);
  sonde_lua_box *box = sonde_lua_new(L, &request_type, 1);
  sonde_lua_keep(L, box, 1, 0);
  do {
    int stop = sonde_lua_prompt_signal();
    if (stop) sonde_http_quiesce(h);
    box->p = sonde_http_take(h, stop ? 0 : LOOK_SECONDS);
    if (!box->p && stop) return 0;
  } while (!box->p);
  return 1;
}

/* request:method(), request:path() */
static int request_method(lua_State *L) {
  lua_pushstring(L, sonde_http_method(to_request(L)));
  return 1;
}

static int request_path(lua_State *L) {
  lua_pushstring(L, sonde_http_path(to_request(L)));
  return 1;
}

/* request:body() -> its bytes */
static int request_body(lua_State *L) {
  size_t n;
  const char *body = sonde_http_body(to_request(L), &n);
  lua_pushlstring(L, body, n);
  return 1;
}

/* request:note(text): for its log line, before the answer is complete */
static int request_note(lua_State *L) {
  sonde_http_note(to_request(L), sonde_lua_string(L, 2));
  return 0;
}

/* request:answer(status, type, body) */
static int request_answer(lua_State *L) {
  size_t n;
  sonde_error err = {0};
  int status = (int)sonde_lua_integer(L, 2, 100, 599);
  const char *type = sonde_lua_string(L, 3), *body = sonde_lua_bytes(L, 4, &n);
  sonde_lua_check(L, sonde_http_answer(to_request(L), status, type, body, n, &err), &err);
  return 0;
}

/* request:begin(status, type): the body follows in parts, until the request is closed */
static int request_begin(lua_State *L) {
  sonde_error err = {0};
  int status = (int)sonde_lua_integer(L, 2, 100, 599);
  const char *type = sonde_lua_string(L, 3);
  sonde_lua_check(L, sonde_http_begin(to_request(L), status, type, &err), &err);
  return 0;
}

/* request:send(part) */
static int request_send(lua_State *L) {
  size_t n;
  sonde_error err = {0};
  const char *part = sonde_lua_bytes(L, 2, &n);
  sonde_lua_check(L, sonde_http_send(to_request(L), part, n, &err), &err);
  return 0;
}

/* request:gone() -> whether nobody reads an answer any more */
static int request_gone(lua_State *L) {
  lua_pushboolean(L, sonde_http_gone(to_request(L)));
  return 1;
}

static const luaL_Reg server_methods[] = {{"port", server_port}, {"take", server_take}, {NULL, NULL}};
static const luaL_Reg request_methods[] = {
    {"method", request_method}, {"path", request_path},   {"body", request_body}, {"note", request_note},
    {"answer", request_answer}, {"begin", request_begin}, {"send", request_send}, {"gone", request_gone},
    {NULL, NULL},
};

#else

static int core_http_server(lua_State *L) {
  return sonde_lua_fail(L, "this program was built without libmicrohttpd, so it has no server; install it (Debian: "
                           "apt install libmicrohttpd-dev), then run configure and make again");
}

#endif

void sonde_bind_serve(lua_State *L) {
  static const luaL_Reg functions[] = {{"http_server", core_http_server}, {NULL, NULL}};
  sonde_lua_functions(L, functions);
}
