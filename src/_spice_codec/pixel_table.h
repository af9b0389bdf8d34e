#ifndef PIXEL_TABLE_H
#define PIXEL_TABLE_H

#include <stdint.h>

/* Pictures by id: a table of the caller's memory, of pixels that are the caller's. */

struct pixel_entry {
    uint64_t id;
    const uint32_t *pixels; /* rows tight and top-down; NULL: there is none here */
    uint32_t width;
    uint32_t height;
    uint32_t is_lossy;
};

struct pixel_table {
    struct pixel_entry *entries; /* 2 to the power of `bits`; all zero at the beginning */
    uint32_t bits;               /* 1 to 31 */
    uint32_t count;              /* how many pictures there are */
    uint64_t multiplier;         /* odd, and nobody else's to know, so that nobody can choose ids that collide */
};

/* The picture of this id; NULL if there is none. */
const struct pixel_entry *pixel_table_find(const struct pixel_table *table, uint64_t id);

/* Put a picture there, in place of any of its id. Before that at most half of the table is in use: that is the caller's care. */
void pixel_table_put(struct pixel_table *table, uint64_t id, const uint32_t *pixels, uint32_t width, uint32_t height,
                     uint32_t is_lossy);

/* Take a picture out, if it is there. */
void pixel_table_remove(struct pixel_table *table, uint64_t id);

#endif
