/* draw PATH: draws into the frame buffer what it is told through a virtio-serial port, a command a line. Numbers are decimal,
 * positions and sizes in pixels; what lies outside of the screen is left out.
 *
 *   fill X Y W H RRGGBB        one colour
 *   noise X Y W H SEED         a colour for each pixel, as `noise` below says
 *   gradient X Y W H           red grows to the right, green downwards, both by 1 a pixel (mod 256), from 0; blue is 128
 *   frame X Y NUMBER           a number that a machine can read: 32 cells of 8 x 8 pixels in a row, the highest bit of the number
 *                              first, white for 1 and black for 0
 *   run COUNT RATE X Y W H     COUNT times, RATE times a second (0: as fast as it goes): the rectangle in a new colour, with the
 *                              count, from 1, as a frame number in its upper left corner where it is large enough for that
 *   size                       answered with {"width": PIXELS, "height": PIXELS}
 *   sync                       answered with {"drawn": NUMBER, "clock": NANOSECONDS} when all before it is in the frame buffer; the
 *                              number counts fills, noises, gradients and frames. The display follows within a frame
 *
 * A line that is no command is answered with {"error": ...}.
 */
#include "port.h"

#include <linux/fb.h>
#include <stdint.h>
#include <sys/ioctl.h>

#define CELL 8
#define CODE_WIDTH (32 * CELL)
#define MAX_PIXELS (4096 * 4096)

enum picture { FILL, NOISE, GRADIENT, FRAME };

struct rect {
    int x, y, w, h;
};

static int screen = -1;
static int width, height, line_length;
static uint32_t *pixels; /* one rectangle at a time */
static long long drawn;

static void open_screen(void)
{
    struct fb_var_screeninfo variable;
    struct fb_fix_screeninfo fixed;

    screen = open("/dev/fb0", O_WRONLY);
    if (screen < 0)
        return;
    if (ioctl(screen, FBIOGET_VSCREENINFO, &variable) < 0 || ioctl(screen, FBIOGET_FSCREENINFO, &fixed) < 0)
        fail("/dev/fb0");
    if (variable.bits_per_pixel == 32 && variable.xres * variable.yres <= MAX_PIXELS) {
        width = (int)variable.xres;
        height = (int)variable.yres;
        line_length = (int)fixed.line_length;
    }
    free(pixels);
    pixels = malloc((size_t)width * height * 4);
}

/* A colour that looks like chance: the same for the same pixel and seed. */
static uint32_t noise(uint32_t x, uint32_t y, uint32_t seed)
{
    uint32_t value = (x * 0x9E3779B1u) ^ (y * 0x85EBCA77u) ^ (seed * 0xC2B2AE3Du);

    value = (value ^ (value >> 15)) * 0x2C1B3C6Du;
    value = (value ^ (value >> 12)) * 0x297A2D39u;
    return (value ^ (value >> 15)) & 0xFFFFFF;
}

/* The colour of a pixel, by its place in the picture. */
static uint32_t colour(enum picture picture, uint32_t x, uint32_t y, uint32_t value)
{
    switch (picture) {
    case NOISE:
        return noise(x, y, value);
    case GRADIENT:
        return (x & 255) << 16 | (y & 255) << 8 | 128;
    case FRAME:
        return value >> (31 - x / CELL) & 1 ? 0xFFFFFF : 0;
    default:
        return value;
    }
}

/* The kernel takes what ends with a row's last byte for empty where it is a single row; that byte is no part of a colour. */
static void put(const void *data, size_t size, long long at)
{
    if (pwrite(screen, data, size - 1, at) < 0)
        fail("/dev/fb0");
}

static void draw(enum picture picture, struct rect rect, uint32_t value)
{
    int left = rect.x < 0 ? 0 : rect.x, top = rect.y < 0 ? 0 : rect.y, x, y;
    int right = rect.w < width - rect.x ? rect.x + rect.w : width;
    int bottom = rect.h < height - rect.y ? rect.y + rect.h : height;
    int w = right - left;
    uint32_t *pixel = pixels;

    if (w <= 0 || bottom <= top)
        return;
    for (y = top; y < bottom; y++)
        for (x = left; x < right; x++)
            *pixel++ = colour(picture, (uint32_t)(x - rect.x), (uint32_t)(y - rect.y), value);
    if (w * 4 == line_length)
        put(pixels, (size_t)w * 4 * (size_t)(bottom - top), (long long)top * line_length);
    else
        for (y = top; y < bottom; y++)
            put(pixels + (size_t)w * (size_t)(y - top), (size_t)w * 4, (long long)y * line_length + left * 4LL);
    drawn++;
}

static void draw_frame(int x, int y, uint32_t number)
{
    draw(FRAME, (struct rect){x, y, CODE_WIDTH, CELL}, number);
}

static void run(const struct port *port, unsigned count, unsigned rate, struct rect rect)
{
    long long start = now();
    unsigned n;

    for (n = 1; n <= count && has_host(port); n++) {
        if (rate) {
            long long due = start + (n - 1) * 1000000000LL / rate;
            struct timespec time = {due / 1000000000, due % 1000000000};

            clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &time, NULL);
        }
        draw(FILL, rect, noise(n, 0, 0));
        if (rect.w >= CODE_WIDTH && rect.h >= CELL)
            draw_frame(rect.x, rect.y, n);
    }
}

static void obey(const struct port *port, const char *line)
{
    char text[128] = "";
    struct rect rect;
    unsigned a, b;
    int x, y, end = 0;

#define IS(...) (end = 0, sscanf(line, __VA_ARGS__, &end), end > 0 && !line[end])
    if (!width)
        open_screen();
    if (!width)
        strcpy(text, "{\"error\": \"no frame buffer of 32 bits a pixel\"}\n");
    else if (IS("fill %d %d %d %d %6x%n", &rect.x, &rect.y, &rect.w, &rect.h, &a))
        draw(FILL, rect, a);
    else if (IS("noise %d %d %d %d %u%n", &rect.x, &rect.y, &rect.w, &rect.h, &a))
        draw(NOISE, rect, a);
    else if (IS("gradient %d %d %d %d%n", &rect.x, &rect.y, &rect.w, &rect.h))
        draw(GRADIENT, rect, 0);
    else if (IS("frame %d %d %u%n", &x, &y, &a))
        draw_frame(x, y, a);
    else if (IS("run %u %u %d %d %d %d%n", &a, &b, &rect.x, &rect.y, &rect.w, &rect.h))
        run(port, a, b, rect);
    else if (!strcmp(line, "size"))
        snprintf(text, sizeof text, "{\"width\": %d, \"height\": %d}\n", width, height);
    else if (!strcmp(line, "sync"))
        snprintf(text, sizeof text, "{\"drawn\": %lld, \"clock\": %lld}\n", drawn, now());
    else
        strcpy(text, "{\"error\": \"this is no command\"}\n");
    answer(port, text, strlen(text));
}

int main(int argc, char **argv)
{
    static char buffer[4096], line[128];
    struct port port = open_port(argc > 1 ? argv[1] : "");
    size_t length = 0, count, i;

    for (;;) {
        count = receive(&port, buffer, sizeof buffer);
        for (i = 0; i < count; i++) {
            if (buffer[i] == '\n') {
                line[length] = 0;
                length = 0;
                obey(&port, line);
            } else if (length < sizeof line - 1) {
                line[length++] = buffer[i];
            }
        }
    }
}
