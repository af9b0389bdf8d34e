/* QUIC decoder. */

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
    int32_t count; /* negative for a moment when a pixel took more than was counted */
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
    bits->at += (uint32_t)bits->count < 32;
    bits->count |= 32;
    bits->next = load_words(bits, bits->at);
}

/* Begin anew at the current position, wherever that is; afterwards all 64 bits are right. */
static inline void reload(struct bits *bits)
{
    size_t position = bits->at * 32 - (size_t)(ptrdiff_t)bits->count;
    uint32_t offset = position & 31;
    bits->window = load_words(bits, position / 32) << offset;
    bits->at = position / 32 + 1;
    bits->count = 32 - (int32_t)offset;
    bits->next = load_words(bits, bits->at);
    refill(bits);
}

/* Take `used` bits, which the window has lost already, off the count. */
ALWAYS_INLINE void consume(struct bits *bits, uint32_t used)
{
    bits->count -= (int32_t)used;
    if (UNLIKELY(bits->count < 0))
        reload(bits);
}

ALWAYS_INLINE int is_past_end(const struct bits *bits)
{
    return (int64_t)(bits->at * 32) - bits->count > (int64_t)(bits->words * 32);
}

ALWAYS_INLINE uint32_t leading_zeros(uint64_t word)
{
    int zeros = word ? __builtin_clzll(word) : 64;
    return (uint32_t)zeros;
}

/*
 * Read one codeword, of a pixel that has taken `used` bits so far. This is what decoding spends its time on: on the path
 * from one codeword to the next are the count of zeros and two shifts, all else is beside it. Codes without escape have at
 * most 21 bits, so that a pixel needs no refill; after an escape there is one if more than `limit` bits are used.
 */
ALWAYS_INLINE uint32_t read_code(struct bits *bits, const struct quic_model *model, const struct quic_codes *codes,
                                 uint32_t depth, uint32_t context, uint32_t *used, uint32_t limit)
{
    uint32_t k = model->code_for[context];
    uint32_t zeros = leading_zeros(bits->window);
    if (LIKELY(zeros < model->prefix_for[context])) {
        uint64_t rest = bits->window << 1 << zeros; /* from after the first 1 on */
        bits->window = rest << k;
        *used += zeros + 1 + k;
        return (zeros << k) | (uint32_t)(rest >> 32 >> (32 - k));
    }
    uint32_t suffix = codes->suffix[k];
    uint64_t rest = bits->window << codes->prefix[k];
    bits->window = rest << suffix;
    *used += codes->prefix[k] + suffix;
    if (*used > limit) {
        bits->count -= (int32_t)*used;
        *used = 0;
        reload(bits);
    }
    /* Codes with spare suffixes can say more than a channel holds. */
    return (codes->first_escaped[k] + (uint32_t)(rest >> (64 - suffix))) & ((1u << depth) - 1);
}

/* Read a run length of at most `limit`; anything longer comes back as some number above it. */
ALWAYS_INLINE uint32_t read_run(struct bits *bits, struct quic_group *group, uint32_t limit)
{
    uint32_t state = group->run_state;
    uint32_t run = 0;
    refill(bits);
    while (bits->window >> 63) {
        run += 1u << quic_run_bits[state];
        if (run > limit)
            return run;
        state += state < 31;
        bits->window <<= 1;
        if (UNLIKELY(--bits->count < QUIC_MAX_CODE))
            refill(bits);
    }
    uint32_t extra = quic_run_bits[state];
    run += (uint32_t)(bits->window << 1 >> 32 >> (32 - extra));
    bits->window <<= extra + 1;
    bits->count -= (int32_t)(extra + 1);
    group->run_state = (uint8_t)(state - (state > 0));
    return run;
}

/* What to add to the prediction, from lanes of folded errors. */
ALWAYS_INLINE uint32_t unfold_add(uint32_t prediction, uint32_t errors, uint32_t depth)
{
    if (depth == 5) {
        uint32_t difference = ((errors >> 1) & 0x0f0f0f) ^ (errors & 0x010101) * 0x1f;
        return (prediction + difference) & 0x1f1f1f;
    }
    uint32_t difference = ((errors >> 1) & 0x7f7f7f) ^ (errors & 0x010101) * 0xff;
    return ((prediction & 0x7f7f7f) + (difference & 0x7f7f7f)) ^ ((prediction ^ difference) & 0x808080);
}

/* A pixel's folded errors, one channel each. */
struct errors {
    uint32_t r, g, b;
};

static void learn_pixel(struct quic_group *group, uint32_t depth, uint32_t channels, struct errors context, struct errors n)
{
    const struct quic_codes *codes = depth == 5 ? &quic_codes5 : &quic_codes8;
    uint32_t trigger = quic_halving[group->level];
    if (channels == 3) {
        quic_learn(&group->models[0], depth, codes, context.r, n.r, trigger);
        quic_learn(&group->models[1], depth, codes, context.g, n.g, trigger);
    }
    quic_learn(&group->models[2], depth, codes, context.b, n.b, trigger);
    group->skip = quic_next_skip(group);
}

/* Read one pixel's errors; `context` is those of its left neighbour. */
ALWAYS_INLINE struct errors read_errors(struct bits *bits, struct quic_group *group, uint32_t depth, uint32_t channels,
                                        struct errors context)
{
    const struct quic_codes *codes = depth == 5 ? &quic_codes5 : &quic_codes8;
    struct errors n = {0, 0, 0};
    uint32_t used = 0;
    refill(bits);
    if (channels == 3) {
        n.r = read_code(bits, &group->models[0], codes, depth, context.r, &used, 64 - 21 - 26);
        n.g = read_code(bits, &group->models[1], codes, depth, context.g, &used, 64 - 26);
    }
    n.b = read_code(bits, &group->models[2], codes, depth, context.b, &used, 64);
    consume(bits, used);
    if (UNLIKELY(__builtin_sub_overflow(group->skip, 1u, &group->skip)))
        learn_pixel(group, depth, channels, context, n);
    return n;
}

/* Decode one row of a group's lanes. `is_first`, `depth` and `channels` are constants where this is inlined. */
ALWAYS_INLINE int decode_row(struct bits *stream, struct quic_group *group, int is_first, uint32_t depth, uint32_t channels,
                             uint32_t width, uint32_t *row, const uint32_t *above, uint32_t *lanes)
{
    struct bits bits = *stream;
    struct errors context = {0, 0, 0};
    uint32_t left = is_first ? 0 : above[0]; /* so that the first pixel's prediction needs no case of its own */
    uint32_t up_left = 0;
    if (!is_first)
        context = (struct errors){lanes[0] >> 16, lanes[0] >> 8 & 0xff, lanes[0] & 0xff};
    for (uint32_t i = 0, start = 0; i < width; quic_advance(group, i - start), start = i) {
        uint32_t end = quic_segment_end(group, i, width);
        while (i < end) {
            __asm__("" : "+r"(i)); /* one index in a register, rather than three pointers in memory */
            uint32_t up = is_first ? left : above[i];
            if (!is_first && up == up_left && i > 2 && left == row[i - 2]) {
                uint32_t run = read_run(&bits, group, end - i);
                if (run > end - i)
                    return QUIC_BAD_RUN;
                for (uint32_t stop = i + run; i < stop; i++)
                    row[i] = left;
                if (run) {
                    context = (struct errors){lanes[i - 1] >> 16, lanes[i - 1] >> 8 & 0xff, lanes[i - 1] & 0xff};
                    up_left = above[i - 1];
                    continue; /* the test is made again after a run, but not after an empty one */
                }
            }
            up_left = up;
            context = read_errors(&bits, group, depth, channels, context);
            uint32_t packed = context.r << 16 | context.g << 8 | context.b;
            left = unfold_add(is_first ? left : quic_average(left, up), packed, depth);
            lanes[i] = packed;
            row[i++] = left;
        }
    }
    *stream = bits;
    return is_past_end(&bits) ? QUIC_TRUNCATED : QUIC_OK;
}

/* Write a finished row in the picture's own form; RGB24 and RGB32 are decoded in place. */
static void store_row(const struct quic_header *header, int expand, const uint32_t *colour, const uint32_t *alpha, uint8_t *out)
{
    uint32_t *out32 = (uint32_t *)(void *)out;
    uint16_t *out16 = (uint16_t *)(void *)out;
    uint32_t width = header->width;
    if (header->type == QUIC_RGBA)
        for (uint32_t i = 0; i < width; i++)
            out32[i] = colour[i] | alpha[i] << 24;
    else if (header->type == QUIC_GRAY)
        for (uint32_t i = 0; i < width; i++)
            out[i] = (uint8_t)alpha[i];
    else if (header->type == QUIC_RGB16 && expand)
        for (uint32_t i = 0; i < width; i++)
            out32[i] = colour[i] << 3 | (colour[i] >> 2 & 0x070707);
    else if (header->type == QUIC_RGB16)
        for (uint32_t i = 0; i < width; i++)
            out16[i] = (uint16_t)((colour[i] >> 6 & 0x7c00) | (colour[i] >> 3 & 0x3e0) | (colour[i] & 0x1f));
}

#define ROW(group, depth, channels, row, above, errors)                                                                    \
    (y ? decode_row(&bits, group, 0, depth, channels, width, row, above, errors)                                           \
       : decode_row(&bits, group, 1, depth, channels, width, row, row, errors))

ALWAYS_INLINE int decode_rows(struct bits bits, const struct quic_header *header, int expand, uint8_t *out, ptrdiff_t stride,
                              uint32_t *scratch)
{
    uint32_t width = header->width;
    struct quic_group colours, single;
    uint32_t *colour[2] = {scratch, scratch + width}, *alpha[2] = {scratch + 2 * (size_t)width, scratch + 3 * (size_t)width};
    uint32_t *colour_errors = scratch + 4 * (size_t)width, *alpha_errors = scratch + 5 * (size_t)width;
    int in_place = header->type == QUIC_RGB24 || header->type == QUIC_RGB32;
    quic_group_init(&colours, header->type == QUIC_RGB16 ? 5 : 8);
    quic_group_init(&single, 8);
    for (uint32_t y = 0; y < header->height; y++, out += stride) {
        uint32_t *row = in_place ? (uint32_t *)(void *)out : colour[y & 1];
        const uint32_t *above = in_place ? (const uint32_t *)(const void *)(y ? out - stride : out) : colour[~y & 1];
        int status = QUIC_OK;
        if (header->type == QUIC_RGB16)
            status = ROW(&colours, 5, 3, row, above, colour_errors);
        else if (header->type != QUIC_GRAY)
            status = ROW(&colours, 8, 3, row, above, colour_errors);
        if (status == QUIC_OK && (header->type == QUIC_RGBA || header->type == QUIC_GRAY))
            status = ROW(&single, 8, 1, alpha[y & 1], alpha[~y & 1], alpha_errors);
        if (status != QUIC_OK)
            return status;
        if (!in_place)
            store_row(header, expand, row, alpha[y & 1], out);
    }
    return QUIC_OK;
}

#if defined(__x86_64__)
/* Shifts by a variable and counts of zeros are single instructions here: a third of the time. */
__attribute__((target("bmi,bmi2,lzcnt"))) static int decode_rows_bmi2(struct bits bits, const struct quic_header *header,
                                                                      int expand, uint8_t *out, ptrdiff_t stride,
                                                                      uint32_t *scratch)
{
    return decode_rows(bits, header, expand, out, stride, scratch);
}
#endif

size_t quic_scratch_words(uint32_t width)
{
    return (size_t)QUIC_ROWS * width;
}

int quic_read_header(const uint8_t *data, size_t size, struct quic_header *header)
{
    if (size < QUIC_HEADER_BYTES || load_word(data) != QUIC_MAGIC || load_word(data + 4) != 0)
        return QUIC_BAD_HEADER;
    header->type = load_word(data + 8);
    header->width = load_word(data + 12);
    header->height = load_word(data + 16);
    int is_known = header->type >= QUIC_GRAY && header->type <= QUIC_RGBA;
    uint64_t pixels = (uint64_t)header->width * header->height;
    return is_known && pixels && pixels < 1u << 29 ? QUIC_OK : QUIC_BAD_HEADER;
}

int quic_decode(const uint8_t *data, size_t size, uint32_t width, uint32_t height, int expand, uint8_t *out, ptrdiff_t stride,
                uint32_t *scratch)
{
    struct quic_header header;
    int status = quic_read_header(data, size, &header);
    if (status != QUIC_OK)
        return status;
    if (header.width != width || header.height != height)
        return QUIC_SIZE_MISMATCH;
    struct bits bits = {.data = data + QUIC_HEADER_BYTES, .words = (size - QUIC_HEADER_BYTES) / 4};
    bits.last = bits.words ? bits.words - 1 : 0;
    reload(&bits);
#if defined(__x86_64__)
    if (__builtin_cpu_supports("bmi2") && __builtin_cpu_supports("avx2")) /* where those are, LZCNT is too */
        return decode_rows_bmi2(bits, &header, expand, out, stride, scratch);
#endif
    return decode_rows(bits, &header, expand, out, stride, scratch);
}
