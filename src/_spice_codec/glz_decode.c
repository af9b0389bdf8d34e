/* GLZ decoder. */

#include "glz.h"
#include "lz_internal.h"

enum { HEADER_BYTES = 33 };

struct window {
    const struct glz_image *images;
    size_t size;
    size_t last; /* where the last one was found: references come in clusters */
};

/* A copy as its fields say it. */
struct copy {
    size_t length;
    uint64_t pixel;  /* offset in another image, or distance - 1 in this one */
    uint64_t images; /* how many ids back, 0 for this image */
};

static const struct glz_image *find(struct window *window, uint64_t id)
{
    if (window->last < window->size && window->images[window->last].id == id)
        return &window->images[window->last];
    size_t low = 0, high = window->size;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (window->images[middle].id < id)
            low = middle + 1;
        else
            high = middle;
    }
    window->last = low;
    return low < window->size && window->images[low].id == id ? &window->images[low] : NULL;
}

/* Read a copy's fields after its first byte; `limit` as in lz_read_length(). False at the end of the input. */
static inline int read_copy(struct lz_input *in, uint32_t control, size_t limit, struct copy *copy)
{
    copy->length = control >> 5;
    copy->pixel = control & 15;
    if (!lz_read_length(in, &copy->length, limit) || in->end - in->at < 2)
        return 0;
    copy->pixel |= (uint64_t)*in->at++ << 4;
    uint32_t flags = *in->at++;
    uint32_t image_bytes = flags >> 6, is_long = control & 16, has_top = is_long && (flags & 32);
    if ((size_t)(in->end - in->at) < image_bytes + (has_top ? 1u : 0u))
        return 0;
    uint32_t shift = is_long ? 0 : 6;
    copy->images = is_long ? 0 : flags & 63;
    for (uint32_t i = 0; i < image_bytes; i++, shift += 8)
        copy->images |= (uint64_t)*in->at++ << shift;
    if (is_long)
        copy->pixel |= (uint64_t)(flags & 31) << 12;
    if (has_top)
        copy->pixel |= (uint64_t)*in->at++ << 17;
    return 1;
}

/*
 * Copy from another image, whose pixels do not overlap these. Colours come without alpha, so that X is 0. With `room` for three
 * more pixels at least in both images they go in steps of four, which write past `length`; what they spill is overwritten later.
 */
ALWAYS_INLINE void copy_across(enum lz_kind kind, uint32_t *restrict to, const uint32_t *restrict from, size_t length, size_t room)
{
    if (kind != LZ_KIND_ALPHA && room - length >= 3) {
        for (size_t i = 0; i < length; i += 4)
            for (size_t j = i; j < i + 4; j++)
                to[j] = from[j] & 0xffffff;
        return;
    }
    for (size_t i = 0; i < length; i++)
        to[i] = kind == LZ_KIND_ALPHA ? (to[i] & 0xffffff) | (from[i] & 0xff000000) : from[i] & 0xffffff;
}

/* Carry out a copy to pixel `at` of an image of `total`. */
ALWAYS_INLINE int apply(enum lz_kind kind, const struct copy *copy, uint64_t id, struct window *window, uint32_t *pixels,
                        size_t at, size_t total, uint64_t *missing)
{
    if (copy->length > total - at)
        return GLZ_OVERRUN;
    if (copy->images == 0) {
        if (copy->pixel + 1 > at)
            return GLZ_BAD_REFERENCE;
        lz_copy_back(kind, pixels, at, (size_t)copy->pixel + 1, copy->length, total);
        return GLZ_OK;
    }
    if (copy->images > id)
        return GLZ_BAD_REFERENCE;
    const struct glz_image *image = find(window, id - copy->images);
    if (!image) {
        *missing = id - copy->images;
        return GLZ_MISSING;
    }
    if (copy->pixel + copy->length > image->count)
        return GLZ_BAD_REFERENCE;
    uint64_t room = image->count - copy->pixel;
    copy_across(kind, pixels + at, image->pixels + copy->pixel, copy->length, room < total - at ? (size_t)room : total - at);
    return GLZ_OK;
}

/* Decode one pass of `total` pixels. */
ALWAYS_INLINE int decode_pass(enum lz_kind kind, struct lz_input *in, uint64_t id, struct window *window, uint32_t *pixels,
                              size_t total, uint64_t *missing)
{
    size_t at = 0;
    while (at < total) {
        if (in->at == in->end)
            return GLZ_TRUNCATED;
        uint32_t control = *in->at++;
        if (control < LZ_MAX_LITERALS) {
            size_t n = control + 1, bytes = n * lz_literal_bytes(kind);
            if (n > total - at)
                return GLZ_OVERRUN;
            if (bytes > (size_t)(in->end - in->at))
                return GLZ_TRUNCATED;
            lz_put_literals(kind, pixels, at, in->at, n);
            in->at += bytes;
            at += n;
            continue;
        }
        struct copy copy;
        if (!read_copy(in, control, total, &copy))
            return GLZ_TRUNCATED;
        copy.length += lz_extra(kind);
        int status = apply(kind, &copy, id, window, pixels, at, total, missing);
        if (status != GLZ_OK)
            return status;
        at += copy.length;
    }
    return GLZ_OK;
}

int glz_read_header(const uint8_t *data, size_t size, struct glz_header *header)
{
    if (size < HEADER_BYTES || lz_load_be32(data) != LZ_MAGIC || lz_load_be32(data + 4) != LZ_VERSION)
        return GLZ_BAD_HEADER;
    header->type = data[8] & 15;
    header->top_down = data[8] >> 4 != 0;
    header->width = lz_load_be32(data + 9);
    header->height = lz_load_be32(data + 13);
    header->stride = lz_load_be32(data + 17);
    header->id = (uint64_t)lz_load_be32(data + 21) << 32 | lz_load_be32(data + 25);
    header->head_distance = lz_load_be32(data + 29);
    uint64_t pixels = (uint64_t)header->width * header->height;
    int is_known = header->type >= GLZ_RGB16 && header->type <= GLZ_RGBA;
    return is_known && pixels && pixels < 1u << 30 ? GLZ_OK : GLZ_BAD_HEADER;
}

int glz_decode(const uint8_t *data, size_t size, uint32_t width, uint32_t height, const struct glz_image *window,
               size_t window_size, uint32_t *pixels, uint64_t *missing)
{
    struct glz_header header;
    int status = glz_read_header(data, size, &header);
    if (status != GLZ_OK)
        return status;
    if (header.width != width || header.height != height)
        return GLZ_SIZE_MISMATCH;
    struct window images = {window, window_size, window_size};
    struct lz_input in = {data + HEADER_BYTES, data + size};
    size_t total = (size_t)width * height;
    if (header.type == GLZ_RGB16)
        return decode_pass(LZ_KIND_WIDE, &in, header.id, &images, pixels, total, missing);
    status = decode_pass(LZ_KIND_BGR, &in, header.id, &images, pixels, total, missing);
    if (status == GLZ_OK && header.type == GLZ_RGBA)
        status = decode_pass(LZ_KIND_ALPHA, &in, header.id, &images, pixels, total, missing);
    return status;
}
