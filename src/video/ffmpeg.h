/* ffmpeg.h - FFmpeg's libraries, opened when a video is first used.
 *
 * The program is not linked with them: libavcodec brings about a hundred other libraries, and to load these would
 * triple the time that every start of the program takes. The headers give the types; the functions are looked up once
 * and called through a table: `ff->av_read_frame(...)`. A build without the headers has no table. */
#ifndef SONDE_VIDEO_FFMPEG_H
#define SONDE_VIDEO_FFMPEG_H

#ifdef HAVE_FFMPEG

#include <libavcodec/avcodec.h>
#include <libavformat/avformat.h>
#include <libavutil/display.h>
#include <libavutil/imgutils.h>
#include <libavutil/motion_vector.h>
#include <libavutil/opt.h>
#include <libavutil/pixdesc.h>
#include <libswscale/swscale.h>

#include "base/error.h"

/* Functions by library. */
#define SONDE_FFMPEG_UTIL(X) \
  X(av_dict_free) X(av_dict_set) X(av_display_rotation_get) X(av_frame_alloc) X(av_frame_free) \
  X(av_frame_get_buffer) X(av_frame_get_side_data) X(av_frame_make_writable) X(av_frame_unref) X(av_free) \
  X(av_freep) X(av_log_set_level) X(av_malloc) X(av_opt_set) X(av_pix_fmt_desc_get) X(av_strerror)
#define SONDE_FFMPEG_CODEC(X) \
  X(av_packet_alloc) X(av_packet_free) X(av_packet_rescale_ts) X(av_packet_unref) X(avcodec_alloc_context3) \
  X(avcodec_find_decoder) X(avcodec_find_encoder_by_name) X(avcodec_flush_buffers) X(avcodec_free_context) \
  X(avcodec_get_name) X(avcodec_open2) X(avcodec_parameters_from_context) X(avcodec_parameters_to_context) \
  X(avcodec_receive_frame) X(avcodec_receive_packet) X(avcodec_send_frame) X(avcodec_send_packet) \
  X(avcodec_version)
#define SONDE_FFMPEG_FORMAT(X) \
  X(av_find_best_stream) X(av_guess_sample_aspect_ratio) X(av_read_frame) X(av_seek_frame) X(av_write_frame) \
  X(av_write_trailer) X(avformat_alloc_context) X(avformat_alloc_output_context2) X(avformat_close_input) \
  X(avformat_find_stream_info) X(avformat_free_context) X(avformat_new_stream) X(avformat_open_input) \
  X(avformat_version) X(avformat_write_header) X(avio_alloc_context) X(avio_close_dyn_buf) X(avio_context_free) \
  X(avio_open_dyn_buf)
#define SONDE_FFMPEG_SCALE(X) \
  X(sws_freeContext) X(sws_getCachedContext) X(sws_getCoefficients) X(sws_scale) X(sws_setColorspaceDetails)
/* What a container says of a stream, its rotation: until FFmpeg 6.0, and since. */
#if LIBAVFORMAT_VERSION_INT < AV_VERSION_INT(60, 15, 100)
#define SONDE_FFMPEG_SIDE_FORMAT(X) X(av_stream_get_side_data)
#define SONDE_FFMPEG_SIDE_CODEC(X)
#else
#define SONDE_FFMPEG_SIDE_FORMAT(X)
#define SONDE_FFMPEG_SIDE_CODEC(X) X(av_packet_side_data_get)
#endif

typedef struct sonde_ffmpeg {
#define SONDE_FFMPEG_MEMBER(name) __typeof__(&name) name;
  SONDE_FFMPEG_UTIL(SONDE_FFMPEG_MEMBER)
  SONDE_FFMPEG_CODEC(SONDE_FFMPEG_MEMBER)
  SONDE_FFMPEG_FORMAT(SONDE_FFMPEG_MEMBER)
  SONDE_FFMPEG_SCALE(SONDE_FFMPEG_MEMBER)
  SONDE_FFMPEG_SIDE_FORMAT(SONDE_FFMPEG_MEMBER)
  SONDE_FFMPEG_SIDE_CODEC(SONDE_FFMPEG_MEMBER)
#undef SONDE_FFMPEG_MEMBER
} sonde_ffmpeg;

/* The table; NULL with EUNSUP where the libraries that this build knows are not installed. Not for two threads at
 * once. FFmpeg's own messages are off. */
const sonde_ffmpeg *sonde_ffmpeg_get(sonde_error *err);

#endif
#endif
