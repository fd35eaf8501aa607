/* Command entries: the leader's time stamp and the commands of one loop turn, packed and checked. */
#include "batch.h"

#include <assert.h>
#include <endian.h>
#include <string.h>

static_assert(ASSENT_ENTRY_COMMANDS_MAX <= UINT16_MAX, "the count of a batch is 16 bits wide");
/* A batch of one command of full size, and one filled up to the target with the smallest commands, fit. */
static_assert(BATCH_HEADER_BYTES + 4 + ASSENT_COMMAND_BYTES_MAX <= ASSENT_ENTRY_BYTES_MAX, "one fits");
static_assert(BATCH_HEADER_BYTES + 4 * ASSENT_ENTRY_COMMANDS_MAX + ASSENT_ENTRY_BYTES_TARGET <=
                  ASSENT_ENTRY_BYTES_MAX,
              "many fit");

static uint32_t size_at(const uint8_t *sizes, uint32_t i)
{
    uint32_t size;
    memcpy(&size, sizes + (size_t)i * 4, 4);
    return le32toh(size);
}

void batch_encode(struct entry *e, int64_t time_us, const struct assent_bytes *commands, uint32_t n)
{
    assert(e->type == ENTRY_COMMAND);
    assert(n >= 1 && n <= ASSENT_ENTRY_COMMANDS_MAX);
    assert(e->size >= BATCH_HEADER_BYTES + (size_t)n * 4);
    uint8_t *sizes = e->payload + BATCH_HEADER_BYTES;
    uint8_t *at = sizes + (size_t)n * 4;
    const uint8_t *end = e->payload + e->size;
    uint16_t count = htole16((uint16_t)n);
    uint64_t time = htole64((uint64_t)time_us);
    e->payload[0] = BATCH_FORMAT;
    e->payload[1] = 0;
    memcpy(e->payload + 2, &count, 2);
    memcpy(e->payload + 4, &time, 8);
    for (uint32_t i = 0; i < n; i++) {
        assert(commands[i].size >= 1 && commands[i].size <= ASSENT_COMMAND_BYTES_MAX);
        assert(commands[i].size <= (size_t)(end - at));
        uint32_t size = htole32((uint32_t)commands[i].size);
        memcpy(sizes + (size_t)i * 4, &size, 4);
        memcpy(at, commands[i].base, commands[i].size);
        at += commands[i].size;
    }
    assert(at == end);
}

bool batch_decode(const struct entry *e, struct batch *out)
{
    uint16_t count;
    uint64_t time;
    if (e->type != ENTRY_COMMAND || e->size < BATCH_HEADER_BYTES) {
        return false;
    }
    if (e->payload[0] != BATCH_FORMAT || e->payload[1] != 0) {
        return false;
    }
    memcpy(&count, e->payload + 2, 2);
    memcpy(&time, e->payload + 4, 8);
    uint32_t n = le16toh(count);
    if (n < 1 || n > ASSENT_ENTRY_COMMANDS_MAX || e->size - BATCH_HEADER_BYTES < n * 4) {
        return false;
    }
    const uint8_t *sizes = e->payload + BATCH_HEADER_BYTES;
    uint32_t left = e->size - BATCH_HEADER_BYTES - n * 4;
    for (uint32_t i = 0; i < n; i++) {
        uint32_t size = size_at(sizes, i);
        if (size < 1 || size > ASSENT_COMMAND_BYTES_MAX || size > left) {
            return false;
        }
        left -= size;
    }
    if (left != 0) {
        return false;
    }
    *out = (struct batch){
        .time_us = (int64_t)le64toh(time), .n = n, .sizes = sizes, .commands = sizes + (size_t)n * 4};
    return true;
}

uint32_t batch_command_size(const struct batch *b, uint32_t i)
{
    assert(i < b->n);
    return size_at(b->sizes, i);
}
