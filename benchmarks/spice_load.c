/*
 * A display on libspice-server that draws at a set rate: the load of bench_client.py, which builds and runs it.
 *
 *     spice_load PORT off|lz|glz|quic|video
 *
 * The second argument is how images are sent: compressed so, or as MJPEG streams. What is to be done is read line by line from
 * standard input, and each line is answered by `ok` and the number of commands that were drawn so far:
 *
 *     draw fill|tiles|frames|video RATE   so many a second from now on; 0 is none, -1 as many as the server takes
 *     dump FILE                           write the server's own rendering: 1024x768 pixels of 4 bytes, BGRX, top-down
 *
 * It ends with its standard input. Commands are made in the server's worker thread, which asks for them (`get_command`); a
 * thread of ours wakes it when more have become due. Everything else runs in the main thread, in a loop around poll().
 *
 * Source: the public headers of libspice-server 0.15 and spice-protocol.
 */
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <spice.h>
#include <spice/qxl_dev.h>

enum { WIDTH = 1024, HEIGHT = 768, TILE = 64, FRAME_WIDTH = 640, FRAME_HEIGHT = 480 };
/* The server holds at most a thousand, and for GLZ those whose pictures are in its dictionary: 4096 tiles make 16 Mi pixels. */
enum { COMMANDS = 8192, TILES = 32, FRAMES = 8 };
enum { PACE_NS = 500000 };

static int64_t now_ns(void)
{
    struct timespec time;

    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec * INT64_C(1000000000) + time.tv_nsec;
}

/* --- the loop that libspice-server wants to be given: watches of file descriptors, and timers */

struct SpiceWatch {
    struct SpiceWatch *next;
    SpiceWatchFunc function; /* NULL once it was removed: freed when nobody looks at the list */
    void *opaque;
    int fd, events;
};

struct SpiceTimer {
    struct SpiceTimer *next;
    SpiceTimerFunc function;
    void *opaque;
    int64_t due; /* 0: not running */
};

static SpiceWatch *watches;
static SpiceTimer *timers;

static SpiceWatch *watch_add(int fd, int events, SpiceWatchFunc function, void *opaque)
{
    SpiceWatch *watch = malloc(sizeof *watch);

    *watch = (SpiceWatch){watches, function, opaque, fd, events};
    return watches = watch;
}

static void watch_update(SpiceWatch *watch, int events)
{
    watch->events = events;
}

static void watch_remove(SpiceWatch *watch)
{
    watch->function = NULL;
}

static SpiceTimer *timer_add(SpiceTimerFunc function, void *opaque)
{
    SpiceTimer *timer = malloc(sizeof *timer);

    *timer = (SpiceTimer){timers, function, opaque, 0};
    return timers = timer;
}

static void timer_start(SpiceTimer *timer, uint32_t ms)
{
    timer->due = now_ns() + ms * INT64_C(1000000);
}

static void timer_cancel(SpiceTimer *timer)
{
    timer->due = 0;
}

static void timer_remove(SpiceTimer *timer)
{
    timer->due = 0;
    timer->function = NULL;
}

static void channel_event(int event, SpiceChannelEventInfo *info)
{
    (void)event, (void)info;
}

static SpiceCoreInterface core = {
    .base = {SPICE_INTERFACE_CORE, "spice_load", SPICE_INTERFACE_CORE_MAJOR, SPICE_INTERFACE_CORE_MINOR},
    .timer_add = timer_add,
    .timer_start = timer_start,
    .timer_cancel = timer_cancel,
    .timer_remove = timer_remove,
    .watch_add = watch_add,
    .watch_update_mask = watch_update,
    .watch_remove = watch_remove,
    .channel_event = channel_event,
};

static void free_removed(void)
{
    for (SpiceWatch **at = &watches, *one; (one = *at);)
        if (one->function) {
            at = &one->next;
        } else {
            *at = one->next;
            free(one);
        }
    for (SpiceTimer **at = &timers, *one; (one = *at);)
        if (one->function) {
            at = &one->next;
        } else {
            *at = one->next;
            free(one);
        }
}

static int run_timers(void)
{
    int64_t now = now_ns(), next = now + 100000000;

    for (SpiceTimer *timer = timers; timer; timer = timer->next) {
        if (timer->due && timer->due <= now) {
            timer->due = 0;
            timer->function(timer->opaque);
        }
        if (timer->due && timer->due < next)
            next = timer->due;
    }
    return next <= now ? 0 : (int)((next - now) / 1000000) + 1;
}

static void run_once(void)
{
    enum { MOST = 64 };
    struct pollfd fds[MOST];
    SpiceWatch *polled[MOST];
    int count = 0, wait_ms = run_timers();

    free_removed();
    for (SpiceWatch *watch = watches; watch && count < MOST; watch = watch->next) {
        short events = (watch->events & SPICE_WATCH_EVENT_READ ? POLLIN : 0) | (watch->events & SPICE_WATCH_EVENT_WRITE ? POLLOUT : 0);

        if (!events)
            continue;
        fds[count] = (struct pollfd){.fd = watch->fd, .events = events};
        polled[count++] = watch;
    }
    poll(fds, count, wait_ms);
    for (int i = 0; i < count; i++) {
        int events = (fds[i].revents & ~POLLOUT ? SPICE_WATCH_EVENT_READ : 0) | (fds[i].revents & POLLOUT ? SPICE_WATCH_EVENT_WRITE : 0);

        if (events && polled[i]->function)
            polled[i]->function(polled[i]->fd, events, polled[i]->opaque);
    }
}

/* --- what is drawn */

enum load { FILL, TILE_COPIES, FRAME_COPIES, VIDEO, LOADS };
static const char *const load_names[LOADS] = {"fill", "tiles", "frames", "video"};

struct command {
    QXLDrawable drawable;
    QXLImage image;
    struct command *next;
};

static QXLInstance display;
static uint8_t screen[WIDTH * HEIGHT * 4];
static uint32_t *tiles[TILES], *frames[FRAMES], *video_frames[FRAMES];

/* All that follows, up to the mark, is under the lock. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct command commands[COMMANDS], *unused;
static enum load load;
static double rate;
static int64_t started; /* when this load began, and how many commands had been drawn by then */
static uint64_t drawn, drawn_before;
static bool worker_waits;
/* --- */

static uint32_t random_bits(void)
{
    static uint32_t state = 88172645;

    state ^= state << 13;
    state ^= state >> 17;
    state ^= state << 5;
    return state;
}

/* A piece of a user interface: a title bar, and marks like text on a flat ground. */
static uint32_t *make_tile(void)
{
    uint32_t *pixels = malloc(TILE * TILE * 4);

    for (int y = 0; y < TILE; y++)
        for (int x = 0; x < TILE; x++) {
            bool text = y >= 22 && y % 14 < 9 && x % 7 < 5 && random_bits() % 4 == 0;
            pixels[y * TILE + x] = y < 18 ? 0x2d5d9e : text ? 0x202020 : 0xf4f4f0;
        }
    return pixels;
}

/* Smooth shading with a little grain, as in a photograph; each one a bit brighter. */
static uint32_t *make_photo(int width, int height, int number)
{
    uint32_t *pixels = malloc((size_t)width * height * 4);

    for (int y = 0; y < height; y++)
        for (int x = 0; x < width; x++) {
            uint32_t grain = random_bits() % 8 + 8 * number;
            uint32_t red = x * 190 / width + grain, green = y * 190 / height + grain, blue = (x + y) * 190 / (width + height) + grain;
            pixels[(size_t)y * width + x] = red << 16 | green << 8 | blue;
        }
    return pixels;
}

static void set_copy(struct command *command, uint32_t *pixels, QXLRect box)
{
    uint32_t width = box.right - box.left, height = box.bottom - box.top;
    QXLImage *image = &command->image;
    QXLCopy *copy = &command->drawable.u.copy;

    memset(image, 0, sizeof *image);
    QXL_SET_IMAGE_ID(image, QXL_IMAGE_GROUP_DRIVER_DONT_CACHE, (uint32_t)drawn);
    image->descriptor.type = SPICE_IMAGE_TYPE_BITMAP;
    image->descriptor.width = image->bitmap.x = width;
    image->descriptor.height = image->bitmap.y = height;
    image->bitmap.format = SPICE_BITMAP_FMT_32BIT;
    image->bitmap.flags = QXL_BITMAP_TOP_DOWN | QXL_BITMAP_DIRECT;
    image->bitmap.stride = width * 4;
    image->bitmap.data = (QXLPHYSICAL)(uintptr_t)pixels;
    command->drawable.type = QXL_DRAW_COPY;
    copy->src_bitmap = (QXLPHYSICAL)(uintptr_t)image;
    copy->src_area = (QXLRect){.right = width, .bottom = height};
    copy->rop_descriptor = SPICE_ROPD_OP_PUT;
}

static void set_fill(struct command *command)
{
    QXLFill *fill = &command->drawable.u.fill;

    command->drawable.type = QXL_DRAW_FILL;
    fill->brush.type = SPICE_BRUSH_TYPE_SOLID;
    fill->brush.u.color = (uint32_t)drawn * 2654435761u & 0xffffff;
    fill->rop_descriptor = SPICE_ROPD_OP_PUT;
}

/* The tiles go over the whole screen in turn, so that one that waits to be sent is not hidden by the next. */
static QXLRect next_box(void)
{
    enum { COLUMNS = WIDTH / TILE, ROWS = HEIGHT / TILE };
    int left = drawn % COLUMNS * TILE, top = drawn / COLUMNS % ROWS * TILE;

    if (load == FRAME_COPIES)
        return (QXLRect){.right = WIDTH, .bottom = HEIGHT};
    if (load == VIDEO) {
        left = (WIDTH - FRAME_WIDTH) / 2, top = (HEIGHT - FRAME_HEIGHT) / 2;
        return (QXLRect){.left = left, .top = top, .right = left + FRAME_WIDTH, .bottom = top + FRAME_HEIGHT};
    }
    return (QXLRect){.left = left, .top = top, .right = left + TILE, .bottom = top + TILE};
}

static void make(struct command *command)
{
    QXLDrawable *drawable = &command->drawable;

    memset(drawable, 0, sizeof *drawable);
    drawable->release_info.id = (uintptr_t)command;
    drawable->effect = QXL_EFFECT_OPAQUE;
    drawable->mm_time = (uint32_t)(now_ns() / 1000000);
    drawable->bbox = next_box();
    for (int i = 0; i < 3; i++)
        drawable->surfaces_dest[i] = -1;
    if (load == FILL)
        set_fill(command);
    else if (load == TILE_COPIES)
        set_copy(command, tiles[drawn % TILES], drawable->bbox);
    else
        set_copy(command, (load == VIDEO ? video_frames : frames)[drawn % FRAMES], drawable->bbox);
    drawn++;
}

static bool is_due(void)
{
    if (!unused || rate == 0)
        return false;
    return rate < 0 || drawn - drawn_before < (now_ns() - started) / 1e9 * rate;
}

/* --- the display as the server knows it; called in its worker thread */

static void get_init_info(QXLInstance *instance, QXLDevInitInfo *info)
{
    (void)instance;
    *info = (QXLDevInitInfo){
        .num_memslots_groups = 1, .num_memslots = 1, .memslot_gen_bits = 1, .memslot_id_bits = 1, .n_surfaces = 1,
        .qxl_ram_size = 64 << 20};
}

static int get_command(QXLInstance *instance, QXLCommandExt *ext)
{
    struct command *command = NULL;

    (void)instance;
    pthread_mutex_lock(&lock);
    if (is_due()) {
        command = unused;
        unused = command->next;
        make(command);
    }
    pthread_mutex_unlock(&lock);
    if (!command)
        return 0;
    *ext = (QXLCommandExt){.cmd = {.type = QXL_CMD_DRAW, .data = (QXLPHYSICAL)(uintptr_t)&command->drawable}};
    return 1;
}

static int request_notification(QXLInstance *instance)
{
    bool is_idle;

    (void)instance;
    pthread_mutex_lock(&lock);
    is_idle = worker_waits = !is_due();
    pthread_mutex_unlock(&lock);
    return is_idle;
}

static void release_resource(QXLInstance *instance, QXLReleaseInfoExt released)
{
    struct command *command = (struct command *)(uintptr_t)released.info->id;

    (void)instance;
    pthread_mutex_lock(&lock);
    command->next = unused;
    unused = command;
    pthread_mutex_unlock(&lock);
}

static void attached(QXLInstance *instance)
{
    (void)instance;
}

static void set_compression_level(QXLInstance *instance, int level)
{
    (void)instance, (void)level;
}

static int get_cursor_command(QXLInstance *instance, QXLCommandExt *ext)
{
    (void)instance, (void)ext;
    return 0;
}

static int request_cursor_notification(QXLInstance *instance)
{
    (void)instance;
    return 1;
}

static void notify_update(QXLInstance *instance, uint32_t id)
{
    (void)instance, (void)id;
}

static int flush_resources(QXLInstance *instance)
{
    (void)instance;
    return 0;
}

static QXLInterface display_interface = {
    .base = {SPICE_INTERFACE_QXL, "spice_load", SPICE_INTERFACE_QXL_MAJOR, SPICE_INTERFACE_QXL_MINOR},
    .attached_worker = attached,
    .set_compression_level = set_compression_level,
    .get_init_info = get_init_info,
    .get_command = get_command,
    .req_cmd_notification = request_notification,
    .release_resource = release_resource,
    .get_cursor_command = get_cursor_command,
    .req_cursor_notification = request_cursor_notification,
    .notify_update = notify_update,
    .flush_resources = flush_resources,
};

/* --- our threads */

static void *keep_pace(void *unused_argument)
{
    (void)unused_argument;
    for (;;) {
        bool is_to_wake;

        nanosleep(&(struct timespec){.tv_nsec = PACE_NS}, NULL);
        pthread_mutex_lock(&lock);
        is_to_wake = worker_waits && is_due();
        if (is_to_wake)
            worker_waits = false;
        pthread_mutex_unlock(&lock);
        if (is_to_wake)
            spice_qxl_wakeup(&display);
    }
    return NULL;
}

static bool set_load(const char *name, double new_rate)
{
    for (int i = 0; i < LOADS; i++)
        if (!strcmp(load_names[i], name)) {
            pthread_mutex_lock(&lock);
            load = i;
            rate = new_rate;
            started = now_ns();
            drawn_before = drawn;
            pthread_mutex_unlock(&lock);
            return true;
        }
    return false;
}

static bool dump(const char *path)
{
    QXLRect everything = {.right = WIDTH, .bottom = HEIGHT};
    FILE *file = fopen(path, "wb");
    bool is_written;

    if (!file)
        return false;
    spice_qxl_update_area(&display, 0, &everything, NULL, 0, 0);
    is_written = fwrite(screen, sizeof screen, 1, file) == 1;
    return !fclose(file) && is_written;
}

static void read_line(int fd, int event, void *opaque)
{
    /* Read byte by byte: what stdio keeps for itself, poll() would not see. */
    char line[512], word[512];
    size_t size = 0;
    double number;
    bool is_ok = false;

    (void)event, (void)opaque;
    do {
        if (size == sizeof line - 1 || read(fd, &line[size], 1) != 1)
            exit(0);
    } while (line[size++] != '\n');
    line[size] = 0;
    if (sscanf(line, "draw %511s %lf", word, &number) == 2)
        is_ok = set_load(word, number);
    else if (sscanf(line, "dump %511s", word) == 1)
        is_ok = dump(word);
    pthread_mutex_lock(&lock);
    printf("%s %llu\n", is_ok ? "ok" : "no", (unsigned long long)drawn);
    pthread_mutex_unlock(&lock);
    fflush(stdout);
}

static SpiceServer *open_server(int port, const char *how)
{
    bool is_video = !strcmp(how, "video");
    SpiceImageCompression compression = !strcmp(how, "lz")    ? SPICE_IMAGE_COMPRESSION_LZ
                                        : !strcmp(how, "glz")  ? SPICE_IMAGE_COMPRESSION_GLZ
                                        : !strcmp(how, "quic") ? SPICE_IMAGE_COMPRESSION_QUIC
                                                               : SPICE_IMAGE_COMPRESSION_OFF;
    SpiceServer *server = spice_server_new();

    spice_server_set_addr(server, "127.0.0.1", SPICE_ADDR_FLAG_IPV4_ONLY);
    spice_server_set_port(server, port);
    spice_server_set_noauth(server);
    spice_server_set_image_compression(server, compression);
    spice_server_set_jpeg_compression(server, SPICE_WAN_COMPRESSION_NEVER);
    spice_server_set_zlib_glz_compression(server, SPICE_WAN_COMPRESSION_NEVER);
    spice_server_set_streaming_video(server, is_video ? SPICE_STREAM_VIDEO_ALL : SPICE_STREAM_VIDEO_OFF);
    spice_server_set_video_codecs(server, "spice:mjpeg");
    return spice_server_init(server, &core) ? NULL : server;
}

static bool add_display(SpiceServer *server)
{
    QXLDevMemSlot everything = {.virt_end = ~(uintptr_t)0, .qxl_ram_size = ~0u};
    QXLDevSurfaceCreate primary = {
        .width = WIDTH, .height = HEIGHT, .stride = WIDTH * 4, .format = SPICE_SURFACE_FMT_32_xRGB, .mouse_mode = 1,
        .type = QXL_SURF_TYPE_PRIMARY, .mem = (uintptr_t)screen};

    display.base.sif = &display_interface.base;
    if (spice_server_add_interface(server, &display.base))
        return false;
    spice_qxl_add_memslot(&display, &everything);
    spice_qxl_create_primary_surface(&display, 0, &primary);
    spice_server_vm_start(server);
    return true;
}

int main(int argc, char **argv)
{
    SpiceServer *server;
    pthread_t thread;

    if (argc != 3) {
        fprintf(stderr, "usage: %s PORT off|lz|glz|quic|video\n", argv[0]);
        return 2;
    }
    signal(SIGPIPE, SIG_IGN); /* of a client that has left */
    for (int i = 0; i < COMMANDS; i++) {
        commands[i].next = unused;
        unused = &commands[i];
    }
    for (int i = 0; i < TILES; i++)
        tiles[i] = make_tile();
    for (int i = 0; i < FRAMES; i++) {
        frames[i] = make_photo(WIDTH, HEIGHT, i);
        video_frames[i] = make_photo(FRAME_WIDTH, FRAME_HEIGHT, i);
    }
    server = open_server(atoi(argv[1]), argv[2]);
    if (!server || !add_display(server) || pthread_create(&thread, NULL, keep_pace, NULL)) {
        fprintf(stderr, "no server on port %s\n", argv[1]);
        return 1;
    }
    watch_add(STDIN_FILENO, SPICE_WATCH_EVENT_READ, read_line, NULL);
    printf("ok 0\n");
    fflush(stdout);
    for (;;)
        run_once();
}
