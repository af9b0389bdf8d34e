#ifndef DRAW_INTERNAL_H
#define DRAW_INTERNAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "bytes_internal.h"
#include "draw.h"

/* What the drawing of messages and that of their images share. Coordinates are 64 bits wide until they are clipped. */

/* An image's descriptor, as offsets in it. */
enum { IMAGE_ID = 0, IMAGE_TYPE = 8, IMAGE_FLAGS = 9, IMAGE_WIDTH = 10, IMAGE_HEIGHT = 14, IMAGE_BYTES = 18 };
enum { FLAG_KEEP = 1, FLAG_OPAQUE = 2, FLAG_REPLACE = 4 };
enum {
    TYPE_BITMAP = 0,
    TYPE_QUIC = 1,
    TYPE_LZ_RGB = 101,
    TYPE_GLZ_RGB = 102,
    TYPE_CACHED = 103,
    TYPE_SURFACE = 104,
    TYPE_CACHED_LOSSLESS = 106
};

/* What a pixel costs, in units of about half a nanosecond. */
enum { WORK_MESSAGE = 64, WORK_LZ = 3, WORK_QUIC = 24 };

struct rect {
    int64_t left, top, right, bottom;
};

/* A message's body and how much of it has been read. */
struct body {
    const uint8_t *bytes;
    size_t size, at;
};

/* What every drawing message begins with, clipped: the areas lie within the surface and apart from each other. */
struct base {
    const struct draw_surface *surface;
    struct rect box;
    struct rect areas[DRAW_MAX_AREAS];
    uint32_t count;
};

/* An image: where it lies on the surface, and its pixels. */
struct image {
    uint64_t id;
    uint32_t type;
    uint32_t width, height;
    int64_t x, y;          /* of its first pixel */
    bool is_kept;          /* in the cache */
    bool is_opaque;        /* the top bytes are to be set, unless they are alpha */
    bool has_alpha;
    uint32_t pixel_bytes;  /* 3 or 4 */
    const uint8_t *pixels; /* of the top row; NULL: they need decoding */
    ptrdiff_t stride;
};

/* The next bytes of a body; NULL if there are fewer. */
static inline const uint8_t *take(struct body *body, size_t count)
{
    if (count > body->size - body->at)
        return NULL;
    body->at += count;
    return body->bytes + body->at - count;
}

static inline struct body from(const struct body *body, size_t at)
{
    return (struct body){body->bytes, body->size, at < body->size ? at : body->size};
}

static inline bool contains(struct rect outer, struct rect inner)
{
    return outer.left <= inner.left && outer.top <= inner.top && outer.right >= inner.right && outer.bottom >= inner.bottom;
}

static inline uint64_t area_pixels(struct rect rect)
{
    return (uint64_t)(rect.right - rect.left) * (uint64_t)(rect.bottom - rect.top);
}

static inline const struct draw_surface *find_surface(const struct draw_run *run, uint32_t id)
{
    for (uint32_t i = 0; i < run->surface_count; i++)
        if (run->surfaces[i].id == id)
            return &run->surfaces[i];
    return NULL;
}

static inline size_t surface_stride(const struct draw_surface *surface)
{
    return (size_t)surface->width * 4;
}

static inline uint8_t *pixel_at(const struct draw_surface *surface, int64_t x, int64_t y)
{
    return surface->pixels + (size_t)y * surface_stride(surface) + (size_t)x * 4;
}

static inline bool is_cached(uint32_t type)
{
    return type == TYPE_CACHED || type == TYPE_CACHED_LOSSLESS;
}

/*
 * Draw the part `source` of an image, of which all but the pixels is known and `payload` is what follows its descriptor, where
 * the areas show it; and keep the image, if that is to be done. Returns enum draw_status; DRAW_ALL: it is drawn.
 */
int draw_image(struct draw_run *run, const struct base *base, struct body *payload, struct rect source, struct image *image);

#endif
