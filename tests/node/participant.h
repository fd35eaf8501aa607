/* A scripted HTTP participant on the test's loop.  What it does follows from the path:
 *
 *   /ok  200   /fail  500 "no stock"   /once  500 for attempt 0, then 200   /redirect  302 to /ok
 *   /refuse  409 "no stock"   /later  200 with ONGOING for attempt 0, then 200
 *   /hold  no answer before participant_release()   /garbage  bytes that are not HTTP   /close  closes
 *   /flood  200 with a body that never ends
 *   /moved  307 to /ok   /circle  307 to itself   /status/NNN  that status, no body
 *   /gzip  200 with FAILURE, compressed   /bomb  200 with 38 MB of 'x' in 244 KB
 *   /big, /bigger  200 with 1 MB, 2 MB and FAILURE at the end   /rpc/N  200 with JSON-RPC error N, 0 for none
 *   /drip  200 with what participant_drip() sends, without end   /drop  the same, 7 bytes, "FAI" are there
 *   /flip  503 and 200 in turn   /heads  200 with headers that never end   /away/PORT  308 to /ok there
 *
 * A query string behind the path does not matter. */
#ifndef TESTS_PARTICIPANT_H
#define TESTS_PARTICIPANT_H

#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

struct participant {
    uv_loop_t *loop;
    uint16_t port;
    uint32_t connections; /* accepted so far */
    uint32_t requests;    /* read completely so far */
    uint32_t held, held_max;
    bool down;       /* 503 to everything */
    uint32_t broken; /* connections that ended while their answer was held */
    char last[8192]; /* the last request, head and body */
    uv_tcp_t server; /* private from here on */
    struct link *links;
    bool releasing;
};

void participant_open(struct participant *p, uv_loop_t *loop);
/* Answer what is held with 200; from now on /hold answers at once. */
void participant_release(struct participant *p);
/* Send so much to everybody who is at /drip or /drop. */
void participant_drip(struct participant *p, const char *text);
/* Closes the server and all connections; run the loop to let them go. */
void participant_close(struct participant *p);

#endif /* TESTS_PARTICIPANT_H */
