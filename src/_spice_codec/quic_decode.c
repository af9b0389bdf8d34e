/* QUIC decoder. */

#include "quic_codewords_internal.h"
#include "quic_lanes_internal.h"

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

/*
 * Write a run of pixels. Few runs are longer than FILL: the others are written without a branch on their length, and with them
 * some of the `room` pixels, which are decoded afterwards.
 */
ALWAYS_INLINE void fill(uint32_t *pixels, uint32_t run, uint32_t room, uint32_t pixel)
{
    enum { FILL = 8 };
    if (LIKELY(run <= FILL && FILL <= room))
        for (uint32_t i = 0; i < FILL; i++)
            pixels[i] = pixel;
    else
        for (uint32_t i = 0; i < run; i++)
            pixels[i] = pixel;
}

/* A row of a group, the one above it, and its differences, which still are those above where they are not yet written. */
struct row {
    uint32_t *pixels;
    const uint32_t *above;
    uint32_t *errors;
};

ALWAYS_INLINE int is_run(const struct row *row, size_t i)
{
    return row->above[i] == row->above[i - 1] && row->pixels[i - 1] == row->pixels[i - 2];
}

/* What a row is: the first or not, of which pixels. Always a constant. */
struct kind {
    int is_first;
    uint32_t depth, channels;
};

typedef uint32_t learner(struct decoder *decoder, uint32_t context, uint32_t n);

/* The first pixel not decoded, and whether that is because it is not simple. */
struct ahead {
    uint32_t i, is_odd;
};

/* Stop before pixel i, at which the stream is to be reloaded. */
ALWAYS_INLINE struct ahead leave(struct bits *stream, struct decoder *decoder, const uint8_t *at, uint32_t count, size_t i,
                                 size_t due, uint32_t is_odd)
{
    COMPUTE_HERE(count); /* or both are made and kept for every pixel */
    COMPUTE_HERE(is_odd);
    stream->at = (size_t)(at - stream->data) / 4;
    stream->count = (int32_t)(count & 63);
    decoder->group.skip = (uint32_t)(due - i);
    return (struct ahead){(uint32_t)i, is_odd};
}

/*
 * Skip the code of an empty run, if it is one of at most two bits, which with those of a pixel make at most a word. In photos
 * most runs are such.
 */
ALWAYS_INLINE int skip_empty_run(struct quic_group *group, const uint8_t **at, uint64_t *window, uint32_t *count)
{
    const uint32_t state = group->run_state, used = quic_run_bits[state] + 1u;
    if (used > 2 || *window >> (64 - used))
        return 0;
    const uint64_t filled = *window | swap_words(load_two_words(*at)) >> (*count & 63);
    *window = filled << used;
    *at += (~*count & 32) >> 3;
    *count = (*count | 32) - used;
    group->run_state = (uint8_t)(state - (state > 0));
    return 1;
}

/*
 * Decode the pixels from `from`, where no run may begin, to before `end` as far as they are simple: no run, no long codeword
 * and, unless `with_escapes`, no escape. The stream has a word for each of them and two more, so that its end needs no test.
 *
 * This is what decoding spends its time on. It is apart so that its variables stay in registers, and from one codeword to the
 * next there are only a count of zeros and a shift; look-ups, refilling and reconstruction are beside that path.
 */
ALWAYS_INLINE struct ahead decode_simple(struct bits *stream, struct decoder *decoder, const struct row *row, uint32_t from,
                                         uint32_t end, struct kind kind, int with_escapes, learner *learn)
{
    const uint8_t *at = stream->data + 4 * stream->at;
    uint64_t window = stream->window;
    uint32_t count = (uint32_t)stream->count; /* its low six bits */
    struct errors context = unpack(row->errors[from - 1]);
    lanes left = to_lanes(row->pixels[from - 1]);
    size_t i = from, due = from + decoder->group.skip; /* the pixel to learn from */
    do {
        const size_t stop = end <= due ? end : due + 1;
        uint32_t *pixels = row->pixels + stop, *errors = row->errors + stop;
        const uint32_t *above = row->above + stop;
        ptrdiff_t n = (ptrdiff_t)(i - stop);
        do {
            uint64_t filled = window | swap_words(load_two_words(at)) >> (count & 63);
            struct entries entries = look_up_pixel(window, filled, decoder, kind.channels, context, with_escapes);
            if (UNLIKELY(flags_of(&entries) & (with_escapes ? ENTRY_LONGS : ENTRY_FLAGS))) {
                if (!(flags_of(&entries) & ENTRY_LONGS))
                    decoder->rough = ROUGH_PIXELS;
                return leave(stream, decoder, at, count, stop + (size_t)n, due, 1);
            }
            window = entries.window;
            at += (~count & 32) >> 3; /* a word if count < 32 */
            count = count_after(count | 32, &entries);
            context = errors_of(&entries);
            errors[n] = to_lanes_of(context);
            left = reconstruct(left, kind.is_first ? left : to_lanes(above[n]), errors[n], kind.depth);
            pixels[n] = to_word(left);
        } while (++n != 0 && (kind.is_first || LIKELY(above[n] != above[n - 1]) || pixels[n - 1] != pixels[n - 2]));
        i = stop + (size_t)n;
        if (i > due)
            due = i + learn(decoder, row->errors[i - 2], row->errors[i - 1]);
    } while (i < end && (kind.is_first || !is_run(row, i) || skip_empty_run(&decoder->group, &at, &window, &count)));
    return leave(stream, decoder, at, count, i, due, 0);
}

/* Decode any pixel that is not in a run, and learn from it if its turn has come. */
ALWAYS_INLINE void decode_pixel(struct bits *bits, struct decoder *decoder, const struct row *row, uint32_t i, struct kind kind,
                                learner *learn)
{
    uint32_t up = kind.is_first ? 0 : row->above[i], left = i ? row->pixels[i - 1] : up;
    uint32_t context = i ? row->errors[i - 1] : kind.is_first ? 0 : row->errors[0];
    uint32_t errors = read_errors(bits, decoder, kind.depth, kind.channels, unpack(context));
    row->errors[i] = errors;
    row->pixels[i] = to_word(reconstruct(to_lanes(left), to_lanes(kind.is_first ? left : up), errors, kind.depth));
    if (decoder->group.skip-- == 0)
        decoder->group.skip = learn(decoder, context, errors);
}

ALWAYS_INLINE uint32_t smaller(size_t a, uint32_t b)
{
    return a < b ? (uint32_t)a : b;
}

typedef struct ahead simple_decoder(struct bits *stream, struct decoder *decoder, const struct row *row, uint32_t from,
                                    uint32_t end);

/* What a row is decoded with, the same code made for its kind. Always a constant. */
struct parts {
    simple_decoder *simple, *with_escapes;
    learner *learn;
};

/* Decode the simple pixels that follow. */
ALWAYS_INLINE struct ahead decode_ahead(struct bits *bits, struct decoder *decoder, const struct row *row, uint32_t i,
                                        uint32_t end, struct parts parts)
{
    uint32_t stop = i + smaller(bits->last - 1 - bits->at, end - i);
    struct ahead ahead;
    if (LIKELY(!decoder->rough)) {
        ahead = parts.simple(bits, decoder, row, i, stop);
    } else {
        ahead = parts.with_escapes(bits, decoder, row, i, i + smaller(stop - i, decoder->rough));
        decoder->rough -= ahead.i - i;
    }
    *bits = reload(*bits);
    return ahead;
}

/* Decode one row of a group. */
ALWAYS_INLINE int decode_row(struct bits *bits, struct decoder *decoder, const struct row *row, uint32_t width, struct kind kind,
                             struct parts parts)
{
    struct quic_group *group = &decoder->group;
    for (uint32_t i = 0, start = 0; i < width; quic_advance(group, i - start), start = i) {
        uint32_t end = quic_segment_end(group, i, width);
        while (i < end) {
            if (!kind.is_first && i > 2 && is_run(row, i)) {
                uint32_t run = read_run(bits, group, end - i), pixel = row->pixels[i - 1];
                if (run > end - i)
                    return QUIC_BAD_RUN;
                fill(row->pixels + i, run, end - i, pixel);
                i += run;
                if (run)
                    continue; /* the test is made again after a run, but not after an empty one */
            }
            if (i > 2 && bits->at + 1 < bits->last) {
                struct ahead ahead = decode_ahead(bits, decoder, row, i, end, parts);
                i = ahead.i;
                if (!ahead.is_odd)
                    continue;
            }
            decode_pixel(bits, decoder, row, i++, kind, parts.learn);
        }
    }
    return is_past_end(bits) ? QUIC_TRUNCATED : QUIC_OK;
}

typedef int row_decoder(struct bits *bits, struct decoder *decoder, const struct row *row, uint32_t width);

/* How to decode the first row and the others: of colours of 8 bits and 5, and of a single channel. */
struct row_decoders {
    row_decoder *colours8[2], *colours5[2], *single[2];
};

#define SIMPLE_DECODER(name, attributes, kind, with_escapes, learn)                                                        \
    attributes __attribute__((noinline)) static struct ahead name(struct bits *bits, struct decoder *decoder,              \
                                                                  const struct row *row, uint32_t from, uint32_t end)      \
    {                                                                                                                      \
        return decode_simple(bits, decoder, row, from, end, kind, with_escapes, learn);                                    \
    }

#define ROW_DECODER(name, attributes, count, is_first, depth, channels)                                                    \
    static const struct kind name##_kind = {is_first, depth, channels};                                                    \
    attributes __attribute__((noinline)) static uint32_t name##_learn(struct decoder *decoder, uint32_t context, uint32_t n) \
    {                                                                                                                      \
        return learn_pixel(decoder, depth, channels, context, n, count);                                                   \
    }                                                                                                                      \
    SIMPLE_DECODER(name##_simple, attributes, name##_kind, 0, name##_learn)                                                \
    SIMPLE_DECODER(name##_with_escapes, attributes, name##_kind, 1, name##_learn)                                          \
    attributes static int name(struct bits *bits, struct decoder *decoder, const struct row *row, uint32_t width)          \
    {                                                                                                                      \
        const struct parts parts = {name##_simple, name##_with_escapes, name##_learn};                                     \
        return decode_row(bits, decoder, row, width, name##_kind, parts);                                                  \
    }

#define ROW_DECODERS(name, attributes, count)                                                                              \
    ROW_DECODER(name##_first_colours8, attributes, count, 1, 8, 3) ROW_DECODER(name##_colours8, attributes, count, 0, 8, 3) \
    ROW_DECODER(name##_first_colours5, attributes, count, 1, 5, 3) ROW_DECODER(name##_colours5, attributes, count, 0, 5, 3) \
    ROW_DECODER(name##_first_single, attributes, count, 1, 8, 1) ROW_DECODER(name##_single, attributes, count, 0, 8, 1)    \
    static const struct row_decoders name = {{name##_first_colours8, name##_colours8},                                     \
                                             {name##_first_colours5, name##_colours5},                                     \
                                             {name##_first_single, name##_single}};

ROW_DECODERS(portable, , quic_count)
#if defined(__x86_64__)
/* Here shifts by a variable and counting zeros are single instructions. Whatever has BMI2 has LZCNT. */
ROW_DECODERS(bmi2, __attribute__((target("avx,bmi,bmi2,lzcnt"))), quic_count_at_once)
#endif

static const struct row_decoders *choose_row_decoders(void)
{
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx") && __builtin_cpu_supports("bmi") && __builtin_cpu_supports("bmi2"))
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
    uint32_t *colours_of[2] = {scratch, scratch + width};
    uint32_t *alphas_of[2] = {scratch + 2 * (size_t)width, scratch + 3 * (size_t)width};
    uint32_t *colour_errors = scratch + 4 * (size_t)width, *alpha_errors = scratch + 5 * (size_t)width;
    const int in_place = header->type == QUIC_RGB24 || header->type == QUIC_RGB32;
    const int has_colours = header->type != QUIC_GRAY, has_single = header->type == QUIC_RGBA || header->type == QUIC_GRAY;
    if (has_colours)
        decoder_init(&colours, depth, aligned(lookup));
    if (has_single)
        decoder_init(&single, 8, aligned(lookup));
    for (uint32_t y = 0; y < header->height; y++, out += stride) {
        struct row colour = {colours_of[y & 1], colours_of[~y & 1], colour_errors};
        struct row alpha = {alphas_of[y & 1], alphas_of[~y & 1], alpha_errors};
        if (in_place)
            colour = (struct row){(uint32_t *)(void *)out, (uint32_t *)(void *)(y ? out - stride : out), colour_errors};
        int status = QUIC_OK;
        if (has_colours)
            status = decode_colours[y > 0](&bits, &colours, &colour, width);
        if (status == QUIC_OK && has_single)
            status = decoders->single[y > 0](&bits, &single, &alpha, width);
        if (status != QUIC_OK)
            return status;
        if (!in_place)
            store_row(header, expand, colour.pixels, alpha.pixels, out);
    }
    return QUIC_OK;
}

size_t quic_scratch_words(uint32_t width)
{
    return (size_t)QUIC_ROWS * width;
}

size_t quic_lookup_size(void)
{
    return LOOKUP_ENTRIES + LOOKUP_ALIGNMENT / sizeof(uint16_t);
}

static uint16_t make_entry(const struct quic_codes *codes, uint32_t depth, uint32_t k, uint32_t index)
{
    const uint64_t window = (uint64_t)index << (64 - QUIC_LOOKUP_BITS);
    struct bits bits = {.window = window, .count = 63};
    const uint32_t difference = unfold(read_code(&bits, codes, depth, k)), used = 63 - (uint32_t)bits.count;
    const uint32_t flags = leading_zeros(window) < codes->prefix[k] ? 0 : ENTRY_ESCAPE;
    return (uint16_t)(used > QUIC_LOOKUP_BITS ? ENTRY_LONG : difference << 8 | flags);
}

void quic_make_lookup(uint16_t *lookup)
{
    uint16_t *entry = (uint16_t *)(uintptr_t)aligned(lookup);
    for (uint32_t depth = 8; depth >= 5; depth -= 3)
        for (uint32_t k = 0; k < depth; k++)
            for (uint32_t index = 0; index < 1u << QUIC_LOOKUP_BITS; index++)
                *entry++ = make_entry(depth == 5 ? &quic_codes5 : &quic_codes8, depth, k, index);
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
