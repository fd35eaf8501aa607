/* Addresses as people write them, host:port, and as sockets want them. */
#ifndef NODE_ADDRESS_H
#define NODE_ADDRESS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

/* Long enough for every address address_text() writes. */
#define ADDRESS_TEXT_MAX 64

/* Take "host:port" (or "[v6]:port") apart.  False: not of that form. */
bool address_split(const char *text, char *host, size_t host_size, uint16_t *port);

/* Find the socket address of "host:port"; a name is looked up, which blocks, so only at start.  False: `err`
 * has a sentence. */
bool address_resolve(const char *text, struct sockaddr_storage *out, char *err, size_t err_size);

/* Numeric "host:port". */
void address_text(const struct sockaddr_storage *address, char *out, size_t out_size);

/* What to tell others: `advertise` if given, else `host` with the port of `bound`, else `bound`. */
void address_advertise(const char *advertise, const char *host, const char *bound, char *out,
                       size_t out_size);

#endif /* NODE_ADDRESS_H */
