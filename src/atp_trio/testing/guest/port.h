/* A virtio-serial port, seen from the guest.
 *
 * While nobody is connected on the host's side, the kernel reports POLLHUP without end and blocks what is written until somebody is.
 * So: the port never blocks; SIGIO, which tells of every change, is read from a descriptor; and what cannot be written to the one
 * who asked for it is dropped, not kept for the next.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <time.h>
#include <unistd.h>

struct port {
    int fd;
    int changes; /* readable when the host's side may have come or gone */
};

static inline void fail(const char *what)
{
    perror(what);
    exit(1);
}

static inline struct port open_port(const char *path)
{
    struct port port;
    sigset_t set;

    sigemptyset(&set);
    sigaddset(&set, SIGIO);
    sigprocmask(SIG_BLOCK, &set, NULL);
    port.changes = signalfd(-1, &set, SFD_NONBLOCK);
    port.fd = open(path, O_RDWR | O_NONBLOCK);
    if (port.changes < 0 || port.fd < 0)
        fail(path);
    fcntl(port.fd, F_SETOWN, getpid());
    fcntl(port.fd, F_SETFL, O_NONBLOCK | O_ASYNC);
    return port;
}

static inline int has_host(const struct port *port)
{
    struct pollfd look = {port->fd, 0, 0};

    return poll(&look, 1, 0) == 0;
}

static inline void forget_changes(const struct port *port)
{
    struct signalfd_siginfo info;

    while (read(port->changes, &info, sizeof info) > 0)
        ;
}

static inline void wait_host(const struct port *port)
{
    struct pollfd change = {port->changes, POLLIN, 0};

    while (!has_host(port)) {
        poll(&change, 1, -1);
        forget_changes(port);
    }
}

/* What has come, at least a byte; waits for it. */
static inline size_t receive(const struct port *port, char *buffer, size_t size)
{
    for (;;) {
        struct pollfd ready = {port->fd, POLLIN, 0};
        ssize_t count;

        wait_host(port);
        poll(&ready, 1, -1);
        count = read(port->fd, buffer, size);
        if (count > 0)
            return (size_t)count;
    }
}

/* Whether all was written before the host's side left. */
static inline int answer(const struct port *port, const char *data, size_t size)
{
    while (size) {
        struct pollfd ready = {port->fd, POLLOUT, 0};
        ssize_t count = write(port->fd, data, size);

        if (count > 0) {
            data += count;
            size -= (size_t)count;
        } else if (poll(&ready, 1, -1) < 0 || ready.revents & POLLHUP) {
            return 0;
        }
    }
    return 1;
}

/* The clock of every time stamp here: nanoseconds since the guest started, whatever sets its time. */
static inline long long now(void)
{
    struct timespec time;

    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec * 1000000000LL + time.tv_nsec;
}
