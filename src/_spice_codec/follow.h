#ifndef FOLLOW_H
#define FOLLOW_H

#include <stddef.h>
#include <stdint.h>

/*
 * Following a display channel: receive from its socket, draw, acknowledge, and again, as long as all that comes is for
 * draw_frames(). It is for a thread that has nothing else to do: it sleeps in the kernel, and being woken costs it a tenth of
 * what it costs a program's event loop. Mini headers only; Linux only.
 */

enum follow_limit { FOLLOW_BATCHES = 4096 /* receives until a pause */ };

enum follow_status {
    FOLLOW_OTHER = 0, /* the next message is not for us, or breaks a rule */
    FOLLOW_KEPT,      /* pictures are to be taken into the cache: do so, and call again */
    FOLLOW_ROOM,      /* the next message, of `needed` bytes, does not fit into the buffer */
    FOLLOW_ASKED,     /* `wake` is readable; what had come by then is drawn */
    FOLLOW_OVER,      /* it is time, or the table of batches is full */
    FOLLOW_UNSENT,    /* the kernel has not taken an ACK: its last `unsent` bytes are to be sent before anything else */
    FOLLOW_END,       /* the peer has closed the connection */
    FOLLOW_FAILED     /* the connection broke: `error` says how, as errno does */
};

/* What came with one receive. */
struct follow_batch {
    uint64_t messages; /* that were drawn */
    uint64_t ns;       /* from receiving to the surface */
};

/* Declared by framing.h and draw.h. */
struct spice_frame;
struct draw_run;

struct follow {
    int32_t socket; /* a stream socket */
    int32_t wake;   /* a file that becomes readable when we are to stop */
    uint8_t *buffer;
    uint32_t size;
    uint32_t start; /* buffer[start, end) was received and not handled */
    uint32_t end;
    uint32_t max_body;
    struct spice_frame *frames;
    uint32_t capacity; /* of frames */
    uint32_t window;   /* messages an ACK stands for; 0: none are wanted */
    uint32_t left;     /* messages until the next one */
    uint32_t early;    /* messages that are counted for the ACKs already, and not handled yet */
    uint32_t gather;       /* messages to sleep for, if there is room for so many until the peer would wait for an ACK; 0: any */
    uint32_t gather_bytes; /* of one of them, about */
    int64_t patience_ns;   /* how long to sleep for several */
    int64_t until_ns;      /* when to stop, on the monotonic clock */
    struct draw_run *run;
    struct follow_batch *batches; /* FOLLOW_BATCHES of them */

    /* What has been done: added to by each call. */
    uint64_t received; /* bytes */
    uint64_t acks;
    uint32_t batch_count;
    uint32_t unsent;
    uint64_t needed;
    int32_t error;
    uint32_t low_water; /* the socket's SO_RCVLOWAT; 1 again at the end of a call */
};

/* Returns enum follow_status. The damage of the run is what was drawn since before `wake` became readable, and may be more. */
int follow(struct follow *self);

#endif
