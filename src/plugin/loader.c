/* loader.c - see loader.h. */
#include "config.h"

#include "plugin/loader.h"

#include <dlfcn.h>
#include <link.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/crash.h"
#include "base/file.h"
#include "plugin/host.h"
#include "plugin/kind.h"
#include "plugin/options.h"

/* What a plugin of the first release with this major number has of each struct. */
enum {
  FIRST_PLUGIN = SONDE_SIZE_WITH(sonde_plugin, suggests),
  FIRST_OP = SONDE_SIZE_WITH(sonde_op_def, flops),
};

/* The word of `key` in a build string "key=value key=value", or "" when it is not there. */
static char *build_field(const char *build, const char *key, char *buf, size_t size) {
  size_t n = strlen(key);
  *buf = '\0';
  for (const char *at = build; *at; at += strcspn(at, " "), at += strspn(at, " "))
    if (!strncmp(at, key, n) && at[n] == '=') snprintf(buf, size, "%.*s", (int)strcspn(at, " "), at);
  return buf;
}

/* Field by field, so that the message says which one differs. */
static int check_build(const char *path, const char *theirs, sonde_error *err) {
  static const char *const keys[] = {"real", "index", "endian"};
  char a[64], b[64];
  if (!theirs) return sonde_fail(err, SONDE_EABI, "%s: no build string; set .build = SONDE_BUILD", path);
  for (size_t k = 0; k < sizeof keys / sizeof keys[0]; k++)
    if (strcmp(build_field(theirs, keys[k], a, sizeof a), build_field(SONDE_BUILD, keys[k], b, sizeof b)))
      return sonde_fail(err, SONDE_EABI,
                        "%s: built for '%s', this Sonde has '%s'; compile it again with this Sonde's headers", path,
                        *a ? a : keys[k], b);
  return 0;
}

static int check_abi(const char *path, const sonde_plugin *p, sonde_error *err) {
  if (p->abi_major != SONDE_ABI_MAJOR)
    return sonde_fail(err, SONDE_EABI,
                      "%s: speaks plugin interface %d.%d, this Sonde %d.%d: the major numbers differ; "
                      "compile it again with this Sonde's headers",
                      path, p->abi_major, p->abi_minor, SONDE_ABI_MAJOR, SONDE_ABI_MINOR);
  if (p->abi_minor > SONDE_ABI_MINOR)
    return sonde_fail(err, SONDE_EABI,
                      "%s: needs plugin interface %d.%d, this Sonde has %d.%d: use a newer Sonde, or compile "
                      "it again with this one's headers",
                      path, p->abi_major, p->abi_minor, SONDE_ABI_MAJOR, SONDE_ABI_MINOR);
  if (p->size < FIRST_PLUGIN)
    return sonde_fail(err, SONDE_EABI,
                      "%s: its descriptor has %u bytes, in interface %d.0 it had %d; set .size = sizeof(sonde_plugin)",
                      path, p->size, SONDE_ABI_MAJOR, FIRST_PLUGIN);
  return check_build(path, p->build, err);
}

/* ---- the copy: whole structs, with zeros where the plugin knew no member yet ---- */

/* Of a struct of `from` bytes, one of `size`. */
static void *copy(sonde_arena *arena, const void *p, size_t from, size_t size, sonde_error *err) {
  void *own = sonde_arena_alloc(arena, size);
  if (own) memcpy(own, p, from < size ? from : size);
  else sonde_fail(err, SONDE_ENOMEM, "no memory for what it brings");
  return own;
}

static int take_functions(sonde_plugin *p, const sonde_kind *kind, sonde_arena *arena, sonde_error *err) {
  uint32_t size;
  if (!p->functions) return sonde_fail(err, SONDE_EINVAL, "it has no functions; give a %s", kind->functions);
  memcpy(&size, p->functions, sizeof size);
  if (size < kind->least)
    return sonde_fail(err, SONDE_EABI, "its functions have %u bytes, a %s has %zu at least; set .size = sizeof(%s)",
                      size, kind->functions, kind->least, kind->functions);
  p->functions = copy(arena, p->functions, size, kind->size, err);
  return !p->functions ? err->code : kind->check ? kind->check(p->functions, err) : 0;
}

static int take_ops(sonde_plugin *p, sonde_arena *arena, sonde_error *err) {
  const char *at = (const char *)p->ops;
  size_t n = strlen(p->name);
  if (p->n_ops < 0 || p->n_ops > 64 || (p->n_ops && !p->ops))
    return sonde_fail(err, SONDE_EINVAL, "%d ops; give a list of 0 to 64", p->n_ops);
  sonde_op_def *own = sonde_arena_alloc(arena, (size_t)(p->n_ops + 1) * sizeof *own);
  if (!own) return sonde_fail(err, SONDE_ENOMEM, "no memory for its ops");
  uint32_t size = p->n_ops ? p->ops->size : 0;
  for (int k = 0; k < p->n_ops; k++, at += size) {
    sonde_op_def *d = &own[k];
    memcpy(&d->size, at, sizeof d->size);
    if (d->size < FIRST_OP || d->size != size)
      return sonde_fail(err, SONDE_EABI, "op %d: set .size = sizeof(sonde_op_def)", k + 1);
    memcpy(d, at, size < sizeof *d ? size : sizeof *d);
    d->size = sizeof *d;
    if (!d->name || strncmp(d->name, p->name, n) || d->name[n] != '.' || !sonde_is_name(d->name + n + 1))
      return sonde_fail(err, SONDE_EINVAL, "op %d is called '%s'; a plugin's ops are called '%s.something'", k + 1,
                        d->name ? d->name : "", p->name);
  }
  p->ops = own;
  return 0;
}

static int check_kind(const sonde_plugin *p, sonde_error *err) {
  const char *names[64], *near;
  char all[200];
  int n = 0;
  if (sonde_kind_find(p->kind)) return 0;
  for (; n < 64 && sonde_kind_at(n); n++) names[n] = sonde_kind_at(n)->name;
  near = p->kind ? sonde_nearest(p->kind, names, n) : NULL;
  return sonde_fail(err, SONDE_EINVAL, "'%s' is of unknown kind '%.60s'; %s%s%s", p->name, p->kind ? p->kind : "",
                    near ? "did you mean '" : "kinds are ", near ? near : sonde_kind_names(0, all, sizeof all),
                    near ? "'?" : "");
}

/* The copy of a descriptor whose interface is known to fit; NULL with the reason. */
static const sonde_plugin *take(const char *path, const sonde_plugin *from, sonde_arena *arena, sonde_error *err) {
  char what[200];
  sonde_plugin *p = copy(arena, from, from->size, sizeof *from, err);
  if (p && !sonde_is_name(p->name))
    sonde_fail(err, SONDE_EINVAL, "'%.60s' is no plugin name; use a-z, 0-9 and _, a letter first",
               p->name ? p->name : "");
  else if (p && !check_kind(p, err)) {
    snprintf(what, sizeof what, "%s '%s'", p->kind, p->name);
    if (!p->version || !*p->version || !p->summary || !*p->summary || !p->citation)
      sonde_fail(err, SONDE_EINVAL, "%s lacks a version, a summary or a citation (\"\" for none)", what);
    else if (!sonde_options_check(what, p->options, p->n_options, err)) {
      if (!take_ops(p, arena, err) && !take_functions(p, sonde_kind_find(p->kind), arena, err)) {
        p->size = sizeof *p;
        return p;
      }
      sonde_wrap(err, "%s", what);
    }
  }
  sonde_wrap(err, "%s", path);
  return NULL;
}

/* ---- the file ---- */

static int reaches_past(uint64_t offset, uint64_t length, uint64_t size) {
  return offset > size || length > size - offset;
}

/* What the headers of an ELF file of this machine's word size place behind the end of the file. */
static int is_cut(const char *data, uint64_t size) {
  ElfW(Ehdr) head;
  ElfW(Phdr) part;
  memcpy(&head, data, sizeof head);
  if (head.e_phentsize != sizeof part) return 0;   /* dlopen has words for that */
  if (reaches_past(head.e_phoff, (uint64_t)head.e_phnum * sizeof part, size) ||
      reaches_past(head.e_shoff, (uint64_t)head.e_shnum * head.e_shentsize, size))
    return 1;
  for (int k = 0; k < head.e_phnum; k++) {
    memcpy(&part, data + head.e_phoff + (size_t)k * sizeof part, sizeof part);
    if (reaches_past(part.p_offset, part.p_filesz, size)) return 1;
  }
  return 0;
}

/* dlopen maps what the headers promise, and touching what lies behind the end of the file is SIGBUS: so a file that was
 * cut short is found out first. Whether it is a shared object at all is dlopen's to say. */
static int check_whole(const char *path, sonde_error *err) {
  static const char start[] = {ELFMAG0, ELFMAG1, ELFMAG2, ELFMAG3, sizeof(void *) == 8 ? ELFCLASS64 : ELFCLASS32};
  sonde_mapping m;
  int rc = sonde_map_file(path, &m, err);
  if (rc) return rc;
  if (m.size >= (int64_t)sizeof(ElfW(Ehdr)) && !memcmp(m.data, start, sizeof start) && is_cut(m.data, (uint64_t)m.size))
    rc = sonde_fail(err, SONDE_EFORMAT,
                    "%s: is cut short: its headers promise more than its %lld bytes; build or copy it again", path,
                    (long long)m.size);
  sonde_unmap_file(&m);
  return rc;
}

typedef struct own_region { ElfW(Addr) base; const char *path; } own_region;

/* Registers the object at r->base, so that a crash in its code has its name. */
static int add_region(struct dl_phdr_info *info, size_t size, void *arg) {
  const own_region *r = arg;
  size_t end = 0;
  (void)size;
  if (info->dlpi_addr != r->base) return 0;
  for (int k = 0; k < info->dlpi_phnum; k++) {
    const ElfW(Phdr) *part = &info->dlpi_phdr[k];
    if (part->p_type == PT_LOAD && part->p_vaddr + part->p_memsz > end) end = part->p_vaddr + part->p_memsz;
  }
  sonde_crash_region((const void *)r->base, end, SONDE_BACKED_BY_PLUGIN, r->path);
  return 1;
}

const sonde_plugin *sonde_load_plugin(const char *path, sonde_arena *arena, sonde_error *err) {
  typedef const sonde_plugin *(*entry_fn)(const sonde_host *);
  int seconds = sonde_load_seconds(err);
  if (seconds < 0) return NULL;
  char *whole = realpath(path, NULL);   /* with a slash in it, so that dlopen looks nowhere else */
  if (!whole) {
    sonde_fail_errno(err, SONDE_ENOENT, "%s: cannot be opened", path);
    return NULL;
  }
  if (check_whole(path, err)) {
    free(whole);
    return NULL;
  }
  sonde_doing_load(path, seconds);
  void *so = dlopen(whole, RTLD_NOW | RTLD_LOCAL);
  sonde_doing_loaded();
  free(whole);
  if (!so) {
    const char *why = dlerror(), *lacks = why ? strstr(why, "undefined symbol: ") : NULL;
    if (lacks)
      sonde_fail(err, SONDE_EABI,
                 "%s: %s; a plugin links nothing of Sonde's and calls it only through sonde_plugin.h", path, lacks);
    else
      sonde_fail(err, SONDE_EFORMAT, "%s: is no shared object that can be loaded: %s", path,
                 why ? why : "no reason given");
    return NULL;
  }
  entry_fn entry;
  *(void **)&entry = dlsym(so, SONDE_ENTRY);
  if (!entry) {
    sonde_fail(err, SONDE_EABI,
               "%s: exports no '" SONDE_ENTRY "'; end the plugin's source with SONDE_PLUGIN(descriptor)", path);
    return NULL;
  }
  struct link_map *map;
  own_region r = {.path = path};
  if (!dlinfo(so, RTLD_DI_LINKMAP, &map) && (r.base = map->l_addr)) dl_iterate_phdr(add_region, &r);
  sonde_doing_load(path, seconds);
  const sonde_plugin *p = entry(sonde_host_table());
  sonde_doing_loaded();
  if (!p) sonde_fail(err, SONDE_EINVAL, "%s: " SONDE_ENTRY " gave no descriptor", path);
  return p && !check_abi(path, p, err) ? take(path, p, arena, err) : NULL;
}
