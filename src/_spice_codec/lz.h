#ifndef LZ_H
#define LZ_H

#include <stddef.h>
#include <stdint.h>

/* LZ, SPICE's byte-oriented LZ77 with pixel-sized units. */

enum lz_type {
    LZ_PLT1_LE = 1,
    LZ_PLT1_BE = 2,
    LZ_PLT4_LE = 3,
    LZ_PLT4_BE = 4,
    LZ_PLT8 = 5,
    LZ_RGB16 = 6,
    LZ_RGB24 = 7,
    LZ_RGB32 = 8,
    LZ_RGBA = 9,
    LZ_XXXA = 10,
    LZ_A8 = 11
};

enum lz_status {
    LZ_OK = 0,
    LZ_BAD_HEADER,    /* too short for a header, or not LZ's magic, version or types, or an impossible stride */
    LZ_SIZE_MISMATCH, /* the header's width or height is not the caller's */
    LZ_TRUNCATED,     /* the stream ends before the image does */
    LZ_OVERRUN,       /* an item passes the end of the image */
    LZ_BAD_REFERENCE, /* a copy from before the start of the image */
    LZ_NO_PALETTE,    /* a palette image, and no palette */
    LZ_NO_SPACE       /* encoding only: the output is full */
};

struct lz_header {
    uint32_t type;
    uint32_t width;
    uint32_t height;
    uint32_t stride;
    uint32_t top_down;
};

/* Read and check the seven header words; the size is any whose stride * height stays below 2^30. */
int lz_read_header(const uint8_t *data, size_t size, struct lz_header *header);

/*
 * Decode an image of exactly width x height into rows in visual order that lie `stride` bytes apart (negative allowed).
 * Palette types, RGB24, RGB32: 32-bit BGRX, X = 0. RGBA: BGRA. RGB16: BGRX if `expand`, else 16-bit 555. A8, XXXA: bytes.
 * `out` and `stride` are aligned to the pixel. An index past the palette counts modulo its size.
 * `scratch` holds width * height uint32_t; it may be NULL if the rows of `out` are tight and the type has no palette.
 * On an error the contents of `out` are undefined.
 */
int lz_decode(const uint8_t *data, size_t size, uint32_t width, uint32_t height, const uint32_t *palette,
              uint32_t palette_size, int expand, uint8_t *out, ptrdiff_t stride, uint32_t *scratch);

/* How many uint32_t of hash table lz_encode() needs. */
size_t lz_hash_words(void);

/*
 * Encode `units`, tight and in the order of the stream: bytes for palette types (rows of `header->stride`) and A8, 16-bit
 * 555 for RGB16, else 32-bit pixels. `header` is written as it stands. `*written` is the length of the stream.
 */
int lz_encode(const struct lz_header *header, const uint8_t *units, uint8_t *out, size_t capacity, uint32_t *hash,
              size_t *written);

#endif
