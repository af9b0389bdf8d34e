/*
 * Pictures by id. Theory of operation: a hash table with linear probing, at most half full, so that a search ends soon. What
 * follows an entry that is taken out moves up where it may, and nothing marks the place.
 */

#include "pixel_table.h"

#include <stddef.h>

static uint32_t mask(const struct pixel_table *table)
{
    return (1u << table->bits) - 1;
}

/* Where an id is looked for first. */
static uint32_t home(const struct pixel_table *table, uint64_t id)
{
    return (uint32_t)((id * table->multiplier) >> (64 - table->bits));
}

/* The slot of this id, or the empty one where it would be put. */
static uint32_t find_slot(const struct pixel_table *table, uint64_t id)
{
    uint32_t slot = home(table, id);
    while (table->entries[slot].pixels && table->entries[slot].id != id)
        slot = (slot + 1) & mask(table);
    return slot;
}

const struct pixel_entry *pixel_table_find(const struct pixel_table *table, uint64_t id)
{
    const struct pixel_entry *entry = &table->entries[find_slot(table, id)];
    return entry->pixels ? entry : NULL;
}

void pixel_table_put(struct pixel_table *table, uint64_t id, const uint32_t *pixels, uint32_t width, uint32_t height,
                     uint32_t is_lossy)
{
    struct pixel_entry *entry = &table->entries[find_slot(table, id)];
    if (!entry->pixels)
        table->count++;
    *entry = (struct pixel_entry){id, pixels, width, height, is_lossy};
}

void pixel_table_remove(struct pixel_table *table, uint64_t id)
{
    uint32_t hole = find_slot(table, id);
    if (!table->entries[hole].pixels)
        return;
    for (uint32_t slot = (hole + 1) & mask(table); table->entries[slot].pixels; slot = (slot + 1) & mask(table)) {
        uint32_t wanted = home(table, table->entries[slot].id);
        if (((slot - wanted) & mask(table)) >= ((slot - hole) & mask(table))) {
            table->entries[hole] = table->entries[slot];
            hole = slot;
        }
    }
    table->entries[hole].pixels = NULL;
    table->count--;
}
