/* What the client does after a failure: pure decisions about errors, pauses and addresses. */
#ifndef CLIENT_RETRY_H
#define CLIENT_RETRY_H

#include <stdbool.h>
#include <stdint.h>

#define RETRY_ADDRESS_BYTES 128 /* host:port with its NUL */

enum retry_action {
    RETRY_SURFACE,   /* the caller gets the code */
    RETRY_HERE,      /* send again to this node after a pause */
    RETRY_ELSEWHERE, /* leave this node, send again to another */
};

/* What to do with a call the node answered with FAILED and `code`.  `repeatable`: running it twice does no
 * harm (a query, a timestamp request, or a command with session and sequence). */
enum retry_action retry_decide(int code, bool repeatable);

/* A capped, doubling, jittered pause. */
struct retry_backoff {
    uint32_t min_ms, max_ms, now_ms;
    uint64_t seed;
};
void retry_backoff_init(struct retry_backoff *b, uint32_t min_ms, uint32_t max_ms, uint64_t seed);
void retry_backoff_reset(struct retry_backoff *b);
/* The next pause: between half and all of the current step; the step doubles up to the cap. */
uint32_t retry_backoff_next(struct retry_backoff *b);

/* Take "host:port,[::1]:port" apart into `list` (`max` rows).  Returns how many, or -1: empty, too many, too
 * long, no port, or a port outside 1..65535. */
int retry_addresses(const char *text, char (*list)[RETRY_ADDRESS_BYTES], uint32_t max);

/* Host and port of one address; brackets of IPv6 are removed.  False: not an address. */
bool retry_split(const char *address, char host[RETRY_ADDRESS_BYTES], char port[8]);

#endif /* CLIENT_RETRY_H */
