/* Addresses as people write them, host:port, and as sockets want them. */
#include "address.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool parse_port(const char *text, uint16_t *port)
{
    size_t digits = strspn(text, "0123456789");
    if (digits == 0 || digits > 5 || text[digits] != 0 || atoi(text) > UINT16_MAX)
        return false;
    *port = (uint16_t)atoi(text);
    return true;
}

bool address_split(const char *text, char *host, size_t host_size, uint16_t *port)
{
    const char *colon = strrchr(text, ':');
    if (colon == NULL || colon == text || !parse_port(colon + 1, port))
        return false;
    const char *from = text;
    size_t size = (size_t)(colon - text);
    if (*from == '[') {
        if (size < 3 || colon[-1] != ']')
            return false;
        from++;
        size -= 2;
    } else if (memchr(from, ':', size) != NULL) {
        return false;
    }
    if (size >= host_size)
        return false;
    memcpy(host, from, size);
    host[size] = 0;
    return true;
}

bool address_resolve(const char *text, struct sockaddr_storage *out, char *err, size_t err_size)
{
    char host[128], service[8];
    uint16_t port;
    if (!address_split(text, host, sizeof host, &port)) {
        snprintf(err, err_size, "'%.100s' is not host:port", text);
        return false;
    }
    snprintf(service, sizeof service, "%u", port);
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE | AI_NUMERICSERV}, *found;
    int status = getaddrinfo(host, service, &hints, &found);
    if (status != 0) {
        snprintf(err, err_size, "cannot find the host of %.100s: %s", text, gai_strerror(status));
        return false;
    }
    memset(out, 0, sizeof *out);
    memcpy(out, found->ai_addr, found->ai_addrlen);
    freeaddrinfo(found);
    return true;
}

void address_text(const struct sockaddr_storage *address, char *out, size_t out_size)
{
    char host[INET6_ADDRSTRLEN] = "?";
    if (address->ss_family == AF_INET6) {
        const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)address;
        inet_ntop(AF_INET6, &in6->sin6_addr, host, sizeof host);
        snprintf(out, out_size, "[%s]:%u", host, ntohs(in6->sin6_port));
    } else {
        const struct sockaddr_in *in = (const struct sockaddr_in *)address;
        inet_ntop(AF_INET, &in->sin_addr, host, sizeof host);
        snprintf(out, out_size, "%s:%u", host, ntohs(in->sin_port));
    }
}

void address_advertise(const char *advertise, const char *host, const char *bound, char *out, size_t out_size)
{
    const char *port = strrchr(bound, ':');
    if (advertise != NULL)
        snprintf(out, out_size, "%s", advertise);
    else if (host != NULL && port != NULL)
        snprintf(out, out_size, strchr(host, ':') ? "[%s]%s" : "%s%s", host, port);
    else
        snprintf(out, out_size, "%s", bound);
}
