#ifndef QUIC_BITS_INTERNAL_H
#define QUIC_BITS_INTERNAL_H

/* The bit reader of QUIC's decoder. */

#include "quic_internal.h"

#include <string.h>

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

ALWAYS_INLINE uint32_t load_word(const uint8_t *p)
{
    return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

/* The first word is the low half. */
ALWAYS_INLINE uint64_t load_two_words(const uint8_t *p)
{
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
    uint64_t words; /* compilers do not always see that the other form is one load */
    memcpy(&words, p, sizeof words);
    return words;
#else
    return load_word(p) | (uint64_t)load_word(p + 4) << 32;
#endif
}

ALWAYS_INLINE uint64_t swap_words(uint64_t words)
{
    return words << 32 | words >> 32;
}

/* The 64 bits from word `at` on. */
ALWAYS_INLINE uint64_t load_words(const struct bits *bits, size_t at)
{
    if (LIKELY(at < bits->last))
        return swap_words(load_two_words(bits->data + 4 * at));
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
