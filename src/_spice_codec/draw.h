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
    DRAW_MAX_DECODED = 16384,    /* pixels of a compressed image: larger ones are worth a thread */
    DRAW_MAX_COPIED = 2097152,   /* pixels of any other operation, likewise */
    DRAW_MAX_AREAS = 32,         /* rectangles of a clip */
    DRAW_MAX_DAMAGE = 8,         /* rectangles of damage by one message; of more there are only the bounds */
    DRAW_MAX_WORK = 4194304      /* units of about half a nanosecond until a pause */
};

enum draw_status {
    DRAW_ALL = 0, /* all messages are drawn */
    DRAW_OTHER,   /* the next one is not for us */
    DRAW_IMAGE,   /* the next one shows an image that is the caller's to find or decode: call again with it, from there on */
    DRAW_PAUSED   /* enough for one call: damage is full, or so much has been drawn that others should have their turn */
};

/* A surface of 32-bit pixels, its rows tight and top-down. */
struct draw_surface {
    uint32_t id;
    uint32_t width;
    uint32_t height;
    uint8_t *pixels;
};

/* An image that is the caller's: in its cache, or a GLZ image, whose stream lies at `offset` of the buffer. */
struct draw_wanted {
    uint64_t id;
    uint32_t type;    /* SPICE's image type */
    uint32_t width;
    uint32_t height;
    uint32_t offset;
    uint32_t size;
};

/* The image that a call asked for: 32-bit pixels, of which the first row's are at `pixels`. */
struct draw_picture {
    uint32_t width;
    uint32_t height;
    ptrdiff_t stride;
    const uint8_t *pixels;
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

/* What drawing needs and tells. It adds to the totals, the damage and the work, which the caller sets back. */
struct draw_run {
    const struct draw_surface *surfaces;
    uint32_t surface_count;
    uint32_t damage_capacity;   /* at least DRAW_MAX_DAMAGE */
    struct draw_damage *damage;
    const uint16_t *quic_lookup;
    uint32_t *scratch;          /* draw_scratch_words() of them */
    const struct draw_picture *picture; /* what the last call asked for, which showed the first message; or NULL */

    struct draw_totals totals;
    uint64_t work;
    struct draw_wanted wanted;  /* DRAW_IMAGE: which image */
};

/* Declared by framing.h. */
struct spice_frame;

/* How many uint32_t of scratch a run needs. */
size_t draw_scratch_words(void);

/*
 * Draw the messages frames[0, count) of the buffer data[0, size), in order, until one is not for us. Returns enum draw_status;
 * how many were drawn has been added to run->totals.drawn.
 */
int draw_frames(struct draw_run *run, const uint8_t *data, size_t size, const struct spice_frame *frames, uint32_t count);

#endif
