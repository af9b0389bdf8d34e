#ifndef QUIC_BITS_INTERNAL_H
#define QUIC_BITS_INTERNAL_H

/* The bit reader of QUIC's decoder. */

#include "quic_internal.h"

/*
 * Bits of the stream, most significant first. The top `count` bits of `window` are counted, those below are right or zero.
 * `next` holds the 64 bits from word `at` on, the first word not counted, loaded one refill ahead so that no code
 * waits for memory. After its last word the stream reads as zeros; a row that passed it notices at its end.
 */
struct bits {
    uint64_t window;
    uint64_t next;
    int32_t count;
    size_t at;
    size_t words;
    size_t last; /* words - 1, or 0 */
    const uint8_t *data;
};

static inline uint32_t load_word(const uint8_t *p)
{
    return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

/* Written out whole, since compilers make one load of this form only. */
static inline uint64_t load_two_words(const uint8_t *p)
{
    return (uint64_t)p[0] | (uint64_t)p[1] << 8 | (uint64_t)p[2] << 16 | (uint64_t)p[3] << 24 | (uint64_t)p[4] << 32 |
           (uint64_t)p[5] << 40 | (uint64_t)p[6] << 48 | (uint64_t)p[7] << 56;
}

/* The 64 bits from word `at` on. */
ALWAYS_INLINE uint64_t load_words(const struct bits *bits, size_t at)
{
    if (LIKELY(at < bits->last)) {
        uint64_t two = load_two_words(bits->data + 4 * at);
        return two << 32 | two >> 32;
    }
    return at < bits->words ? (uint64_t)load_word(bits->data + 4 * at) << 32 : 0;
}

/* Afterwards at least 32 bits are counted, and all 64 are right. */
ALWAYS_INLINE void refill(struct bits *bits)
{
    bits->window |= bits->next >> bits->count;
    uint32_t rest;
    bits->at += __builtin_sub_overflow((uint32_t)bits->count, 32u, &rest); /* count < 32, as a carry */
    bits->count |= 32;
    bits->next = load_words(bits, bits->at);
}

/* Begin anew at the current position; afterwards all 64 bits are right. By value, so that a caller's `bits` can be registers. */
static inline struct bits reload(struct bits bits)
{
    size_t position = bits.at * 32 - (size_t)bits.count;
    uint32_t offset = position & 31;
    bits.window = load_words(&bits, position / 32) << offset;
    bits.at = position / 32 + 1;
    bits.count = 32 - (int32_t)offset;
    bits.next = load_words(&bits, bits.at);
    refill(&bits);
    return bits;
}

ALWAYS_INLINE int is_past_end(const struct bits *bits)
{
    return (int64_t)(bits->at * 32) - bits->count > (int64_t)(bits->words * 32);
}

#endif
