#include "link.h"

#include <string.h>

#include "bytes_internal.h"

static const uint8_t magic[4] = {'R', 'E', 'D', 'Q'};
static const uint32_t major_version = 2;

int spice_link_parse_header(const uint8_t *data, size_t length, uint32_t min_size, struct spice_link_header *header)
{
    if (memcmp(data, magic, length < sizeof magic ? length : sizeof magic) != 0) {
        return SPICE_LINK_BAD_MAGIC;
    }
    if (length >= 8 && load_u32(data + 4) != major_version) {
        return SPICE_LINK_BAD_VERSION;
    }
    if (length < SPICE_LINK_HEADER_SIZE) {
        return SPICE_LINK_INCOMPLETE;
    }
    *header = (struct spice_link_header){
        .magic = load_u32(data), .major = load_u32(data + 4), .minor = load_u32(data + 8), .size = load_u32(data + 12)};
    if (header->size < min_size || header->size > SPICE_LINK_MAX_SIZE) {
        return SPICE_LINK_BAD_SIZE;
    }
    return SPICE_LINK_OK;
}

/* The counts are bounded before they are added: two of 2^31 add up to 0 in 32 bits (CVE-2016-9578). */
static int check_caps(uint32_t common, uint32_t channel, uint32_t offset, uint32_t structure, size_t length)
{
    if (common > SPICE_LINK_MAX_WORDS || channel > SPICE_LINK_MAX_WORDS) {
        return SPICE_LINK_TOO_MANY_WORDS;
    }
    if (offset < structure) {
        return SPICE_LINK_CAPS_INSIDE;
    }
    if (offset > length || length - offset < 4 * ((size_t)common + channel)) {
        return SPICE_LINK_CAPS_OUTSIDE;
    }
    return SPICE_LINK_OK;
}

int spice_link_parse_mess(const uint8_t *data, size_t length, struct spice_link_mess *mess)
{
    if (length < SPICE_LINK_MESS_SIZE || length > SPICE_LINK_MAX_SIZE) {
        return SPICE_LINK_BAD_SIZE;
    }
    *mess = (struct spice_link_mess){.connection_id = load_u32(data),
                                     .channel_type = data[4],
                                     .channel_id = data[5],
                                     .num_common_caps = load_u32(data + 6),
                                     .num_channel_caps = load_u32(data + 10),
                                     .caps_offset = load_u32(data + 14)};
    return check_caps(mess->num_common_caps, mess->num_channel_caps, mess->caps_offset, SPICE_LINK_MESS_SIZE, length);
}

int spice_link_parse_reply(const uint8_t *data, size_t length, struct spice_link_reply *reply)
{
    if (length < SPICE_LINK_REPLY_SIZE || length > SPICE_LINK_MAX_SIZE) {
        return SPICE_LINK_BAD_SIZE;
    }
    *reply = (struct spice_link_reply){.error = load_u32(data)};
    memcpy(reply->pub_key, data + 4, sizeof reply->pub_key);
    if (reply->error != 0) {
        return SPICE_LINK_OK;
    }
    reply->num_common_caps = load_u32(data + 166);
    reply->num_channel_caps = load_u32(data + 170);
    reply->caps_offset = load_u32(data + 174);
    return check_caps(reply->num_common_caps, reply->num_channel_caps, reply->caps_offset, SPICE_LINK_REPLY_SIZE, length);
}

void spice_link_read_words(const uint8_t *data, uint32_t offset, uint32_t count, uint32_t *words)
{
    for (uint32_t i = 0; i < count; i++) {
        words[i] = load_u32(data + offset + 4 * (size_t)i);
    }
}

static uint8_t *write_words(uint8_t *out, const uint32_t *words, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++, out += 4) {
        store_u32(out, words[i]);
    }
    return out;
}

void spice_link_pack_header(uint8_t *out, const struct spice_link_header *header)
{
    store_u32(out, header->magic);
    store_u32(out + 4, header->major);
    store_u32(out + 8, header->minor);
    store_u32(out + 12, header->size);
}

void spice_link_pack_mess(uint8_t *out, const struct spice_link_mess *mess, const uint32_t *common, const uint32_t *channel)
{
    store_u32(out, mess->connection_id);
    out[4] = mess->channel_type;
    out[5] = mess->channel_id;
    store_u32(out + 6, mess->num_common_caps);
    store_u32(out + 10, mess->num_channel_caps);
    store_u32(out + 14, SPICE_LINK_MESS_SIZE);
    out = write_words(out + SPICE_LINK_MESS_SIZE, common, mess->num_common_caps);
    write_words(out, channel, mess->num_channel_caps);
}

void spice_link_pack_reply(uint8_t *out, const struct spice_link_reply *reply, const uint32_t *common, const uint32_t *channel)
{
    store_u32(out, reply->error);
    memcpy(out + 4, reply->pub_key, sizeof reply->pub_key);
    store_u32(out + 166, reply->num_common_caps);
    store_u32(out + 170, reply->num_channel_caps);
    store_u32(out + 174, SPICE_LINK_REPLY_SIZE);
    out = write_words(out + SPICE_LINK_REPLY_SIZE, common, reply->num_common_caps);
    write_words(out, channel, reply->num_channel_caps);
}
