/* kit_options.c - checks of the option schema: is it fit to be read, and does every option do something? */
#include "config.h"

#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "plugin/kit.h"
#include "plugin/options.h"

json_t *kit_options(const kit *k, sonde_error *err) {
  const sonde_entry *e = k->entry;
  char what[200], word[200];
  json_t *given = sonde_options_object(sonde_entry_text(e, what, sizeof what), e->options, e->n_options, k->opts.pair,
                                       k->opts.n_pair, err);
  for (int j = 0; given && j < e->n_options; j++) {
    const sonde_option *o = &e->options[j];
    if (o->preset || json_object_get(given, o->name)) continue;
    json_t *v = o->type == 'b'   ? json_true()
                : o->type == 's' ? json_string(sonde_option_choice(o, 0, word, sizeof word) ? word : "text")
                : o->type == 'i' ? json_integer(o->min > 0 ? (json_int_t)o->min : 4)
                                 : json_real(o->min != 0 ? o->min : 0.5);
    json_object_set_new(given, o->name, v);
  }
  return given;
}

static json_t *other_number(const sonde_option *o, const sonde_value *now, int j) {
  const double middle = (o->min + o->max) / 2;
  /* Integers stay small: they are mostly sizes. */
  const double tries[] = {now->f + 1, now->f * 2, 2,          1,  now->f / 2, 3, 4,
                          8,          o->min,     now->f * 10, now->f / 10, now->f + 0.25, 0.5, middle, o->max};
  const int n = o->type == 'i' ? 9 : (int)(sizeof tries / sizeof tries[0]), bounded = o->min != 0 || o->max != 0;
  for (int t = 0; t < n; t++) {
    double v = o->type == 'i' ? floor(tries[t]) : tries[t];
    if (v == now->f || (bounded && (v < o->min || v > o->max)) || !isfinite(v)) continue;
    if (j-- == 0) return o->type == 'i' ? json_integer((json_int_t)v) : json_real(v);
  }
  return NULL;
}

/* The j-th other value worth trying for an option that is `now`; NULL when there are no more. */
static json_t *kit_other_value(const sonde_option *o, const sonde_value *now, int j) {
  char word[200];
  if (o->type == 'b') return j == 0 ? json_boolean(!now->i) : NULL;
  if (o->type == 'i' || o->type == 'f') return other_number(o, now, j);
  for (int c = 0; sonde_option_choice(o, c, word, sizeof word); c++)
    if (strcmp(word, now->s) && j-- == 0) return json_string(word);
  return NULL;
}

int kit_is_taken(kit *k) { return !k->kind->kit->is_taken || k->kind->kit->is_taken(k); }

static void say_where(kit *k, const char *what, const char *value) {
  char why[sizeof k->why];
  snprintf(why, sizeof why, "%s", k->why);
  kit_fail(k, "with %s = %.60s: %.600s", what, value, why);
}

/* The check with option o at v. */
static int with_option(kit *k, kit_check fn, const json_t *base, const sonde_option *o, json_t *v) {
  json_t *options = json_deep_copy(base);
  sonde_error err = {0};
  sonde_value *kept = k->values;
  int outcome = SONDE_SKIP;
  json_object_set(options, o->name, v);
  if ((k->values = sonde_entry_values(k->entry, options, &err)) && kit_is_taken(k)) outcome = fn(k);
  if (outcome == SONDE_FAIL) {
    char *text = json_dumps(v, JSON_ENCODE_ANY);
    say_where(k, o->name, text ? text : "?");
    free(text);
  }
  sonde_release(k->values);
  k->values = kept;
  k->usual_of = NULL;
  json_decref(options);
  return outcome;
}

static int each_option(kit *k, kit_check fn, const json_t *base) {
  enum { NUMBERS = 2 };
  int all = fn(k);
  json_t *v;
  for (int j = 0; j < k->entry->n_options && all != SONDE_FAIL; j++) {
    const sonde_option *o = &k->entry->options[j];
    int most = o->type == 'i' || o->type == 'f' ? NUMBERS : 100;
    for (int t = 0; t < most && all != SONDE_FAIL && (v = kit_other_value(o, &k->values[j], t)); t++) {
      int outcome = with_option(k, fn, base, o, v);
      json_decref(v);
      if (outcome == SONDE_FAIL || all == SONDE_SKIP) all = outcome;
    }
  }
  return all;
}

static void say_place(kit *k) {
  char why[sizeof k->why];
  snprintf(why, sizeof why, "%s", k->why);
  kit_fail(k, "with %.80s: %.700s", k->kind->kit->place[k->place].text, why);
}

static int at_places(kit *k, kit_check fn, const json_t *base) {
  int all = SONDE_SKIP;
  for (k->place = 0; k->place < k->kind->kit->places && all != SONDE_FAIL; k->place++) {
    if (k->place && !kit_is_taken(k)) continue;
    int outcome = base ? each_option(k, fn, base) : fn(k);
    if (outcome == SONDE_FAIL && k->place) say_place(k);
    if (outcome == SONDE_FAIL || all == SONDE_SKIP) all = outcome;
  }
  k->place = 0;
  if (all == SONDE_PASS) k->why[0] = '\0';
  return all;
}

int kit_each_place(kit *k, kit_check fn) { return at_places(k, fn, NULL); }

int kit_each_variant(kit *k, kit_check fn) {
  sonde_error err = {0};
  json_t *base = kit_options(k, &err);
  int all = base ? at_places(k, fn, base) : kit_fail(k, "%s", err.text);
  json_decref(base);
  return all;
}

int check_schema(kit *k) {
  const sonde_entry *e = k->entry;
  if (strchr(e->summary, '\n') || strlen(e->summary) < 8)
    return kit_fail(k, "its summary must be one line that says what it does");
  for (int j = 0; j < e->n_options; j++) {
    const sonde_option *o = &e->options[j];
    int numeric = o->type == 'i' || o->type == 'f';
    if (strlen(o->doc) < 8 || strchr(o->doc, '\n'))
      return kit_fail(k, "option '%s': its doc must be one line that says what it does", o->name);
    if (numeric && o->min == 0 && o->max == 0)
      return kit_fail(k, "option '%s' is a number without a range; give min and max", o->name);
    if (numeric && o->min == o->max)
      return kit_fail(k, "option '%s': its range leaves one value, %g", o->name, o->min);
    if (o->type == 'i' && (o->min != floor(o->min) || o->max != floor(o->max)))
      return kit_fail(k, "option '%s' is an integer with the range %g to %g", o->name, o->min, o->max);
  }
  for (int j = 0; e->plugin && j < e->plugin->n_ops; j++) {
    const sonde_op_def *d = &e->plugin->ops[j];
    if (!d->doc || !*d->doc || strchr(d->doc, '\n'))
      return kit_fail(k, "op '%s': its doc must be one line: formula, shapes, attributes", d->name);
  }
  return SONDE_PASS;
}

/* What the plugin does with these options, as one number over bits. A place counts where it is accepted; the first one
 * must be. */
static int effect_bits(kit *k, const json_t *options, uint64_t *bits, sonde_error *err) {
  const kit_kind *of = k->kind->kit;
  sonde_value *v = sonde_entry_values(k->entry, options, err);
  int rc = v ? SONDE_OK : err->code;
  *bits = 0xcbf29ce484222325u;
  for (k->place = 0; !rc && k->place < of->places; k->place++)
    if (!k->place || kit_is_taken(k)) rc = of->bits(k, v, bits, err);
  k->place = 0;
  sonde_release(v);
  return rc;
}

/* Does another value of option o, of the first `most`, change anything while the others are as in `base`? 1, 0, or -1:
 * none was taken. */
static int has_effect(kit *k, const json_t *base, int o, int most, sonde_error *err) {
  const sonde_option *schema = k->entry->options;
  uint64_t before = 0, after = 0;
  int found = -1;
  if (effect_bits(k, base, &before, err)) return -1;
  for (int j = 0; found < 1 && j < most; j++) {
    json_t *v = kit_other_value(&schema[o], &k->values[o], j), *options = json_deep_copy(base);
    if (!v || json_object_set_new(options, schema[o].name, v)) {
      json_decref(options);
      break;
    }
    if (!effect_bits(k, options, &after, err)) found = after != before;
    json_decref(options);
  }
  return found;
}

/* The same where `more` other options have other values too: those beside option o first, which mostly belong to it.
 * `within` is the distance from o of those that may be moved. */
static int has_effect_beside(kit *k, const json_t *base, int o, int within, int more, sonde_error *err) {
  enum { TRIES = 3, VALUES = 5 };
  const sonde_option *schema = k->entry->options;
  const int n = k->entry->n_options;
  int found = more ? -1 : has_effect(k, base, o, VALUES, err);
  for (int at = 1; more && at < within && found < 1; at++) {
    int p = at % 2 ? o - (at + 1) / 2 : o + at / 2;
    for (int j = 0; p >= 0 && p < n && j < TRIES && found < 1; j++) {
      json_t *v = kit_other_value(&schema[p], &k->values[p], j), *moved = json_deep_copy(base);
      if (v && !json_object_set_new(moved, schema[p].name, v)) {
        int now = has_effect_beside(k, moved, o, at, more - 1, err);
        if (now > found) found = now;
      }
      json_decref(moved);
    }
  }
  return found;
}

/* An option may count only together with another (nesterov with momentum), or with two. */
static int check_one(kit *k, const json_t *base, int o) {
  enum { OTHERS = 2 };
  const sonde_option *schema = k->entry->options;
  sonde_error err = {0}, ignored = {0};
  int found = has_effect(k, base, o, INT_MAX, &err);
  for (int more = 1; more <= OTHERS && found < 1; more++) {
    int now = has_effect_beside(k, base, o, 2 * k->entry->n_options, more, &ignored);
    if (now > found) found = now;
  }
  if (found == 0) return kit_fail(k, "option '%s' has no effect: no other value changes any result", schema[o].name);
  if (found < 0)
    return kit_fail(k, "option '%s': no value beside its default is taken: %.400s", schema[o].name, err.text);
  return SONDE_PASS;
}

int check_options(kit *k) {
  sonde_error err = {0};
  json_t *base = kit_options(k, &err);
  int outcome = base ? SONDE_PASS : kit_fail(k, "%s", err.text);
  for (int o = 0; o < k->entry->n_options && outcome == SONDE_PASS; o++)
    if (k->entry->options[o].type != 's' || k->entry->options[o].choices) outcome = check_one(k, base, o);
  json_decref(base);
  return outcome == SONDE_PASS && !k->entry->n_options ? kit_skip(k, "it has no options") : outcome;
}
