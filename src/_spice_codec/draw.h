#ifndef DRAW_H
#define DRAW_H

#include <stddef.h>
#include <stdint.h>

/*
 * The frequent drawing messages, drawn as they lie in the receive buffer. What is not understood completely is left to the
 * caller, untouched: there are no errors here.
 */

/* Messages that are drawn here, by their numbers on the wire. */
enum draw_message { DRAW_COPY_BITS = 104, DRAW_FILL = 302, DRAW_COPY = 304, DRAW_BLEND = 305 };

/* Where their counts are. */
enum draw_kind { DRAW_KIND_COPY_BITS, DRAW_KIND_FILL, DRAW_KIND_COPY, DRAW_KIND_BLEND, DRAW_KINDS };

enum draw_limit {
    DRAW_MAX_SIDE = 16384,       /* of an image */
    DRAW_MAX_DECODED = 16384,    /* pixels of a compressed image, where others wait: larger ones are worth a thread */
    DRAW_MAX_COPIED = 2097152,   /* pixels of any other operation, likewise */
    DRAW_MAX_AREAS = 32,         /* rectangles of a clip */
    DRAW_MAX_DAMAGE = 8,         /* rectangles of damage by one message; of more there are only the bounds */
    DRAW_MAX_KEPT = 64,          /* pictures until DRAW_FULL */
    DRAW_KEPT_COST = 64,         /* of a picture in the cache, in pixels, beside its own */
    DRAW_MAX_WORK = 4194304      /* units of about half a nanosecond until a pause */
};

enum draw_status {
    DRAW_ALL = 0, /* all messages are drawn */
    DRAW_OTHER,   /* the next one is not for us */
    DRAW_FULL,    /* the next one's image is to be kept, and there is no room: take what is kept, and call again */
    DRAW_PAUSED   /* enough for one call: damage is full, or so much has been drawn that others should have their turn */
};

/* A surface of 32-bit pixels, its rows tight and top-down. */
struct draw_surface {
    uint32_t id;
    uint32_t width;
    uint32_t height;
    uint8_t *pixels;
};

/* A picture that is to be kept in the cache: its pixels, tight rows, lie at `offset` of those kept. */
struct draw_kept {
    uint64_t id;
    uint32_t width;
    uint32_t height;
    uint32_t has_alpha;
    uint32_t offset;
};

/* A rectangle of a surface that was drawn on; right and bottom lie outside. */
struct draw_damage {
    uint32_t surface_id;
    uint32_t left;
    uint32_t top;
    uint32_t right;
    uint32_t bottom;
};

/* What has been drawn, without padding. */
struct draw_totals {
    uint64_t pixels;             /* of the damage's rectangles */
    uint32_t damage_count;       /* rectangles */
    uint32_t drawn;              /* messages */
    uint32_t counts[DRAW_KINDS]; /* the same by enum draw_kind */
};

/* Declared by framing.h, glz_window.h and pixel_table.h. */
struct spice_frame;
struct glz_window;
struct pixel_table;

/* What drawing needs and tells. It adds to the totals, the damage, the work and what is kept, which the caller sets back. */
struct draw_run {
    const struct draw_surface *surfaces;
    uint32_t surface_count;
    uint32_t damage_capacity;   /* at least DRAW_MAX_DAMAGE */
    struct draw_damage *damage;
    const uint16_t *quic_lookup;
    uint32_t *scratch;          /* draw_scratch_words(max_decoded) of them at least */
    uint32_t max_decoded;       /* pixels of a compressed image, at most DRAW_MAX_COPIED */
    struct glz_window *glz;     /* the GLZ dictionary; NULL: its images are not for us */
    const struct pixel_table *pictures; /* the cache; NULL: nothing is found or kept there */
    uint32_t *kept_pixels;
    struct draw_kept *kept;     /* DRAW_MAX_KEPT of them */
    uint32_t kept_capacity;     /* pixels */
    uint32_t kept_used;
    uint32_t kept_count;
    uint64_t room;              /* what the cache can still take: pixels, and DRAW_KEPT_COST for each picture */

    struct draw_totals totals;
    uint64_t work;
};

/* How many uint32_t of scratch a run needs for compressed images of so many pixels. */
size_t draw_scratch_words(uint32_t max_decoded);

/*
 * Draw the messages frames[0, count) of the buffer data[0, size), in order, until one is not for us. Returns enum draw_status;
 * how many were drawn has been added to run->totals.drawn.
 */
int draw_frames(struct draw_run *run, const uint8_t *data, size_t size, const struct spice_frame *frames, uint32_t count);

#endif
