#ifndef QUIC_CODEWORDS_INTERNAL_H
#define QUIC_CODEWORDS_INTERNAL_H

/* How QUIC's decoder reads codewords: short ones by a table, long ones by their definition. */

#include "quic_bits_internal.h"

/*
 * An entry of the table: the difference, and in the low byte flags. ENTRY_ESCAPE is with an escape, ENTRY_LONG is all there is of
 * a codeword longer than the table's. In the sum of three entries ENTRY_LONGS are set if one is long.
 */
enum { ENTRY_ESCAPE = 1, ENTRY_LONG = 4, ENTRY_LONGS = 12, ENTRY_FLAGS = 15 };

/*
 * For 8 codes of 8 bits and 5 of 5. A photo needs most of them, so all channels share them: together with what else a pixel takes
 * they are to fit a first-level cache. The table begins where a cache line does.
 */
enum { LOOKUP_ENTRIES = (8 + 5) << QUIC_LOOKUP_BITS, LOOKUP_ALIGNMENT = 64 };

ALWAYS_INLINE const uint16_t *aligned(const uint16_t *lookup)
{
    return (const uint16_t *)(((uintptr_t)lookup + LOOKUP_ALIGNMENT - 1) & ~(uintptr_t)(LOOKUP_ALIGNMENT - 1));
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
    refill(bits);
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

/* Let the compiler not compute this sooner, later or otherwise than where it stands. */
#define COMPUTE_HERE(variable) __asm__("" : "+r"(variable))

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
    const uint16_t *lookup;
    uint32_t rough; /* how many of the next pixels are expected to have escapes */
    const uint16_t *codes[3][256];
    uint64_t forms[3][256];
};

enum { FORM_LENGTH = 15 }; /* the bits of k + 1 in a form */

/*
 * What skipping a codeword takes: k + 1, and of codes whose escapes have suffixes of k bits (the others' are not in the table)
 * a bit where the last zero of an escape's prefix is.
 */
static uint64_t make_form(const struct quic_codes *codes, uint32_t k)
{
    return (k + 1) | (codes->suffix[k] == k ? 1ull << (64 - codes->prefix[k]) : 0);
}

/* From now on read the contexts of differences from `first` to `last`, and those of their negatives, by code k. */
__attribute__((noinline)) static void set_codes(struct decoder *decoder, uint32_t channel, uint32_t depth, uint32_t first,
                                                uint32_t last, uint32_t k)
{
    const uint16_t *codes = decoder->lookup + ((size_t)k << QUIC_LOOKUP_BITS);
    const uint64_t form = make_form(depth == 5 ? &quic_codes5 : &quic_codes8, k);
    for (uint32_t difference = first; difference <= last; difference++) {
        decoder->codes[channel][difference] = decoder->codes[channel][-difference & 0xff] = codes;
        decoder->forms[channel][difference] = decoder->forms[channel][-difference & 0xff] = form;
    }
}

static void decoder_init(struct decoder *decoder, uint32_t depth, const uint16_t *lookup)
{
    quic_group_init(&decoder->group, depth);
    decoder->rough = 0;
    decoder->lookup = lookup + (depth == 5 ? 8 << QUIC_LOOKUP_BITS : 0);
    for (uint32_t channel = 0; channel < 3; channel++)
        set_codes(decoder, channel, depth, 0, 128, depth - 1);
}

ALWAYS_INLINE void learn(struct decoder *decoder, uint32_t channel, uint32_t depth, uint32_t context, uint32_t n,
                         uint32_t trigger, quic_counter *count)
{
    struct quic_model *model = &decoder->group.models[channel];
    if (!quic_learn(model, depth, depth == 5 ? &quic_codes5 : &quic_codes8, context, n, trigger, count))
        return;
    const uint32_t bucket = quic_bucket(depth, context), end = 1u << bucket;
    /* The last bucket has -end too. It does not matter that end is set with it. */
    set_codes(decoder, channel, depth, end >> 1, end - (bucket < depth - 1), model->code_for[context]);
}

/* Learn that differences `n` came after differences `context`, both in lanes, and return how many pixels to skip then. */
ALWAYS_INLINE uint32_t learn_pixel(struct decoder *decoder, uint32_t depth, uint32_t channels, uint32_t context, uint32_t n,
                                   quic_counter *count)
{
    const uint32_t folded_context = fold(context), folded_n = fold(n), trigger = quic_halving[decoder->group.level];
    for (uint32_t channel = 3 - channels, shift = 8 * (channels - 1); channel < 3; channel++, shift -= 8)
        learn(decoder, channel, depth, folded_context >> shift & 0xff, folded_n >> shift & 0xff, trigger, count);
    return quic_next_skip(&decoder->group);
}

ALWAYS_INLINE uint32_t to_lanes_of(struct errors errors)
{
    return (errors.r << 8 | errors.g) << 8 | errors.b;
}

/* Read one codeword of a channel, of any length, as a difference. */
ALWAYS_INLINE uint32_t read_error(struct bits *bits, const struct decoder *decoder, uint32_t depth, uint32_t channel,
                                  uint32_t context)
{
    const uint32_t k = (uint32_t)(decoder->forms[channel][context] & FORM_LENGTH) - 1;
    return unfold(read_code(bits, depth == 5 ? &quic_codes5 : &quic_codes8, depth, k));
}

/* Read one pixel's differences, of any codewords. */
ALWAYS_INLINE uint32_t read_errors(struct bits *bits, const struct decoder *decoder, uint32_t depth, uint32_t channels,
                                   struct errors context)
{
    struct errors errors = {0, 0, 0};
    if (channels == 3) {
        errors.r = read_error(bits, decoder, depth, 0, context.r);
        errors.g = read_error(bits, decoder, depth, 1, context.g);
    }
    errors.b = read_error(bits, decoder, depth, 2, context.b);
    refill(bits); /* a look-up may follow */
    return to_lanes_of(errors);
}

/* A pixel's entries of the table, and the window after its codewords if they are in it. */
struct entries {
    uint64_t window;
    uint32_t r, g, b;
    uint32_t forms, early_zeros, zeros; /* what the codewords' length is made of, in the order of its becoming known */
};

/* How many zeros a codeword begins with. Only with escapes does it matter where a form ends them. */
ALWAYS_INLINE uint32_t count_zeros(uint64_t window, uint64_t form, int with_escapes)
{
    return with_escapes ? (uint32_t)__builtin_clzll(window | form) : leading_zeros(window);
}

/* Look up one codeword at the top of the window, which may have been refilled since `unfilled`. */
ALWAYS_INLINE uint32_t look_up(struct entries *entries, uint64_t unfilled, const struct decoder *decoder, uint32_t channel,
                               uint32_t context, int with_escapes)
{
    const uint32_t entry = decoder->codes[channel][context][unfilled >> (64 - QUIC_LOOKUP_BITS)];
    const uint64_t form = decoder->forms[channel][context];
    entries->early_zeros += entries->zeros;
    entries->zeros = count_zeros(unfilled, form, with_escapes);
    entries->forms += (uint32_t)form;
    entries->window = entries->window << (form & 63) << (entries->zeros & 63);
    return entry;
}

/*
 * Look up one pixel's codewords; `context` is the differences of its left neighbour. `unfilled` is the window
 * before it was refilled: the first codeword need not wait for that, since no pixel leaves fewer bits than the look-up takes.
 *
 * A codeword is zeros, a one and k bits; or it is an escape's zeros and k bits, of which the form's bit ends the zeros one
 * early, so that there too k + 1 bits follow. The window after it is sooner known so than by looking up the length.
 */
ALWAYS_INLINE struct entries look_up_pixel(uint64_t unfilled, uint64_t window, const struct decoder *decoder, uint32_t channels,
                                           struct errors context, int with_escapes)
{
    struct entries entries = {.window = window};
    if (channels == 3) {
        entries.r = look_up(&entries, unfilled, decoder, 0, context.r, with_escapes);
        entries.g = look_up(&entries, entries.window, decoder, 1, context.g, with_escapes);
        unfilled = entries.window;
    }
    entries.b = look_up(&entries, unfilled, decoder, 2, context.b, with_escapes);
    return entries;
}

ALWAYS_INLINE uint32_t flags_of(const struct entries *entries)
{
    return (entries->r + entries->g + entries->b) & ENTRY_FLAGS;
}

ALWAYS_INLINE struct errors errors_of(const struct entries *entries)
{
    return (struct errors){entries->r >> 8, entries->g >> 8, entries->b >> 8};
}

/* How many bits are counted after a pixel. The next refill waits for this, so what is known last is subtracted last. */
ALWAYS_INLINE uint32_t count_after(uint32_t count, const struct entries *entries)
{
    count -= entries->forms;
    COMPUTE_HERE(count);
    count -= entries->early_zeros;
    COMPUTE_HERE(count);
    return count - entries->zeros;
}

#endif
