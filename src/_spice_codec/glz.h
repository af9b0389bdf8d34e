#ifndef GLZ_H
#define GLZ_H

#include <stddef.h>
#include <stdint.h>

/* GLZ, LZ whose copies can take pixels from earlier images. All images are 32-bit pixels in the order of their streams. */

enum glz_type { GLZ_RGB16 = 6, GLZ_RGB24 = 7, GLZ_RGB32 = 8, GLZ_RGBA = 9 };

enum glz_status {
    GLZ_OK = 0,
    GLZ_BAD_HEADER,    /* too short for a header, or not GLZ's magic, version or types */
    GLZ_SIZE_MISMATCH, /* the header's width or height is not the caller's */
    GLZ_TRUNCATED,     /* the stream ends before the image does */
    GLZ_OVERRUN,       /* an item passes the end of the image */
    GLZ_BAD_REFERENCE, /* a copy from before the first image, before the start of this one, or past another's end */
    GLZ_MISSING,       /* a copy from an image that is not in the window */
    GLZ_NO_SPACE,      /* encoding: the output is full; a window: its ring is, or the image is larger than the window */
    GLZ_USED_ID        /* a window: another image had this id */
};

struct glz_header {
    uint32_t type;
    uint32_t top_down;
    uint32_t width;
    uint32_t height;
    uint32_t stride;
    uint64_t id;
    uint32_t head_distance;
};

/*
 * An image in the window. `type` matters to the encoder only, which refers to images of its own type; `place` to the window,
 * which keeps its own pixels there.
 */
struct glz_image {
    uint64_t id;
    const uint32_t *pixels;
    uint32_t count;
    uint32_t type;
    uint64_t place;
};

/* What the encoder remembers of a place: three pixels of this hash were at `offset` of image `id`. */
struct glz_entry {
    uint64_t id;
    uint64_t offset;
};

/* Read and check the 33 header bytes; the size is any of less than 2^30 pixels. */
int glz_read_header(const uint8_t *data, size_t size, struct glz_header *header);

/*
 * Decode an image of exactly width x height into `pixels`, tight, in the order of the stream: BGRX (X = 0) or BGRA.
 * `window` is the images it can refer to, by rising id. On GLZ_MISSING `*missing` is the id of the first one that is not
 * there; the image can be decoded again when it is. On other errors the pixels before the error are right.
 */
int glz_decode(const uint8_t *data, size_t size, uint32_t width, uint32_t height, const struct glz_image *window,
               size_t window_size, uint32_t *pixels, uint64_t *missing);

/* How many entries the encoder's table has; all zero at the start, then kept from image to image. */
size_t glz_hash_entries(void);

/*
 * Encode 32-bit pixels, tight, in the order of the stream; those of RGB16 are expanded 555. `window` is the images that
 * may be referred to, by rising id, all lower than this one's. `header` is written as it stands.
 */
int glz_encode(const struct glz_header *header, const uint32_t *pixels, const struct glz_image *window, size_t window_size,
               uint8_t *out, size_t capacity, struct glz_entry *hash, size_t *written);

#endif
