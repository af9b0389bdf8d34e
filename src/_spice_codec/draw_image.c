/*
 * The images of drawing messages. Theory of operation: an image's pixels are found where they lie (in the message, on another
 * surface, in the cache), or decoded: into the GLZ dictionary, to where they are kept, or straight to the surface. All but the
 * last is done before the surface changes.
 */

#include <string.h>

#include "draw_internal.h"
#include "glz.h"
#include "glz_window.h"
#include "lz.h"
#include "pixel_table.h"
#include "quic.h"

/* The payloads' parts, as offsets in each. */
enum { BITMAP_FORMAT = 0, BITMAP_FLAGS = 1, BITMAP_X = 2, BITMAP_Y = 6, BITMAP_STRIDE = 10, BITMAP_PALETTE = 14, BITMAP_BYTES = 18 };
enum { STREAM_SIZE = 0, STREAM_BYTES = 4 };
enum { FLAG_TOP_DOWN = 4 };
enum { FORMAT_24BIT = 7, FORMAT_32BIT = 8, FORMAT_RGBA = 9 };

static void copy_row24(uint8_t *out, const uint8_t *in, size_t width)
{
    for (size_t x = 0; x < width; x++)
        store_u32(out + 4 * x, (uint32_t)(in[3 * x] | in[3 * x + 1] << 8 | in[3 * x + 2] << 16));
}

/* Copy a part of an image to rows of 32-bit pixels. */
static void copy_part(const struct image *image, struct rect part, uint8_t *out, size_t stride)
{
    size_t width = (size_t)(part.right - part.left);
    for (int64_t y = part.top; y < part.bottom; y++, out += stride) {
        const uint8_t *in = image->pixels + (ptrdiff_t)y * image->stride + (size_t)part.left * image->pixel_bytes;
        if (image->pixel_bytes == 3)
            copy_row24(out, in, width);
        else
            memcpy(out, in, width * 4);
    }
}

static void set_opaque(uint8_t *out, size_t stride, size_t width, int64_t rows)
{
    for (int64_t y = 0; y < rows; y++, out += stride) {
        uint32_t *row = (uint32_t *)(void *)out;
        for (size_t x = 0; x < width; x++)
            row[x] |= 0xff000000;
    }
}

/* Copy what of the image lies in the areas, all of which it covers. */
static void put_image(struct draw_run *run, const struct base *base, const struct image *image)
{
    for (uint32_t i = 0; i < base->count; i++) {
        struct rect area = base->areas[i];
        struct rect part = {area.left - image->x, area.top - image->y, area.right - image->x, area.bottom - image->y};
        copy_part(image, part, pixel_at(base->surface, area.left, area.top), surface_stride(base->surface));
        run->work += area_pixels(area);
    }
}

/* --- images that are there */

static bool read_bitmap(struct body *payload, struct image *image)
{
    const uint8_t *p = take(payload, BITMAP_BYTES);
    if (!p || (p[BITMAP_FLAGS] & ~FLAG_TOP_DOWN) || load_u32(p + BITMAP_PALETTE))
        return false;
    uint32_t format = p[BITMAP_FORMAT], stride = load_u32(p + BITMAP_STRIDE);
    if (format < FORMAT_24BIT || format > FORMAT_RGBA)
        return false;
    image->pixel_bytes = format == FORMAT_24BIT ? 3 : 4;
    image->has_alpha = format == FORMAT_RGBA;
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

static bool find_drawn(const struct draw_run *run, const struct base *base, struct body *payload, struct image *image)
{
    const uint8_t *p = take(payload, 4);
    const struct draw_surface *surface = p ? find_surface(run, load_u32(p)) : NULL;
    if (!surface || surface == base->surface || image->is_opaque || image->is_kept)
        return false;
    image->pixels = surface->pixels;
    image->stride = (ptrdiff_t)surface_stride(surface);
    /* The descriptor may say otherwise. */
    image->width = surface->width;
    image->height = surface->height;
    return true;
}

/* Find an image that was kept, by this run or before. */
static bool find_kept(const struct draw_run *run, struct image *image)
{
    const struct draw_kept *kept = NULL;
    for (uint32_t i = run->kept_count; i-- && !kept;)
        kept = run->kept[i].id == image->id ? &run->kept[i] : NULL;
    const struct pixel_entry *entry = kept || !run->pictures ? NULL : pixel_table_find(run->pictures, image->id);
    if (!kept && (!entry || (entry->is_lossy && image->type == TYPE_CACHED_LOSSLESS)))
        return false;
    image->is_opaque = false;
    image->pixels = (const uint8_t *)(kept ? run->kept_pixels + kept->offset : entry->pixels);
    image->stride = (ptrdiff_t)image->width * 4;
    return image->width == (kept ? kept->width : entry->width) && image->height == (kept ? kept->height : entry->height);
}

/* False if the image is not for us, or not as it should be. One that needs decoding is left without pixels. */
static bool find_pixels(const struct draw_run *run, const struct base *base, struct body *payload, struct image *image)
{
    switch (image->type) {
    case TYPE_BITMAP:
        return read_bitmap(payload, image);
    case TYPE_SURFACE:
        return find_drawn(run, base, payload, image);
    case TYPE_CACHED:
    case TYPE_CACHED_LOSSLESS:
        return find_kept(run, image);
    default:
        return image->type == TYPE_QUIC || image->type == TYPE_LZ_RGB || image->type == TYPE_GLZ_RGB;
    }
}

/* --- images that need decoding */

/* The stream of a compressed image that is not too large; NULL if there is none. */
static const uint8_t *take_stream(const struct draw_run *run, struct body *payload, const struct image *image, uint32_t *size)
{
    const uint8_t *p = take(payload, STREAM_BYTES);
    *size = p ? load_u32(p + STREAM_SIZE) : 0;
    return p && (uint64_t)image->width * image->height <= run->max_decoded ? take(payload, *size) : NULL;
}

/* Decode a QUIC or LZ stream to rows of 32-bit pixels. */
static bool decode(struct draw_run *run, struct body *payload, struct image *image, uint8_t *out, ptrdiff_t stride,
                   uint32_t *scratch)
{
    uint32_t size, pixels = image->width * image->height;
    const uint8_t *data = take_stream(run, payload, image, &size);
    if (!data)
        return false;
    if (image->type == TYPE_QUIC) {
        struct quic_header header;
        if (quic_read_header(data, size, &header) != QUIC_OK || header.type == QUIC_GRAY)
            return false;
        image->has_alpha = header.type == QUIC_RGBA;
        run->work += (uint64_t)WORK_QUIC * pixels;
        return quic_decode(data, size, image->width, image->height, 1, out, stride, run->quic_lookup, scratch) == QUIC_OK;
    }
    struct lz_header header;
    if (lz_read_header(data, size, &header) != LZ_OK || header.type < LZ_RGB16 || header.type > LZ_RGBA)
        return false;
    image->has_alpha = header.type == LZ_RGBA;
    run->work += (uint64_t)WORK_LZ * pixels;
    return lz_decode(data, size, image->width, image->height, NULL, 0, 1, out, stride, scratch) == LZ_OK;
}

/* Decode an image to memory for all of it, with scratch for one row. */
static bool decode_whole(struct draw_run *run, struct body *payload, struct image *image, uint32_t *out)
{
    ptrdiff_t stride = (ptrdiff_t)image->width * 4;
    if (!decode(run, payload, image, (uint8_t *)out, stride, run->scratch))
        return false;
    image->pixels = (const uint8_t *)out;
    image->stride = stride;
    return true;
}

static bool decode_glz(struct draw_run *run, struct body *payload, struct image *image)
{
    uint32_t size;
    const uint8_t *data = take_stream(run, payload, image, &size);
    struct glz_header header;
    const uint32_t *pixels;
    if (!data || !run->glz)
        return false;
    run->work += (uint64_t)WORK_LZ * image->width * image->height;
    if (glz_window_decode(run->glz, data, size, image->width, image->height, &header, &pixels) != GLZ_OK)
        return false;
    image->has_alpha = header.type == GLZ_RGBA;
    image->stride = (ptrdiff_t)image->width * 4;
    image->pixels = (const uint8_t *)pixels;
    if (!header.top_down) {
        image->pixels += image->stride * (image->height - 1);
        image->stride = -image->stride;
    }
    return true;
}

/* Decode an image: straight to its place if all of it is seen and need not be kept, or else to memory. */
static bool decode_image(struct draw_run *run, const struct base *base, struct body *payload, struct image *image)
{
    struct rect place = {image->x, image->y, image->x + image->width, image->y + image->height};
    if (image->type == TYPE_GLZ_RGB)
        return decode_glz(run, payload, image);
    if (image->is_kept)
        return decode_whole(run, payload, image, run->kept_pixels + run->kept_used);
    if (base->count != 1 || !contains(base->areas[0], place))
        return decode_whole(run, payload, image, run->scratch + quic_scratch_words(DRAW_MAX_SIDE));
    uint8_t *out = pixel_at(base->surface, image->x, image->y);
    return decode(run, payload, image, out, (ptrdiff_t)surface_stride(base->surface), run->scratch);
}

/* --- keeping and drawing */

/* Whether an image can be kept: DRAW_ALL, DRAW_FULL or DRAW_OTHER. */
static int check_room(const struct draw_run *run, const struct image *image)
{
    uint64_t pixels = (uint64_t)image->width * image->height;
    if (!run->pictures || pixels > run->kept_capacity || pixels + DRAW_KEPT_COST > run->room)
        return DRAW_OTHER;
    return run->kept_count < DRAW_MAX_KEPT && pixels <= run->kept_capacity - run->kept_used ? DRAW_ALL : DRAW_FULL;
}

/* Keep an image, and let its pixels be those that are kept. */
static void keep_image(struct draw_run *run, struct image *image)
{
    uint8_t *out = (uint8_t *)(run->kept_pixels + run->kept_used);
    size_t stride = (size_t)image->width * 4;
    if (image->pixels != out)
        copy_part(image, (struct rect){.right = image->width, .bottom = image->height}, out, stride);
    if (image->is_opaque && !image->has_alpha)
        set_opaque(out, stride, image->width, image->height);
    image->pixels = out;
    image->pixel_bytes = 4;
    image->stride = (ptrdiff_t)stride;
    image->is_opaque = false;
    uint32_t pixels = image->width * image->height;
    run->kept[run->kept_count++] =
        (struct draw_kept){image->id, image->width, image->height, image->has_alpha, run->kept_used};
    run->kept_used += pixels;
    run->room -= (uint64_t)pixels + DRAW_KEPT_COST;
    run->work += pixels;
}

int draw_image(struct draw_run *run, const struct base *base, struct body *payload, struct rect source, struct image *image)
{
    int status = image->is_kept ? check_room(run, image) : DRAW_ALL;
    if (status != DRAW_ALL)
        return status;
    image->pixel_bytes = 4;
    if (!find_pixels(run, base, payload, image))
        return DRAW_OTHER;
    if (!contains((struct rect){.right = image->width, .bottom = image->height}, source))
        return DRAW_OTHER;
    if (!image->pixels && !decode_image(run, base, payload, image))
        return DRAW_OTHER;
    if (image->is_kept)
        keep_image(run, image);
    if (image->pixels)
        put_image(run, base, image);
    for (uint32_t i = 0; image->is_opaque && !image->has_alpha && i < base->count; i++) {
        struct rect area = base->areas[i];
        uint8_t *out = pixel_at(base->surface, area.left, area.top);
        set_opaque(out, surface_stride(base->surface), (size_t)(area.right - area.left), area.bottom - area.top);
    }
    return DRAW_ALL;
}
