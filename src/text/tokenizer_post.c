/* tokenizer_post.c - the post-processor of a tokenizer.json: the tokens that it puts around a text. */
#include "config.h"

#include <string.h>
#include "io/json.h"
#include "text/tokenizer_internal.h"

typedef sonde_tokenizer_loader loader;

static int add_id(const loader *l, int32_t **list, int64_t *n, const json_t *id) {
  if (!json_is_integer(id) || json_integer_value(id) < 0 || json_integer_value(id) >= l->t->vocab)
    return sonde_fail(l->err, SONDE_EFORMAT, "%s: the post-processor names an id that is none", l->name);
  int32_t *grown = sonde_grow(*list, (size_t)*n * sizeof **list, (size_t)(*n + 1) * sizeof **list);
  if (!grown) return sonde_tokenizer_no_memory(l);
  *list = grown;
  grown[(*n)++] = (int32_t)json_integer_value(id);
  return 0;
}

static int read_template(const loader *l, const json_t *v) {
  sonde_tokenizer *t = l->t;
  const json_t *piece, *id, *specials = json_object_get(v, "special_tokens"),
                            *single = json_object_get(v, "single");
  size_t i, k;
  int sequences = 0, rc;
  json_array_foreach(single, i, piece) {
    const json_t *special = json_object_get(piece, "SpecialToken");
    if (json_object_get(piece, "Sequence")) sequences++;
    if (!special) continue;
    const char *name = json_string_value(json_object_get(special, "id"));
    const json_t *ids = name ? json_object_get(json_object_get(specials, name), "ids") : NULL;
    if (!json_is_array(ids))
      return sonde_fail(l->err, SONDE_EFORMAT, "%s: the template names a special token without ids", l->name);
    json_array_foreach(ids, k, id) {
      rc = sequences ? add_id(l, &t->after, &t->after_n, id) : add_id(l, &t->before, &t->before_n, id);
      if (rc) return rc;
    }
  }
  return sequences == 1
           ? 0
           : sonde_fail(l->err, SONDE_EFORMAT, "%s: a template without its one sequence", l->name);
}

static int read_step(const loader *l, const void *json) {
  const json_t *v = json;
  const char *type = sonde_part_type(v);
  sonde_tokenizer *t = l->t;
  if (!strcmp(type, "ByteLevel")) return 0;            /* changes offsets, not ids */
  if (!strcmp(type, "TemplateProcessing")) return read_template(l, v);
  if (strcmp(type, "RobertaProcessing") && strcmp(type, "BertProcessing"))
    return sonde_part_unsupported(l, "post-processor", type);
  int rc = add_id(l, &t->before, &t->before_n, json_array_get(json_object_get(v, "cls"), 1));
  return rc ? rc : add_id(l, &t->after, &t->after_n, json_array_get(json_object_get(v, "sep"), 1));
}

int sonde_read_post_processor(const loader *l, const void *json) {
  return sonde_each_step(l, json, "processors", read_step);
}
