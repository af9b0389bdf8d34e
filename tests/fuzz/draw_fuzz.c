/*
 * Feeds bytes to the fast path of drawing, as messages that lie in a receive buffer, on small surfaces.
 *
 * With libFuzzer:
 *   clang -g -O1 -std=c11 -fno-strict-aliasing -fsanitize=fuzzer,address,undefined -DLIBFUZZER -Isrc/_spice_codec \
 *       tests/fuzz/draw_fuzz.c src/_spice_codec/{draw,framing,quic_decode,quic_tables,lz_decode}.c -o draw_fuzz && ./draw_fuzz
 * Without it (any compiler; makes messages of its own and changes bytes of them):
 *   cc -g -O1 -std=c11 -fno-strict-aliasing -fsanitize=address,undefined -fno-sanitize-recover=all -Isrc/_spice_codec \
 *       tests/fuzz/draw_fuzz.c src/_spice_codec/{draw,framing,quic_decode,quic_tables,lz_decode}.c -o draw_fuzz && ./draw_fuzz ROUNDS
 */

#include "draw.h"
#include "framing.h"
#include "quic.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SURFACES = 2, FRAMES = 64, DAMAGE = 40 };

static const uint32_t sizes[SURFACES][2] = {{24, 18}, {7, 40}};

static void require(int condition, const char *what)
{
    if (!condition) {
        fprintf(stderr, "not so: %s\n", what);
        abort();
    }
}

/* Memory of exactly the size that is needed, so that the sanitizer sees one byte too many. */
static void *take(size_t size)
{
    void *memory = calloc(size ? size : 1, 1);
    require(memory != NULL, "there is memory");
    return memory;
}

static void check_damage(const struct draw_run *run)
{
    require(run->totals.damage_count <= run->damage_capacity, "damage has room");
    for (uint32_t i = 0; i < run->totals.damage_count; i++) {
        const struct draw_damage *one = &run->damage[i];
        require(one->surface_id < SURFACES && one->left < one->right && one->right <= sizes[one->surface_id][0] &&
                    one->top < one->bottom && one->bottom <= sizes[one->surface_id][1],
                "damage lies within its surface");
    }
}

/* Draw all of the table, giving whatever image is asked for. Returns how many messages were drawn. */
static uint32_t draw_all(struct draw_run *run, const uint8_t *data, size_t size, const struct spice_frame *frames, uint32_t count)
{
    uint32_t at = 0, total = 0;
    uint8_t *image = NULL;
    while (at < count) {
        run->totals.drawn = run->totals.damage_count = 0;
        int status = draw_frames(run, data, size, frames + at, count - at);
        require(run->totals.drawn <= count - at, "no more is drawn than there is");
        check_damage(run);
        at += run->totals.drawn;
        total += run->totals.drawn;
        run->picture = NULL;
        free(image);
        image = NULL;
        if (status == DRAW_ALL) {
            require(at == count, "all is drawn");
        } else if (status == DRAW_OTHER) {
            at++;
        } else if (status == DRAW_PAUSED) {
            run->work = 0;
        } else {
            const struct draw_wanted *wanted = &run->wanted;
            require(wanted->offset <= size && wanted->size <= size - wanted->offset, "a stream lies within the buffer");
            size_t pixels = (size_t)wanted->width * wanted->height;
            static struct draw_picture picture;
            image = take(pixels * 4);
            ptrdiff_t stride = (ptrdiff_t)wanted->width * 4;
            int is_flipped = wanted->id & 1;
            picture = (struct draw_picture){wanted->width, wanted->height, is_flipped ? -stride : stride,
                                            is_flipped ? image + (pixels * 4 - (size_t)stride) : image};
            run->picture = &picture;
        }
    }
    free(image);
    return total;
}

static uint32_t fuzz(const uint8_t *data, size_t size)
{
    struct spice_frame *frames = take(FRAMES * sizeof *frames);
    struct spice_frame_report report;
    uint32_t count = spice_frame_scan(data, 0, (uint32_t)size, SPICE_FRAME_MINI, 1 << 20, frames, FRAMES, &report);
    struct draw_surface surfaces[SURFACES];
    for (uint32_t i = 0; i < SURFACES; i++)
        surfaces[i] = (struct draw_surface){i, sizes[i][0], sizes[i][1], take((size_t)sizes[i][0] * sizes[i][1] * 4)};
    uint16_t *lookup = take(quic_lookup_size() * 2);
    quic_make_lookup(lookup);
    struct draw_run run = {.surfaces = surfaces,
                           .surface_count = SURFACES,
                           .damage = take(DAMAGE * sizeof(struct draw_damage)),
                           .damage_capacity = DAMAGE,
                           .quic_lookup = lookup,
                           .scratch = take(draw_scratch_words() * 4)};
    uint32_t drawn = draw_all(&run, data, size, frames, count);
    for (uint32_t i = 0; i < SURFACES; i++)
        free(surfaces[i].pixels);
    free(run.damage);
    free(run.scratch);
    free(lookup);
    free(frames);
    return drawn;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    (void)fuzz(data, size);
    return 0;
}

#ifndef LIBFUZZER

static uint64_t state = 0x9e3779b97f4a7c15u;

static uint32_t next_random(uint32_t below)
{
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return (uint32_t)((state >> 32) % below);
}

struct writer {
    uint8_t bytes[4096];
    size_t size;
};

static void put(struct writer *out, uint64_t value, int bytes)
{
    for (; bytes--; value >>= 8)
        out->bytes[out->size++] = (uint8_t)value;
}

static void put_rect(struct writer *out, uint32_t x, uint32_t y, uint32_t width, uint32_t height)
{
    put(out, y, 4);
    put(out, x, 4);
    put(out, y + height, 4);
    put(out, x + width, 4);
}

/* Surface, box and clip of a message. */
static void put_base(struct writer *out, uint32_t width, uint32_t height)
{
    put(out, next_random(SURFACES), 4);
    put_rect(out, next_random(30) - 4, next_random(30) - 4, width, height);
    uint32_t count = next_random(3) ? 0 : next_random(12);
    put(out, count != 0, 1);
    if (count)
        put(out, count, 4);
    for (uint32_t i = 0; i < count; i++)
        put_rect(out, next_random(4), 2 * i, next_random(20), 1 + next_random(2));
}

static void put_mask(struct writer *out)
{
    put(out, 0, 8);
    put(out, 0, 5);
}

static void put_image(struct writer *out, uint32_t width, uint32_t height)
{
    static const uint8_t types[] = {0, 0, 1, 101, 102, 103, 104, 106, 105};
    uint32_t type = types[next_random(sizeof types)];
    put(out, next_random(4), 8);
    put(out, type, 1);
    put(out, next_random(4) ? 0 : 2, 1);
    put(out, width, 4);
    put(out, height, 4);
    if (type == 0) {
        uint32_t format = 7 + next_random(3), stride = width * (format == 7 ? 3 : 4) + next_random(3);
        put(out, format, 1);
        put(out, next_random(2) ? 4 : 0, 1);
        put(out, width, 4);
        put(out, height, 4);
        put(out, stride, 4);
        put(out, 0, 4);
        for (uint32_t i = 0; i < stride * height; i++)
            put(out, next_random(256), 1);
    } else if (type == 104) {
        put(out, next_random(SURFACES + 1), 4);
    } else if (type == 1 || type == 101) {
        /* A header that is right, and any bytes after it. */
        static const uint8_t quic[] = "QUIC\0\0\0\0", lz[] = "  ZL\0\1\0\1";
        uint32_t bytes = 28 + next_random(300);
        put(out, bytes, 4);
        size_t end = out->size + bytes;
        for (int i = 0; i < 8; i++)
            put(out, type == 1 ? quic[i] : lz[i], 1);
        uint32_t kind = type == 1 ? 2 + next_random(4) : 6 + next_random(4), pixel = kind == 6 ? 2 : kind == 7 ? 3 : 4;
        uint32_t words[5] = {kind, width, height, width * pixel, next_random(2)};
        for (int i = 0; i < (type == 1 ? 3 : 5); i++)
            for (int shift = type == 1 ? 0 : 24; shift >= 0 && shift < 32; shift += type == 1 ? 8 : -8)
                put(out, words[i] >> shift, 1);
        while (out->size < end)
            put(out, next_random(3) ? next_random(256) : next_random(32), 1);
    } else if (type == 102) {
        put(out, 20, 4);
        put(out, 0, 8);
        put(out, 8 + next_random(2), 8);
        put(out, 0, 4);
    }
}

static void put_message(struct writer *out)
{
    static const uint16_t types[] = {DRAW_COPY, DRAW_COPY, DRAW_BLEND, DRAW_FILL, DRAW_COPY_BITS};
    size_t start = out->size;
    uint16_t type = types[next_random(5)];
    uint32_t width = 1 + next_random(14), height = 1 + next_random(14), cut = next_random(3) ? 0 : next_random(width);
    put(out, type, 2);
    put(out, 0, 4);
    put_base(out, width - cut, height);
    if (type == DRAW_FILL) {
        put(out, 1, 1);
        put(out, next_random(1u << 31), 4);
        put(out, 8, 2);
        put_mask(out);
    } else if (type == DRAW_COPY_BITS) {
        put(out, next_random(30) - 4, 4);
        put(out, next_random(30) - 4, 4);
    } else {
        put(out, out->size - start - SPICE_FRAME_MINI + 36, 4);
        put_rect(out, cut, 0, width - cut, height);
        put(out, 8, 2);
        put(out, 0, 1);
        put_mask(out);
        put_image(out, width, height);
    }
    uint32_t size = (uint32_t)(out->size - start - SPICE_FRAME_MINI);
    for (int i = 0; i < 4; i++)
        out->bytes[start + 2 + (size_t)i] = (uint8_t)(size >> 8 * i);
}

int main(int argc, char **argv)
{
    int rounds = argc > 1 ? atoi(argv[1]) : 10000;
    uint64_t messages = 0, drawn = 0;
    for (int round = 0; round < rounds; round++) {
        struct writer out = {.size = 0};
        uint32_t count = 1 + next_random(3);
        for (uint32_t i = 0; i < count; i++)
            put_message(&out);
        size_t kept = next_random(8) ? out.size : next_random((uint32_t)out.size);
        uint8_t *copy = take(kept);
        memcpy(copy, out.bytes, kept);
        for (uint32_t i = next_random(4); kept && i--;)
            copy[next_random((uint32_t)kept)] = next_random(3) ? (uint8_t)next_random(256) : (uint8_t)(255 * next_random(2));
        messages += count;
        drawn += fuzz(copy, kept);
        free(copy);
    }
    printf("%d buffers, %llu messages, %llu drawn\n", rounds, (unsigned long long)messages, (unsigned long long)drawn);
    return drawn == 0;
}

#endif
