/*
 * Feeds bytes to the fast path of drawing, as messages that lie in a receive buffer, on small surfaces, with a small GLZ
 * dictionary and cache. `run.sh` compiles it, with the files of src/_spice_codec it needs.
 *
 * With libFuzzer (-DLIBFUZZER): ./draw_fuzz CORPUS
 * Without it, by any compiler:
 *   ./draw_fuzz ROUNDS             makes messages of its own, and changes bytes of them
 *   ./draw_fuzz ROUNDS DIRECTORY   writes those to files there, as a corpus to begin with
 *   ./draw_fuzz 0 FILE...          runs these files
 */

#include "draw.h"
#include "framing.h"
#include "glz.h"
#include "glz_window.h"
#include "pixel_table.h"
#include "quic.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SURFACES = 2, FRAMES = 64, DAMAGE = 40, KEPT_PIXELS = 300, ROOM = 3000 };
enum { GLZ_PIXELS = 500, GLZ_IMAGES = 8, GLZ_RING = 600, OWN_PIXELS = 100, TABLE_BITS = 8 };

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

/* A GLZ dictionary that holds two images whose pixels are not in its ring. */
static struct glz_window make_window(uint32_t *own)
{
    struct glz_window window = {.images = take((2 * GLZ_IMAGES + GLZ_WINDOW_SLACK) * sizeof(struct glz_image)),
                                .ahead = take((GLZ_IMAGES + 1) * sizeof(struct glz_range)),
                                .ring = take(GLZ_RING * 4),
                                .ring_size = GLZ_RING,
                                .max_pixels = GLZ_PIXELS,
                                .max_images = GLZ_IMAGES};
    for (uint64_t id = 0; id < 2; id++) {
        struct glz_header header = {.type = GLZ_RGB32, .id = id, .head_distance = (uint32_t)id};
        glz_window_keep(&window, &header, own, OWN_PIXELS);
    }
    return window;
}

static void check_window(const struct glz_window *window)
{
    uint64_t pixels = 0;
    require(window->count <= GLZ_IMAGES && window->ahead_count <= GLZ_IMAGES, "the dictionary's tables have room");
    for (uint32_t i = window->start; i < window->start + window->count; i++) {
        const struct glz_image *one = &window->images[i];
        require(i == window->start || one[-1].id < one->id, "the dictionary is in order");
        pixels += one->count;
        if (one->place == UINT64_MAX)
            continue;
        require(one->pixels >= window->ring && one->pixels + one->count <= window->ring + GLZ_RING, "images lie in the ring");
        for (uint32_t j = window->start; j < i; j++)
            require(window->images[j].place == UINT64_MAX || window->images[j].pixels + window->images[j].count <= one->pixels ||
                        one->pixels + one->count <= window->images[j].pixels,
                    "images lie apart from each other");
    }
    require(pixels == window->pixels && pixels <= 2 * GLZ_PIXELS, "the dictionary is bounded");
}

/* Put what is to be kept in the cache, as its owner does; `own` holds its pixels. */
static void keep_all(struct draw_run *run, struct pixel_table *cache, uint32_t **own, uint32_t *own_count)
{
    for (uint32_t i = 0; i < run->kept_count; i++) {
        const struct draw_kept *kept = &run->kept[i];
        size_t pixels = (size_t)kept->width * kept->height;
        require(kept->offset + pixels <= KEPT_PIXELS, "what is kept has room");
        uint32_t *copy = own[(*own_count)++] = take(pixels * 4);
        memcpy(copy, run->kept_pixels + kept->offset, pixels * 4);
        if (kept->id & 1)
            pixel_table_remove(cache, kept->id - 1);
        pixel_table_put(cache, kept->id, copy, kept->width, kept->height, kept->width & 1);
    }
    run->kept_count = run->kept_used = 0;
}

/* Draw all of the table. Returns how many messages were drawn. */
static uint32_t draw_all(struct draw_run *run, const uint8_t *data, size_t size, const struct spice_frame *frames, uint32_t count)
{
    uint32_t at = 0, total = 0, own_count = 0;
    uint32_t *own[FRAMES];
    struct pixel_table cache = {take((1u << TABLE_BITS) * sizeof(struct pixel_entry)), TABLE_BITS, 0, 0x9e3779b97f4a7c15u};
    run->pictures = &cache;
    while (at < count) {
        run->totals.drawn = run->totals.damage_count = 0;
        int status = draw_frames(run, data, size, frames + at, count - at);
        require(run->totals.drawn <= count - at, "no more is drawn than there is");
        check_damage(run);
        check_window(run->glz);
        require(status != DRAW_ALL || run->totals.drawn == count - at, "all is drawn");
        require(status != DRAW_FULL || run->kept_count, "it is full of something");
        keep_all(run, &cache, own, &own_count);
        at += run->totals.drawn;
        total += run->totals.drawn;
        if (status == DRAW_OTHER)
            at++;
        else if (status == DRAW_PAUSED)
            run->work = 0;
    }
    for (uint32_t i = 0; i < own_count; i++)
        free(own[i]);
    free(cache.entries);
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
    uint32_t *own = take(OWN_PIXELS * 4);
    struct glz_window window = make_window(own);
    struct draw_run run = {.surfaces = surfaces,
                           .surface_count = SURFACES,
                           .damage = take(DAMAGE * sizeof(struct draw_damage)),
                           .damage_capacity = DAMAGE,
                           .quic_lookup = lookup,
                           .scratch = take(draw_scratch_words(DRAW_MAX_DECODED) * 4),
                           .max_decoded = DRAW_MAX_DECODED,
                           .glz = &window,
                           .kept_pixels = take(KEPT_PIXELS * 4),
                           .kept = take(DRAW_MAX_KEPT * sizeof(struct draw_kept)),
                           .kept_capacity = KEPT_PIXELS,
                           .room = ROOM};
    uint32_t drawn = draw_all(&run, data, size, frames, count);
    for (uint32_t i = 0; i < SURFACES; i++)
        free(surfaces[i].pixels);
    void *all[] = {run.damage, run.scratch, run.kept_pixels, run.kept, window.images, window.ahead, window.ring, own, lookup, frames};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        free(all[i]);
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
    uint8_t bytes[16384];
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

/* A GLZ stream: literals, and now and then a copy. */
static void put_glz(struct writer *out, uint32_t width, uint32_t height)
{
    size_t start = out->size;
    put(out, 0, 4);
    static const uint8_t magic[] = "  ZL\0\1\0\1";
    for (int i = 0; i < 8; i++)
        put(out, magic[i], 1);
    put(out, (next_random(2) ? 16 : 0) + (next_random(8) ? 8 : 9), 1);
    static uint32_t next_id;
    if (next_random(9) == 0)
        next_id = 1 + next_random(6);
    next_id += next_random(9) ? 1 : 2;
    uint32_t words[] = {width, height, width * 4, 0, next_id, next_random(4)};
    for (int i = 0; i < 6; i++)
        for (int shift = 24; shift >= 0; shift -= 8)
            put(out, words[i] >> shift, 1);
    for (uint32_t left = width * height; left;) {
        uint32_t count = 1 + next_random(left < 7 ? left : 7);
        if (next_random(3) == 0 && count > 1) {
            put(out, (count - 1) << 5 | next_random(16), 1);
            put(out, next_random(3), 1);
            put(out, next_random(4), 1);
        } else {
            put(out, count - 1, 1);
            for (uint32_t i = 0; i < 3 * count; i++)
                put(out, next_random(256), 1);
        }
        left -= count;
    }
    uint32_t size = (uint32_t)(out->size - start - 4);
    for (int i = 0; i < 4; i++)
        out->bytes[start + (size_t)i] = (uint8_t)(size >> 8 * i);
}

static void put_image(struct writer *out, uint32_t width, uint32_t height)
{
    static const uint8_t types[] = {0, 0, 1, 101, 102, 103, 104, 106, 105};
    uint32_t type = types[next_random(sizeof types)];
    put(out, next_random(4), 8);
    put(out, type, 1);
    put(out, next_random(2) ? 0 : next_random(8), 1);
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
        put_glz(out, width, height);
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

static void write_file(const char *directory, int number, const uint8_t *data, size_t size)
{
    char path[4096];
    require((size_t)snprintf(path, sizeof path, "%s/%d", directory, number) < sizeof path, "the path is short");
    FILE *file = fopen(path, "wb");
    require(file && fwrite(data, 1, size, file) == size && !fclose(file), "the file can be written");
}

static void run_file(const char *path)
{
    FILE *file = fopen(path, "rb");
    require(file != NULL, "the file can be opened");
    uint8_t *data = take(1 << 20);
    size_t size = fread(data, 1, 1 << 20, file);
    fclose(file);
    uint8_t *copy = take(size);
    memcpy(copy, data, size);
    free(data);
    (void)fuzz(copy, size);
    free(copy);
}

int main(int argc, char **argv)
{
    int rounds = argc > 1 ? atoi(argv[1]) : 10000;
    if (rounds == 0) {
        for (int i = 2; i < argc; i++)
            run_file(argv[i]);
        printf("%d files\n", argc - 2);
        return 0;
    }
    uint64_t messages = 0, drawn = 0;
    for (int round = 0; round < rounds; round++) {
        struct writer out = {.size = 0};
        uint32_t count = 1 + next_random(8);
        for (uint32_t i = 0; i < count; i++)
            put_message(&out);
        if (argc > 2)
            write_file(argv[2], round, out.bytes, out.size);
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
