/*
 * GLZ dictionary. Theory of operation: images come in the order of their ids, but for what several channels deliver. The table
 * is sorted; its front is released by moving its start, and it is moved back when more than the slack and itself lies before
 * it, so that releasing costs the same at every size. The ring hands out places in the order of decoding. What is released in
 * another order is not free at once: how far the ring is free is looked up, in the whole table, only when it seems to be full.
 */

#include "glz_window.h"

#include <stdbool.h>
#include <string.h>

#include "glz.h"

static const struct glz_image *held(const struct glz_window *window)
{
    return window->images + window->start;
}

/* The index of the first image whose id is not below; the most likely one is behind the last. */
static uint32_t position(const struct glz_window *window, uint64_t id)
{
    const struct glz_image *images = held(window);
    uint32_t low = 0, high = window->count;
    if (high && images[high - 1].id < id)
        return high;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (images[middle].id < id)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static void insert(struct glz_window *window, struct glz_image image)
{
    if (window->start > window->count + GLZ_WINDOW_SLACK / 2) {
        memmove(window->images, held(window), window->count * sizeof image);
        window->start = 0;
    }
    uint32_t at = position(window, image.id);
    struct glz_image *place = window->images + window->start + at;
    memmove(place + 1, place, (window->count - at) * sizeof image);
    *place = image;
    window->count++;
    window->pixels += image.count;
}

static void release(struct glz_window *window, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++)
        window->pixels -= held(window)[i].count;
    window->start += count;
    window->count -= count;
}

static void raise_floor(struct glz_window *window, uint64_t id)
{
    if (id > window->floor)
        window->floor = id;
}

static void release_first(struct glz_window *window)
{
    uint64_t id = held(window)->id;
    raise_floor(window, id < UINT64_MAX ? id + 1 : id);
    release(window, 1);
}

static void add_ahead(struct glz_window *window, struct glz_range range)
{
    uint32_t at = window->ahead_count;
    while (at && window->ahead[at - 1].first >= range.first)
        at--;
    struct glz_range *place = window->ahead + at;
    if (at == window->ahead_count || place->first != range.first) {
        memmove(place + 1, place, (window->ahead_count - at) * sizeof range);
        window->ahead_count++;
    }
    *place = range;
}

/* Take what was ahead and is in order now. */
static void join(struct glz_window *window)
{
    uint32_t count = 0;
    for (; count < window->ahead_count; count++) {
        const struct glz_range *range = &window->ahead[count];
        if (range->first > window->last && range->first - 1 != window->last)
            break;
        if (range->last > window->last) {
            window->last = range->last;
            window->head = range->head;
        }
    }
    window->ahead_count -= count;
    memmove(window->ahead, window->ahead + count, window->ahead_count * sizeof *window->ahead);
}

/* Put an image's id into the order of all. */
static void arrange(struct glz_window *window, const struct glz_header *header)
{
    uint64_t id = header->id, head = id > header->head_distance ? id - header->head_distance : 0;
    if (window->is_begun && id > window->first) {
        add_ahead(window, (struct glz_range){id, id, head});
    } else {
        /* Only now do we know that the sequence begins here: what was taken for in order was ahead. */
        if (window->is_begun)
            add_ahead(window, (struct glz_range){window->first, window->last, window->head});
        window->is_begun = true;
        window->first = window->last = window->floor = id;
        window->head = head;
    }
    join(window);
}

static void keep(struct glz_window *window, const struct glz_header *header, struct glz_image image)
{
    insert(window, image);
    arrange(window, header);
    raise_floor(window, window->head);
    release(window, position(window, window->head));
    while (window->pixels > 2 * window->max_pixels || window->count > window->max_images)
        release_first(window);
    if (window->ahead_count > window->max_images)
        window->ahead_count = 0; /* an id that never comes; from here on only the bounds release */
}

/* The place of the oldest image in the ring; `none` if there is none. */
static uint64_t oldest_place(const struct glz_window *window, uint64_t none)
{
    for (uint32_t i = 0; i < window->count; i++)
        if (held(window)[i].place < none)
            none = held(window)[i].place;
    return none;
}

/* Find place for so many pixels in a row. */
static bool find_place(struct glz_window *window, uint64_t count, uint64_t *place)
{
    uint64_t at = window->ring_next, size = window->ring_size;
    if (!count || count > size)
        return false;
    if (at % size + count > size)
        at += size - at % size;
    if (at + count - window->ring_oldest > size)
        window->ring_oldest = oldest_place(window, at);
    *place = at;
    return at + count - window->ring_oldest <= size;
}

int glz_window_is_used(const struct glz_window *window, uint64_t id)
{
    uint32_t at = position(window, id);
    return (at < window->count && held(window)[at].id == id) || (window->is_begun && window->first <= id && id <= window->last);
}

void glz_window_keep(struct glz_window *window, const struct glz_header *header, const uint32_t *pixels, uint32_t count)
{
    keep(window, header, (struct glz_image){header->id, pixels, count, header->type, UINT64_MAX});
}

int glz_window_decode(struct glz_window *window, const uint8_t *data, size_t size, uint32_t width, uint32_t height,
                      struct glz_header *header, const uint32_t **pixels)
{
    uint64_t place, missing;
    int status = glz_read_header(data, size, header);
    if (status != GLZ_OK)
        return status;
    if (glz_window_is_used(window, header->id))
        return GLZ_USED_ID;
    uint64_t count = (uint64_t)width * height;
    if (count > window->max_pixels || !find_place(window, count, &place))
        return GLZ_NO_SPACE;
    uint32_t *out = window->ring + place % window->ring_size;
    status = glz_decode(data, size, width, height, held(window), window->count, out, &missing);
    if (status != GLZ_OK)
        return status;
    window->ring_next = place + count;
    keep(window, header, (struct glz_image){header->id, out, (uint32_t)count, header->type, place});
    *pixels = out;
    return GLZ_OK;
}
