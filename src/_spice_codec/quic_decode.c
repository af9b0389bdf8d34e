/* QUIC decoder. */

#include "quic_bits_internal.h"

#if defined(__SSE2__)
#include <emmintrin.h>
#endif

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

/* A pixel from its neighbours, the one above being itself the left one in the first row, and its folded errors: all lanes. */
ALWAYS_INLINE uint32_t reconstruct(uint32_t left, uint32_t up, uint32_t errors, uint32_t depth)
{
#if defined(__SSE2__)
    const __m128i ones = _mm_set1_epi8(1), low7 = _mm_set1_epi8(0x7f);
    __m128i a = _mm_cvtsi32_si128((int)left), b = _mm_cvtsi32_si128((int)up), n = _mm_cvtsi32_si128((int)errors);
    __m128i average = _mm_sub_epi8(_mm_avg_epu8(a, b), _mm_and_si128(_mm_xor_si128(a, b), ones)); /* rounded down */
    __m128i signs = _mm_sub_epi8(_mm_setzero_si128(), _mm_and_si128(n, ones));
    __m128i difference = _mm_xor_si128(_mm_and_si128(_mm_srli_epi16(n, 1), low7), signs);
    uint32_t pixel = (uint32_t)_mm_cvtsi128_si32(_mm_add_epi8(average, difference));
#else
    uint32_t average = quic_average(left, up);
    uint32_t difference = ((errors >> 1) & 0x7f7f7f) ^ (errors & 0x010101) * 0xff;
    uint32_t pixel = ((average & 0x7f7f7f) + (difference & 0x7f7f7f)) ^ ((average ^ difference) & 0x808080);
#endif
    return depth == 5 ? pixel & 0x1f1f1f : pixel;
}

/*
 * A pixel's folded errors apart, the context of the next one. They are not unpacked from the lanes, since then the
 * first channel would have to wait for the last one.
 */
struct errors {
    uint32_t r, g, b;
};

ALWAYS_INLINE struct errors unpack(uint32_t lanes)
{
    return (struct errors){lanes >> 16, lanes >> 8 & 0xff, lanes & 0xff};
}

/* A group, and where in the table the code for each context begins. */
struct decoder {
    struct quic_group group;
    const uint16_t *lookup;
    const uint16_t *codes[3][256];
};

static void decoder_init(struct decoder *decoder, uint32_t depth, const uint16_t *lookup)
{
    quic_group_init(&decoder->group, depth);
    decoder->lookup = lookup + (depth == 5 ? 8 << QUIC_LOOKUP_BITS : 0);
    for (int i = 0; i < 3 * 256; i++)
        decoder->codes[i / 256][i % 256] = decoder->lookup + ((depth - 1) << QUIC_LOOKUP_BITS);
}

static inline void learn(struct decoder *decoder, uint32_t channel, uint32_t depth, uint32_t context, uint32_t n)
{
    struct quic_model *model = &decoder->group.models[channel];
    uint32_t trigger = quic_halving[decoder->group.level];
    if (!quic_learn(model, depth, depth == 5 ? &quic_codes5 : &quic_codes8, context, n, trigger))
        return;
    struct quic_bucket bucket = quic_bucket(depth, context);
    for (uint32_t c = bucket.first; c < bucket.end; c++)
        decoder->codes[channel][c] = decoder->lookup + ((size_t)model->code_for[c] << QUIC_LOOKUP_BITS);
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

/*
 * Read one pixel's errors; `context` is those of its left neighbour. This is what decoding spends its time on. From one
 * codeword to the next there are only a look-up and a shift; the refill is beside that path, since the first look-up needs
 * no more bits than any pixel leaves over.
 */
ALWAYS_INLINE struct errors read_errors(struct bits *bits, struct decoder *decoder, uint32_t depth, uint32_t channels,
                                        struct errors context)
{
    uint32_t first = (uint32_t)(bits->window >> (64 - QUIC_LOOKUP_BITS)), r = 0, g = 0, b;
    refill(bits);
    if (channels == 3) {
        r = decoder->codes[0][context.r][first];
        bits->window <<= r & 63;
        g = decoder->codes[1][context.g][bits->window >> (64 - QUIC_LOOKUP_BITS)];
        bits->window <<= g & 63;
        first = (uint32_t)(bits->window >> (64 - QUIC_LOOKUP_BITS));
    }
    b = decoder->codes[2][context.b][first];
    bits->window <<= b & 63;
    struct errors errors = {r >> 8, g >> 8, b >> 8};
    uint32_t used = (r + g + b) & 0xff; /* of three lengths, to which each LOOKUP_LONG adds without a carry */
    if (UNLIKELY(used >= LOOKUP_LONG)) {
        struct long_errors result = read_long_errors(*bits, decoder, depth, channels, context);
        *bits = result.bits;
        errors = result.errors;
    } else {
        bits->count -= (int32_t)used;
    }
    if (UNLIKELY(__builtin_sub_overflow(decoder->group.skip, 1u, &decoder->group.skip)))
        learn_pixel(decoder, depth, channels, context, errors);
    return errors;
}

/* Decode one row of a group, whose folded errors `lanes` are. `is_first`, `depth` and `channels` are constants. */
ALWAYS_INLINE int decode_row(struct bits *stream, struct decoder *decoder, int is_first, uint32_t depth, uint32_t channels,
                             uint32_t width, uint32_t *row, const uint32_t *above, uint32_t *lanes)
{
    struct bits bits = *stream;
    struct quic_group *group = &decoder->group;
    struct errors context = unpack(is_first ? 0 : lanes[0]);
    uint32_t left = is_first ? 0 : above[0]; /* so that the first pixel's prediction needs no case of its own */
    uint32_t up_left = 0;
    for (uint32_t i = 0, start = 0; i < width; quic_advance(group, i - start), start = i) {
        uint32_t end = quic_segment_end(group, i, width);
        while (i < end) {
            uint32_t up = is_first ? left : above[i];
            if (!is_first && up == up_left && i > 2 && left == row[i - 2]) {
                uint32_t run = read_run(&bits, group, end - i);
                if (run > end - i)
                    return QUIC_BAD_RUN;
                for (uint32_t stop = i + run; i < stop; i++)
                    row[i] = left;
                if (run) {
                    context = unpack(lanes[i - 1]);
                    up_left = above[i - 1];
                    continue; /* the test is made again after a run, but not after an empty one */
                }
            }
            up_left = up;
            context = read_errors(&bits, decoder, depth, channels, context);
            lanes[i] = context.r << 16 | context.g << 8 | context.b;
            left = reconstruct(left, up, lanes[i], depth);
            row[i++] = left;
        }
    }
    *stream = bits;
    return is_past_end(&bits) ? QUIC_TRUNCATED : QUIC_OK;
}

typedef int row_decoder(struct bits *stream, struct decoder *decoder, uint32_t width, uint32_t *row, const uint32_t *above,
                        uint32_t *lanes);

/* How to decode the first row and the others: of colours of 8 bits and 5, and of a single channel. */
struct row_decoders {
    row_decoder *colours8[2], *colours5[2], *single[2];
};

#define ROW_DECODER(name, is_first, depth, channels)                                                                       \
    static int name(struct bits *stream, struct decoder *decoder, uint32_t width, uint32_t *row, const uint32_t *above,    \
                    uint32_t *lanes)                                                                                       \
    {                                                                                                                      \
        return decode_row(stream, decoder, is_first, depth, channels, width, row, above, lanes);                           \
    }

#define ROW_DECODERS(name, attributes)                                                                                     \
    attributes ROW_DECODER(name##_first_colours8, 1, 8, 3) attributes ROW_DECODER(name##_colours8, 0, 8, 3)                \
    attributes ROW_DECODER(name##_first_colours5, 1, 5, 3) attributes ROW_DECODER(name##_colours5, 0, 5, 3)                \
    attributes ROW_DECODER(name##_first_single, 1, 8, 1) attributes ROW_DECODER(name##_single, 0, 8, 1)                    \
    static const struct row_decoders name = {{name##_first_colours8, name##_colours8},                                     \
                                             {name##_first_colours5, name##_colours5},                                     \
                                             {name##_first_single, name##_single}};

ROW_DECODERS(portable, )
#if defined(__x86_64__)
/* Here shifts by a variable are single instructions. */
ROW_DECODERS(bmi2, __attribute__((target("bmi,bmi2"))))
#endif

static const struct row_decoders *choose_row_decoders(void)
{
#if defined(__x86_64__)
    if (__builtin_cpu_supports("bmi") && __builtin_cpu_supports("bmi2"))
        return &bmi2;
#endif
    return &portable;
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

static int decode_rows(struct bits bits, const struct quic_header *header, int expand, uint8_t *out, ptrdiff_t stride,
                       const uint16_t *lookup, uint32_t *scratch)
{
    const struct row_decoders *decoders = choose_row_decoders();
    uint32_t width = header->width, depth = header->type == QUIC_RGB16 ? 5 : 8;
    row_decoder *const *decode_colours = depth == 5 ? decoders->colours5 : decoders->colours8;
    struct decoder colours, single;
    uint32_t *colour[2] = {scratch, scratch + width}, *alpha[2] = {scratch + 2 * (size_t)width, scratch + 3 * (size_t)width};
    uint32_t *colour_errors = scratch + 4 * (size_t)width, *alpha_errors = scratch + 5 * (size_t)width;
    int in_place = header->type == QUIC_RGB24 || header->type == QUIC_RGB32;
    decoder_init(&colours, depth, lookup);
    decoder_init(&single, 8, lookup);
    for (uint32_t y = 0; y < header->height; y++, out += stride) {
        uint32_t *row = in_place ? (uint32_t *)(void *)out : colour[y & 1];
        const uint32_t *above = in_place ? (const uint32_t *)(const void *)(y ? out - stride : out) : colour[~y & 1];
        int status = QUIC_OK;
        if (header->type != QUIC_GRAY)
            status = decode_colours[y > 0](&bits, &colours, width, row, above, colour_errors);
        if (status == QUIC_OK && (header->type == QUIC_RGBA || header->type == QUIC_GRAY))
            status = decoders->single[y > 0](&bits, &single, width, alpha[y & 1], alpha[~y & 1], alpha_errors);
        if (status != QUIC_OK)
            return status;
        if (!in_place)
            store_row(header, expand, row, alpha[y & 1], out);
    }
    return QUIC_OK;
}

size_t quic_scratch_words(uint32_t width)
{
    return (size_t)QUIC_ROWS * width;
}

size_t quic_lookup_size(void)
{
    return (size_t)(8 + 5) << QUIC_LOOKUP_BITS;
}

static uint16_t make_entry(const struct quic_codes *codes, uint32_t depth, uint32_t k, uint32_t index)
{
    struct bits bits = {.window = (uint64_t)index << (64 - QUIC_LOOKUP_BITS), .count = 64};
    uint32_t value = read_code(&bits, codes, depth, k), used = 64 - (uint32_t)bits.count;
    return (uint16_t)(used > QUIC_LOOKUP_BITS ? LOOKUP_LONG : value << 8 | used);
}

void quic_make_lookup(uint16_t *lookup)
{
    for (uint32_t depth = 8; depth >= 5; depth -= 3)
        for (uint32_t k = 0; k < depth; k++)
            for (uint32_t index = 0; index < 1u << QUIC_LOOKUP_BITS; index++)
                *lookup++ = make_entry(depth == 5 ? &quic_codes5 : &quic_codes8, depth, k, index);
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
                const uint16_t *lookup, uint32_t *scratch)
{
    struct quic_header header;
    int status = quic_read_header(data, size, &header);
    if (status != QUIC_OK)
        return status;
    if (header.width != width || header.height != height)
        return QUIC_SIZE_MISMATCH;
    struct bits bits = {.data = data + QUIC_HEADER_BYTES, .words = (size - QUIC_HEADER_BYTES) / 4};
    bits.last = bits.words ? bits.words - 1 : 0;
    bits = reload(bits);
    return decode_rows(bits, &header, expand, out, stride, lookup, scratch);
}
