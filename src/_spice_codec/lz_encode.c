/* LZ encoder: greedy, one candidate a hash. */

#include "lz.h"
#include "lz_internal.h"

enum {
    HASH_BITS = 13,
    NEAR = 8192,     /* first distance of the far form */
    FARTHEST = 73725 /* common encoders go no farther */
};

static void put_copy(struct lz_output *output, size_t length, size_t distance)
{
    uint32_t field = distance < NEAR ? (uint32_t)distance - 1 : 0x1fff;
    lz_put_length(output, length, field >> 8);
    lz_put_byte(output, field);
    if (distance >= NEAR) {
        lz_put_byte(output, (uint32_t)(distance - NEAR) >> 8);
        lz_put_byte(output, (uint32_t)(distance - NEAR));
    }
}

/* Encode one pass over `total` units; the table holds positions + 1. */
ALWAYS_INLINE void encode_units(struct lz_output *output, enum lz_kind kind, const void *units, size_t total, uint32_t *hash)
{
    size_t at = 0, literals = 0;
    memset(hash, 0, sizeof *hash << HASH_BITS);
    while (at + 3 <= total && !output->is_full) {
        uint32_t *slot = &hash[lz_hash(kind, units, at, HASH_BITS)];
        size_t distance = *slot ? at + 1 - *slot : 0, length = 0;
        *slot = (uint32_t)at + 1;
        if (at && lz_unit(kind, units, at) == lz_unit(kind, units, at - 1))
            distance = 1;
        if (distance && distance <= FARTHEST)
            length = lz_match(kind, units, at - distance, units, at, total - at);
        if (length < (distance < NEAR ? 3 : 5)) {
            at++;
            continue;
        }
        lz_put_literal_items(output, kind, units, literals, at);
        put_copy(output, length - lz_extra(kind), distance);
        at += length;
        literals = at;
    }
    lz_put_literal_items(output, kind, units, literals, total);
}

size_t lz_hash_words(void)
{
    return (size_t)1 << HASH_BITS;
}

int lz_encode(const struct lz_header *header, const uint8_t *units, uint8_t *out, size_t capacity, uint32_t *hash,
              size_t *written)
{
    struct lz_output output = {.out = out, .capacity = capacity};
    const uint32_t words[] = {LZ_MAGIC,       LZ_VERSION,     header->type,    header->width,
                              header->height, header->stride, header->top_down};
    size_t total = (size_t)header->width * header->height;
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        lz_put_be32(&output, words[i]);
    switch (header->type) {
    case LZ_RGB16:
        encode_units(&output, LZ_KIND_555, units, total, hash);
        break;
    case LZ_RGBA:
    case LZ_RGB24:
    case LZ_RGB32:
        encode_units(&output, LZ_KIND_BGR, units, total, hash);
        if (header->type == LZ_RGBA)
            encode_units(&output, LZ_KIND_ALPHA, units, total, hash);
        break;
    case LZ_XXXA:
        encode_units(&output, LZ_KIND_ALPHA, units, total, hash);
        break;
    default:
        encode_units(&output, LZ_KIND_BYTE, units, (size_t)header->stride * header->height, hash);
    }
    *written = output.length;
    return output.is_full ? LZ_NO_SPACE : LZ_OK;
}
