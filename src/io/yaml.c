/* yaml.c - reading YAML: libyaml's events to a json_t tree, with the line of every value. */
#include "config.h"

#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <yaml.h>
#include "base/file.h"
#include "base/mem.h"
#include "io/yaml.h"
#include "io/yaml_scalar.h"

enum { MAX_DEPTH = 64, MAX_NODES = 1000000, MAX_FILE = 16 << 20, MAX_PATH = 1024 };

struct sonde_doc {
  json_t *root;
  char *name;
  sonde_map *lines;            /* dotted path -> line, as a pointer-sized integer */
};

/* A finished anchored value: what an alias copies, how many nodes that is, and how deep they nest. */
typedef struct anchor {
  json_t *value;
  int64_t nodes;
  int height;
} anchor;

typedef struct reader {
  yaml_parser_t parser;
  const char *name;
  sonde_error *err;
  sonde_doc *doc;
  sonde_map *anchors;
  sonde_arena *arena;          /* the anchors' records */
  int64_t nodes;
  int depth;
  char path[MAX_PATH];         /* of the value that is being read; deeper ones get no line of their own */
} reader;

static int refuse(reader *r, const yaml_event_t *ev, const char *what) {
  return sonde_fail(r->err, SONDE_EFORMAT, "%s:%d: %s", r->name, (int)ev->start_mark.line + 1, what);
}

static json_t *fail_at(reader *r, const yaml_event_t *ev, const char *what) {
  refuse(r, ev, what);
  return NULL;
}

static json_t *no_memory(reader *r) {
  sonde_fail(r->err, SONDE_ENOMEM, "%s: out of memory", r->name);
  return NULL;
}

static int next(reader *r, yaml_event_t *ev) {
  if (yaml_parser_parse(&r->parser, ev)) return SONDE_OK;
  const yaml_parser_t *p = &r->parser;
  if (p->error == YAML_MEMORY_ERROR) return sonde_fail(r->err, SONDE_ENOMEM, "%s: out of memory", r->name);
  return sonde_fail(r->err, SONDE_EFORMAT, "%s:%d: %s%s%s", r->name, (int)p->problem_mark.line + 1,
                    p->problem ? p->problem : "not YAML", p->context ? ", " : "",
                    p->context ? p->context : "");
}

static int note_line(reader *r, const yaml_event_t *ev) {
  return sonde_map_set(r->doc->lines, r->path, (void *)(intptr_t)(ev->start_mark.line + 1));
}

/* Appends ".part" to the path; returns the length to cut back to. */
static size_t push_path(reader *r, const char *part) {
  size_t old = strlen(r->path);
  snprintf(r->path + old, sizeof r->path - old, "%s%s", old ? "." : "", part);
  return old;
}

static json_t *read_node(reader *r, yaml_event_t *ev);

static json_t *read_alias(reader *r, const yaml_event_t *ev) {
  const anchor *a = sonde_map_get(r->anchors, (const char *)ev->data.alias.anchor);
  if (!a) return fail_at(r, ev, "an alias names an anchor that is not finished before it");
  r->nodes += a->nodes;
  if (r->nodes > MAX_NODES) return fail_at(r, ev, "aliases unfold to more than a million values");
  if (r->depth + a->height > MAX_DEPTH) return fail_at(r, ev, "aliases nest more than 64 deep");
  json_t *copy = json_deep_copy(a->value);
  return copy ? copy : no_memory(r);
}

static json_t *read_scalar(reader *r, const yaml_event_t *ev) {
  const char *text = (const char *)ev->data.scalar.value, *tag = (const char *)ev->data.scalar.tag;
  size_t n = ev->data.scalar.length;
  if (memchr(text, '\0', n)) return fail_at(r, ev, "a NUL character in a string");
  const char *reason = NULL;
  json_t *v = sonde_yaml_scalar(text, n, ev->data.scalar.style == YAML_PLAIN_SCALAR_STYLE, tag, &reason);
  if (v) return v;
  return reason ? fail_at(r, ev, reason) : no_memory(r);
}

static json_t *read_sequence(reader *r, const yaml_event_t *start) {
  const char *tag = (const char *)start->data.sequence_start.tag;
  if (tag && strcmp(tag, YAML_SEQ_TAG)) return fail_at(r, start, "an unknown tag on a list");
  json_t *list = json_array();
  if (!list) return no_memory(r);
  for (;;) {
    yaml_event_t ev;
    char index[24];
    if (next(r, &ev)) break;
    if (ev.type == YAML_SEQUENCE_END_EVENT) {
      yaml_event_delete(&ev);
      return list;
    }
    snprintf(index, sizeof index, "%zu", json_array_size(list));
    size_t old = push_path(r, index);
    json_t *v = read_node(r, &ev);
    r->path[old] = '\0';
    yaml_event_delete(&ev);
    if (!v) break;
    if (json_array_append_new(list, v)) {
      no_memory(r);
      break;
    }
  }
  json_decref(list);
  return NULL;
}

static int check_key(reader *r, const yaml_event_t *ev, const json_t *map) {
  if (ev->type != YAML_SCALAR_EVENT) return refuse(r, ev, "a key that is not a plain word or a string");
  const char *key = (const char *)ev->data.scalar.value, *tag = (const char *)ev->data.scalar.tag;
  if (memchr(key, '\0', ev->data.scalar.length)) return refuse(r, ev, "a NUL character in a key");
  if (ev->data.scalar.anchor) return refuse(r, ev, "an anchor on a key");
  if (tag && strcmp(tag, YAML_STR_TAG)) return refuse(r, ev, "a tag on a key");
  if (!strcmp(key, "<<") && ev->data.scalar.style == YAML_PLAIN_SCALAR_STYLE)
    return refuse(r, ev, "merge keys (<<) are not read; write the keys out");
  if (json_object_get(map, key))
    return sonde_fail(r->err, SONDE_EFORMAT, "%s:%d: the key '%s' is repeated here", r->name,
                      (int)ev->start_mark.line + 1, key);
  return 0;
}

/* One key and its value, the key's event being there. */
static int read_pair(reader *r, const yaml_event_t *key, json_t *map) {
  yaml_event_t ev;
  if (check_key(r, key, map)) return -1;
  if (next(r, &ev)) return -1;
  size_t old = push_path(r, (const char *)key->data.scalar.value);
  json_t *v = read_node(r, &ev);
  /* The line of a member is that of its key: where the eye looks for it. */
  int rc = v ? note_line(r, key) : 0;
  r->path[old] = '\0';
  yaml_event_delete(&ev);
  if (!v) return -1;
  if (json_object_set_new(map, (const char *)key->data.scalar.value, v) || rc) return no_memory(r), -1;
  return 0;
}

static json_t *read_mapping(reader *r, const yaml_event_t *start) {
  const char *tag = (const char *)start->data.mapping_start.tag;
  if (tag && strcmp(tag, YAML_MAP_TAG)) return fail_at(r, start, "an unknown tag on a mapping");
  json_t *map = json_object();
  if (!map) return no_memory(r);
  for (;;) {
    yaml_event_t ev;
    if (next(r, &ev)) break;
    int end = ev.type == YAML_MAPPING_END_EVENT;
    int rc = end ? 0 : read_pair(r, &ev, map);
    yaml_event_delete(&ev);
    if (end) return map;
    if (rc) break;
  }
  json_decref(map);
  return NULL;
}

static int height(const json_t *v) {
  int most = 0;
  size_t i;
  const char *key;
  json_t *child;
  if (json_is_array(v)) {
    json_array_foreach(v, i, child) {
      int h = height(child);
      if (h > most) most = h;
    }
  } else if (json_is_object(v)) {
    json_object_foreach((json_t *)v, key, child) {
      int h = height(child);
      if (h > most) most = h;
    }
  }
  return most + 1;
}

static int keep_anchor(reader *r, const yaml_char_t *name, json_t *value, int64_t nodes) {
  anchor *a = sonde_arena_alloc(r->arena, sizeof *a);
  if (!a) return SONDE_ENOMEM;
  anchor *old = sonde_map_get(r->anchors, (const char *)name);
  if (sonde_map_set(r->anchors, (const char *)name, a)) return SONDE_ENOMEM;
  if (old) json_decref(old->value);
  *a = (anchor){json_incref(value), nodes, height(value)};
  return SONDE_OK;
}

static json_t *read_node(reader *r, yaml_event_t *ev) {
  if (ev->type == YAML_ALIAS_EVENT) return note_line(r, ev) ? no_memory(r) : read_alias(r, ev);
  if (++r->nodes > MAX_NODES) return fail_at(r, ev, "more than a million values");
  if (r->depth == MAX_DEPTH) return fail_at(r, ev, "nested more than 64 deep");
  if (note_line(r, ev)) return no_memory(r);
  int64_t before = r->nodes - 1;
  const yaml_char_t *name = NULL;
  json_t *v = NULL;
  r->depth++;
  switch (ev->type) {
    case YAML_SCALAR_EVENT:
      v = read_scalar(r, ev);
      name = ev->data.scalar.anchor;
      break;
    case YAML_SEQUENCE_START_EVENT:
      v = read_sequence(r, ev);
      name = ev->data.sequence_start.anchor;
      break;
    case YAML_MAPPING_START_EVENT:
      v = read_mapping(r, ev);
      name = ev->data.mapping_start.anchor;
      break;
    default:
      fail_at(r, ev, "a value is missing");
  }
  r->depth--;
  if (v && name && keep_anchor(r, name, v, r->nodes - before)) {
    json_decref(v);
    return no_memory(r);
  }
  return v;
}

/* Stream start, one document at most, stream end. */
static int read_stream(reader *r) {
  yaml_event_t ev;
  int documents = 0;
  for (;;) {
    if (next(r, &ev)) return -1;
    yaml_event_type_t type = ev.type;
    int rc = 0;
    if (type == YAML_DOCUMENT_START_EVENT && documents++) rc = refuse(r, &ev, "a second document");
    if (type == YAML_SCALAR_EVENT || type == YAML_SEQUENCE_START_EVENT || type == YAML_MAPPING_START_EVENT ||
        type == YAML_ALIAS_EVENT)
      rc = (r->doc->root = read_node(r, &ev)) ? 0 : -1;
    yaml_event_delete(&ev);
    if (rc) return -1;
    if (type == YAML_STREAM_END_EVENT) break;
  }
  if (!r->doc->root) r->doc->root = json_null();
  return 0;
}

sonde_doc *sonde_yaml_parse(const char *text, int64_t size, const char *name, sonde_error *err) {
  reader r = {.name = name, .err = err};
  sonde_doc *d = sonde_alloc(sizeof *d);
  int parser = 0, rc = -1;
  r.doc = d;
  r.anchors = sonde_map_new();
  r.arena = sonde_arena_new();
  if (d) {
    d->name = sonde_strdup(name);
    d->lines = sonde_map_new();
  }
  if (d && d->name && d->lines && r.anchors && r.arena) parser = yaml_parser_initialize(&r.parser);
  if (parser) {
    yaml_parser_set_input_string(&r.parser, (const unsigned char *)text, (size_t)size);
    rc = read_stream(&r);
    yaml_parser_delete(&r.parser);
  } else {
    no_memory(&r);
  }
  for (int64_t i = 0; r.anchors && i < sonde_map_count(r.anchors); i++)
    json_decref(((anchor *)sonde_map_value(r.anchors, i))->value);
  sonde_map_free(r.anchors);
  sonde_arena_free(r.arena);
  if (rc) {
    sonde_doc_free(d);
    return NULL;
  }
  return d;
}

sonde_doc *sonde_yaml_load(const char *path, sonde_error *err) {
  char *text;
  int64_t size;
  if (sonde_file_read(path, MAX_FILE, &text, &size, err)) return NULL;
  sonde_doc *d = sonde_yaml_parse(text, size, path, err);
  sonde_release(text);
  return d;
}

void sonde_doc_free(sonde_doc *d) {
  if (!d) return;
  json_decref(d->root);
  sonde_map_free(d->lines);
  sonde_release(d->name);
  sonde_release(d);
}

json_t *sonde_doc_root(const sonde_doc *d) {
  return d->root;
}

/* Values that came through an alias have no line of their own; the nearest one around them has. */
int sonde_doc_line(const sonde_doc *d, const char *path) {
  char up[MAX_PATH];
  snprintf(up, sizeof up, "%s", path);
  for (;;) {
    intptr_t line = (intptr_t)sonde_map_get(d->lines, up);
    char *dot = strrchr(up, '.');
    if (line || !dot) return (int)line;
    *dot = '\0';
  }
}

const char *sonde_doc_where(const sonde_doc *d, const char *path, char *buf, size_t n) {
  int line = sonde_doc_line(d, path);
  if (line)
    snprintf(buf, n, "%s:%d", d->name, line);
  else
    snprintf(buf, n, "%s", d->name);
  return buf;
}
