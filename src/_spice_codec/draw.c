/*
 * The frequent drawing messages. Theory of operation: a message is read completely, and everything it refers to is found and
 * checked, before the first pixel changes; only an image that turns out to be damaged may leave a part of itself, and then the
 * caller's own decoder, which starts anew, leaves the same. Sizes are compared with what is left of the body before anything is
 * read; coordinates are 64 bits wide from the wire to the clipping, after which they lie within a surface.
 */

#include "draw.h"

#include <stdbool.h>
#include <string.h>

#include "bytes_internal.h"
#include "framing.h"
#include "glz.h"
#include "lz.h"
#include "quic.h"

/* The messages' parts, as offsets in each. A test holds them against the catalogue, byte by byte. */
enum { RECT_BYTES = 16 };
enum { BASE_SURFACE = 0, BASE_BOX = 4, BASE_CLIP_TYPE = 20, BASE_BYTES = 21 };
enum { CLIP_NONE = 0, CLIP_RECTS = 1 };
enum { MASK_BITMAP = 9, MASK_BYTES = 13 };
enum { FILL_BRUSH_TYPE = 0, FILL_COLOUR = 1, FILL_ROP = 5, FILL_MASK = 7, FILL_BYTES = FILL_MASK + MASK_BYTES };
enum { COPY_IMAGE = 0, COPY_SOURCE = 4, COPY_ROP = 20, COPY_MASK = 23, COPY_BYTES = COPY_MASK + MASK_BYTES };
enum { MOVE_X = 0, MOVE_Y = 4, MOVE_BYTES = 8 };
enum { IMAGE_ID = 0, IMAGE_TYPE = 8, IMAGE_FLAGS = 9, IMAGE_WIDTH = 10, IMAGE_HEIGHT = 14, IMAGE_BYTES = 18 };
enum { BITMAP_FORMAT = 0, BITMAP_FLAGS = 1, BITMAP_X = 2, BITMAP_Y = 6, BITMAP_STRIDE = 10, BITMAP_PALETTE = 14, BITMAP_BYTES = 18 };
enum { BRUSH_SOLID = 1, ROP_PUT = 8, FLAG_OPAQUE = 2, FLAG_TOP_DOWN = 4 };
enum { STREAM_SIZE = 0, STREAM_BYTES = 4 };
enum {
    TYPE_BITMAP = 0,
    TYPE_QUIC = 1,
    TYPE_LZ_RGB = 101,
    TYPE_GLZ_RGB = 102,
    TYPE_CACHED = 103,
    TYPE_SURFACE = 104,
    TYPE_CACHED_LOSSLESS = 106
};
enum { GLZ_TYPE = 8 }; /* in a GLZ stream; the low half of the byte */
enum { FORMAT_24BIT = 7, FORMAT_32BIT = 8, FORMAT_RGBA = 9 };

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
    int64_t x, y;             /* of its first pixel */
    uint32_t width, height;
    bool is_opaque;           /* its top bytes are to be set */
    uint32_t pixel_bytes;     /* 3 or 4 */
    const uint8_t *pixels;    /* of the top row; NULL: they need decoding */
    ptrdiff_t stride;
};

/* The next bytes of a body; NULL if there are fewer. */
static const uint8_t *take(struct body *body, size_t count)
{
    if (count > body->size - body->at)
        return NULL;
    body->at += count;
    return body->bytes + body->at - count;
}

static struct body from(const struct body *body, size_t at)
{
    return (struct body){body->bytes, body->size, at < body->size ? at : body->size};
}

static struct rect load_rect(const uint8_t *p)
{
    return (struct rect){.top = (int32_t)load_u32(p),
                         .left = (int32_t)load_u32(p + 4),
                         .bottom = (int32_t)load_u32(p + 8),
                         .right = (int32_t)load_u32(p + 12)};
}

static bool is_empty(struct rect rect)
{
    return rect.left >= rect.right || rect.top >= rect.bottom;
}

static bool contains(struct rect outer, struct rect inner)
{
    return outer.left <= inner.left && outer.top <= inner.top && outer.right >= inner.right && outer.bottom >= inner.bottom;
}

static struct rect intersection(struct rect a, struct rect b)
{
    return (struct rect){.left = a.left > b.left ? a.left : b.left,
                         .top = a.top > b.top ? a.top : b.top,
                         .right = a.right < b.right ? a.right : b.right,
                         .bottom = a.bottom < b.bottom ? a.bottom : b.bottom};
}

static uint64_t area_pixels(struct rect rect)
{
    return (uint64_t)(rect.right - rect.left) * (uint64_t)(rect.bottom - rect.top);
}

static const struct draw_surface *find_surface(const struct draw_run *run, uint32_t id)
{
    for (uint32_t i = 0; i < run->surface_count; i++)
        if (run->surfaces[i].id == id)
            return &run->surfaces[i];
    return NULL;
}

static size_t surface_stride(const struct draw_surface *surface)
{
    return (size_t)surface->width * 4;
}

static uint8_t *pixel_at(const struct draw_surface *surface, int64_t x, int64_t y)
{
    return surface->pixels + (size_t)y * surface_stride(surface) + (size_t)x * 4;
}

/* Cut the areas out of `whole` by a clip of rectangles. False: they overlap, or are too many. */
static bool read_clip(struct body *body, struct rect whole, struct base *base)
{
    const uint8_t *p = take(body, 4);
    uint32_t count = p ? load_u32(p) : 0;
    if (count > DRAW_MAX_AREAS || !(p = take(body, (size_t)count * RECT_BYTES)))
        return false;
    for (uint32_t i = 0; i < count; i++) {
        struct rect area = intersection(whole, load_rect(p + (size_t)i * RECT_BYTES));
        if (is_empty(area))
            continue;
        for (uint32_t j = 0; j < base->count; j++)
            if (!is_empty(intersection(area, base->areas[j])))
                return false;
        base->areas[base->count++] = area;
    }
    return true;
}

/* Read the base; false if there is nothing to draw, or it is not for us. */
static bool read_base(const struct draw_run *run, struct body *body, struct base *base)
{
    const uint8_t *p = take(body, BASE_BYTES);
    if (!p || !(base->surface = find_surface(run, load_u32(p + BASE_SURFACE))))
        return false;
    base->box = load_rect(p + BASE_BOX);
    base->count = 0;
    struct rect all = {.right = base->surface->width, .bottom = base->surface->height};
    struct rect whole = intersection(all, base->box);
    if (is_empty(whole) || area_pixels(whole) > DRAW_MAX_COPIED)
        return false;
    if (p[BASE_CLIP_TYPE] == CLIP_RECTS)
        return read_clip(body, whole, base) && base->count;
    base->areas[base->count++] = whole;
    return p[BASE_CLIP_TYPE] == CLIP_NONE;
}

static bool has_mask(const uint8_t *mask)
{
    return load_u32(mask + MASK_BITMAP) != 0;
}

static void add_damage(struct draw_run *run, const struct draw_surface *surface, struct rect area)
{
    run->damage[run->totals.damage_count++] = (struct draw_damage){surface->id, (uint32_t)area.left, (uint32_t)area.top,
                                                            (uint32_t)area.right, (uint32_t)area.bottom};
    run->totals.pixels += area_pixels(area);
}

static void add_all_damage(struct draw_run *run, const struct base *base)
{
    if (base->count <= DRAW_MAX_DAMAGE) {
        for (uint32_t i = 0; i < base->count; i++)
            add_damage(run, base->surface, base->areas[i]);
        return;
    }
    struct rect bounds = base->areas[0];
    for (uint32_t i = 1; i < base->count; i++) {
        const struct rect *area = &base->areas[i];
        bounds.left = area->left < bounds.left ? area->left : bounds.left;
        bounds.top = area->top < bounds.top ? area->top : bounds.top;
        bounds.right = area->right > bounds.right ? area->right : bounds.right;
        bounds.bottom = area->bottom > bounds.bottom ? area->bottom : bounds.bottom;
    }
    add_damage(run, base->surface, bounds);
}

/* --- operations */

static void fill_area(const struct draw_surface *surface, struct rect area, uint32_t colour)
{
    size_t width = (size_t)(area.right - area.left);
    for (int64_t y = area.top; y < area.bottom; y++) {
        uint32_t *row = (uint32_t *)(void *)pixel_at(surface, area.left, y);
        for (size_t x = 0; x < width; x++)
            row[x] = colour;
    }
}

static bool draw_fill(struct draw_run *run, struct body *body)
{
    struct base base;
    const uint8_t *p;
    if (!read_base(run, body, &base) || !(p = take(body, FILL_BYTES)))
        return false;
    if (p[FILL_BRUSH_TYPE] != BRUSH_SOLID || load_u16(p + FILL_ROP) != ROP_PUT || has_mask(p + FILL_MASK))
        return false;
    for (uint32_t i = 0; i < base.count; i++) {
        fill_area(base.surface, base.areas[i], load_u32(p + FILL_COLOUR));
        run->work += area_pixels(base.areas[i]);
    }
    add_all_damage(run, &base);
    return true;
}

/* Move one area's pixels within the surface, in the order of rows that reads each before it is written. */
static void move_area(const struct draw_surface *surface, struct rect area, int64_t from_x, int64_t from_y)
{
    size_t bytes = (size_t)(area.right - area.left) * 4;
    int64_t rows = area.bottom - area.top;
    for (int64_t i = 0; i < rows; i++) {
        int64_t row = from_y < area.top ? rows - 1 - i : i;
        memmove(pixel_at(surface, area.left, area.top + row), pixel_at(surface, from_x, from_y + row), bytes);
    }
}

static bool draw_copy_bits(struct draw_run *run, struct body *body)
{
    struct base base;
    const uint8_t *p;
    /* With several areas, what one reads another may have written. */
    if (!read_base(run, body, &base) || base.count != 1 || !(p = take(body, MOVE_BYTES)))
        return false;
    int64_t right = base.box.left - (int32_t)load_u32(p + MOVE_X), down = base.box.top - (int32_t)load_u32(p + MOVE_Y);
    struct rect moved = {right, down, right + base.surface->width, down + base.surface->height};
    struct rect area = base.areas[0] = intersection(base.areas[0], moved);
    if (is_empty(area))
        return false;
    move_area(base.surface, area, area.left - right, area.top - down);
    run->work += area_pixels(area);
    add_all_damage(run, &base);
    return true;
}

/* --- images */

static void copy_row24(uint8_t *out, const uint8_t *in, size_t width)
{
    for (size_t x = 0; x < width; x++)
        store_u32(out + 4 * x, (uint32_t)(in[3 * x] | in[3 * x + 1] << 8 | in[3 * x + 2] << 16));
}

static void set_opaque(const struct draw_surface *surface, struct rect area)
{
    size_t width = (size_t)(area.right - area.left);
    for (int64_t y = area.top; y < area.bottom; y++) {
        uint32_t *row = (uint32_t *)(void *)pixel_at(surface, area.left, y);
        for (size_t x = 0; x < width; x++)
            row[x] |= 0xff000000;
    }
}

/* Copy what of the image lies in the areas, all of which it covers. */
static void put_image(struct draw_run *run, const struct base *base, const struct image *image)
{
    for (uint32_t i = 0; i < base->count; i++) {
        struct rect area = base->areas[i];
        size_t width = (size_t)(area.right - area.left);
        for (int64_t y = area.top; y < area.bottom; y++) {
            const uint8_t *in = image->pixels + (ptrdiff_t)(y - image->y) * image->stride;
            in += (size_t)(area.left - image->x) * image->pixel_bytes;
            if (image->pixel_bytes == 3)
                copy_row24(pixel_at(base->surface, area.left, y), in, width);
            else
                memcpy(pixel_at(base->surface, area.left, y), in, width * 4);
        }
        run->work += area_pixels(area);
    }
}

/* Find the pixels of a raw bitmap. */
static bool read_bitmap(struct body *payload, struct image *image)
{
    const uint8_t *p = take(payload, BITMAP_BYTES);
    if (!p || (p[BITMAP_FLAGS] & ~FLAG_TOP_DOWN) || load_u32(p + BITMAP_PALETTE))
        return false;
    uint32_t format = p[BITMAP_FORMAT], stride = load_u32(p + BITMAP_STRIDE);
    if (format < FORMAT_24BIT || format > FORMAT_RGBA)
        return false;
    image->pixel_bytes = format == FORMAT_24BIT ? 3 : 4;
    image->is_opaque = image->is_opaque && format != FORMAT_RGBA;
    if (load_u32(p + BITMAP_X) != image->width || load_u32(p + BITMAP_Y) != image->height)
        return false;
    if (stride < (uint64_t)image->width * image->pixel_bytes || (uint64_t)stride * image->height > payload->size - payload->at)
        return false;
    const uint8_t *data = payload->bytes + payload->at;
    bool is_top_down = p[BITMAP_FLAGS] & FLAG_TOP_DOWN;
    image->pixels = is_top_down ? data : data + (size_t)stride * (image->height - 1);
    image->stride = is_top_down ? (ptrdiff_t)stride : -(ptrdiff_t)stride;
    return true;
}

/* Decode a stream to rows of 32-bit pixels. */
static bool decode(struct draw_run *run, uint32_t type, const uint8_t *data, size_t size, struct image *image, uint8_t *out,
                   ptrdiff_t stride, uint32_t *scratch)
{
    uint32_t pixels = image->width * image->height;
    if (type == TYPE_QUIC) {
        struct quic_header header;
        if (quic_read_header(data, size, &header) != QUIC_OK || header.type == QUIC_GRAY)
            return false;
        image->is_opaque = image->is_opaque && header.type != QUIC_RGBA;
        run->work += (uint64_t)WORK_QUIC * pixels;
        return quic_decode(data, size, image->width, image->height, 1, out, stride, run->quic_lookup, scratch) == QUIC_OK;
    }
    struct lz_header header;
    if (lz_read_header(data, size, &header) != LZ_OK || header.type < LZ_RGB16 || header.type > LZ_RGBA)
        return false;
    image->is_opaque = image->is_opaque && header.type != LZ_RGBA;
    run->work += (uint64_t)WORK_LZ * pixels;
    return lz_decode(data, size, image->width, image->height, NULL, 0, 1, out, stride, scratch) == LZ_OK;
}

/* The stream of a compressed image that is not too large; NULL if there is none. */
static const uint8_t *take_stream(struct body *payload, const struct image *image, uint32_t *size)
{
    const uint8_t *p = take(payload, STREAM_BYTES);
    *size = p ? load_u32(p + STREAM_SIZE) : 0;
    return p && (uint64_t)image->width * image->height <= DRAW_MAX_DECODED ? take(payload, *size) : NULL;
}

/* Draw a compressed image: straight to its place, or if only parts of it are seen by way of the scratch. */
static bool draw_compressed(struct draw_run *run, const struct base *base, uint32_t type, struct body *payload,
                            struct image *image)
{
    uint32_t size;
    const uint8_t *data = take_stream(payload, image, &size);
    if (!data)
        return false;
    struct rect place = {image->x, image->y, image->x + image->width, image->y + image->height};
    if (base->count == 1 && contains(base->areas[0], place)) {
        uint8_t *out = pixel_at(base->surface, image->x, image->y);
        return decode(run, type, data, size, image, out, (ptrdiff_t)surface_stride(base->surface), run->scratch);
    }
    image->pixels = (uint8_t *)run->scratch;
    image->pixel_bytes = 4;
    image->stride = (ptrdiff_t)image->width * 4;
    if (!decode(run, type, data, size, image, (uint8_t *)run->scratch, image->stride, run->scratch + DRAW_MAX_DECODED))
        return false;
    put_image(run, base, image);
    return true;
}

/* Find the pixels of another surface. */
static bool read_surface(const struct draw_run *run, const struct base *base, struct body *payload, struct image *image)
{
    const uint8_t *p = take(payload, 4);
    const struct draw_surface *surface = p ? find_surface(run, load_u32(p)) : NULL;
    if (!surface || surface == base->surface || image->is_opaque)
        return false;
    image->pixel_bytes = 4;
    image->pixels = surface->pixels;
    image->stride = (ptrdiff_t)surface_stride(surface);
    /* The descriptor may say otherwise. */
    image->width = surface->width;
    image->height = surface->height;
    return true;
}

static bool is_cached(uint32_t type)
{
    return type == TYPE_CACHED || type == TYPE_CACHED_LOSSLESS;
}

/* Ask for an image, or take the one that was asked for. It is the last of all that is checked: asking may change things. */
static int find_picture(struct draw_run *run, const struct body *body, const uint8_t *descriptor, struct body *payload,
                        struct image *image)
{
    uint32_t type = descriptor[IMAGE_TYPE], size = 0;
    const uint8_t *data = body->bytes;
    if (is_cached(type)) {
        image->is_opaque = false;
    } else {
        data = take_stream(payload, image, &size);
        if (!data || size < GLZ_TYPE + 1)
            return DRAW_OTHER;
        image->is_opaque = image->is_opaque && (data[GLZ_TYPE] & 15) != GLZ_RGBA;
    }
    if (!run->picture) {
        run->wanted = (struct draw_wanted){load_u64(descriptor + IMAGE_ID), type, image->width, image->height,
                                           (uint32_t)(data - body->bytes), size};
        return DRAW_IMAGE;
    }
    if (run->picture->width != image->width || run->picture->height != image->height)
        return DRAW_OTHER;
    image->pixel_bytes = 4;
    image->pixels = run->picture->pixels;
    image->stride = run->picture->stride;
    return DRAW_ALL;
}

/* Draw the image, of which the place and the size are known. DRAW_ALL: it is drawn. */
static int draw_image(struct draw_run *run, const struct base *base, const struct body *body, const uint8_t *descriptor,
                      struct rect source, struct image *image)
{
    uint32_t type = descriptor[IMAGE_TYPE];
    struct body payload = from(body, (size_t)(descriptor - body->bytes) + IMAGE_BYTES);
    if (type == TYPE_BITMAP && !read_bitmap(&payload, image))
        return DRAW_OTHER;
    if (type == TYPE_SURFACE && !read_surface(run, base, &payload, image))
        return DRAW_OTHER;
    if (!contains((struct rect){.right = image->width, .bottom = image->height}, source))
        return DRAW_OTHER;
    if (type == TYPE_GLZ_RGB || is_cached(type)) {
        int status = find_picture(run, body, descriptor, &payload, image);
        if (status != DRAW_ALL)
            return status;
    }
    if (image->pixels)
        put_image(run, base, image);
    else if ((type != TYPE_QUIC && type != TYPE_LZ_RGB) || !draw_compressed(run, base, type, &payload, image))
        return DRAW_OTHER;
    for (uint32_t i = 0; image->is_opaque && i < base->count; i++)
        set_opaque(base->surface, base->areas[i]);
    return DRAW_ALL;
}

/* DRAW_ALL: it is drawn. */
static int draw_copy(struct draw_run *run, struct body *body)
{
    struct base base;
    const uint8_t *p;
    if (!read_base(run, body, &base) || !(p = take(body, COPY_BYTES)))
        return DRAW_OTHER;
    struct rect source = load_rect(p + COPY_SOURCE);
    bool is_scaled = source.right - source.left != base.box.right - base.box.left ||
                     source.bottom - source.top != base.box.bottom - base.box.top;
    if (is_scaled || load_u16(p + COPY_ROP) != ROP_PUT || has_mask(p + COPY_MASK) || !load_u32(p + COPY_IMAGE))
        return DRAW_OTHER;
    struct body rest = from(body, load_u32(p + COPY_IMAGE));
    const uint8_t *descriptor = take(&rest, IMAGE_BYTES);
    if (!descriptor)
        return DRAW_OTHER;
    uint32_t flags = descriptor[IMAGE_FLAGS];
    /* What is to be kept in the cache needs memory, which is the caller's. */
    if ((flags & ~FLAG_OPAQUE) && !is_cached(descriptor[IMAGE_TYPE]))
        return DRAW_OTHER;
    struct image image = {.x = base.box.left - source.left,
                          .y = base.box.top - source.top,
                          .width = load_u32(descriptor + IMAGE_WIDTH),
                          .height = load_u32(descriptor + IMAGE_HEIGHT),
                          .is_opaque = flags & FLAG_OPAQUE};
    if (!image.width || !image.height || image.width > DRAW_MAX_SIDE || image.height > DRAW_MAX_SIDE ||
        (uint64_t)image.width * image.height > DRAW_MAX_COPIED)
        return DRAW_OTHER;
    int status = draw_image(run, &base, body, descriptor, source, &image);
    if (status == DRAW_ALL)
        add_all_damage(run, &base);
    return status;
}

size_t draw_scratch_words(void)
{
    return DRAW_MAX_DECODED + quic_scratch_words(DRAW_MAX_DECODED);
}

/* Draw one message; DRAW_ALL: it is drawn. */
static int draw_frame(struct draw_run *run, const struct spice_frame *frame, struct body body)
{
    int status, kind;
    if (frame->type == DRAW_COPY || frame->type == DRAW_BLEND) {
        kind = frame->type == DRAW_COPY ? DRAW_KIND_COPY : DRAW_KIND_BLEND;
        status = draw_copy(run, &body);
    } else if (frame->type == DRAW_FILL) {
        kind = DRAW_KIND_FILL;
        status = draw_fill(run, &body) ? DRAW_ALL : DRAW_OTHER;
    } else if (frame->type == DRAW_COPY_BITS) {
        kind = DRAW_KIND_COPY_BITS;
        status = draw_copy_bits(run, &body) ? DRAW_ALL : DRAW_OTHER;
    } else {
        return DRAW_OTHER;
    }
    if (status != DRAW_ALL)
        return status;
    run->totals.counts[kind]++;
    run->totals.drawn++;
    run->work += WORK_MESSAGE;
    run->picture = NULL;
    return DRAW_ALL;
}

int draw_frames(struct draw_run *run, const uint8_t *data, size_t size, const struct spice_frame *frames, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        const struct spice_frame *frame = &frames[i];
        if (run->work >= DRAW_MAX_WORK || run->damage_capacity - run->totals.damage_count < DRAW_MAX_DAMAGE)
            return DRAW_PAUSED;
        if (frame->sub_list || frame->offset > size || frame->size > size - frame->offset)
            return DRAW_OTHER;
        int status = draw_frame(run, frame, (struct body){data + frame->offset, frame->size, 0});
        if (status == DRAW_IMAGE)
            run->wanted.offset += frame->offset;
        if (status != DRAW_ALL)
            return status;
    }
    return DRAW_ALL;
}
