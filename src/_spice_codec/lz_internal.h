#ifndef LZ_INTERNAL_H
#define LZ_INTERNAL_H

/*
 * What LZ and GLZ share. An image is a row of *units*; a stream is a row of items, each some literal units or a copy of
 * earlier ones. Functions below that take a `kind` are inlined where it is a constant.
 */

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "bytes_internal.h"

#define ALWAYS_INLINE static inline __attribute__((always_inline))

enum { LZ_MAGIC = 0x20205a4c, LZ_VERSION = 0x00010001, LZ_MAX_LITERALS = 32 };

/* A unit's form in the stream, and in memory. */
enum lz_kind {
    LZ_KIND_BYTE,  /* 1 byte, uint8_t */
    LZ_KIND_555,   /* 2 bytes, high one first, uint16_t */
    LZ_KIND_WIDE,  /* the same, kept as a 32-bit pixel */
    LZ_KIND_BGR,   /* 3 bytes, the colours of a 32-bit pixel */
    LZ_KIND_ALPHA  /* 1 byte, the alpha of a 32-bit pixel, whose colours stay */
};

struct lz_input {
    const uint8_t *at;
    const uint8_t *end;
};

ALWAYS_INLINE size_t lz_literal_bytes(enum lz_kind kind)
{
    return kind == LZ_KIND_BGR ? 3 : kind == LZ_KIND_555 || kind == LZ_KIND_WIDE ? 2 : 1;
}

/* What a copy's length field leaves out. */
ALWAYS_INLINE size_t lz_extra(enum lz_kind kind)
{
    return kind == LZ_KIND_BGR ? 0 : kind == LZ_KIND_555 || kind == LZ_KIND_WIDE ? 1 : 2;
}

static inline uint32_t lz_load_be32(const uint8_t *p)
{
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

static inline uint32_t lz_expand555(uint32_t p)
{
    uint32_t lanes = (p & 0x7c00) << 6 | (p & 0x3e0) << 3 | (p & 0x1f);
    return lanes << 3 | (lanes >> 2 & 0x070707);
}

static inline uint32_t lz_truncate555(uint32_t p)
{
    return (p >> 9 & 0x7c00) | (p >> 6 & 0x3e0) | (p >> 3 & 0x1f);
}

/* Put `n` pixels of three bytes: two with each load, as far as eight bytes are there. */
ALWAYS_INLINE void lz_put_bgr(uint32_t *out, const uint8_t *in, size_t n)
{
    size_t i = 0;
    for (; i + 3 <= n; i += 2) {
        uint64_t two = load_u64(in + 3 * i);
        out[i] = (uint32_t)two & 0xffffff;
        out[i + 1] = (uint32_t)(two >> 24) & 0xffffff;
    }
    for (; i < n; i++)
        out[i] = in[3 * i] | (uint32_t)in[3 * i + 1] << 8 | (uint32_t)in[3 * i + 2] << 16;
}

/* Put `n` literals, all of whose bytes are there, at unit `at`. */
ALWAYS_INLINE void lz_put_literals(enum lz_kind kind, void *out, size_t at, const uint8_t *in, size_t n)
{
    uint32_t *out32 = (uint32_t *)out + at;
    if (kind == LZ_KIND_BYTE)
        memcpy((uint8_t *)out + at, in, n);
    else if (kind == LZ_KIND_ALPHA)
        for (size_t i = 0; i < n; i++)
            out32[i] = (out32[i] & 0xffffff) | (uint32_t)in[i] << 24;
    else if (kind == LZ_KIND_BGR)
        lz_put_bgr(out32, in, n);
    else
        for (size_t i = 0; i < n; i++) {
            uint32_t pixel = (uint32_t)in[2 * i] << 8 | in[2 * i + 1];
            if (kind == LZ_KIND_WIDE)
                out32[i] = lz_expand555(pixel);
            else
                ((uint16_t *)out + at)[i] = (uint16_t)pixel;
        }
}

/*
 * Copy 32-bit pixels forward, the source `distance` before the target, which has `room` pixels in all. A distance of four
 * or more allows steps of four that write past `length` but not past `room`; what they spill is overwritten later.
 */
ALWAYS_INLINE void lz_copy_pixels(uint32_t *to, size_t distance, size_t length, size_t room)
{
    const uint32_t *from = to - distance;
    if (distance == 1) {
        uint32_t pixel = *from;
        for (size_t i = 0; i < length; i++)
            to[i] = pixel;
    } else if (distance >= 4 && room - length >= 3) {
        for (size_t i = 0; i < length; i += 4)
            memcpy(to + i, from + i, 16);
    } else {
        for (size_t i = 0; i < length; i++)
            to[i] = from[i];
    }
}

/* Copy `length` units to unit `at` from `distance` units before it, one after the other; `total` units are there. */
ALWAYS_INLINE void lz_copy_back(enum lz_kind kind, void *out, size_t at, size_t distance, size_t length, size_t total)
{
    uint32_t *to32 = (uint32_t *)out + at;
    if (kind == LZ_KIND_BYTE) {
        uint8_t *to = (uint8_t *)out + at;
        if (distance == 1)
            memset(to, to[-1], length);
        else
            for (size_t i = 0; i < length; i++)
                to[i] = (to - distance)[i];
    } else if (kind == LZ_KIND_555) {
        uint16_t *to = (uint16_t *)out + at;
        for (size_t i = 0; i < length; i++)
            to[i] = (to - distance)[i];
    } else if (kind == LZ_KIND_ALPHA) {
        for (size_t i = 0; i < length; i++)
            to32[i] = (to32[i] & 0xffffff) | ((to32 - distance)[i] & 0xff000000);
    } else {
        lz_copy_pixels(to32, distance, length, total - at);
    }
}

/* Read a copy's length field `length`, 1 to 7, to its end. False at the end of the input; sums over `limit` may be cut short. */
ALWAYS_INLINE int lz_read_length(struct lz_input *in, size_t *length, size_t limit)
{
    if (*length < 7)
        return 1;
    while (in->at < in->end) {
        uint8_t more = *in->at++;
        *length += more;
        if (more != 255 || *length > limit)
            return 1;
    }
    return 0;
}

/* --- encoding --- */

struct lz_output {
    uint8_t *out;
    size_t length;
    size_t capacity;
    int is_full;
};

static inline void lz_put_byte(struct lz_output *output, uint32_t byte)
{
    if (output->length < output->capacity)
        output->out[output->length++] = (uint8_t)byte;
    else
        output->is_full = 1;
}

static inline void lz_put_be32(struct lz_output *output, uint32_t word)
{
    for (int shift = 24; shift >= 0; shift -= 8)
        lz_put_byte(output, word >> shift);
}

/* One unit as a number that compares equal only to the same unit. */
ALWAYS_INLINE uint32_t lz_unit(enum lz_kind kind, const void *units, size_t i)
{
    if (kind == LZ_KIND_BYTE)
        return ((const uint8_t *)units)[i];
    if (kind == LZ_KIND_555)
        return ((const uint16_t *)units)[i] & 0x7fff;
    uint32_t pixel = ((const uint32_t *)units)[i];
    return kind == LZ_KIND_ALPHA ? pixel >> 24 : pixel & 0xffffff;
}

/* A hash of the three units from i on, below 1 << bits. */
ALWAYS_INLINE uint32_t lz_hash(enum lz_kind kind, const void *units, size_t i, uint32_t bits)
{
    uint32_t mixed = lz_unit(kind, units, i) * 0x9e3779b1u;
    mixed = (mixed ^ mixed >> 15 ^ lz_unit(kind, units, i + 1)) * 0x85ebca77u;
    mixed = (mixed ^ mixed >> 13 ^ lz_unit(kind, units, i + 2)) * 0xc2b2ae3du;
    return mixed >> (32 - bits);
}

/* How many units are equal, at most `limit`. */
ALWAYS_INLINE size_t lz_match(enum lz_kind kind, const void *left, size_t i, const void *right, size_t j, size_t limit)
{
    size_t n = 0;
    while (n < limit && lz_unit(kind, left, i + n) == lz_unit(kind, right, j + n))
        n++;
    return n;
}

/* Write the units from `start` to `end` as literals. */
ALWAYS_INLINE void lz_put_literal_items(struct lz_output *output, enum lz_kind kind, const void *units, size_t start, size_t end)
{
    while (start < end && !output->is_full) {
        size_t n = end - start < LZ_MAX_LITERALS ? end - start : LZ_MAX_LITERALS;
        lz_put_byte(output, (uint32_t)n - 1);
        for (size_t stop = start + n; start < stop; start++) {
            uint32_t unit = lz_unit(kind, units, start);
            if (kind == LZ_KIND_WIDE)
                unit = lz_truncate555(unit);
            if (kind == LZ_KIND_555 || kind == LZ_KIND_WIDE)
                lz_put_byte(output, unit >> 8);
            lz_put_byte(output, unit);
            if (kind == LZ_KIND_BGR) {
                lz_put_byte(output, unit >> 8);
                lz_put_byte(output, unit >> 16);
            }
        }
    }
}

/* Write a copy's first byte, whose low five bits are `low`, and the rest of its length field. */
static inline void lz_put_length(struct lz_output *output, size_t length, uint32_t low)
{
    if (length < 7) {
        lz_put_byte(output, (uint32_t)length << 5 | low);
        return;
    }
    lz_put_byte(output, 7u << 5 | low);
    for (length -= 7; length >= 255 && !output->is_full; length -= 255)
        lz_put_byte(output, 255);
    lz_put_byte(output, (uint32_t)length);
}

#endif
