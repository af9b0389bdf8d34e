/*
 * The frequent drawing messages. Theory of operation: a message is read completely, and everything it refers to is found and
 * checked, before the first pixel changes; only an image that turns out to be damaged may leave a part of itself, and then the
 * caller's own decoder, which starts anew, leaves the same. Sizes are compared with what is left of the body before anything is
 * read; coordinates are 64 bits wide from the wire to the clipping, after which they lie within a surface.
 */

#include <string.h>

#include "draw_internal.h"
#include "framing.h"
#include "quic.h"

/* The messages' parts, as offsets in each. A test holds them against the catalogue, byte by byte. */
enum { RECT_BYTES = 16 };
enum { BASE_SURFACE = 0, BASE_BOX = 4, BASE_CLIP_TYPE = 20, BASE_BYTES = 21 };
enum { CLIP_NONE = 0, CLIP_RECTS = 1 };
enum { MASK_BITMAP = 9, MASK_BYTES = 13 };
enum { FILL_BRUSH_TYPE = 0, FILL_COLOUR = 1, FILL_ROP = 5, FILL_MASK = 7, FILL_BYTES = FILL_MASK + MASK_BYTES };
enum { COPY_IMAGE = 0, COPY_SOURCE = 4, COPY_ROP = 20, COPY_MASK = 23, COPY_BYTES = COPY_MASK + MASK_BYTES };
enum { MOVE_X = 0, MOVE_Y = 4, MOVE_BYTES = 8 };
enum { BRUSH_SOLID = 1, ROP_PUT = 8 };

static struct rect load_rect(const uint8_t *p)
{
    return (struct rect){.top = (int32_t)load_u32(p),
                         .left = (int32_t)load_u32(p + 4),
                         .bottom = (int32_t)load_u32(p + 8),
                         .right = (int32_t)load_u32(p + 12)};
}

static bool is_empty(struct rect rect)
{
    return rect.left >= rect.right || rect.top >= rect.bottom;
}

static struct rect intersection(struct rect a, struct rect b)
{
    return (struct rect){.left = a.left > b.left ? a.left : b.left,
                         .top = a.top > b.top ? a.top : b.top,
                         .right = a.right < b.right ? a.right : b.right,
                         .bottom = a.bottom < b.bottom ? a.bottom : b.bottom};
}

/* Cut the areas out of `whole` by a clip of rectangles. False: they overlap, or are too many. */
static bool read_clip(struct body *body, struct rect whole, struct base *base)
{
    const uint8_t *p = take(body, 4);
    uint32_t count = p ? load_u32(p) : 0;
    if (count > DRAW_MAX_AREAS || !(p = take(body, (size_t)count * RECT_BYTES)))
        return false;
    for (uint32_t i = 0; i < count; i++) {
        struct rect area = intersection(whole, load_rect(p + (size_t)i * RECT_BYTES));
        if (is_empty(area))
            continue;
        for (uint32_t j = 0; j < base->count; j++)
            if (!is_empty(intersection(area, base->areas[j])))
                return false;
        base->areas[base->count++] = area;
    }
    return true;
}

/* Read the base; false if there is nothing to draw, or it is not for us. */
static bool read_base(const struct draw_run *run, struct body *body, struct base *base)
{
    const uint8_t *p = take(body, BASE_BYTES);
    if (!p || !(base->surface = find_surface(run, load_u32(p + BASE_SURFACE))))
        return false;
    base->box = load_rect(p + BASE_BOX);
    base->count = 0;
    struct rect all = {.right = base->surface->width, .bottom = base->surface->height};
    struct rect whole = intersection(all, base->box);
    if (is_empty(whole) || area_pixels(whole) > DRAW_MAX_COPIED)
        return false;
    if (p[BASE_CLIP_TYPE] == CLIP_RECTS)
        return read_clip(body, whole, base) && base->count;
    base->areas[base->count++] = whole;
    return p[BASE_CLIP_TYPE] == CLIP_NONE;
}

static bool has_mask(const uint8_t *mask)
{
    return load_u32(mask + MASK_BITMAP) != 0;
}

static void add_damage(struct draw_run *run, const struct draw_surface *surface, struct rect area)
{
    run->damage[run->totals.damage_count++] = (struct draw_damage){surface->id, (uint32_t)area.left, (uint32_t)area.top,
                                                            (uint32_t)area.right, (uint32_t)area.bottom};
    run->totals.pixels += area_pixels(area);
}

static void add_all_damage(struct draw_run *run, const struct base *base)
{
    if (base->count <= DRAW_MAX_DAMAGE) {
        for (uint32_t i = 0; i < base->count; i++)
            add_damage(run, base->surface, base->areas[i]);
        return;
    }
    struct rect bounds = base->areas[0];
    for (uint32_t i = 1; i < base->count; i++) {
        const struct rect *area = &base->areas[i];
        bounds.left = area->left < bounds.left ? area->left : bounds.left;
        bounds.top = area->top < bounds.top ? area->top : bounds.top;
        bounds.right = area->right > bounds.right ? area->right : bounds.right;
        bounds.bottom = area->bottom > bounds.bottom ? area->bottom : bounds.bottom;
    }
    add_damage(run, base->surface, bounds);
}

/* --- operations */

static void fill_area(const struct draw_surface *surface, struct rect area, uint32_t colour)
{
    size_t width = (size_t)(area.right - area.left);
    for (int64_t y = area.top; y < area.bottom; y++) {
        uint32_t *row = (uint32_t *)(void *)pixel_at(surface, area.left, y);
        for (size_t x = 0; x < width; x++)
            row[x] = colour;
    }
}

static bool draw_fill(struct draw_run *run, struct body *body)
{
    struct base base;
    const uint8_t *p;
    if (!read_base(run, body, &base) || !(p = take(body, FILL_BYTES)))
        return false;
    if (p[FILL_BRUSH_TYPE] != BRUSH_SOLID || load_u16(p + FILL_ROP) != ROP_PUT || has_mask(p + FILL_MASK))
        return false;
    for (uint32_t i = 0; i < base.count; i++) {
        fill_area(base.surface, base.areas[i], load_u32(p + FILL_COLOUR));
        run->work += area_pixels(base.areas[i]);
    }
    add_all_damage(run, &base);
    return true;
}

/* Move one area's pixels within the surface, in the order of rows that reads each before it is written. */
static void move_area(const struct draw_surface *surface, struct rect area, int64_t from_x, int64_t from_y)
{
    size_t bytes = (size_t)(area.right - area.left) * 4;
    int64_t rows = area.bottom - area.top;
    for (int64_t i = 0; i < rows; i++) {
        int64_t row = from_y < area.top ? rows - 1 - i : i;
        memmove(pixel_at(surface, area.left, area.top + row), pixel_at(surface, from_x, from_y + row), bytes);
    }
}

static bool draw_copy_bits(struct draw_run *run, struct body *body)
{
    struct base base;
    const uint8_t *p;
    /* With several areas, what one reads another may have written. */
    if (!read_base(run, body, &base) || base.count != 1 || !(p = take(body, MOVE_BYTES)))
        return false;
    int64_t right = base.box.left - (int32_t)load_u32(p + MOVE_X), down = base.box.top - (int32_t)load_u32(p + MOVE_Y);
    struct rect moved = {right, down, right + base.surface->width, down + base.surface->height};
    struct rect area = base.areas[0] = intersection(base.areas[0], moved);
    if (is_empty(area))
        return false;
    move_area(base.surface, area, area.left - right, area.top - down);
    run->work += area_pixels(area);
    add_all_damage(run, &base);
    return true;
}

/* --- images */

/* Read the descriptor of an image that lies at (x, y); false if it is not for us. */
static bool read_image(struct body *rest, struct image *image)
{
    const uint8_t *p = take(rest, IMAGE_BYTES);
    if (!p)
        return false;
    image->id = load_u64(p + IMAGE_ID);
    image->type = p[IMAGE_TYPE];
    image->width = load_u32(p + IMAGE_WIDTH);
    image->height = load_u32(p + IMAGE_HEIGHT);
    uint32_t flags = p[IMAGE_FLAGS];
    image->is_opaque = flags & FLAG_OPAQUE;
    image->is_kept = (flags & (FLAG_KEEP | FLAG_REPLACE)) && !is_cached(image->type);
    if ((flags & ~(FLAG_KEEP | FLAG_OPAQUE | FLAG_REPLACE)) && !is_cached(image->type))
        return false;
    return image->width && image->height && image->width <= DRAW_MAX_SIDE && image->height <= DRAW_MAX_SIDE &&
           (uint64_t)image->width * image->height <= DRAW_MAX_COPIED;
}

/* DRAW_ALL: it is drawn. */
static int draw_copy(struct draw_run *run, struct body *body)
{
    struct base base;
    const uint8_t *p;
    if (!read_base(run, body, &base) || !(p = take(body, COPY_BYTES)))
        return DRAW_OTHER;
    struct rect source = load_rect(p + COPY_SOURCE);
    bool is_scaled = source.right - source.left != base.box.right - base.box.left ||
                     source.bottom - source.top != base.box.bottom - base.box.top;
    if (is_scaled || load_u16(p + COPY_ROP) != ROP_PUT || has_mask(p + COPY_MASK) || !load_u32(p + COPY_IMAGE))
        return DRAW_OTHER;
    struct body rest = from(body, load_u32(p + COPY_IMAGE));
    struct image image = {.x = base.box.left - source.left, .y = base.box.top - source.top};
    if (!read_image(&rest, &image))
        return DRAW_OTHER;
    int status = draw_image(run, &base, &rest, source, &image);
    if (status == DRAW_ALL)
        add_all_damage(run, &base);
    return status;
}

size_t draw_scratch_words(uint32_t max_decoded)
{
    return quic_scratch_words(DRAW_MAX_SIDE) + max_decoded;
}

/* Draw one message; DRAW_ALL: it is drawn. */
static int draw_frame(struct draw_run *run, const struct spice_frame *frame, struct body body)
{
    int status, kind;
    if (frame->type == DRAW_COPY || frame->type == DRAW_BLEND) {
        kind = frame->type == DRAW_COPY ? DRAW_KIND_COPY : DRAW_KIND_BLEND;
        status = draw_copy(run, &body);
    } else if (frame->type == DRAW_FILL) {
        kind = DRAW_KIND_FILL;
        status = draw_fill(run, &body) ? DRAW_ALL : DRAW_OTHER;
    } else if (frame->type == DRAW_COPY_BITS) {
        kind = DRAW_KIND_COPY_BITS;
        status = draw_copy_bits(run, &body) ? DRAW_ALL : DRAW_OTHER;
    } else {
        return DRAW_OTHER;
    }
    if (status != DRAW_ALL)
        return status;
    run->totals.counts[kind]++;
    run->totals.drawn++;
    run->work += WORK_MESSAGE;
    return DRAW_ALL;
}

int draw_frames(struct draw_run *run, const uint8_t *data, size_t size, const struct spice_frame *frames, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        const struct spice_frame *frame = &frames[i];
        if (run->work >= DRAW_MAX_WORK || run->damage_capacity - run->totals.damage_count < DRAW_MAX_DAMAGE)
            return DRAW_PAUSED;
        if (frame->sub_list || frame->offset > size || frame->size > size - frame->offset)
            return DRAW_OTHER;
        int status = draw_frame(run, frame, (struct body){data + frame->offset, frame->size, 0});
        if (status != DRAW_ALL)
            return status;
    }
    return DRAW_ALL;
}
