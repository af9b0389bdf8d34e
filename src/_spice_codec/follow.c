/*
 * Following a display channel. Theory of operation: all that was received is drawn, then there is a sleep until more has come.
 * A message is acknowledged before it is drawn, so that the peer goes on meanwhile. Where many small messages come, the kernel
 * is asked to gather some (SO_RCVLOWAT); and of one large message as much as it holds. Whoever wants to see the pixels, or has
 * something to do with the channel, makes `wake` readable. The damage of the last batch is kept until it is known that nobody
 * had done so before it was drawn.
 */

#define _POSIX_C_SOURCE 200809L

#include <stdbool.h>
#include <string.h>

#include "bytes_internal.h"
#include "draw.h"
#include "follow.h"
#include "framing.h"

#ifdef __linux__

#include <errno.h>
#include <poll.h>
#include <sys/socket.h>
#include <time.h>

enum { GOES_ON = -1 }; /* beside enum follow_status */
enum { ACK = 2, ACK_BYTES = SPICE_FRAME_MINI, ACKS_AT_ONCE = 64, FIRST_OWN = 101 };
enum { MOST_BYTES = 256 * 1024 }; /* to sleep for; the kernel makes room for twice as many */
enum { FEWEST = 2 };              /* messages worth sleeping for */

static int64_t now_ns(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec * INT64_C(1000000000) + time.tv_nsec;
}

/* --- acknowledging */

static void send_acks(struct follow *self, uint32_t count)
{
    uint8_t out[ACKS_AT_ONCE * ACK_BYTES];
    self->acks += count;
    for (uint32_t i = 0; i < ACKS_AT_ONCE && i < count; i++)
        spice_frame_pack_mini(out + ACK_BYTES * i, ACK, 0);
    while (count && !self->unsent) {
        uint32_t some = count < ACKS_AT_ONCE ? count : ACKS_AT_ONCE;
        ssize_t sent = send(self->socket, out, (size_t)some * ACK_BYTES, MSG_DONTWAIT | MSG_NOSIGNAL);
        self->unsent = some * ACK_BYTES - (uint32_t)(sent > 0 ? sent : 0); /* what is wrong is found when receiving */
        count -= some;
    }
    self->unsent += count * ACK_BYTES;
}

/* Count messages that are about to be drawn; those that change how messages are counted are not for us. */
static void acknowledge(struct follow *self, uint32_t count)
{
    uint32_t counted = 0;
    while (counted < count && self->frames[counted].type >= FIRST_OWN)
        counted++;
    if (!self->window || counted <= self->early)
        return;
    uint32_t new = counted - self->early;
    self->early = counted;
    if (new < self->left) {
        self->left -= new;
        return;
    }
    uint32_t beyond = (new - self->left) % self->window;
    send_acks(self, 1 + (new - self->left) / self->window);
    self->left = self->window - beyond;
}

/* --- drawing */

static bool is_asked(const struct follow *self)
{
    struct pollfd wake = {.fd = self->wake, .events = POLLIN};
    return poll(&wake, 1, 0) > 0;
}

/* Draw messages that were found; GOES_ON: all of them. */
static int draw_found(struct follow *self, uint32_t count, uint32_t consumed)
{
    struct draw_run *run = self->run;
    uint32_t done = 0;
    int status;
    do {
        uint32_t before = run->totals.drawn;
        status = draw_frames(run, self->buffer, self->end, self->frames + done, count - done);
        done += run->totals.drawn - before;
        if (status != DRAW_PAUSED)
            break;
        run->work = 0;
        if (is_asked(self))
            break;
        run->totals.damage_count = 0;
    } while (true);
    self->early -= done < self->early ? done : self->early;
    self->start = done < count ? self->frames[done].offset - SPICE_FRAME_MINI : consumed;
    return status == DRAW_ALL ? GOES_ON : status == DRAW_FULL ? FOLLOW_KEPT : status == DRAW_PAUSED ? FOLLOW_ASKED : FOLLOW_OTHER;
}

/* Draw all that was received; GOES_ON: receive more. */
static int draw_received(struct follow *self)
{
    struct spice_frame_report report;
    int status = GOES_ON;
    do {
        uint32_t count = spice_frame_scan(self->buffer, self->start, self->end, SPICE_FRAME_MINI, self->max_body, self->frames,
                                          self->capacity, &report);
        self->needed = report.needed;
        if (!count)
            return report.needed ? GOES_ON : FOLLOW_OTHER;
        acknowledge(self, count);
        status = draw_found(self, count, report.consumed);
    } while (status == GOES_ON && !report.needed);
    return status == GOES_ON && self->unsent ? FOLLOW_UNSENT : status;
}

/* --- receiving */

/* Make room for the next message, and for more where it is small. */
static bool make_room(struct follow *self)
{
    uint32_t kept = self->end - self->start;
    if (self->needed > self->size)
        return false;
    if (!kept || self->start + self->needed > self->size) {
        memmove(self->buffer, self->buffer + self->start, kept);
        self->start = 0;
        self->end = kept;
    }
    return true;
}

/* How many bytes to sleep for. */
static uint32_t bytes_worth(const struct follow *self, bool gathers, bool *is_part)
{
    uint32_t kept = self->end - self->start;
    *is_part = kept > SPICE_FRAME_MINI;
    uint64_t bytes = *is_part ? self->needed - kept : 1;
    if (gathers && self->gather >= FEWEST) {
        /* The peer waits after two windows; half a window is kept for what it sends until we have noticed. */
        uint32_t room = self->window ? self->left + self->window / 2 : UINT32_MAX;
        uint64_t several = (uint64_t)self->gather_bytes * (self->gather < room ? self->gather : room);
        if (several > bytes) {
            bytes = several;
            *is_part = false;
        }
    }
    return (uint32_t)(bytes < MOST_BYTES ? bytes : MOST_BYTES);
}

static void set_low_water(struct follow *self, uint32_t bytes)
{
    int value = (int)bytes;
    if (bytes != self->low_water && !setsockopt(self->socket, SOL_SOCKET, SO_RCVLOWAT, &value, sizeof value))
        self->low_water = bytes;
}

/* Sleep until there is something to receive: GOES_ON, or why not. After FOLLOW_ASKED and FOLLOW_OVER there may be as well. */
static int wait_for_bytes(struct follow *self, bool gathers)
{
    struct pollfd files[] = {{.fd = self->socket, .events = POLLIN}, {.fd = self->wake, .events = POLLIN}};
    bool is_part;
    set_low_water(self, bytes_worth(self, gathers, &is_part));
    for (;;) {
        int64_t rest = self->until_ns - now_ns();
        bool is_patient = self->low_water > 1 && !is_part && self->patience_ns < rest;
        int64_t sleep_ns = is_patient ? self->patience_ns : rest > 0 ? rest : 0;
        int ready = poll(files, 2, (int)((sleep_ns + 999999) / 1000000));
        if (ready < 0 && errno != EINTR) {
            self->error = errno;
            return FOLLOW_FAILED;
        }
        if (ready > 0)
            return files[1].revents ? FOLLOW_ASKED : GOES_ON;
        if (!ready)
            return is_patient ? GOES_ON : FOLLOW_OVER;
    }
}

static int receive_once(struct follow *self)
{
    ssize_t count;
    do
        count = recv(self->socket, self->buffer + self->end, self->size - self->end, MSG_DONTWAIT);
    while (count < 0 && errno == EINTR);
    if (!count)
        return FOLLOW_END;
    if (count < 0 && errno != EAGAIN && errno != EWOULDBLOCK) {
        self->error = errno;
        return FOLLOW_FAILED;
    }
    self->end += (uint32_t)(count > 0 ? count : 0);
    self->received += (uint64_t)(count > 0 ? count : 0);
    return GOES_ON;
}

static int receive_and_draw(struct follow *self, int waited)
{
    int64_t received_at = now_ns();
    uint32_t before = self->run->totals.drawn;
    int status = receive_once(self);
    if (status == GOES_ON)
        status = draw_received(self);
    struct follow_batch *batch = &self->batches[self->batch_count++];
    batch->messages = self->run->totals.drawn - before;
    batch->ns = (uint64_t)(now_ns() - received_at);
    return status == GOES_ON ? waited : status;
}

int follow(struct follow *self)
{
    bool gathers = true; /* nothing, after a wait in vain */
    int status = draw_received(self);
    while (status == GOES_ON) {
        uint64_t before = self->received;
        if (self->batch_count >= FOLLOW_BATCHES) {
            status = FOLLOW_OVER;
            break;
        }
        if (!make_room(self)) {
            status = FOLLOW_ROOM;
            break;
        }
        status = wait_for_bytes(self, gathers);
        if (status == FOLLOW_FAILED)
            break;
        if (status != FOLLOW_ASKED)
            self->run->totals.damage_count = 0;
        status = receive_and_draw(self, status);
        gathers = self->received != before;
    }
    set_low_water(self, 1);
    return status;
}

#else

int follow(struct follow *self)
{
    (void)self;
    return FOLLOW_OTHER;
}

#endif
