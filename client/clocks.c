/* Typed calls of the clock service: sequences, Lamport clocks, vector clocks, versions, timestamp events. */
#include <stdlib.h>
#include <string.h>

#include "calls.h"

/* Two commands whose fields begin alike are built by one function. */
#define SAME(a, b) static_assert((int)(a) == (int)(b), "these fields stand at the same place")

/* ---- numbers ---- */

/* Run and read one number. */
static int run_uint(struct assent_client *client, struct assent_request *r, const char *key, uint64_t *out)
{
    struct assent_reply reply;
    int rc = calls_run(client, r, &reply);
    if (rc == ASSENT_OK) {
        rc = calls_uint(&reply, key, out);
    }
    assent_reply_close(&reply);
    return rc;
}

int assent_sequence_next(struct assent_client *client, const char *name, uint32_t count, uint64_t *first)
{
    struct assent_request *r = request_new(COMMAND_SEQUENCE_NEXT, false);
    if (r != NULL) {
        request_text(r, SEQUENCE_NEXT_NAME, name);
        request_uint(r, SEQUENCE_NEXT_COUNT, count);
    }
    return run_uint(client, r, "first", first);
}

int assent_clock_lamport_tick(struct assent_client *client, const char *clock, uint32_t count,
                              uint64_t *value)
{
    struct assent_request *r = request_new(COMMAND_LAMPORT_TICK, false);
    if (r != NULL) {
        request_text(r, LAMPORT_TICK_CLOCK, clock);
        request_uint(r, LAMPORT_TICK_COUNT, count);
    }
    return run_uint(client, r, "value", value);
}

int assent_clock_lamport_sync(struct assent_client *client, const char *clock, uint64_t received,
                              uint64_t *value)
{
    struct assent_request *r = request_new(COMMAND_LAMPORT_SYNC, false);
    if (r != NULL) {
        request_text(r, LAMPORT_SYNC_CLOCK, clock);
        request_uint(r, LAMPORT_SYNC_RECEIVED, received);
    }
    return run_uint(client, r, "value", value);
}

int assent_clock_lamport_current(struct assent_client *client, const char *clock, uint64_t *value)
{
    struct assent_request *r = request_new(QUERY_LAMPORT, true);
    if (r != NULL) {
        request_text(r, QUERY_LAMPORT_CLOCK, clock);
    }
    return run_uint(client, r, "value", value);
}

/* ---- stamps ---- */

void assent_stamp_close(struct assent_stamp *stamp)
{
    free(stamp->memory);
    *stamp = (struct assent_stamp){.epoch = 0};
}

/* Copy a map of counters and its texts into one piece of memory. */
static int stamp_fill(struct assent_stamp *stamp, const struct assent_value *map, uint64_t epoch)
{
    if (assent_value_kind(map) != ASSENT_VALUE_MAP) {
        return ASSENT_PROTOCOL;
    }
    uint32_t n = assent_value_size(map);
    size_t texts = 0;
    for (uint32_t i = 0; i < n; i++) {
        texts += assent_value_key(map, i).size;
    }
    struct assent_counter *entries = malloc(n * sizeof *entries + texts + 1); /* never of size 0 */
    if (entries == NULL) {
        return ASSENT_NOMEM;
    }
    uint8_t *text = (uint8_t *)(entries + n);
    for (uint32_t i = 0; i < n; i++) {
        struct assent_bytes key = assent_value_key(map, i);
        if (key.size > 0) {
            memcpy(text, key.base, key.size);
        }
        entries[i] = (struct assent_counter){.member = {text, key.size},
                                             .count = assent_value_uint(assent_value_value(map, i))};
        text += key.size;
    }
    struct assent_vector v = {.entries = entries, .n = n, .capacity = n};
    if (!assent_vector_sort(&v)) {
        free(entries);
        return ASSENT_PROTOCOL;
    }
    assent_stamp_close(stamp);
    *stamp = (struct assent_stamp){.vector = v, .epoch = epoch, .memory = entries};
    return ASSENT_OK;
}

/* Run and read the vector under `key`. */
static int run_stamp(struct assent_client *client, struct assent_request *r, const char *key,
                     struct assent_stamp *out)
{
    struct assent_reply reply;
    int rc = calls_run(client, r, &reply);
    if (rc == ASSENT_OK && out != NULL) {
        rc = stamp_fill(out, assent_value_get(reply.data, key),
                        assent_value_uint(assent_value_get(reply.data, "epoch")));
    }
    assent_reply_close(&reply);
    return rc;
}

static bool is_text(struct assent_bytes bytes, const char *text)
{
    return bytes.size == strlen(text) && memcmp(bytes.base, text, bytes.size) == 0;
}

/* Run and read an order, under the names of vectors or of versions. */
static int run_order(struct assent_client *client, struct assent_request *r, enum assent_order *out)
{
    struct assent_reply reply;
    int rc = calls_run(client, r, &reply);
    if (rc == ASSENT_OK) {
        struct assent_bytes name = assent_value_bytes(assent_value_get(reply.data, "order"));
        rc = ASSENT_PROTOCOL;
        for (int order = ASSENT_EQUAL; order <= ASSENT_CONCURRENT; order++) {
            if (is_text(name, assent_order_name((enum assent_order)order)) ||
                is_text(name, assent_version_order_name((enum assent_order)order))) {
                rc = ASSENT_OK;
                if (out != NULL) {
                    *out = (enum assent_order)order;
                }
            }
        }
    }
    assent_reply_close(&reply);
    return rc;
}

/* ---- vector clocks ---- */

/* tick, join, retire: a clock and one of its members. */
static struct assent_request *member_request(uint32_t type, const char *clock, const char *node)
{
    SAME(VECTOR_TICK_CLOCK, VECTOR_JOIN_CLOCK);
    SAME(VECTOR_TICK_CLOCK, VECTOR_RETIRE_CLOCK);
    SAME(VECTOR_TICK_NODE, VECTOR_JOIN_NODE);
    SAME(VECTOR_TICK_NODE, VECTOR_RETIRE_NODE);
    struct assent_request *r = request_new(type, false);
    if (r != NULL) {
        request_text(r, VECTOR_TICK_CLOCK, clock);
        request_text(r, VECTOR_TICK_NODE, node);
    }
    return r;
}

int assent_clock_vector_tick(struct assent_client *client, const char *clock, const char *node,
                             struct assent_stamp *out)
{
    return run_stamp(client, member_request(COMMAND_VECTOR_TICK, clock, node), "vector", out);
}

int assent_clock_vector_join(struct assent_client *client, const char *clock, const char *node,
                             struct assent_stamp *out)
{
    return run_stamp(client, member_request(COMMAND_VECTOR_JOIN, clock, node), "vector", out);
}

int assent_clock_vector_retire(struct assent_client *client, const char *clock, const char *node,
                               bool *retired)
{
    struct assent_reply reply;
    int rc = calls_run(client, member_request(COMMAND_VECTOR_RETIRE, clock, node), &reply);
    if (rc == ASSENT_OK && retired != NULL) {
        *retired = is_text(assent_value_bytes(assent_value_get(reply.data, "status")), "RETIRED");
    }
    assent_reply_close(&reply);
    return rc;
}

/* sync, observe: what a member received or saw. */
static struct assent_request *received_request(uint32_t type, const char *clock, const char *node,
                                               const struct assent_vector *v, uint64_t epoch)
{
    SAME(VECTOR_SYNC_RECEIVED, VECTOR_OBSERVE_SEEN);
    SAME(VECTOR_SYNC_EPOCH, VECTOR_OBSERVE_EPOCH);
    struct assent_request *r = request_new(type, false);
    if (r != NULL) {
        request_text(r, VECTOR_SYNC_CLOCK, clock);
        request_text(r, VECTOR_SYNC_NODE, node);
        request_vector(r, VECTOR_SYNC_RECEIVED, v);
        request_uint(r, VECTOR_SYNC_EPOCH, epoch);
    }
    return r;
}

int assent_clock_vector_sync(struct assent_client *client, const char *clock, const char *node,
                             const struct assent_vector *received, uint64_t epoch, struct assent_stamp *out)
{
    return run_stamp(client, received_request(COMMAND_VECTOR_SYNC, clock, node, received, epoch), "vector",
                     out);
}

int assent_clock_vector_observe(struct assent_client *client, const char *clock, const char *node,
                                const struct assent_vector *seen, uint64_t epoch, struct assent_stamp *out)
{
    return run_stamp(client, received_request(COMMAND_VECTOR_OBSERVE, clock, node, seen, epoch), "vector",
                     out);
}

int assent_clock_vector_current(struct assent_client *client, const char *clock, struct assent_stamp *out)
{
    struct assent_request *r = request_new(QUERY_VECTOR, true);
    if (r != NULL) {
        request_text(r, QUERY_VECTOR_CLOCK, clock);
    }
    return run_stamp(client, r, "vector", out);
}

int assent_clock_vector_compare(struct assent_client *client, const char *clock,
                                const struct assent_vector *a, uint64_t epoch_a,
                                const struct assent_vector *b, uint64_t epoch_b, enum assent_order *order)
{
    struct assent_request *r = request_new(QUERY_VECTOR_COMPARE, true);
    if (r != NULL) {
        request_text(r, QUERY_VECTOR_COMPARE_CLOCK, clock);
        request_vector(r, QUERY_VECTOR_COMPARE_A, a);
        request_vector(r, QUERY_VECTOR_COMPARE_B, b);
        request_uint(r, QUERY_VECTOR_COMPARE_EPOCH_A, epoch_a);
        request_uint(r, QUERY_VECTOR_COMPARE_EPOCH_B, epoch_b);
    }
    return run_order(client, r, order);
}

/* ---- versions ---- */

/* increment, resolve: a write by a node that had read `context`. */
static struct assent_request *write_request(uint32_t type, const char *object, const char *node,
                                            const char *value_json, const struct assent_vector *context)
{
    SAME(VERSION_INCREMENT_VALUE, VERSION_RESOLVE_VALUE);
    SAME(VERSION_INCREMENT_CONTEXT, VERSION_RESOLVE_CONTEXT);
    struct assent_request *r = request_new(type, false);
    if (r != NULL) {
        request_text(r, VERSION_INCREMENT_OBJECT, object);
        request_text(r, VERSION_INCREMENT_NODE, node);
        request_json(r, VERSION_INCREMENT_VALUE, value_json);
        request_vector(r, VERSION_INCREMENT_CONTEXT, context);
    }
    return r;
}

int assent_clock_version_increment(struct assent_client *client, const char *object, const char *node,
                                   const char *value_json, const struct assent_vector *context,
                                   struct assent_stamp *out)
{
    struct assent_request *r = write_request(COMMAND_VERSION_INCREMENT, object, node, value_json, context);
    return run_stamp(client, r, "version", out);
}

int assent_clock_version_resolve(struct assent_client *client, const char *object, const char *node,
                                 const char *value_json, const struct assent_vector *context,
                                 struct assent_stamp *out)
{
    struct assent_request *r = write_request(COMMAND_VERSION_RESOLVE, object, node, value_json, context);
    return run_stamp(client, r, "version", out);
}

int assent_clock_version_merge(struct assent_client *client, const char *object,
                               const struct assent_vector *version, const char *node, const char *value_json,
                               struct assent_stamp *out)
{
    struct assent_request *r = request_new(COMMAND_VERSION_MERGE, false);
    if (r != NULL) {
        request_text(r, VERSION_MERGE_OBJECT, object);
        request_vector(r, VERSION_MERGE_VERSION, version);
        request_text(r, VERSION_MERGE_NODE, node);
        request_json(r, VERSION_MERGE_VALUE, value_json);
    }
    return run_stamp(client, r, "version", out);
}

int assent_clock_version_current(struct assent_client *client, const char *object, struct assent_stamp *out)
{
    struct assent_request *r = request_new(QUERY_VERSION, true);
    if (r != NULL) {
        request_text(r, QUERY_VERSION_OBJECT, object);
    }
    return run_stamp(client, r, "version", out);
}

int assent_clock_version_compare(struct assent_client *client, const struct assent_vector *a,
                                 const struct assent_vector *b, enum assent_order *order)
{
    struct assent_request *r = request_new(QUERY_VERSION_COMPARE, true);
    if (r != NULL) {
        request_vector(r, QUERY_VERSION_COMPARE_A, a);
        request_vector(r, QUERY_VERSION_COMPARE_B, b);
    }
    return run_order(client, r, order);
}

/* ---- timestamp events ---- */

static int run_event(struct assent_client *client, struct assent_request *r, uint64_t *time_us,
                     uint64_t *lamport)
{
    struct assent_reply reply;
    int rc = calls_run(client, r, &reply);
    if (rc == ASSENT_OK) {
        rc = calls_uint(&reply, "timeUs", time_us);
    }
    if (rc == ASSENT_OK) {
        rc = calls_uint(&reply, "lamport", lamport);
    }
    assent_reply_close(&reply);
    return rc;
}

static struct assent_request *event_request(uint32_t type, const struct assent_event *event)
{
    SAME(TIMESTAMP_EVENT_EVENT_ID, TIMESTAMP_SYNC_EVENT_ID);
    SAME(TIMESTAMP_EVENT_DATA, TIMESTAMP_SYNC_DATA);
    struct assent_request *r = request_new(type, false);
    if (r != NULL) {
        request_text(r, TIMESTAMP_EVENT_EVENT_ID, event->event_id);
        request_text(r, TIMESTAMP_EVENT_NODE, event->node);
        request_text(r, TIMESTAMP_EVENT_TYPE, event->type);
        request_text(r, TIMESTAMP_EVENT_BUSINESS, event->business);
        request_json(r, TIMESTAMP_EVENT_DATA, event->data_json);
    }
    return r;
}

int assent_clock_event_create(struct assent_client *client, const struct assent_event *event,
                              uint64_t *time_us, uint64_t *lamport)
{
    return run_event(client, event_request(COMMAND_TIMESTAMP_EVENT, event), time_us, lamport);
}

int assent_clock_event_sync(struct assent_client *client, const struct assent_event *event, uint64_t *time_us,
                            uint64_t *lamport)
{
    struct assent_request *r = event_request(COMMAND_TIMESTAMP_SYNC, event);
    if (r != NULL) {
        request_uint(r, TIMESTAMP_SYNC_TIME_US, event->time_us);
        request_uint(r, TIMESTAMP_SYNC_LAMPORT, event->lamport);
    }
    return run_event(client, r, time_us, lamport);
}

int assent_clock_event_compare(struct assent_client *client, const char *event_id1, const char *event_id2,
                               enum assent_order *order)
{
    struct assent_request *r = request_new(QUERY_TIMESTAMP_COMPARE, true);
    if (r != NULL) {
        request_text(r, QUERY_TIMESTAMP_COMPARE_EVENT_ID1, event_id1);
        request_text(r, QUERY_TIMESTAMP_COMPARE_EVENT_ID2, event_id2);
    }
    return run_order(client, r, order);
}
