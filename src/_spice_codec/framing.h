#ifndef SPICE_FRAMING_H
#define SPICE_FRAMING_H

#include <stddef.h>
#include <stdint.h>

/*
 * Framing of the data stage: where the messages lie in a receive buffer. Nothing is copied, nothing is allocated, and no byte
 * outside [start, end) is read. All integers on the wire are little-endian; offsets count from the start of the buffer.
 */

/* The two data headers, named by their sizes in bytes. */
enum spice_frame_header {
    SPICE_FRAME_MINI = 6,  /* u16 type, u32 size */
    SPICE_FRAME_FULL = 18, /* u64 serial, u16 type, u32 size, u32 sub_list */
};

enum spice_frame_status {
    SPICE_FRAME_OK = 0,
    SPICE_FRAME_BODY_OVER_LIMIT = 1,     /* the header announces more than max_body */
    SPICE_FRAME_SUB_LIST_OUTSIDE = 2,    /* the list, or its count, does not lie within the body */
    SPICE_FRAME_SUB_MESSAGE_OUTSIDE = 3, /* a sub-message does not lie within the body */
    SPICE_FRAME_SUB_MESSAGE_OVERLAP = 4, /* list and sub-messages add up to more than the body: they share bytes */
};

/* One message. */
struct spice_frame {
    uint32_t type;     /* 0 to 65535 */
    uint32_t offset;   /* of the body, in the buffer */
    uint32_t size;     /* of the body */
    uint32_t sub_list; /* offset of the sub-message list in the body, 0: none, as always with mini headers */
    uint64_t serial;   /* 0 with mini headers, which do not carry it */
};

/* What a scan came to. */
struct spice_frame_report {
    uint32_t status;   /* enum spice_frame_status, of the message behind the last frame given */
    uint32_t type;     /* of the offending message or sub-message, when the status is not OK */
    uint32_t size;     /* what it claims: body size; for SUB_LIST_OUTSIDE the list's offset */
    uint32_t consumed; /* offset in the buffer of the first byte that belongs to no frame given */
    uint64_t needed;   /* bytes that the next message takes from there, header included, as far as known; 0 unless incomplete */
};

/*
 * Finds every complete message in data[start, end): at most `capacity` of them, in order. Returns their number. A message
 * that breaks a rule ends the scan; the ones before it are given all the same. start <= end.
 */
uint32_t spice_frame_scan(const uint8_t *data, uint32_t start, uint32_t end, uint32_t header, uint32_t max_body,
                          struct spice_frame *frames, uint32_t capacity, struct spice_frame_report *report);

/*
 * Checks the sub-message list at `list` (an offset in the body) of the body data[offset, offset + size), whole, and gives its
 * first `capacity` sub-messages. Returns their number in the list, which may be more than `capacity`; 0 when the status is
 * not OK. A sub-message that is a list itself is given like any other, never followed.
 */
uint32_t spice_frame_sub_messages(const uint8_t *data, uint32_t offset, uint32_t size, uint32_t list,
                                  struct spice_frame *frames, uint32_t capacity, struct spice_frame_report *report);

/* Write a header: 6 and 18 bytes. */
void spice_frame_pack_mini(uint8_t *out, uint16_t type, uint32_t size);
void spice_frame_pack_full(uint8_t *out, uint64_t serial, uint16_t type, uint32_t size, uint32_t sub_list);

#endif
