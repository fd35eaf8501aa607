/* Every path of the HTTP interface, as rows: method, pattern, and what it is. */
#ifndef NODE_ROUTES_H
#define NODE_ROUTES_H

#include <stdbool.h>
#include <stdint.h>

#include "command.h"
#include "json.h"

#define ROUTES_BASE         "/api/v1"
#define ROUTES_CAPTURES_MAX 5    /* of the path, and of what the path says by itself */
#define ROUTES_URI_MAX      4096 /* path and query of one request, as written */

enum route_kind {
    ROUTE_COMMAND, /* a command of the log */
    ROUTE_QUERY,   /* a linearizable query, or a stale one when asked for */
    ROUTE_LEADER,  /* special: the leader performs it, others forward it */
    ROUTE_LOCAL,   /* special: answered by this node at once, in the envelope */
    ROUTE_PLAIN,   /* special: answered by this node at once, its own text and type */
    ROUTE_STREAM,  /* special: answered by this node for as long as the client listens */
};

/* Numbers of LEADER routes travel between nodes: never reused. */
enum special {
    SPECIAL_TSO = 1,
    SPECIAL_MEMBER_ADD = 2,
    SPECIAL_MEMBER_PROMOTE = 3,
    SPECIAL_MEMBER_DEMOTE = 4,
    SPECIAL_MEMBER_REMOVE = 5,
    SPECIAL_TRANSFER = 6,
    SPECIAL_SNAPSHOT = 7,
    SPECIAL_CLUSTER = 32,
    SPECIAL_LIVEZ,
    SPECIAL_READYZ,
    SPECIAL_METRICS,
    SPECIAL_HEALTH,
    SPECIAL_ACTUATOR_METRICS,
    SPECIAL_INFO,
    SPECIAL_OPENAPI,
    SPECIAL_BACKUP,
    SPECIAL_EVENTS,
};

struct route {
    const char *method;
    const char *pattern; /* below ROUTES_BASE, or absolute when `root`; {name} captures one segment */
    enum route_kind kind;
    uint32_t type; /* command_type, query_type or special */
    const char *sentence;
    bool root;
};

extern const struct route routes[];
extern const uint32_t routes_n;

/* Fields of a special that takes arguments; an empty table for the others. */
const struct field *route_special_fields(uint32_t special);
/* Fields of any route. */
const struct field *route_fields(const struct route *route);

struct route_capture {
    const char *name; /* of the pattern, ends at '}' */
    size_t name_size;
    char value[ASSENT_XID_BYTES_MAX * 2]; /* decoded */
    size_t value_size;
};

struct route_match {
    const struct route *route; /* NULL: none */
    struct route_capture capture[ROUTES_CAPTURES_MAX];
    uint32_t captures;
    char allow[64]; /* of METHOD: the methods the path takes, "GET, POST" */
};

/* Find the row of a path (percent-encoded, without the query).  0, ASSENT_NO_ROUTE or ASSENT_METHOD; INVALID
 * when a captured segment is not decodable or too long. */
int route_find(const char *method, struct assent_bytes path, struct route_match *out);

/* Do its arguments stand in the body? */
bool route_has_body(const struct route *route);

/* Rows may share method and path: the first is found, and this takes another one in its place when the body
 * has the field that one is told by.  Adds what the path says by itself ("mode": "XA") to the captures.
 * Borrows `body`, which may be anything. */
void route_choose(struct route_match *m, struct assent_bytes body);

/* Undo percent-encoding ('+' is a space when `plus`).  False: broken encoding, or more than `out_size`. */
bool route_unescape(struct assent_bytes in, bool plus, char *out, size_t out_size, size_t *size);

/* Describe every row as an OpenAPI 3 document. */
void routes_openapi(struct text *out, const char *version);

#endif /* NODE_ROUTES_H */
