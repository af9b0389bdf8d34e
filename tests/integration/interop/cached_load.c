/*
 * The load of benchmarks/spice_load.c, with images that the server is to keep in the client's cache: every picture has an id of its
 * own, and is drawn again and again. Built with -DWAN, those that are like photographs may be sent as JPEG.
 */
#include <spice.h>
#include <spice/qxl_dev.h>

#undef QXL_SET_IMAGE_ID
#define QXL_SET_IMAGE_ID(image, group, number) set_cached(image, load * 1000 + (number) % (load == TILE_COPIES ? TILES : FRAMES))
#ifdef WAN
#define SPICE_WAN_COMPRESSION_NEVER SPICE_WAN_COMPRESSION_ALWAYS
#endif

static void set_cached(QXLImage *image, uint64_t number)
{
    image->descriptor.id = number << 32 | QXL_IMAGE_GROUP_DRIVER;
    image->descriptor.flags = QXL_IMAGE_CACHE;
}

#include "spice_load.c"
