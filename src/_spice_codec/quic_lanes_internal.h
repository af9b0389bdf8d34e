#ifndef QUIC_LANES_INTERNAL_H
#define QUIC_LANES_INTERNAL_H

/* How QUIC's decoder makes a pixel of its neighbours and its errors, all channels at once. */

#include "quic_internal.h"

/* Lanes as reconstruction wants them, in a vector register where there is one. */
#if defined(__SSE2__)
typedef __m128i lanes;

ALWAYS_INLINE lanes to_lanes(uint32_t word)
{
    return _mm_cvtsi32_si128((int)word);
}

ALWAYS_INLINE uint32_t to_word(lanes pixel)
{
    return (uint32_t)_mm_cvtsi128_si32(pixel);
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

/* A pixel from its neighbours, the one above being itself the left one in the first row, and its folded errors. */
ALWAYS_INLINE lanes reconstruct(lanes left, lanes up, lanes errors, uint32_t depth)
{
#if defined(__SSE2__)
    const __m128i ones = _mm_set1_epi8(1), low7 = _mm_set1_epi8(0x7f);
    lanes average = _mm_sub_epi8(_mm_avg_epu8(left, up), _mm_and_si128(_mm_xor_si128(left, up), ones)); /* rounded down */
    lanes signs = _mm_sub_epi8(_mm_setzero_si128(), _mm_and_si128(errors, ones));
    lanes difference = _mm_xor_si128(_mm_and_si128(_mm_srli_epi16(errors, 1), low7), signs);
    lanes pixel = _mm_add_epi8(average, difference);
    return depth == 5 ? _mm_and_si128(pixel, _mm_set1_epi8(0x1f)) : pixel;
#else
    lanes average = quic_average(left, up);
    lanes difference = ((errors >> 1) & 0x7f7f7f) ^ (errors & 0x010101) * 0xff;
    lanes pixel = ((average & 0x7f7f7f) + (difference & 0x7f7f7f)) ^ ((average ^ difference) & 0x808080);
    return depth == 5 ? pixel & 0x1f1f1f : pixel;
#endif
}

#endif
