/* LZ decoder. */

#include "lz.h"
#include "lz_internal.h"

enum { HEADER_BYTES = 28 };

static int is_palette(uint32_t type)
{
    return type <= LZ_PLT8;
}

static uint32_t pixels_per_byte(uint32_t type)
{
    return type <= LZ_PLT1_BE ? 8 : type <= LZ_PLT4_BE ? 2 : 1;
}

/* Decode one pass of `total` units. */
ALWAYS_INLINE int decode_units(enum lz_kind kind, struct lz_input *in, void *out, size_t total)
{
    size_t at = 0;
    while (at < total) {
        if (in->at == in->end)
            return LZ_TRUNCATED;
        uint32_t control = *in->at++;
        if (control < LZ_MAX_LITERALS) {
            size_t n = control + 1, bytes = n * lz_literal_bytes(kind);
            if (n > total - at)
                return LZ_OVERRUN;
            if (bytes > (size_t)(in->end - in->at))
                return LZ_TRUNCATED;
            lz_put_literals(kind, out, at, in->at, n);
            in->at += bytes;
            at += n;
            continue;
        }
        size_t length = control >> 5, distance = (size_t)(control & 31) << 8;
        if (!lz_read_length(in, &length, total) || in->at == in->end)
            return LZ_TRUNCATED;
        distance += *in->at++;
        if (distance == 0x1fff) { /* the far form */
            if (in->end - in->at < 2)
                return LZ_TRUNCATED;
            distance += (size_t)in->at[0] << 8 | in->at[1];
            in->at += 2;
        }
        length += lz_extra(kind);
        distance += 1;
        if (length > total - at)
            return LZ_OVERRUN;
        if (distance > at)
            return LZ_BAD_REFERENCE;
        lz_copy_back(kind, out, at, distance, length, total);
        at += length;
    }
    return LZ_OK;
}

static int decode_all(const struct lz_header *header, struct lz_input *in, int expand, void *out)
{
    size_t total = (size_t)header->width * header->height;
    int status;
    switch (header->type) {
    case LZ_RGB16:
        return expand ? decode_units(LZ_KIND_WIDE, in, out, total) : decode_units(LZ_KIND_555, in, out, total);
    case LZ_RGB24:
    case LZ_RGB32:
    case LZ_RGBA:
        status = decode_units(LZ_KIND_BGR, in, out, total);
        if (status == LZ_OK && header->type == LZ_RGBA)
            status = decode_units(LZ_KIND_ALPHA, in, out, total);
        return status;
    case LZ_XXXA:
    case LZ_A8:
        return decode_units(LZ_KIND_BYTE, in, out, total);
    default:
        return decode_units(LZ_KIND_BYTE, in, out, (size_t)header->stride * header->height);
    }
}

/* Look one row of packed indices up in a table of all their values. */
static void look_up_row(uint32_t type, const uint8_t *row, uint32_t width, const uint32_t *colours, uint32_t *out)
{
    for (uint32_t x = 0; x < width; x++) {
        uint32_t index = row[x];
        if (type == LZ_PLT1_LE)
            index = row[x >> 3] >> (x & 7) & 1;
        else if (type == LZ_PLT1_BE)
            index = row[x >> 3] >> (~x & 7) & 1;
        else if (type == LZ_PLT4_LE)
            index = row[x >> 1] >> (4 * (x & 1)) & 15;
        else if (type == LZ_PLT4_BE)
            index = row[x >> 1] >> (4 * (~x & 1)) & 15;
        out[x] = colours[index];
    }
}

static int decode_palette(const struct lz_header *header, struct lz_input *in, const uint32_t *palette, uint32_t palette_size,
                          uint8_t *out, ptrdiff_t stride, uint8_t *units)
{
    uint32_t colours[256];
    if (palette_size == 0)
        return LZ_NO_PALETTE;
    int status = decode_all(header, in, 0, units);
    if (status != LZ_OK)
        return status;
    for (uint32_t value = 0; value < 256; value++)
        colours[value] = palette[value % palette_size] & 0xffffff;
    for (uint32_t y = 0; y < header->height; y++) {
        uint32_t row = header->top_down ? y : header->height - 1 - y;
        look_up_row(header->type, units + (size_t)row * header->stride, header->width, colours,
                    (uint32_t *)(void *)(out + (ptrdiff_t)y * stride));
    }
    return LZ_OK;
}

/* Turn tight rows upside down in place. */
static void flip_rows(uint8_t *rows, size_t row_bytes, uint32_t height)
{
    for (uint32_t y = 0; y < height / 2; y++) {
        uint8_t *upper = rows + y * row_bytes, *lower = rows + (height - 1 - y) * row_bytes;
        uint8_t held[256];
        for (size_t x = 0; x < row_bytes; x += sizeof held) {
            size_t n = row_bytes - x < sizeof held ? row_bytes - x : sizeof held;
            memcpy(held, upper + x, n);
            memcpy(upper + x, lower + x, n);
            memcpy(lower + x, held, n);
        }
    }
}

static void copy_rows(const struct lz_header *header, const uint8_t *rows, size_t row_bytes, uint8_t *out, ptrdiff_t stride)
{
    for (uint32_t y = 0; y < header->height; y++) {
        uint32_t row = header->top_down ? y : header->height - 1 - y;
        memcpy(out + (ptrdiff_t)y * stride, rows + row * row_bytes, row_bytes);
    }
}

int lz_read_header(const uint8_t *data, size_t size, struct lz_header *header)
{
    if (size < HEADER_BYTES || lz_load_be32(data) != LZ_MAGIC || lz_load_be32(data + 4) != LZ_VERSION)
        return LZ_BAD_HEADER;
    header->type = lz_load_be32(data + 8);
    header->width = lz_load_be32(data + 12);
    header->height = lz_load_be32(data + 16);
    header->stride = lz_load_be32(data + 20);
    header->top_down = lz_load_be32(data + 24) != 0;
    if (header->type < LZ_PLT1_LE || header->type > LZ_A8 || !header->width || !header->height)
        return LZ_BAD_HEADER;
    static const uint8_t pixel_bytes[] = {[LZ_RGB16] = 2, [LZ_RGB24] = 3, [LZ_RGB32] = 4,
                                          [LZ_RGBA] = 4,  [LZ_XXXA] = 4,  [LZ_A8] = 1};
    uint32_t packed = pixels_per_byte(header->type);
    uint64_t stride = is_palette(header->type) ? ((uint64_t)header->width + packed - 1) / packed
                                               : (uint64_t)header->width * pixel_bytes[header->type];
    return header->stride == stride && stride * header->height < 1u << 30 ? LZ_OK : LZ_BAD_HEADER;
}

int lz_decode(const uint8_t *data, size_t size, uint32_t width, uint32_t height, const uint32_t *palette,
              uint32_t palette_size, int expand, uint8_t *out, ptrdiff_t stride, uint32_t *scratch)
{
    struct lz_header header;
    int status = lz_read_header(data, size, &header);
    if (status != LZ_OK)
        return status;
    if (header.width != width || header.height != height)
        return LZ_SIZE_MISMATCH;
    struct lz_input in = {data + HEADER_BYTES, data + size};
    if (is_palette(header.type))
        return decode_palette(&header, &in, palette, palette_size, out, stride, (uint8_t *)scratch);
    int is_alpha = header.type == LZ_XXXA || header.type == LZ_A8;
    size_t row_bytes = (size_t)width * (is_alpha ? 1 : header.type == LZ_RGB16 && !expand ? 2 : 4);
    if (stride == (ptrdiff_t)row_bytes) {
        status = decode_all(&header, &in, expand, out);
        if (status == LZ_OK && !header.top_down)
            flip_rows(out, row_bytes, height);
        return status;
    }
    status = decode_all(&header, &in, expand, scratch);
    if (status == LZ_OK)
        copy_rows(&header, (const uint8_t *)scratch, row_bytes, out, stride);
    return status;
}
