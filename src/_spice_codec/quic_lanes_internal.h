#ifndef QUIC_LANES_INTERNAL_H
#define QUIC_LANES_INTERNAL_H

/* How QUIC's decoder makes a pixel of its neighbours and its differences, all channels at once. */

#include "quic_internal.h"

/*
 * Lanes as reconstruction wants them. Vectors are complemented, since they have an average that rounds up: that of
 * complements is the complement of the one rounded down.
 */
#if defined(__SSE2__)
typedef __m128i lanes;

ALWAYS_INLINE lanes to_lanes(uint32_t word)
{
    return _mm_xor_si128(_mm_cvtsi32_si128((int)word), _mm_set1_epi8(-1));
}

ALWAYS_INLINE uint32_t to_word(lanes pixel)
{
    return (uint32_t)_mm_cvtsi128_si32(_mm_xor_si128(pixel, _mm_set1_epi8(-1)));
}
#else
typedef uint32_t lanes;

ALWAYS_INLINE lanes to_lanes(uint32_t word)
{
    return word;
}

ALWAYS_INLINE uint32_t to_word(lanes pixel)
{
    return pixel;
}
#endif

/* A pixel from its neighbours, the one above being itself the left one in the first row, and its differences from the average. */
ALWAYS_INLINE lanes reconstruct(lanes left, lanes up, uint32_t differences, uint32_t depth)
{
#if defined(__SSE2__)
    lanes pixel = _mm_sub_epi8(_mm_avg_epu8(left, up), _mm_cvtsi32_si128((int)differences));
    return depth == 5 ? _mm_or_si128(pixel, _mm_set1_epi8((char)0xe0)) : pixel;
#else
    lanes average = quic_average(left, up);
    lanes pixel = ((average & 0x7f7f7f) + (differences & 0x7f7f7f)) ^ ((average ^ differences) & 0x808080);
    return depth == 5 ? pixel & 0x1f1f1f : pixel;
#endif
}

#endif
