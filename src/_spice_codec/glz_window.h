#ifndef GLZ_WINDOW_H
#define GLZ_WINDOW_H

#include <stddef.h>
#include <stdint.h>

/*
 * The GLZ dictionary of a connection: the images that later ones may refer to, in memory that is all the caller's. For one call
 * at a time.
 */

enum glz_window_limit { GLZ_WINDOW_SLACK = 1024 /* rows of the table, see there */ };

/* Ids that were decoded ahead of one that is still to come, and the head of the last. */
struct glz_range {
    uint64_t first;
    uint64_t last;
    uint64_t head;
};

/* Declared by glz.h. */
struct glz_image;
struct glz_header;

struct glz_window {
    struct glz_image *images; /* 2 * max_images + GLZ_WINDOW_SLACK of them */
    struct glz_range *ahead;  /* max_images + 1 of them */
    uint32_t *ring;           /* the pixels of small images; those of others are elsewhere */
    uint64_t ring_size;
    uint64_t max_pixels;      /* the window's size as announced; twice as much is held at most */
    uint32_t max_images;

    /* All zero at the beginning. */
    uint32_t start;       /* images[start, start + count) are held, by rising id */
    uint32_t count;
    uint32_t ahead_count; /* by rising id */
    uint32_t is_begun;
    uint64_t pixels;      /* that are held */
    uint64_t first;       /* every id from the first to the last one has been decoded */
    uint64_t last;
    uint64_t head;        /* what the last of them says */
    uint64_t floor;       /* the ids from the first to below this one are released */
    uint64_t ring_next;   /* places count on and on; modulo the size they are those in the ring */
    uint64_t ring_oldest; /* nothing before it is held */
};

/* Whether an image has this id, or had it. */
int glz_window_is_used(const struct glz_window *window, uint64_t id);

/*
 * Keep an image whose id is not used, move on over what is in order now, and release what none of that, nor a later one, may
 * refer to. The pixels must stay until the image is released.
 */
void glz_window_keep(struct glz_window *window, const struct glz_header *header, const uint32_t *pixels, uint32_t count);

/*
 * Decode an image of exactly width x height into the ring, and keep it. Returns enum glz_status; `header` and `pixels` are the
 * image's if that is GLZ_OK, and else nothing has changed. The pixels stay until the next call.
 */
int glz_window_decode(struct glz_window *window, const uint8_t *data, size_t size, uint32_t width, uint32_t height,
                      struct glz_header *header, const uint32_t **pixels);

#endif
