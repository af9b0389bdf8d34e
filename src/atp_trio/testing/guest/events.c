/* events PATH: reports every input event of the guest through a virtio-serial port, a line of JSON each:
 *
 *   {"time": NANOSECONDS, "device": "QEMU QEMU USB Tablet", "type": 3, "code": 0, "value": 16384}
 *
 * Type, code and value are the kernel's (linux/input-event-codes.h), the time is when it got the event. Lines that come:
 *
 *   ping      answered with {"clock": NANOSECONDS}, by the clock of the events
 *   devices   answered with {"devices": ["AT Translated Set 2 keyboard", ...]}
 *
 * Events are not kept for one who connects later.
 */
#include "port.h"

#include <linux/input.h>
#include <sys/inotify.h>
#include <sys/ioctl.h>

#define MAX_DEVICES 32
#define MAX_EVENTS 64
#define FIRST 3 /* of the devices among what is polled: after the port, its changes and the directory */

struct device {
    char path[32];
    char name[64];
};

static struct device devices[MAX_DEVICES];
static struct pollfd polled[FIRST + MAX_DEVICES];
static int device_count;

static void add_device(int number)
{
    struct device *device = &devices[device_count];
    int clock = CLOCK_MONOTONIC, fd, i;

    snprintf(device->path, sizeof device->path, "/dev/input/event%d", number);
    for (i = 0; i < device_count; i++)
        if (!strcmp(devices[i].path, device->path))
            return;
    fd = device_count < MAX_DEVICES ? open(device->path, O_RDONLY | O_NONBLOCK) : -1;
    if (fd < 0)
        return;
    ioctl(fd, EVIOCSCLOCKID, &clock);
    if (ioctl(fd, EVIOCGNAME(sizeof device->name), device->name) < 0)
        strcpy(device->name, "unknown");
    for (i = 0; device->name[i]; i++)
        if (device->name[i] == '"' || device->name[i] == '\\' || device->name[i] < ' ')
            device->name[i] = '?';
    polled[FIRST + device_count++] = (struct pollfd){fd, POLLIN, 0};
}

static void remove_device(int index)
{
    close(polled[FIRST + index].fd);
    device_count--;
    devices[index] = devices[device_count];
    polled[FIRST + index] = polled[FIRST + device_count];
}

static void look_for_devices(void)
{
    int number;

    for (number = 0; number < MAX_DEVICES; number++)
        add_device(number);
}

static void report(const struct port *port, int index)
{
    static char text[MAX_EVENTS * 256];
    struct input_event events[MAX_EVENTS];
    ssize_t size = read(polled[FIRST + index].fd, events, sizeof events);
    int length = 0, i;

    if (size < 0 && errno != EAGAIN)
        remove_device(index); /* unplugged */
    if (size <= 0 || !has_host(port))
        return;
    for (i = 0; i < (int)(size / sizeof events[0]); i++)
        length += snprintf(text + length, 256, "{\"time\": %lld, \"device\": \"%s\", \"type\": %d, \"code\": %d, \"value\": %d}\n",
                           events[i].input_event_sec * 1000000000LL + events[i].input_event_usec * 1000LL, devices[index].name,
                           events[i].type, events[i].code, events[i].value);
    answer(port, text, (size_t)length);
}

static void obey(const struct port *port, const char *line)
{
    char text[MAX_DEVICES * 80];
    int length, i;

    if (!strcmp(line, "ping")) {
        length = snprintf(text, sizeof text, "{\"clock\": %lld}\n", now());
    } else if (!strcmp(line, "devices")) {
        length = snprintf(text, sizeof text, "{\"devices\": [");
        for (i = 0; i < device_count; i++)
            length += snprintf(text + length, 80, "%s\"%s\"", i ? ", " : "", devices[i].name);
        length += snprintf(text + length, 8, "]}\n");
    } else {
        length = snprintf(text, sizeof text, "{\"error\": \"ping or devices\"}\n");
    }
    answer(port, text, (size_t)length);
}

static void read_lines(const struct port *port)
{
    static char line[64];
    static size_t length;
    char byte;

    while (read(port->fd, &byte, 1) == 1) {
        if (byte == '\n') {
            line[length] = 0;
            length = 0;
            obey(port, line);
        } else if (length < sizeof line - 1) {
            line[length++] = byte;
        }
    }
}

int main(int argc, char **argv)
{
    struct port port = open_port(argc > 1 ? argv[1] : "");
    int directory = inotify_init1(IN_NONBLOCK), i;
    char changes[4096];

    inotify_add_watch(directory, "/dev/input", IN_CREATE | IN_ATTRIB);
    look_for_devices();
    polled[1] = (struct pollfd){port.changes, POLLIN, 0};
    polled[2] = (struct pollfd){directory, POLLIN, 0};
    for (;;) {
        /* A port without a host would wake us without end. */
        polled[0] = (struct pollfd){has_host(&port) ? port.fd : -1, POLLIN, 0};
        if (poll(polled, (nfds_t)(FIRST + device_count), -1) < 0)
            fail("poll");
        if (polled[1].revents)
            forget_changes(&port);
        for (i = device_count - 1; i >= 0; i--)
            if (polled[FIRST + i].revents)
                report(&port, i);
        if (polled[0].revents & POLLIN)
            read_lines(&port);
        if (polled[2].revents && read(directory, changes, sizeof changes) > 0)
            look_for_devices();
    }
}
