/* What the client does after a failure: pure decisions about errors, pauses and addresses. */
#include "retry.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "assent/error.h"

enum retry_action retry_decide(int code, bool repeatable)
{
    switch (code) {
    case ASSENT_NOT_LEADER:
    case ASSENT_NO_LEADER:
    case ASSENT_SHUTDOWN:
    case ASSENT_STOPPED:
    case ASSENT_UNREACHABLE:
        return RETRY_ELSEWHERE;
    case ASSENT_BUSY:
    case ASSENT_NOMEM:
    case ASSENT_IO:
    case ASSENT_NO_SPACE:
        return RETRY_HERE;
    case ASSENT_UNKNOWN_OUTCOME:
    case ASSENT_TIMEOUT:
        return repeatable ? RETRY_HERE : RETRY_SURFACE;
    default: /* refusals and errors that come again on every try, also numbers of a later version */
        return RETRY_SURFACE;
    }
}

void retry_backoff_init(struct retry_backoff *b, uint32_t min_ms, uint32_t max_ms, uint64_t seed)
{
    assert(min_ms > 0);
    assert(min_ms <= max_ms);
    *b = (struct retry_backoff){.min_ms = min_ms, .max_ms = max_ms, .now_ms = min_ms, .seed = seed | 1};
}

void retry_backoff_reset(struct retry_backoff *b)
{
    b->now_ms = b->min_ms;
}

uint32_t retry_backoff_next(struct retry_backoff *b)
{
    uint32_t step = b->now_ms;
    b->now_ms = step > b->max_ms / 2 ? b->max_ms : step * 2;
    /* xorshift64: only to spread clients that lost the same leader at the same moment */
    b->seed ^= b->seed << 13;
    b->seed ^= b->seed >> 7;
    b->seed ^= b->seed << 17;
    uint32_t half = step / 2;
    return step - half + (uint32_t)(b->seed % ((uint64_t)half + 1));
}

bool retry_split(const char *address, char host[RETRY_ADDRESS_BYTES], char port[8])
{
    const char *colon = strrchr(address, ':');
    if (colon == NULL) {
        return false;
    }
    const char *from = address;
    size_t size = (size_t)(colon - address);
    if (size >= 2 && from[0] == '[' && from[size - 1] == ']') {
        from++;
        size -= 2;
    } else if (memchr(from, ':', size) != NULL) {
        return false; /* IPv6 without brackets: which colon? */
    }
    size_t digits = strlen(colon + 1);
    if (size == 0 || size >= RETRY_ADDRESS_BYTES || digits == 0 || digits > 5 ||
        strspn(colon + 1, "0123456789") != digits) {
        return false;
    }
    long number = strtol(colon + 1, NULL, 10);
    if (number < 1 || number > 65535) {
        return false;
    }
    memcpy(host, from, size);
    host[size] = '\0';
    memcpy(port, colon + 1, digits + 1);
    return true;
}

int retry_addresses(const char *text, char (*list)[RETRY_ADDRESS_BYTES], uint32_t max)
{
    uint32_t n = 0;
    while (text != NULL && *text != '\0') {
        size_t size = strcspn(text, ",");
        const char *from = text;
        text += size;
        text += *text == ',';
        for (; size > 0 && from[0] == ' '; from++) {
            size--;
        }
        while (size > 0 && from[size - 1] == ' ') {
            size--;
        }
        char host[RETRY_ADDRESS_BYTES], port[8];
        if (size == 0 || size >= RETRY_ADDRESS_BYTES || n == max) {
            return -1;
        }
        memcpy(list[n], from, size);
        list[n][size] = '\0';
        if (!retry_split(list[n], host, port)) {
            return -1;
        }
        n++;
    }
    return n == 0 ? -1 : (int)n;
}
