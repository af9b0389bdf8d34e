#ifndef QUIC_CODEWORDS_INTERNAL_H
#define QUIC_CODEWORDS_INTERNAL_H

/* How QUIC's decoder reads codewords: short ones by a table, long ones by their definition. */

#include "quic_bits_internal.h"

/* An entry of the table: the value in the high byte, the codeword's length below; or LOOKUP_LONG if it is longer. */
enum { LOOKUP_LONG = 0x40 };

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
 * A pixel's folded errors apart, the context of the next one. They are not unpacked from the lanes, since then the
 * first channel would have to wait for the last one.
 */
struct errors {
    uint32_t r, g, b;
};

ALWAYS_INLINE struct errors unpack(uint32_t word)
{
    return (struct errors){word >> 16, word >> 8 & 0xff, word & 0xff};
}

ALWAYS_INLINE uint32_t pack(struct errors errors)
{
    return errors.r << 16 | errors.g << 8 | errors.b;
}

/* A group, and for each context where in the table its code begins, and that code's form. */
struct decoder {
    struct quic_group group;
    const uint16_t *lookup;
    const uint16_t *codes[3][256];
    uint64_t forms[3][256];
};

/*
 * What skip_code needs to know of a code: k + 1, and of codes whose escapes have suffixes of k bits (the others' are not in
 * the table), a bit where the last zero of an escape's prefix is.
 */
static uint64_t make_form(const struct quic_codes *codes, uint32_t k)
{
    return (k + 1) | (codes->suffix[k] == k ? 1ull << (64 - codes->prefix[k]) : 0);
}

/*
 * The window after a codeword that is in the table: zeros, a one and k bits; or an escape's zeros and k bits, of which the form's
 * bit ends the zeros one early, so that there too k + 1 bits follow. Sooner known than by looking up the length.
 */
ALWAYS_INLINE uint64_t skip_code(uint64_t window, uint64_t form)
{
    return window << (form & 63) << __builtin_clzll(window | form);
}

/* From now on read contexts `first` to before `end` by code k. */
static void set_code(struct decoder *decoder, uint32_t channel, uint32_t depth, uint32_t first, uint32_t end, uint32_t k)
{
    const uint64_t form = make_form(depth == 5 ? &quic_codes5 : &quic_codes8, k);
    for (uint32_t context = first; context < end; context++) {
        decoder->codes[channel][context] = decoder->lookup + ((size_t)k << QUIC_LOOKUP_BITS);
        decoder->forms[channel][context] = form;
    }
}

static void decoder_init(struct decoder *decoder, uint32_t depth, const uint16_t *lookup)
{
    quic_group_init(&decoder->group, depth);
    decoder->lookup = lookup + (depth == 5 ? 8 << QUIC_LOOKUP_BITS : 0);
    for (uint32_t channel = 0; channel < 3; channel++)
        set_code(decoder, channel, depth, 0, 256, depth - 1);
}

static inline void learn(struct decoder *decoder, uint32_t channel, uint32_t depth, uint32_t context, uint32_t n)
{
    struct quic_model *model = &decoder->group.models[channel];
    uint32_t trigger = quic_halving[decoder->group.level];
    if (!quic_learn(model, depth, depth == 5 ? &quic_codes5 : &quic_codes8, context, n, trigger))
        return;
    struct quic_bucket bucket = quic_bucket(depth, context);
    set_code(decoder, channel, depth, bucket.first, bucket.end, model->code_for[context]);
}

static void learn_pixel(struct decoder *decoder, uint32_t depth, uint32_t channels, struct errors context, struct errors n)
{
    if (channels == 3) {
        learn(decoder, 0, depth, context.r, n.r);
        learn(decoder, 1, depth, context.g, n.g);
    }
    learn(decoder, 2, depth, context.b, n.b);
    decoder->group.skip = quic_next_skip(&decoder->group);
}

struct long_errors {
    struct bits bits;
    struct errors errors;
};

/* Read one pixel's errors where a codeword is longer than the table's; the window does not matter. */
static struct long_errors read_long_errors(struct bits bits, const struct decoder *decoder, uint32_t depth, uint32_t channels,
                                           struct errors context)
{
    const struct quic_codes *codes = depth == 5 ? &quic_codes5 : &quic_codes8;
    const struct quic_model *models = decoder->group.models;
    struct errors errors = {0, 0, 0};
    bits = reload(bits);
    if (channels == 3) {
        errors.r = read_code(&bits, codes, depth, models[0].code_for[context.r]);
        errors.g = read_code(&bits, codes, depth, models[1].code_for[context.g]);
    }
    errors.b = read_code(&bits, codes, depth, models[2].code_for[context.b]);
    return (struct long_errors){bits.count < QUIC_LOOKUP_BITS ? reload(bits) : bits, errors};
}

/* A pixel's entries of the table, and the window after its codewords if none of them is long. */
struct entries {
    uint64_t window, r, g, b;
};

/*
 * Look up one pixel's codewords; `context` is the errors of its left neighbour. `unfilled` is the window before it was
 * refilled: the first codeword need not wait for that, since no pixel leaves fewer bits than the look-up takes.
 */
ALWAYS_INLINE struct entries look_up(uint64_t unfilled, uint64_t window, const struct decoder *decoder, uint32_t channels,
                                     struct errors context)
{
    uint64_t r = 0, g = 0, b, index = unfilled >> (64 - QUIC_LOOKUP_BITS);
    if (channels == 3) {
        r = decoder->codes[0][context.r][index];
        window <<= r & 63;
        g = decoder->codes[1][context.g][window >> (64 - QUIC_LOOKUP_BITS)];
        window = skip_code(window, decoder->forms[1][context.g]);
        index = window >> (64 - QUIC_LOOKUP_BITS);
    }
    b = decoder->codes[2][context.b][index];
    window = skip_code(window, decoder->forms[2][context.b]);
    return (struct entries){window, r, g, b};
}

ALWAYS_INLINE int is_any_long(const struct entries *entries)
{
    return ((entries->r | entries->g | entries->b) & LOOKUP_LONG) != 0;
}

/* What is left of `count` after the codewords, in the low six bits; the entries' values are above. */
ALWAYS_INLINE uint32_t count_after(uint32_t count, const struct entries *entries)
{
    return count - (uint32_t)(entries->r + entries->g) - (uint32_t)entries->b;
}

ALWAYS_INLINE struct errors to_errors(const struct entries *entries)
{
    return (struct errors){(uint32_t)entries->r >> 8, (uint32_t)entries->g >> 8, (uint32_t)entries->b >> 8};
}

#endif
