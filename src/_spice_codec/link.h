#ifndef SPICE_LINK_H
#define SPICE_LINK_H

#include <stddef.h>
#include <stdint.h>

/*
 * The fixed structures of the link stage, parsed and packed for both roles. All integers are little-endian. A parse reads no
 * byte outside data[0, length) and leaves its result undefined when the status is not OK.
 */

enum spice_link_size {
    SPICE_LINK_HEADER_SIZE = 16,
    SPICE_LINK_MESS_SIZE = 18,
    SPICE_LINK_REPLY_SIZE = 178,
    SPICE_LINK_PUB_KEY_SIZE = 162,
    SPICE_LINK_MAX_SIZE = 4096,  /* libspice-server's limit for the mess, ours for the reply */
    SPICE_LINK_MAX_WORDS = 1024, /* in either capability array */
};

enum spice_link_status {
    SPICE_LINK_OK = 0,
    SPICE_LINK_INCOMPLETE = 1,      /* header: fewer than 16 bytes, and those there are fit */
    SPICE_LINK_BAD_MAGIC = 2,
    SPICE_LINK_BAD_VERSION = 3,     /* another major version; a minor one does not matter */
    SPICE_LINK_BAD_SIZE = 4,        /* shorter than its structure, or longer than MAX_SIZE */
    SPICE_LINK_TOO_MANY_WORDS = 5,  /* more than MAX_WORDS in an array */
    SPICE_LINK_CAPS_INSIDE = 6,     /* caps_offset points into the structure itself */
    SPICE_LINK_CAPS_OUTSIDE = 7,    /* the arrays run past the end */
};

struct spice_link_header {
    uint32_t magic;
    uint32_t major;
    uint32_t minor;
    uint32_t size; /* of what follows */
};

struct spice_link_mess {
    uint32_t connection_id;
    uint8_t channel_type;
    uint8_t channel_id;
    uint32_t num_common_caps;  /* words; they follow each other at caps_offset, common ones first */
    uint32_t num_channel_caps;
    uint32_t caps_offset;
};

struct spice_link_reply {
    uint32_t error;
    uint8_t pub_key[162];
    uint32_t num_common_caps;
    uint32_t num_channel_caps;
    uint32_t caps_offset;
};

/* Checks each field as soon as its bytes are there, the magic from its first byte on. min_size: MESS_SIZE for a server,
 * REPLY_SIZE for a client. */
int spice_link_parse_header(const uint8_t *data, size_t length, uint32_t min_size, struct spice_link_header *header);

/* data[0, length) is what followed the header, all of it. */
int spice_link_parse_mess(const uint8_t *data, size_t length, struct spice_link_mess *mess);

/* As above. A reply with an error says nothing else: its capabilities are neither checked nor given. */
int spice_link_parse_reply(const uint8_t *data, size_t length, struct spice_link_reply *reply);

/* Copies `count` capability words from data + offset; the parse above has checked them. */
void spice_link_read_words(const uint8_t *data, uint32_t offset, uint32_t count, uint32_t *words);

/* Write HEADER_SIZE bytes; the magic written is header->magic, right or wrong. */
void spice_link_pack_header(uint8_t *out, const struct spice_link_header *header);

/* Write the structure and its words behind it: MESS_SIZE or REPLY_SIZE bytes and 4 for each word; caps_offset is set. */
void spice_link_pack_mess(uint8_t *out, const struct spice_link_mess *mess, const uint32_t *common, const uint32_t *channel);
void spice_link_pack_reply(uint8_t *out, const struct spice_link_reply *reply, const uint32_t *common, const uint32_t *channel);

#endif
