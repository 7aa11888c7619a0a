/* ffmpeg.c - see ffmpeg.h. */
#include "config.h"

#include "video/ffmpeg.h"

#ifdef HAVE_FFMPEG

#include <dlfcn.h>

#define SONAME(name, major) SONAME_OF(name, major)
#define SONAME_OF(name, major) "lib" name ".so." #major

static void *library(const char *name, sonde_error *err) {
  void *lib = dlopen(name, RTLD_NOW | RTLD_LOCAL);
  if (!lib)
    sonde_fail(err, SONDE_EUNSUP, "video needs %s, with which Sonde was built; install FFmpeg's libraries", name);
  return lib;
}

static int find(void *lib, const char *name, void *at, sonde_error *err) {
  void *symbol = dlsym(lib, name);
  if (!symbol)
    return sonde_fail(err, SONDE_EUNSUP, "FFmpeg's libraries have no %s; build Sonde again with these", name);
  *(void **)at = symbol;
  return 0;
}

static int load(sonde_ffmpeg *t, sonde_error *err) {
  void *util = library(SONAME("avutil", LIBAVUTIL_VERSION_MAJOR), err);
  void *codec = util ? library(SONAME("avcodec", LIBAVCODEC_VERSION_MAJOR), err) : NULL;
  void *format = codec ? library(SONAME("avformat", LIBAVFORMAT_VERSION_MAJOR), err) : NULL;
  void *scale = format ? library(SONAME("swscale", LIBSWSCALE_VERSION_MAJOR), err) : NULL;
  if (!scale) return SONDE_EUNSUP;
#define FROM(lib, name) if (find(lib, #name, &t->name, err)) return SONDE_EUNSUP;
#define UTIL(name) FROM(util, name)
#define CODEC(name) FROM(codec, name)
#define FORMAT(name) FROM(format, name)
#define SCALE(name) FROM(scale, name)
  SONDE_FFMPEG_UTIL(UTIL)
  SONDE_FFMPEG_CODEC(CODEC)
  SONDE_FFMPEG_FORMAT(FORMAT)
  SONDE_FFMPEG_SCALE(SCALE)
  SONDE_FFMPEG_SIDE_FORMAT(FORMAT)
  SONDE_FFMPEG_SIDE_CODEC(CODEC)
  t->av_log_set_level(AV_LOG_QUIET);
  return 0;
}

const sonde_ffmpeg *sonde_ffmpeg_get(sonde_error *err) {
  static sonde_ffmpeg table;
  static int loaded;
  if (!loaded) {
    if (load(&table, err)) return NULL;
    loaded = 1;
  }
  return &table;
}

#endif
