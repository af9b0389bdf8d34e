/* QUIC encoder. */

#include "quic_internal.h"

/* Bits collected most significant first; `used` is how many of `pending` are (below 32 between calls). */
struct bit_writer {
    uint64_t pending;
    uint32_t used;
    uint8_t *out;
    size_t length;
    size_t capacity;
    int is_full;
};

static void put_word(struct bit_writer *writer, uint32_t word)
{
    if (writer->capacity - writer->length < 4) {
        writer->is_full = 1;
        return;
    }
    for (int i = 0; i < 4; i++)
        writer->out[writer->length++] = (uint8_t)(word >> (8 * i));
}

/* Append the low `count` bits of `value`, at most 32, which has no higher ones. */
static inline void put_bits(struct bit_writer *writer, uint32_t value, uint32_t count)
{
    writer->pending = writer->pending << count | value;
    writer->used += count;
    if (writer->used >= 32) {
        writer->used -= 32;
        put_word(writer, (uint32_t)(writer->pending >> writer->used));
    }
}

/* Pad to a word and append the zero word that readers with a full window rely on. */
static void finish(struct bit_writer *writer)
{
    if (writer->used)
        put_bits(writer, 0, 32 - writer->used);
    put_word(writer, 0);
}

static inline void put_code(struct bit_writer *writer, const struct quic_codes *codes, uint32_t k, uint32_t n)
{
    if (n < codes->first_escaped[k]) {
        put_bits(writer, 0, n >> k);
        put_bits(writer, 1u << k | (n & ((1u << k) - 1)), k + 1);
    } else {
        put_bits(writer, 0, codes->prefix[k]);
        put_bits(writer, n - codes->first_escaped[k], codes->suffix[k]);
    }
}

static void put_run(struct bit_writer *writer, struct quic_group *group, uint32_t run)
{
    uint32_t state = group->run_state;
    while (run >= 1u << quic_run_bits[state]) {
        put_bits(writer, 1, 1);
        run -= 1u << quic_run_bits[state];
        state += state < 31;
    }
    put_bits(writer, run, quic_run_bits[state] + 1u);
    group->run_state = (uint8_t)(state - (state > 0));
}

static inline uint32_t fold(uint32_t value, uint32_t prediction, uint32_t depth)
{
    uint32_t mask = (1u << depth) - 1, difference = (value - prediction) & mask;
    return difference <= mask >> 1 ? 2 * difference : 2 * (mask - difference) + 1;
}

/* Write one pixel and return its folded errors; `shift` is that of the group's first channel, R's or the only one's. */
static uint32_t put_pixel(struct bit_writer *writer, struct quic_group *group, uint32_t depth, uint32_t shift,
                          uint32_t pixel, uint32_t prediction, uint32_t context)
{
    const struct quic_codes *codes = depth == 5 ? &quic_codes5 : &quic_codes8;
    uint32_t errors = 0;
    for (int s = (int)shift; s >= 0; s -= 8) {
        uint32_t n = fold(pixel >> s & 0xff, prediction >> s & 0xff, depth);
        put_code(writer, codes, group->models[2 - s / 8].code_for[context >> s & 0xff], n);
        errors |= n << s;
    }
    if (group->skip == 0) {
        for (int s = (int)shift; s >= 0; s -= 8)
            quic_learn(&group->models[2 - s / 8], depth, codes, context >> s & 0xff, errors >> s & 0xff,
                       quic_halving[group->level], quic_count);
        group->skip = quic_next_skip(group);
    } else {
        group->skip--;
    }
    return errors;
}

/* Encode one row of a group's lanes; `above` is NULL in the first row. */
static void encode_row(struct bit_writer *writer, struct quic_group *group, uint32_t depth, uint32_t channels, uint32_t width,
                       const uint32_t *row, const uint32_t *above, uint32_t *errors)
{
    uint32_t context = above ? errors[0] : 0;
    uint32_t left = above ? above[0] : 0;
    for (uint32_t i = 0, start = 0; i < width; quic_advance(group, i - start), start = i) {
        uint32_t end = quic_segment_end(group, i, width);
        while (i < end) {
            if (above && i > 2 && above[i] == above[i - 1] && left == row[i - 2]) {
                uint32_t first = i;
                while (i < end && row[i] == left)
                    i++;
                put_run(writer, group, i - first);
                if (i > first) {
                    context = errors[i - 1];
                    continue;
                }
            }
            uint32_t prediction = above ? quic_average(left, above[i]) : left;
            context = put_pixel(writer, group, depth, 8 * (channels - 1), row[i], prediction, context);
            errors[i] = context;
            left = row[i++];
        }
    }
}

/* Take a row of the picture apart into lanes. */
static void load_row(int type, uint32_t width, const uint8_t *pixels, uint32_t *colour, uint32_t *alpha)
{
    const uint32_t *in32 = (const uint32_t *)(const void *)pixels;
    const uint16_t *in16 = (const uint16_t *)(const void *)pixels;
    for (uint32_t i = 0; i < width; i++) {
        if (type == QUIC_GRAY)
            alpha[i] = pixels[i];
        else
            colour[i] = type == QUIC_RGB16 ? quic_spread555(in16[i]) : in32[i] & 0xffffff;
        if (type == QUIC_RGBA)
            alpha[i] = in32[i] >> 24;
    }
}

int quic_encode(int type, uint32_t width, uint32_t height, const uint8_t *pixels, ptrdiff_t stride, uint8_t *out,
                size_t capacity, uint32_t *scratch, size_t *written)
{
    struct bit_writer writer = {.out = out, .capacity = capacity};
    struct quic_group colours, single;
    uint32_t *colour[2] = {scratch, scratch + width}, *alpha[2] = {scratch + 2 * (size_t)width, scratch + 3 * (size_t)width};
    uint32_t depth = type == QUIC_RGB16 ? 5 : 8;
    quic_group_init(&colours, depth);
    quic_group_init(&single, 8);
    put_word(&writer, QUIC_MAGIC);
    put_word(&writer, 0);
    put_word(&writer, (uint32_t)type);
    put_word(&writer, width);
    put_word(&writer, height);
    for (uint32_t y = 0; y < height && !writer.is_full; y++, pixels += stride) {
        load_row(type, width, pixels, colour[y & 1], alpha[y & 1]);
        if (type != QUIC_GRAY)
            encode_row(&writer, &colours, depth, 3, width, colour[y & 1], y ? colour[~y & 1] : NULL, scratch + 4 * (size_t)width);
        if (type == QUIC_GRAY || type == QUIC_RGBA)
            encode_row(&writer, &single, 8, 1, width, alpha[y & 1], y ? alpha[~y & 1] : NULL, scratch + 5 * (size_t)width);
    }
    finish(&writer);
    *written = writer.length;
    return writer.is_full ? QUIC_NO_SPACE : QUIC_OK;
}
