/*
 * Feeds bytes to every image decoder in C, and re-encodes what decodes.
 *
 * With libFuzzer:
 *   clang -g -O1 -std=c11 -fno-strict-aliasing -fsanitize=fuzzer,address,undefined -DLIBFUZZER -Isrc/_spice_codec \
 *       tests/fuzz/codec_fuzz.c src/_spice_codec/{quic,lz,glz}_*.c -o codec_fuzz
 *   ./codec_fuzz tests/data/vectors/{quic,lz,glz,malformed}
 * Without it (any compiler; runs each file as it is and then with random changes):
 *   cc -g -O1 -std=c11 -fno-strict-aliasing -fsanitize=address,undefined -fno-sanitize-recover=all -Isrc/_spice_codec \
 *       tests/fuzz/codec_fuzz.c src/_spice_codec/{quic,lz,glz}_*.c -o codec_fuzz
 *   ./codec_fuzz ROUNDS FILE...
 */

#include "glz.h"
#include "lz.h"
#include "quic.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_PIXELS = 1 << 18 };

static void require(int condition, const char *what)
{
    if (!condition) {
        fprintf(stderr, "not so: %s\n", what);
        abort();
    }
}

/* Memory of exactly the size that the decoders ask for, so that the sanitizer sees one byte too many. */
static void *take(size_t size)
{
    void *memory = calloc(size ? size : 1, 1);
    require(memory != NULL, "there is memory");
    return memory;
}

static int is_small(uint32_t width, uint32_t height)
{
    return (uint64_t)width * height <= MAX_PIXELS;
}

static void fuzz_quic(const uint8_t *data, size_t size)
{
    struct quic_header header;
    if (quic_read_header(data, size, &header) != QUIC_OK || !is_small(header.width, header.height))
        return;
    static const size_t pixel_bytes[] = {[QUIC_GRAY] = 1, [QUIC_RGB16] = 2, [QUIC_RGB24] = 4, [QUIC_RGB32] = 4, [QUIC_RGBA] = 4};
    uint16_t *lookup = take(quic_lookup_size() * sizeof *lookup);
    quic_make_lookup(lookup);
    for (int expand = 0; expand < 2; expand++) {
        size_t row = header.width * (expand && header.type == QUIC_RGB16 ? 4 : pixel_bytes[header.type]);
        uint8_t *out = take(row * header.height), *again = take(row * header.height);
        uint32_t *scratch = take(quic_scratch_words(header.width) * 4);
        int status = quic_decode(data, size, header.width, header.height, expand, out, (ptrdiff_t)row, lookup, scratch);
        if (status == QUIC_OK && !expand) {
            size_t capacity = 64 + (size_t)17 * header.width * header.height, written;
            uint8_t *stream = take(capacity);
            status = quic_encode((int)header.type, header.width, header.height, out, (ptrdiff_t)row, stream, capacity, scratch,
                                 &written);
            require(status == QUIC_OK, "QUIC encodes within the space promised");
            status = quic_decode(stream, written, header.width, header.height, 0, again, (ptrdiff_t)row, lookup, scratch);
            require(status == QUIC_OK && !memcmp(out, again, row * header.height), "QUIC decodes what it encoded");
            free(stream);
        }
        free(out);
        free(again);
        free(scratch);
    }
    free(lookup);
}

static void fuzz_lz(const uint8_t *data, size_t size)
{
    struct lz_header header;
    if (lz_read_header(data, size, &header) != LZ_OK || !is_small(header.width, header.height))
        return;
    uint32_t palette[16];
    for (uint32_t i = 0; i < 16; i++)
        palette[i] = i * 0x01030507;
    size_t pixels = (size_t)header.width * header.height;
    for (int variant = 0; variant < 8; variant++) {
        int expand = variant & 1;
        size_t pixel = header.type == LZ_A8 || header.type == LZ_XXXA ? 1 : header.type == LZ_RGB16 && !expand ? 2 : 4;
        size_t row = header.width * pixel, stride = row + (variant & 2 ? 4 * pixel : 0);
        uint8_t *out = take(stride * (header.height - 1) + row);
        uint32_t *scratch = take(pixels * 4);
        ptrdiff_t step = variant & 4 ? -(ptrdiff_t)stride : (ptrdiff_t)stride;
        uint8_t *first = variant & 4 ? out + stride * (header.height - 1) : out;
        (void)lz_decode(data, size, header.width, header.height, palette, 16, expand, first, step, scratch);
        free(out);
        free(scratch);
    }
}

static void fuzz_glz(const uint8_t *data, size_t size)
{
    struct glz_header header;
    if (glz_read_header(data, size, &header) != GLZ_OK || !is_small(header.width, header.height))
        return;
    enum { IMAGES = 3, COUNT = 221 };
    struct glz_image window[IMAGES];
    for (uint64_t i = 0; i < IMAGES; i++)
        window[i] = (struct glz_image){(header.id > IMAGES ? header.id - IMAGES : 0) + i, take(COUNT * 4), COUNT, header.type};
    uint32_t *pixels = take((size_t)header.width * header.height * 4);
    uint64_t missing = 0;
    int status = glz_decode(data, size, header.width, header.height, window, IMAGES, pixels, &missing);
    if (status == GLZ_MISSING)
        require(missing < header.id, "what is missing came before");
    for (int i = 0; i < IMAGES; i++)
        free((void *)window[i].pixels);
    free(pixels);
}

static void fuzz_encoders(const uint8_t *data, size_t size)
{
    uint32_t count = (uint32_t)(size / 4 < 4096 ? size / 4 : 4096);
    if (count == 0)
        return;
    uint32_t *pixels = take(count * 4), *again = take(count * 4), *hash = take(lz_hash_words() * 4), *scratch = take(count * 4);
    struct glz_entry *entries = take(glz_hash_entries() * sizeof *entries);
    memcpy(pixels, data, count * 4);
    size_t capacity = 64 + (size_t)count * 10, written;
    uint8_t *stream = take(capacity);
    struct lz_header lz = {LZ_RGBA, count, 1, count * 4, 1};
    require(lz_encode(&lz, (uint8_t *)pixels, stream, capacity, hash, &written) == LZ_OK, "LZ encodes within the space promised");
    int status = lz_decode(stream, written, count, 1, NULL, 0, 1, (uint8_t *)again, (ptrdiff_t)count * 4, scratch);
    require(status == LZ_OK && !memcmp(pixels, again, count * 4), "LZ decodes what it encoded");
    struct glz_header glz = {GLZ_RGBA, 1, count, 1, count * 4, 7, 1};
    struct glz_image window = {6, scratch, count, GLZ_RGBA};
    memcpy(scratch, data, count * 4);
    for (uint64_t i = 0; i < glz_hash_entries(); i++)
        entries[i] = (struct glz_entry){6 + i % 3, data[i % size] * (i + 1)}; /* a table that lies does no harm */
    status = glz_encode(&glz, pixels, &window, 1, stream, capacity, entries, &written);
    require(status == GLZ_OK, "GLZ encodes within the space promised");
    uint64_t missing;
    status = glz_decode(stream, written, count, 1, &window, 1, again, &missing);
    require(status == GLZ_OK && !memcmp(pixels, again, count * 4), "GLZ decodes what it encoded");
    free(pixels);
    free(again);
    free(hash);
    free(scratch);
    free(entries);
    free(stream);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    fuzz_quic(data, size);
    fuzz_lz(data, size);
    fuzz_glz(data, size);
    fuzz_encoders(data, size);
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

/* Run a copy of exactly the size, some bytes of it changed and its end cut off. */
static void run_changed(const uint8_t *data, size_t size, uint32_t changes)
{
    size_t kept = changes && next_random(4) == 0 ? next_random((uint32_t)size + 1) : size;
    uint8_t *copy = take(kept);
    memcpy(copy, data, kept);
    for (uint32_t i = 0; kept && i < changes; i++)
        copy[next_random((uint32_t)kept)] = next_random(3) ? (uint8_t)next_random(256) : (uint8_t)(255 * next_random(2));
    LLVMFuzzerTestOneInput(copy, kept);
    free(copy);
}

int main(int argc, char **argv)
{
    int rounds = argc > 1 ? atoi(argv[1]) : 0;
    for (int i = 2; i < argc; i++) {
        FILE *file = fopen(argv[i], "rb");
        require(file != NULL, "the file can be opened");
        uint8_t *data = take(1 << 20);
        size_t size = fread(data, 1, 1 << 20, file);
        fclose(file);
        run_changed(data, size, 0);
        for (int round = 0; round < rounds; round++)
            run_changed(data, size, 1 + next_random(8));
        free(data);
    }
    printf("%d files, %d changed copies of each\n", argc > 2 ? argc - 2 : 0, rounds);
    return 0;
}

#endif
