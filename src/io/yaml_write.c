/* yaml_write.c - a json_t tree as YAML in block style, through libyaml's emitter.
 *
 * Strings that a reader could take for something else (of the core schema or of YAML 1.1) are quoted, and
 * reals carry a point before the exponent, so that other YAML libraries read the same values. */
#include "config.h"

#include <string.h>
#include <yaml.h>
#include "base/file.h"
#include "base/mem.h"
#include "io/bytes.h"
#include "io/yaml.h"
#include "io/yaml_scalar.h"

enum { MAX_DEPTH = 64 };

static int write_bytes(void *arg, unsigned char *data, size_t n) {
  return sonde_bytes_add(arg, data, (int64_t)n) == SONDE_OK;
}

static int looks_special(const char *s, size_t n) {
  static const char *const words[] = {"y", "n", "yes", "no", "on", "off", "<<", "="};
  if (!n || strchr("+-.0123456789~", s[0])) return 1;
  for (size_t i = 0; i < sizeof words / sizeof words[0]; i++)
    if (!strcasecmp(s, words[i])) return 1;
  const char *reason = NULL;
  json_t *v = sonde_yaml_scalar(s, n, 1, NULL, &reason);
  int special = !json_is_string(v);
  json_decref(v);
  return special;
}

static int emit_text(yaml_emitter_t *em, const char *s, size_t n, yaml_scalar_style_t style) {
  yaml_event_t ev;
  return yaml_scalar_event_initialize(&ev, NULL, NULL, (const yaml_char_t *)s, (int)n, 1, 1, style) &&
         yaml_emitter_emit(em, &ev);
}

static int emit_string(yaml_emitter_t *em, const char *s, size_t n) {
  return emit_text(em, s, n, looks_special(s, n) ? YAML_DOUBLE_QUOTED_SCALAR_STYLE : YAML_ANY_SCALAR_STYLE);
}

/* Numbers, true, false, null: JSON's spelling is YAML's, but for YAML 1.1's wish for a point in reals. */
static int emit_plain(yaml_emitter_t *em, const json_t *v) {
  char *s = sonde_json_text(v, 0);
  if (!s) return 0;
  char buf[64];
  size_t n = strlen(s), mantissa = strcspn(s, "e");
  int fits = n + 3 < sizeof buf, ok;
  if (json_is_real(v) && fits && !memchr(s, '.', mantissa)) {
    memcpy(buf, s, mantissa);
    memcpy(buf + mantissa, ".0", 2);
    memcpy(buf + mantissa + 2, s + mantissa, n - mantissa + 1);
    ok = emit_text(em, buf, n + 2, YAML_PLAIN_SCALAR_STYLE);
  } else {
    ok = emit_text(em, s, n, YAML_PLAIN_SCALAR_STYLE);
  }
  sonde_release(s);
  return ok;
}

static int all_scalars(const json_t *list) {
  size_t i;
  json_t *v;
  json_array_foreach(list, i, v) if (json_is_object(v) || json_is_array(v)) return 0;
  return 1;
}

static int emit_node(yaml_emitter_t *em, json_t *v, int depth) {
  yaml_event_t ev;
  if (depth > MAX_DEPTH) return 0;
  if (json_is_string(v)) return emit_string(em, json_string_value(v), json_string_length(v));
  if (json_is_array(v)) {
    size_t i;
    json_t *child;
    yaml_sequence_style_t style = all_scalars(v) ? YAML_FLOW_SEQUENCE_STYLE : YAML_BLOCK_SEQUENCE_STYLE;
    if (!yaml_sequence_start_event_initialize(&ev, NULL, NULL, 1, style) || !yaml_emitter_emit(em, &ev))
      return 0;
    json_array_foreach(v, i, child) if (!emit_node(em, child, depth + 1)) return 0;
    return yaml_sequence_end_event_initialize(&ev) && yaml_emitter_emit(em, &ev);
  }
  if (json_is_object(v)) {
    const char *key;
    json_t *child;
    if (!yaml_mapping_start_event_initialize(&ev, NULL, NULL, 1, YAML_BLOCK_MAPPING_STYLE) ||
        !yaml_emitter_emit(em, &ev))
      return 0;
    json_object_foreach(v, key, child) {
      if (!emit_string(em, key, strlen(key)) || !emit_node(em, child, depth + 1)) return 0;
    }
    return yaml_mapping_end_event_initialize(&ev) && yaml_emitter_emit(em, &ev);
  }
  return emit_plain(em, v);
}

static int emit_document(yaml_emitter_t *em, json_t *tree) {
  yaml_event_t ev;
  return yaml_stream_start_event_initialize(&ev, YAML_UTF8_ENCODING) && yaml_emitter_emit(em, &ev) &&
         yaml_document_start_event_initialize(&ev, NULL, NULL, NULL, 1) && yaml_emitter_emit(em, &ev) &&
         emit_node(em, tree, 1) && yaml_document_end_event_initialize(&ev, 1) && yaml_emitter_emit(em, &ev) &&
         yaml_stream_end_event_initialize(&ev) && yaml_emitter_emit(em, &ev);
}

char *sonde_yaml_text(const json_t *tree, sonde_error *err) {
  sonde_bytes out = {0};
  yaml_emitter_t em;
  if (!yaml_emitter_initialize(&em)) {
    sonde_fail(err, SONDE_ENOMEM, "YAML: out of memory");
    return NULL;
  }
  yaml_emitter_set_output(&em, write_bytes, &out);
  yaml_emitter_set_unicode(&em, 1);
  yaml_emitter_set_width(&em, -1);
  int ok = emit_document(&em, (json_t *)tree);
  if (!ok) {
    const char *why = em.problem ? em.problem : "out of memory, or nested more than 64 deep";
    sonde_fail(err, SONDE_EINVAL, "cannot write as YAML: %s", why);
    sonde_bytes_free(&out);
  }
  yaml_emitter_delete(&em);
  return out.data;
}

int sonde_yaml_save(const json_t *tree, const char *path, sonde_error *err) {
  char *s = sonde_yaml_text(tree, err);
  if (!s) return err->code;
  int rc = sonde_file_write(path, s, (int64_t)strlen(s), err);
  sonde_release(s);
  return rc;
}
