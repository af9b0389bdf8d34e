#ifndef QUIC_CODEWORDS_INTERNAL_H
#define QUIC_CODEWORDS_INTERNAL_H

/* How QUIC's decoder reads codewords: short ones by a table, long ones by their definition. */

#include "quic_bits_internal.h"

/*
 * An entry of the table: the difference in the byte of its channel, so that a pixel's entries need only be added, and in the
 * lowest byte the codeword's length. ENTRY_ESCAPE is with an escape, ENTRY_LONG is all there is of a codeword longer than the
 * table's. Three lengths add up to less than ENTRY_ESCAPE, three of these to less than 256.
 */
enum { ENTRY_ESCAPE = 0x20, ENTRY_LONG = 0x40, ENTRY_LENGTH = ENTRY_ESCAPE - 1, ENTRY_FLAGS = 0xe0 };

/* For 8 codes of 8 bits and 5 of 5, for each of three channels. The table begins where a cache line does. */
enum { LOOKUP_ENTRIES = (8 + 5) * 3 << QUIC_LOOKUP_BITS, LOOKUP_ALIGNMENT = 64 };

ALWAYS_INLINE const uint32_t *aligned(const uint16_t *lookup)
{
    return (const uint32_t *)(((uintptr_t)lookup + LOOKUP_ALIGNMENT - 1) & ~(uintptr_t)(LOOKUP_ALIGNMENT - 1));
}

/* How long escapes are expected after one: few pictures have a single one, and those that have none are decoded faster. */
enum { ROUGH_PIXELS = 2048 };

ALWAYS_INLINE uint32_t leading_zeros(uint64_t word)
{
    int zeros = word ? __builtin_clzll(word) : 64;
    return (uint32_t)zeros;
}

/* Read one codeword of code k, of any length. */
static inline uint32_t read_code(struct bits *bits, const struct quic_codes *codes, uint32_t depth, uint32_t k)
{
    if (bits->count < QUIC_MAX_CODE)
        *bits = reload(*bits);
    uint32_t zeros = leading_zeros(bits->window), used;
    uint32_t value;
    if (zeros < codes->prefix[k]) {
        used = zeros + 1 + k;
        value = zeros << k | ((uint32_t)(bits->window << (zeros + 1) >> 32 >> (32 - k)));
    } else {
        uint32_t suffix = codes->suffix[k];
        used = codes->prefix[k] + suffix;
        /* Codes with spare suffixes can say more than a channel holds. */
        value = (codes->first_escaped[k] + (uint32_t)(bits->window << codes->prefix[k] >> (64 - suffix))) & ((1u << depth) - 1);
    }
    bits->window <<= used;
    bits->count -= (int32_t)used;
    return value;
}

/*
 * A pixel's differences from its prediction apart, the context of the next one. They are not unpacked from the lanes, since then
 * the first channel would have to wait for the last one.
 */
struct errors {
    uint32_t r, g, b;
};

ALWAYS_INLINE struct errors unpack(uint32_t word)
{
    return (struct errors){word >> 16, word >> 8 & 0xff, word & 0xff};
}

/* The stream has differences folded, 0, -1, 1, -2 and so on. On lanes. */
ALWAYS_INLINE uint32_t fold(uint32_t differences)
{
    return (differences << 1 & 0xfefefe) ^ (differences >> 7 & 0x010101) * 0xff;
}

ALWAYS_INLINE uint32_t unfold(uint32_t folded)
{
    return (folded >> 1 ^ (0u - (folded & 1))) & 0xff;
}

/* A group, and for each context, by its difference, where in the table its code begins and that code's form. */
struct decoder {
    struct quic_group group;
    const uint32_t *lookup;
    uint32_t rough; /* how many of the next pixels are expected to have escapes */
    const uint32_t *codes[3][256];
    uint64_t forms[3][256];
};

/*
 * What skipping a codeword takes: k + 1, and of codes whose escapes have suffixes of k bits (the others' are not in the table)
 * a bit where the last zero of an escape's prefix is.
 */
static uint64_t make_form(const struct quic_codes *codes, uint32_t k)
{
    return (k + 1) | (codes->suffix[k] == k ? 1ull << (64 - codes->prefix[k]) : 0);
}

/* From now on read contexts `first` to before `end` by code k. */
__attribute__((noinline)) static void set_code(struct decoder *decoder, uint32_t channel, uint32_t depth, uint32_t first,
                                               uint32_t end, uint32_t k)
{
    const uint64_t form = make_form(depth == 5 ? &quic_codes5 : &quic_codes8, k);
    for (uint32_t context = first; context < end; context++) {
        decoder->codes[channel][unfold(context)] = decoder->lookup + (((size_t)k * 3 + channel) << QUIC_LOOKUP_BITS);
        decoder->forms[channel][unfold(context)] = form;
    }
}

static void decoder_init(struct decoder *decoder, uint32_t depth, const uint32_t *lookup)
{
    quic_group_init(&decoder->group, depth);
    decoder->rough = 0;
    decoder->lookup = lookup + (depth == 5 ? 3 * 8 << QUIC_LOOKUP_BITS : 0);
    for (uint32_t channel = 0; channel < 3; channel++)
        set_code(decoder, channel, depth, 0, 256, depth - 1);
}

ALWAYS_INLINE void learn(struct decoder *decoder, uint32_t channel, uint32_t depth, uint32_t context, uint32_t n,
                         quic_counter *count)
{
    struct quic_model *model = &decoder->group.models[channel];
    uint32_t trigger = quic_halving[decoder->group.level];
    if (!quic_learn(model, depth, depth == 5 ? &quic_codes5 : &quic_codes8, context, n, trigger, count))
        return;
    struct quic_bucket bucket = quic_bucket(depth, context);
    set_code(decoder, channel, depth, bucket.first, bucket.end, model->code_for[context]);
}

/* Learn that differences `n` came after differences `context`, both in lanes, and return how many pixels to skip then. */
ALWAYS_INLINE uint32_t learn_pixel(struct decoder *decoder, uint32_t depth, uint32_t channels, uint32_t context, uint32_t n,
                                   quic_counter *count)
{
    const uint32_t folded_context = fold(context), folded_n = fold(n);
    for (uint32_t channel = 3 - channels, shift = 8 * (channels - 1); channel < 3; channel++, shift -= 8)
        learn(decoder, channel, depth, folded_context >> shift & 0xff, folded_n >> shift & 0xff, count);
    return quic_next_skip(&decoder->group);
}

struct long_errors {
    struct bits bits;
    uint32_t errors;
};

/* Read one pixel's differences where a codeword is longer than the table's; the window does not matter. */
static struct long_errors read_long_errors(struct bits bits, const struct decoder *decoder, uint32_t depth, uint32_t channels,
                                           uint32_t context)
{
    const struct quic_codes *codes = depth == 5 ? &quic_codes5 : &quic_codes8;
    const uint32_t folded = fold(context);
    uint32_t errors = 0;
    bits = reload(bits);
    for (uint32_t channel = 3 - channels, shift = 8 * (channels - 1); channel < 3; channel++, shift -= 8) {
        uint32_t k = decoder->group.models[channel].code_for[folded >> shift & 0xff];
        errors |= unfold(read_code(&bits, codes, depth, k)) << shift;
    }
    return (struct long_errors){bits.count < QUIC_LOOKUP_BITS ? reload(bits) : bits, errors};
}

/* A pixel's entries of the table, the window after its codewords if they are in it, and what the last one's length is made of. */
struct entries {
    uint64_t window;
    uint32_t r, g, b, form, zeros;
};

/* How many zeros a codeword begins with. Only with escapes does it matter where a form ends them. */
ALWAYS_INLINE uint32_t count_zeros(uint64_t window, uint64_t form, int with_escapes)
{
    return with_escapes ? (uint32_t)__builtin_clzll(window | form) : leading_zeros(window);
}

/*
 * Look up one pixel's codewords; `context` is the differences of its left neighbour. `unfilled` is the window
 * before it was refilled: the first codeword need not wait for that, since no pixel leaves fewer bits than the look-up takes.
 *
 * A codeword is zeros, a one and k bits; or it is an escape's zeros and k bits, of which the form's bit ends the zeros one
 * early, so that there too k + 1 bits follow. The window after it is sooner known so than by looking up the length.
 */
ALWAYS_INLINE struct entries look_up(uint64_t unfilled, uint64_t window, const struct decoder *decoder, uint32_t channels,
                                     struct errors context, int with_escapes)
{
    uint32_t r = 0, g = 0, zeros;
    uint64_t form, index = unfilled >> (64 - QUIC_LOOKUP_BITS);
    if (channels == 3) {
        r = decoder->codes[0][context.r][index];
        form = decoder->forms[0][context.r];
        zeros = count_zeros(unfilled, form, with_escapes);
        window = window << (form & 63) << (zeros & 63);
        g = decoder->codes[1][context.g][window >> (64 - QUIC_LOOKUP_BITS)];
        form = decoder->forms[1][context.g];
        zeros = count_zeros(window, form, with_escapes);
        window = window << (form & 63) << (zeros & 63);
        index = window >> (64 - QUIC_LOOKUP_BITS);
    }
    uint32_t b = decoder->codes[2][context.b][index];
    form = decoder->forms[2][context.b];
    zeros = count_zeros(window, form, with_escapes);
    window = window << (form & 63) << (zeros & 63);
    return (struct entries){window, r, g, b, (uint32_t)form, zeros};
}

/* Above the lowest byte a pixel's differences in their lanes, in it the length of its codewords, and flags. */
ALWAYS_INLINE uint32_t sum(const struct entries *entries)
{
    return entries->r + entries->g + entries->b;
}

ALWAYS_INLINE int is_any_long(const struct entries *entries)
{
    return ((entries->r | entries->g | entries->b) & ENTRY_LONG) != 0;
}

ALWAYS_INLINE struct errors to_errors(const struct entries *entries)
{
    return (struct errors){entries->r >> 24, entries->g >> 16, entries->b >> 8};
}

#endif
