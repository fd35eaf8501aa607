/* An HTTP server without manners, for tests of whoever calls it.  What it does follows from the path:
 *
 *   /hang     takes the request and never answers        /garbage  bytes that are not HTTP
 *   /drip     one byte of a header after the other       /loop     a redirect to itself
 *   /close    closes at once                             /flood    a body without an end
 *   /turns    500 and 200 in turns, 500 first */
#ifndef TESTS_RUDE_H
#define TESTS_RUDE_H

#include <stdint.h>

/* One server for the program; gives its port.  Aborts when it cannot listen. */
uint16_t rude_open(void);
/* Requests read so far. */
uint32_t rude_requests(void);
/* Ends all connections and threads. */
void rude_close(void);

#endif /* TESTS_RUDE_H */
