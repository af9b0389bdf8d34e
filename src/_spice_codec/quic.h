#ifndef QUIC_H
#define QUIC_H

#include <stddef.h>
#include <stdint.h>

/* QUIC, SPICE's lossless predictor coder. Rows are always in visual order. */

enum quic_type { QUIC_GRAY = 1, QUIC_RGB16 = 2, QUIC_RGB24 = 3, QUIC_RGB32 = 4, QUIC_RGBA = 5 };

enum quic_status {
    QUIC_OK = 0,
    QUIC_BAD_HEADER,    /* too short for a header, or not QUIC's magic, version or types */
    QUIC_SIZE_MISMATCH, /* the header's width or height is not the caller's */
    QUIC_BAD_RUN,       /* a run passes the end of its segment */
    QUIC_TRUNCATED,     /* the stream ends before the image does */
    QUIC_NO_SPACE       /* encoding only: the output is full */
};

struct quic_header {
    uint32_t type;
    uint32_t width;
    uint32_t height;
};

/* Read and check the five header words; the size is any non-zero one. */
int quic_read_header(const uint8_t *data, size_t size, struct quic_header *header);

/* How many uint32_t of scratch decoding and encoding need for this width. */
size_t quic_scratch_words(uint32_t width);

/*
 * The decoder's table of short codewords, always the same: make it once, in as many uint16_t, and give it to every call.
 */
size_t quic_lookup_size(void);
void quic_make_lookup(uint16_t *lookup);

/*
 * Decode an image of exactly width x height into rows that lie `stride` bytes apart (negative allowed).
 * RGB24, RGB32: 32-bit BGRX, X = 0. RGBA: BGRA. RGB16: BGRX if `expand`, else 16-bit 555. GRAY: bytes.
 * `out` and `stride` are aligned to the pixel. On an error the rows before it are written, the rest is undefined.
 */
int quic_decode(const uint8_t *data, size_t size, uint32_t width, uint32_t height, int expand, uint8_t *out,
                ptrdiff_t stride, const uint16_t *lookup, uint32_t *scratch);

/*
 * Encode rows of the type's pixels (bytes for GRAY, 16-bit 555 for RGB16, else 32-bit; X is ignored).
 * `*written` is the length of the stream.
 */
int quic_encode(int type, uint32_t width, uint32_t height, const uint8_t *pixels, ptrdiff_t stride,
                uint8_t *out, size_t capacity, uint32_t *scratch, size_t *written);

#endif
