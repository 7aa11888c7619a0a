/* kind.c - see kind.h. */
#include "plugin/kind.h"

#include <stdio.h>
#include <string.h>

enum { MOST = 32 };

extern const sonde_kind sonde_kind_norm, sonde_kind_attention, sonde_kind_ffn, sonde_kind_optimizer, sonde_kind_distill,
    sonde_kind_sparsity;

static const sonde_kind *kinds[MOST] = {
    &sonde_kind_norm, &sonde_kind_attention, &sonde_kind_ffn, &sonde_kind_optimizer, &sonde_kind_distill,
    &sonde_kind_sparsity,
};

const sonde_kind *sonde_kind_at(int k) { return k >= 0 && k < MOST ? kinds[k] : NULL; }

const sonde_kind *sonde_kind_find(const char *name) {
  for (int k = 0; name && k < MOST && kinds[k]; k++)
    if (!strcmp(kinds[k]->name, name)) return kinds[k];
  return NULL;
}

int sonde_kind_is_module(const char *name) {
  const sonde_kind *kind = sonde_kind_find(name);
  return kind && (kind->flags & SONDE_KIND_MODULE);
}

int sonde_kind_is_scripted(const sonde_kind *kind) {
  return (kind->flags & (SONDE_KIND_MODULE | SONDE_KIND_SCRIPT)) != 0;
}

char *sonde_kind_names(uint32_t flags, char *buf, size_t size) {
  const char *names[MOST];
  size_t at = 0;
  int n = 0;
  for (int k = 0; k < MOST && kinds[k]; k++)
    if ((kinds[k]->flags & flags) == flags) names[n++] = kinds[k]->name;
  *buf = '\0';
  for (int k = 0; k < n && at < size; k++)
    at += (size_t)snprintf(buf + at, size - at, "%s%s", !k ? "" : k + 1 < n ? ", " : " and ", names[k]);
  return buf;
}

int sonde_kind_add(const sonde_kind *kind, sonde_error *err) {
  int n = 0;
  while (n < MOST && kinds[n]) n++;
  if (!kind->name || !kind->doc || !kind->functions || !kind->size || kind->least > kind->size || !kind->kit)
    return sonde_fail(err, SONDE_EINVAL,
                      "the kind '%s' lacks a name, a line of doc, its functions with their sizes, or a kit",
                      kind->name ? kind->name : "");
  if (sonde_kind_find(kind->name)) return sonde_fail(err, SONDE_EINVAL, "there is a kind '%s' already", kind->name);
  if (n == MOST) return sonde_fail(err, SONDE_ELIMIT, "there are %d kinds already; raise MOST in kind.c", MOST);
  kinds[n] = kind;
  return 0;
}

int sonde_is_name(const char *s) {
  if (!s || !(*s >= 'a' && *s <= 'z') || strlen(s) > 60) return 0;
  return s[strspn(s, "abcdefghijklmnopqrstuvwxyz0123456789_")] == '\0';
}

int sonde_module_check(const void *functions, sonde_error *err) {
  const sonde_module *m = functions;
  return m->build ? 0 : sonde_fail(err, SONDE_EINVAL, "its sonde_module has no build function");
}
