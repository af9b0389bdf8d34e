/* GLZ encoder: greedy, one candidate a hash, in this image or any of the window. */

#include "glz.h"
#include "lz_internal.h"

enum { HASH_BITS = 16, MAX_OFFSET = 1 << 25, MAX_IMAGES = 1 << 24 };

/* A place to copy from: `images` ids back (0: this image), at `offset` from the start of that image. */
struct place {
    const uint32_t *pixels;
    size_t count; /* pixels that may be read from `offset` on; more than there are in this image, whose copies overlap */
    size_t offset;
    uint64_t images;
};

static const struct glz_image *find(const struct glz_image *window, size_t size, uint64_t id, uint32_t type)
{
    size_t low = 0, high = size;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (window[middle].id < id)
            low = middle + 1;
        else
            high = middle;
    }
    return low < size && window[low].id == id && window[low].type == type ? &window[low] : NULL;
}

static void put_copy(struct lz_output *output, size_t length, uint64_t pixel, uint64_t images)
{
    uint32_t is_long = pixel >= 4096, bytes = 0;
    while (bytes < 3 && images >> (is_long ? 0 : 6) >> (8 * bytes))
        bytes++;
    lz_put_length(output, length, is_long << 4 | (uint32_t)(pixel & 15));
    lz_put_byte(output, (uint32_t)(pixel >> 4));
    if (is_long)
        lz_put_byte(output, bytes << 6 | (pixel >> 17 ? 32u : 0u) | (uint32_t)(pixel >> 12 & 31));
    else
        lz_put_byte(output, bytes << 6 | (uint32_t)(images & 63));
    for (uint32_t shift = is_long ? 0 : 6; bytes; bytes--, shift += 8)
        lz_put_byte(output, (uint32_t)(images >> shift));
    if (pixel >> 17)
        lz_put_byte(output, (uint32_t)(pixel >> 17));
}

/* Where the entry points to, if it can be referred to from pixel `at`. */
static int locate(const struct glz_header *header, const uint32_t *pixels, size_t at, const struct glz_entry *entry,
                  const struct glz_image *window, size_t window_size, struct place *place)
{
    size_t total = (size_t)header->width * header->height;
    place->offset = (size_t)entry->offset;
    if (entry->id == header->id) {
        *place = (struct place){pixels, total, (size_t)entry->offset, 0};
        return entry->offset < at && at - entry->offset <= MAX_OFFSET;
    }
    const struct glz_image *image = entry->id < header->id ? find(window, window_size, entry->id, header->type) : NULL;
    if (!image || header->id - entry->id >= MAX_IMAGES || entry->offset >= image->count)
        return 0;
    *place = (struct place){image->pixels, image->count - (size_t)entry->offset, (size_t)entry->offset, header->id - entry->id};
    return entry->offset > 0 && entry->offset < MAX_OFFSET; /* common encoders avoid offset 0 of another image */
}

/* Encode one pass over the pixels. */
ALWAYS_INLINE void encode_pass(struct lz_output *output, enum lz_kind kind, const struct glz_header *header,
                               const uint32_t *pixels, const struct glz_image *window, size_t window_size,
                               struct glz_entry *hash)
{
    /* A copy costs 3 to 7 bytes: how many units make it worth while. */
    const size_t shortest = kind == LZ_KIND_BGR ? 3 : kind == LZ_KIND_WIDE ? 4 : 8;
    size_t total = (size_t)header->width * header->height, at = 0, literals = 0;
    while (at + 3 <= total && !output->is_full) {
        struct glz_entry *slot = &hash[lz_hash(kind, pixels, at, HASH_BITS)];
        struct glz_entry entry = *slot;
        *slot = (struct glz_entry){header->id, at};
        if (at && lz_unit(kind, pixels, at) == lz_unit(kind, pixels, at - 1))
            entry = (struct glz_entry){header->id, at - 1};
        struct place place;
        size_t length = 0;
        if (locate(header, pixels, at, &entry, window, window_size, &place)) {
            size_t limit = place.count < total - at ? place.count : total - at;
            length = lz_match(kind, place.pixels, place.offset, pixels, at, limit);
        }
        if (length < shortest) {
            at++;
            continue;
        }
        lz_put_literal_items(output, kind, pixels, literals, at);
        put_copy(output, length - lz_extra(kind), place.images ? place.offset : at - place.offset - 1, place.images);
        at += length;
        literals = at;
    }
    lz_put_literal_items(output, kind, pixels, literals, total);
}

size_t glz_hash_entries(void)
{
    return (size_t)1 << HASH_BITS;
}

int glz_encode(const struct glz_header *header, const uint32_t *pixels, const struct glz_image *window, size_t window_size,
               uint8_t *out, size_t capacity, struct glz_entry *hash, size_t *written)
{
    struct lz_output output = {.out = out, .capacity = capacity};
    lz_put_be32(&output, LZ_MAGIC);
    lz_put_be32(&output, LZ_VERSION);
    lz_put_byte(&output, header->type | (header->top_down ? 0x10u : 0));
    lz_put_be32(&output, header->width);
    lz_put_be32(&output, header->height);
    lz_put_be32(&output, header->stride);
    lz_put_be32(&output, (uint32_t)(header->id >> 32));
    lz_put_be32(&output, (uint32_t)header->id);
    lz_put_be32(&output, header->head_distance);
    if (header->type == GLZ_RGB16)
        encode_pass(&output, LZ_KIND_WIDE, header, pixels, window, window_size, hash);
    else
        encode_pass(&output, LZ_KIND_BGR, header, pixels, window, window_size, hash);
    if (header->type == GLZ_RGBA)
        encode_pass(&output, LZ_KIND_ALPHA, header, pixels, window, window_size, hash);
    *written = output.length;
    return output.is_full ? GLZ_NO_SPACE : GLZ_OK;
}
