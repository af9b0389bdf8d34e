#ifndef QUIC_INTERNAL_H
#define QUIC_INTERNAL_H

/*
 * What QUIC's decoder and encoder share: the code tables, the adaptive model of a channel and the pace of its updates.
 *
 * Theory of operation. A row is worked on as `uint32_t` lanes: a pixel's R, G and B (or its single channel, in B's place)
 * are bytes of one word, 5-bit values for RGB16. So prediction and unfolding cost one word operation a pixel, and for
 * RGB32 a row of lanes *is* the row of the picture. What prediction missed is kept in the same lanes: by the encoder folded, as
 * it is coded, by the decoder as differences, which its table of codewords gives.
 *
 * A model's `code_for` is indexed by context directly; the eight buckets of the format are ranges of it, rewritten when
 * a bucket's best code changes. That is rare, looking it up is not.
 */

#include "quic.h"

#include <string.h>

#if defined(__x86_64__)
#include <smmintrin.h>
#endif

#define ALWAYS_INLINE static inline __attribute__((always_inline))
#define LIKELY(condition) __builtin_expect(!!(condition), 1)
#define UNLIKELY(condition) __builtin_expect(!!(condition), 0)

enum {
    QUIC_MAGIC = 0x43495551,
    QUIC_HEADER_BYTES = 20,
    QUIC_MAX_CODE = 26, /* bits of the longest codeword */
    QUIC_PACE_MAX = 6,
    QUIC_PACE_SPAN = 2048,
    QUIC_CODES = 8, /* of an 8-bit channel; a 5-bit one has 5 */
    QUIC_LOOKUP_BITS = 10,
    QUIC_ROWS = 6   /* rows of scratch: current, upper and errors, of the colours and of alpha */
};

/* Rice codes of one channel depth, cut off after `prefix` zeros; lengths[n][7 - k] = bits that code k spends on n. */
struct quic_codes {
    uint8_t prefix[QUIC_CODES];
    uint8_t suffix[QUIC_CODES];
    uint8_t first_escaped[QUIC_CODES];
    const uint8_t (*lengths)[QUIC_CODES];
};

extern const struct quic_codes quic_codes8;
extern const struct quic_codes quic_codes5;
extern const uint8_t quic_draws[256];
extern const uint16_t quic_halving[QUIC_PACE_MAX + 1];
extern const uint8_t quic_run_bits[32];

/*
 * One channel. 16 bits hold the counters: the smallest grows by at least 1 and any by at most 26 an update, and all are
 * halved when the smallest passes 900 at the latest, so none exceeds 2 * 26 * 901 = 46852. Those of codes that a channel of 5
 * bits does not have grow by 255 and stop at 65535.
 */
struct quic_model {
    uint16_t counts[QUIC_CODES][QUIC_CODES]; /* [bucket][7 - code] */
    uint8_t code_for[256];                   /* [context] */
};

/* Channels that are coded together (R, G, B or a single one) and what they share. */
struct quic_group {
    struct quic_model models[3];
    uint32_t level;
    uint32_t left; /* pixels until the next level */
    uint32_t skip; /* coded pixels until the next update */
    uint8_t draw;
    uint8_t run_state;
};

void quic_group_init(struct quic_group *group, uint32_t depth);

ALWAYS_INLINE uint32_t quic_next_skip(struct quic_group *group)
{
    group->draw = (uint8_t)(group->draw + 1);
    return quic_draws[group->draw] & ((1u << group->level) - 1);
}

/* Where the segment that starts at pixel i ends: runs do not cross it. */
ALWAYS_INLINE uint32_t quic_segment_end(const struct quic_group *group, uint32_t i, uint32_t width)
{
    return group->level < QUIC_PACE_MAX && group->left < width - i ? i + group->left : width;
}

ALWAYS_INLINE void quic_advance(struct quic_group *group, uint32_t pixels)
{
    if (group->level < QUIC_PACE_MAX && (group->left -= pixels) == 0) {
        group->level++;
        group->left = QUIC_PACE_SPAN;
    }
}

/* The bucket of a context. Bucket b has 2^b of them, from 2^b - 1 on, and the last bucket one more. */
ALWAYS_INLINE uint32_t quic_bucket(uint32_t depth, uint32_t context)
{
    return 31u - (uint32_t)__builtin_clz(context + 1 - (context >> (depth - 1)));
}

/*
 * Add what each code spends on a value to the counters, and halve them all if the smallest passes the trigger. Returns the code
 * with the smallest counter, on a tie the largest one. A channel of fewer codes than 8 has lengths that never win for the rest.
 */
typedef uint32_t quic_counter(uint16_t counts[QUIC_CODES], const uint8_t lengths[QUIC_CODES], uint32_t trigger);

static inline uint32_t quic_count(uint16_t counts[QUIC_CODES], const uint8_t lengths[QUIC_CODES], uint32_t trigger)
{
    uint32_t smallest = UINT32_MAX;
    for (uint32_t i = 0; i < QUIC_CODES; i++) {
        uint32_t count = (uint32_t)counts[i] + lengths[i];
        counts[i] = (uint16_t)(count < UINT16_MAX ? count : UINT16_MAX);
        uint32_t key = (uint32_t)counts[i] << 3 | i;
        smallest = key < smallest ? key : smallest;
    }
    if (UNLIKELY(smallest >> 3 > trigger))
        for (uint32_t i = 0; i < QUIC_CODES; i++)
            counts[i] >>= 1;
    return 7 - (smallest & 7);
}

#if defined(__x86_64__)
/* The same at once. */
__attribute__((target("sse4.1"))) static inline uint32_t quic_count_at_once(uint16_t counts[QUIC_CODES],
                                                                            const uint8_t lengths[QUIC_CODES], uint32_t trigger)
{
    __m128i added = _mm_cvtepu8_epi16(_mm_loadl_epi64((const __m128i *)(const void *)lengths));
    __m128i sums = _mm_adds_epu16(_mm_loadu_si128((const __m128i *)(const void *)counts), added);
    uint32_t smallest = (uint32_t)_mm_cvtsi128_si32(_mm_minpos_epu16(sums)); /* its index above it, the first on a tie */
    if (UNLIKELY((smallest & 0xffff) > trigger))
        sums = _mm_srli_epi16(sums, 1);
    _mm_storeu_si128((__m128i *)(void *)counts, sums);
    return 7 - (smallest >> 16);
}
#endif

/* Learn that `n` came after `context`. True if there is another code for that context's bucket now. */
ALWAYS_INLINE int quic_learn(struct quic_model *model, uint32_t depth, const struct quic_codes *codes, uint32_t context,
                              uint32_t n, uint32_t trigger, quic_counter *count)
{
    const uint32_t bucket = quic_bucket(depth, context);
    const uint32_t best = count(model->counts[bucket], codes->lengths[n], trigger);
    if (LIKELY(best == model->code_for[context]))
        return 0;
    memset(model->code_for + (1u << bucket) - 1, (int)best, (1u << bucket) + (bucket == depth - 1 ? 1u : 0));
    return 1;
}

/* Byte-wise on lanes. */
ALWAYS_INLINE uint32_t quic_average(uint32_t a, uint32_t b)
{
    return (a & b) + (((a ^ b) >> 1) & 0x7f7f7f);
}

ALWAYS_INLINE uint32_t quic_spread555(uint32_t p)
{
    return (p & 0x7c00) << 6 | (p & 0x3e0) << 3 | (p & 0x1f);
}

#endif
