/* The transport on loopback: delivery, reconnection, refusals with reasons, bounds.  Ports are picked by the
 * kernel; time only bounds how long a claim may take to come true. */
#include "transport.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "assent/error.h"

#define DEADLINE_MS 10000
#define CLUSTER     0xc0ffee

struct node {
    uint64_t id;
    struct transport *t;
    char address[64];
    uint32_t received, posts, chunks, chunks_at_last_post;
    uint64_t from, next_index, bytes;
    char sender[128];
    struct entry *kept; /* last entry received */
    bool linked;
    uint32_t links;
    uint64_t adopted_cluster, adopted_incarnation;
    int adopt_result;
    char refused[256]; /* details of the newest peer_refused */
    char unreachable[256];
    bool closed;
};

static uv_loop_t loop;

/* ---- a node ---- */

static void on_message(void *data, const struct message *m, const char *address)
{
    struct node *n = data;
    n->received++;
    n->from = m->from;
    snprintf(n->sender, sizeof n->sender, "%s", address);
    if (m->type == MESSAGE_POST) {
        n->posts++;
        n->bytes += m->post.size;
        n->chunks_at_last_post = n->chunks;
    }
    if (m->type == MESSAGE_CHUNK) {
        n->chunks++;
        n->bytes += m->chunk.data.size;
    }
    if (m->type == MESSAGE_RAFT && m->raft.raft.type == RAFT_APPEND_ENTRIES) {
        assert_int_equal(m->raft.raft.append_entries.prev_log_index, n->next_index);
        for (uint32_t i = 0; i < m->raft.raft.append_entries.n_entries; i++) {
            struct entry *e = m->raft.entries[i];
            assert_int_equal(e->index, ++n->next_index);
            n->bytes += e->size;
            entry_unref(n->kept);
            n->kept = entry_ref(e);
        }
    }
}

static int on_adopt(void *data, uint64_t cluster_id, uint64_t incarnation)
{
    struct node *n = data;
    n->adopted_cluster = cluster_id;
    n->adopted_incarnation = incarnation;
    return n->adopt_result;
}

static void on_link(void *data, uint64_t id, bool up)
{
    struct node *n = data;
    (void)id;
    n->linked = up;
    n->links += up;
}

static void on_event(void *data, int level, const char *event, const char *details)
{
    struct node *n = data;
    (void)level;
    if (strcmp(event, "peer_refused") == 0) {
        snprintf(n->refused, sizeof n->refused, "%s", details);
    }
    if (strcmp(event, "peer_unreachable") == 0) {
        snprintf(n->unreachable, sizeof n->unreachable, "%s", details);
    }
}

static void on_closed(void *data)
{
    ((struct node *)data)->closed = true;
}

static struct transport_config config_of(uint64_t id)
{
    return (struct transport_config){.id = id,
                                     .cluster_id = CLUSTER,
                                     .incarnation = 1,
                                     .listen = "127.0.0.1:0",
                                     .hello_timeout_ms = 200,
                                     .reconnect_min_ms = 2,
                                     .reconnect_max_ms = 20};
}

static void node_open(struct node *n, struct transport_config config)
{
    char err[256] = "", advertise[32];
    struct transport_callbacks callbacks = {n, on_message, on_adopt, on_link, on_event};
    *n = (struct node){.id = config.id};
    snprintf(advertise, sizeof advertise, "node-%u:9081", (unsigned)config.id);
    config.advertise = advertise;
    if (transport_open(&n->t, &loop, &config, &callbacks, err, sizeof err) != 0) {
        fail_msg("%s", err);
    }
    snprintf(n->address, sizeof n->address, "127.0.0.1:%d", transport_port(n->t));
}

/* ---- waiting ---- */

static bool late;
static uv_timer_t deadline;

static void on_deadline(uv_timer_t *timer)
{
    (void)timer;
    late = true;
}

/* Turn the loop until `condition` holds; fail when that takes absurdly long. */
#define until(condition)                                                                                     \
    do {                                                                                                     \
        late = false;                                                                                        \
        uv_timer_start(&deadline, on_deadline, DEADLINE_MS, 0);                                              \
        while (!(condition) && !late) {                                                                      \
            uv_run(&loop, UV_RUN_ONCE);                                                                      \
        }                                                                                                    \
        uv_timer_stop(&deadline);                                                                            \
        assert_true(condition);                                                                              \
    } while (0)

static void node_close(struct node *n)
{
    if (n->t != NULL) {
        transport_close(n->t, on_closed, n);
        until(n->closed);
        n->t = NULL;
    }
    entry_unref(n->kept);
    n->kept = NULL;
}

static int set_up(void **state)
{
    (void)state;
    uv_loop_init(&loop);
    uv_timer_init(&loop, &deadline);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    uv_close((uv_handle_t *)&deadline, NULL);
    uv_run(&loop, UV_RUN_DEFAULT);
    return uv_loop_close(&loop); /* non-zero: a handle leaked */
}

/* ---- messages ---- */

static int post(struct node *n, uint64_t to, const char *text)
{
    struct message m = {.type = MESSAGE_POST, .post = {(const uint8_t *)text, strlen(text)}};
    return transport_send(n->t, to, &m);
}

/* Entries `first` .. first + n - 1 of `size` bytes in one AppendEntries. */
static int append(struct node *from, uint64_t to, uint64_t first, uint32_t n, uint32_t size)
{
    struct entry *entries[64];
    struct message m = {.type = MESSAGE_RAFT};
    assert_true(n <= 64);
    for (uint32_t i = 0; i < n; i++) {
        entries[i] = entry_new(ENTRY_COMMAND, size);
        memset(entries[i]->payload, (int)(first + i), size);
        entry_seal(entries[i], first + i, 1);
    }
    m.raft.raft.type = RAFT_APPEND_ENTRIES;
    m.raft.raft.append_entries = (struct raft_append_entries){
        .term = 1, .prev_log_index = first - 1, .prev_log_term = first > 1, .n_entries = n};
    m.raft.entries = entries;
    int rv = transport_send(from->t, to, &m);
    for (uint32_t i = 0; i < n; i++) {
        entry_unref(entries[i]);
    }
    return rv;
}

/* ---- claims ---- */

static void messages_arrive_in_order_with_their_sender(void **state)
{
    (void)state;
    struct node a, b;
    struct transport_config ca = config_of(1), cb = config_of(2);
    ca.advert = (struct assent_bytes){(const uint8_t *)"http=8080", 9};
    node_open(&a, ca);
    node_open(&b, cb);
    assert_int_equal(post(&a, 2, "too early"), ASSENT_UNREACHABLE);
    transport_connect(a.t, 2, b.address);
    until(a.linked);
    assert_true(transport_connected(a.t, 2));
    assert_false(transport_connected(b.t, 1));
    for (uint64_t i = 0; i < 100; i++) {
        assert_int_equal(append(&a, 2, 1 + 3 * i, 3, 100), 0);
    }
    until(b.next_index == 300);
    assert_int_equal(b.from, 1);
    assert_string_equal(b.sender, "node-1:9081");
    assert_int_equal(transport_advert(b.t, 1).size, 9);
    assert_memory_equal(transport_advert(b.t, 1).base, "http=8080", 9);
    assert_int_equal(transport_advert(b.t, 7).size, 0);
    struct raftlog_metrics m = {0};
    transport_metrics(b.t, &m);
    assert_int_equal(m.messages_refused, 0);
    assert_true(m.messages_received >= 100 && m.bytes_received >= 30000);
    node_close(&a);
    node_close(&b);
}

static void both_directions_work_at_once(void **state)
{
    (void)state;
    struct node a, b;
    node_open(&a, config_of(1));
    node_open(&b, config_of(2));
    transport_connect(a.t, 2, b.address);
    transport_connect(b.t, 1, a.address);
    until(a.linked && b.linked);
    assert_int_equal(post(&a, 2, "ping"), 0);
    assert_int_equal(post(&b, 1, "pong"), 0);
    until(a.posts == 1 && b.posts == 1);
    node_close(&a);
    node_close(&b);
}

static void large_entries_pass_and_share_their_payload(void **state)
{
    (void)state;
    struct node a, b;
    node_open(&a, config_of(1));
    node_open(&b, config_of(2));
    transport_connect(a.t, 2, b.address);
    until(a.linked);
    assert_int_equal(append(&a, 2, 1, 1, ASSENT_ENTRY_BYTES_MAX), 0);
    assert_int_equal(append(&a, 2, 2, 1, 10), 0);
    assert_int_equal(append(&a, 2, 3, 1, ASSENT_ENTRY_BYTES_MAX), 0);
    until(b.next_index == 3);
    assert_int_equal(b.bytes, 2 * (uint64_t)ASSENT_ENTRY_BYTES_MAX + 10);
    assert_int_equal(b.kept->payload[ASSENT_ENTRY_BYTES_MAX - 1], 3);
    node_close(&a);
    node_close(&b);
}

static void a_full_queue_refuses_and_recovers(void **state)
{
    (void)state;
    struct node a, b;
    struct transport_config ca = config_of(1);
    ca.queue_bytes_max = 1 << 20;
    node_open(&a, ca);
    node_open(&b, config_of(2));
    transport_connect(a.t, 2, b.address);
    until(a.linked);
    int rv = 0;
    uint64_t sent = 0;
    while (rv == 0 && sent < 100) {
        rv = append(&a, 2, sent + 1, 1, 100000);
        sent += rv == 0;
    }
    assert_int_equal(rv, ASSENT_BUSY);
    assert_int_equal(sent, 10);
    until(b.next_index == sent);
    assert_int_equal(append(&a, 2, sent + 1, 1, 100000), 0);
    until(b.next_index == sent + 1);
    node_close(&a);
    node_close(&b);
}

static void chunks_give_way_to_other_messages(void **state)
{
    (void)state;
    struct node a, b;
    static uint8_t bytes[1 << 20];
    node_open(&a, config_of(1));
    node_open(&b, config_of(2));
    transport_connect(a.t, 2, b.address);
    until(a.linked);
    for (uint32_t i = 0; i < 8; i++) {
        struct message m = {
            .type = MESSAGE_CHUNK,
            .chunk = {.index = 1, .term = 1, .size = sizeof bytes, .data = {bytes, sizeof bytes}}};
        assert_int_equal(transport_send(a.t, 2, &m), 0);
    }
    assert_int_equal(post(&a, 2, "heartbeat"), 0);
    until(b.chunks == 8);
    assert_int_equal(b.posts, 1);
    assert_int_equal(b.chunks_at_last_post, 0);
    node_close(&a);
    node_close(&b);
}

static void a_restarted_peer_is_found_again(void **state)
{
    (void)state;
    struct node a, b;
    char listen[64];
    node_open(&a, config_of(1));
    node_open(&b, config_of(2));
    transport_connect(a.t, 2, b.address);
    until(a.linked);
    snprintf(listen, sizeof listen, "%s", b.address);
    node_close(&b);
    until(!a.linked);
    assert_int_equal(post(&a, 2, "nobody there"), ASSENT_UNREACHABLE);
    assert_non_null(strstr(a.unreachable, "peer=2"));
    struct transport_config cb = config_of(2);
    cb.listen = listen;
    node_open(&b, cb);
    until(a.linked);
    assert_int_equal(a.links, 2);
    assert_int_equal(post(&a, 2, "again"), 0);
    until(b.posts == 1);
    node_close(&a);
    node_close(&b);
}

static void a_changed_address_reconnects(void **state)
{
    (void)state;
    struct node a, b, c;
    node_open(&a, config_of(1));
    node_open(&b, config_of(2));
    transport_connect(a.t, 2, b.address);
    transport_connect(a.t, 2, b.address);
    until(a.linked);
    assert_int_equal(a.links, 1);
    node_open(&c, config_of(2));
    transport_connect(a.t, 2, c.address);
    until(a.linked && a.links == 2);
    assert_int_equal(post(&a, 2, "moved"), 0);
    until(c.posts == 1);
    transport_disconnect(a.t, 2);
    assert_false(transport_connected(a.t, 2));
    assert_int_equal(post(&a, 2, "gone"), ASSENT_UNREACHABLE);
    node_close(&a);
    node_close(&b);
    node_close(&c);
}

static void names_are_looked_up(void **state)
{
    (void)state;
    struct node a, b;
    char address[64];
    node_open(&a, config_of(1));
    node_open(&b, config_of(2));
    snprintf(address, sizeof address, "localhost:%d", transport_port(b.t));
    transport_connect(a.t, 2, address);
    until(a.linked);
    transport_connect(a.t, 3, "not an address");
    until(strstr(a.unreachable, "host:port") != NULL);
    node_close(&a);
    node_close(&b);
}

static void closing_while_connecting_leaves_nothing(void **state)
{
    (void)state;
    struct node a, b;
    char address[64];
    node_open(&a, config_of(1));
    node_open(&b, config_of(2));
    snprintf(address, sizeof address, "localhost:%d", transport_port(b.t));
    transport_connect(a.t, 2, address);
    transport_connect(a.t, 3, b.address);
    node_close(&a);
    node_close(&b);
}

static void strangers_are_refused_with_a_reason(void **state)
{
    (void)state;
    static const struct {
        uint64_t cluster_id, incarnation, to;
        const char *reason;
    } rows[] = {
        {CLUSTER + 1, 1, 2, "another cluster"},
        {CLUSTER, 0, 2, "older incarnation"},
        {CLUSTER, 2, 2, "newer incarnation"},
        {CLUSTER, 1, 3, "another node"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct node a, b;
        struct transport_config ca = config_of(1);
        ca.cluster_id = rows[i].cluster_id;
        ca.incarnation = rows[i].incarnation;
        node_open(&a, ca);
        node_open(&b, config_of(2));
        transport_connect(a.t, rows[i].to, b.address);
        until(b.refused[0] != '\0' && a.unreachable[0] != '\0');
        print_message("%s\n", b.refused);
        assert_non_null(strstr(b.refused, rows[i].reason));
        assert_int_equal(a.links, 0);
        assert_int_equal(b.received, 0);
        node_close(&a);
        node_close(&b);
    }
}

static void a_joining_node_adopts_its_cluster_once(void **state)
{
    (void)state;
    struct node a, b, foreign;
    struct transport_config cb = config_of(2), cf = config_of(3), ca = config_of(1);
    ca.incarnation = 4;
    cb.cluster_id = 0;
    cb.incarnation = 0;
    cf.cluster_id = CLUSTER + 1;
    node_open(&a, ca);
    node_open(&b, cb);
    node_open(&foreign, cf);
    transport_connect(b.t, 1, a.address); /* waits: it could not say of which cluster it is */
    transport_connect(a.t, 2, b.address);
    until(a.linked && b.linked);
    assert_int_equal(b.adopted_cluster, CLUSTER);
    assert_int_equal(b.adopted_incarnation, 4);
    transport_connect(foreign.t, 2, b.address);
    until(strstr(b.refused, "another cluster") != NULL);
    assert_int_equal(b.adopted_cluster, CLUSTER);
    node_close(&a);
    node_close(&b);
    node_close(&foreign);
}

static void a_failed_adoption_refuses(void **state)
{
    (void)state;
    struct node a, b;
    struct transport_config cb = config_of(2);
    cb.cluster_id = 0;
    node_open(&a, config_of(1));
    node_open(&b, cb);
    b.adopt_result = ASSENT_IO;
    transport_connect(a.t, 2, b.address);
    until(strstr(b.refused, "adopted") != NULL);
    assert_false(a.linked);
    node_close(&a);
    node_close(&b);
}

/* ---- a client that is not a node ---- */

struct raw {
    uv_tcp_t tcp;
    uv_connect_t connect;
    uv_write_t write;
    bool connected, ended, closed;
    uint8_t got[4096];
    size_t got_size;
};

static void on_raw_connected(uv_connect_t *req, int status)
{
    assert_int_equal(status, 0);
    ((struct raw *)req->data)->connected = true;
}

static void on_raw_alloc(uv_handle_t *h, size_t size, uv_buf_t *buf)
{
    struct raw *r = h->data;
    (void)size;
    *buf = uv_buf_init((char *)r->got + r->got_size, (unsigned)(sizeof r->got - r->got_size));
}

static void on_raw_read(uv_stream_t *s, ssize_t n, const uv_buf_t *buf)
{
    struct raw *r = s->data;
    (void)buf;
    if (n < 0) {
        r->ended = true;
        uv_read_stop(s);
    } else {
        r->got_size += (size_t)n;
    }
}

static void on_raw_closed(uv_handle_t *h)
{
    ((struct raw *)h->data)->closed = true;
}

static void raw_open(struct raw *r, const struct node *n)
{
    struct sockaddr_in address;
    *r = (struct raw){0};
    r->tcp.data = r;
    r->connect.data = r;
    uv_tcp_init(&loop, &r->tcp);
    uv_ip4_addr("127.0.0.1", transport_port(n->t), &address);
    assert_int_equal(uv_tcp_connect(&r->connect, &r->tcp, (struct sockaddr *)&address, on_raw_connected), 0);
    until(r->connected);
    uv_read_start((uv_stream_t *)&r->tcp, on_raw_alloc, on_raw_read);
}

static void raw_close(struct raw *r)
{
    uv_close((uv_handle_t *)&r->tcp, on_raw_closed);
    until(r->closed);
}

static void raw_write(struct raw *r, const void *bytes, size_t size)
{
    uv_buf_t buf = uv_buf_init((char *)(uintptr_t)bytes, (unsigned)size);
    assert_int_equal(uv_try_write((uv_stream_t *)&r->tcp, &buf, 1), size);
}

static size_t hello_frame(uint8_t *frame, uint64_t from, uint64_t to)
{
    struct message m = {.type = MESSAGE_HELLO,
                        .hello = {.cluster_id = CLUSTER,
                                  .incarnation = 1,
                                  .from = from,
                                  .to = to,
                                  .address = {(const uint8_t *)"raw:1", 5}}};
    return message_encode_head(&m, frame);
}

static void garbage_is_refused_with_a_reason(void **state)
{
    (void)state;
    uint8_t frame[512];
    struct message probe = {.type = MESSAGE_PROBE, .probe = {.term = 1, .round = 1}};
    struct node a;
    node_open(&a, config_of(1));
    static const char http[] = "GET / HTTP/1.1\r\nHost: x\r\n\r\n";
    for (unsigned i = 0; i < 6; i++) {
        struct raw r;
        const char *want = "";
        raw_open(&r, &a);
        a.refused[0] = '\0';
        size_t size = hello_frame(frame, 2, 1);
        switch (i) {
        case 0:
            raw_write(&r, http, sizeof http - 1);
            want = "not this protocol";
            break;
        case 1:
            frame[4] = 9;
            raw_write(&r, frame, size);
            want = "version";
            break;
        case 2:
            frame[20] ^= 1;
            raw_write(&r, frame, size);
            want = "checksum";
            break;
        case 3:
            raw_write(&r, frame, message_encode_head(&probe, frame));
            want = "before HELLO";
            break;
        case 4:
            raw_write(&r, frame, size);
            until(r.got_size > 0); /* greeted */
            raw_write(&r, http, sizeof http - 1);
            want = "not this protocol";
            break;
        case 5:
            raw_write(&r, frame, size);
            raw_write(&r, frame, size);
            want = "does not belong";
            break;
        }
        until(r.ended && a.refused[0] != '\0');
        print_message("%s\n", a.refused);
        assert_non_null(strstr(a.refused, want));
        raw_close(&r);
    }
    assert_int_equal(a.received, 0);
    node_close(&a);
}

static void a_vote_asked_in_another_name_is_refused(void **state)
{
    (void)state;
    struct node a;
    struct raw r;
    uint8_t frame[512];
    struct message m = {.type = MESSAGE_RAFT};
    m.raft.raft.type = RAFT_REQUEST_VOTE;
    m.raft.raft.request_vote = (struct raft_request_vote){.term = 9, .candidate_id = 3};
    node_open(&a, config_of(1));
    raw_open(&r, &a);
    raw_write(&r, frame, hello_frame(frame, 2, 1));
    raw_write(&r, frame, message_encode_head(&m, frame));
    until(r.ended);
    assert_int_equal(a.received, 0);
    raw_close(&r);
    node_close(&a);
}

static void a_connection_that_says_nothing_is_closed(void **state)
{
    (void)state;
    struct node a;
    struct raw silent, slow;
    uint8_t frame[512];
    node_open(&a, config_of(1));
    raw_open(&silent, &a);
    raw_open(&slow, &a);
    raw_write(&slow, frame, hello_frame(frame, 2, 1) - 1); /* all but the last byte */
    until(silent.ended && slow.ended);
    assert_non_null(strstr(a.refused, "no HELLO in time"));
    raw_close(&silent);
    raw_close(&slow);
    node_close(&a);
}

static void bytes_that_trickle_in_are_one_message(void **state)
{
    (void)state;
    struct node a;
    struct raw r;
    uint8_t frame[512];
    struct message m = {.type = MESSAGE_POST, .post = {(const uint8_t *)"slowly", 6}};
    node_open(&a, config_of(1));
    raw_open(&r, &a);
    raw_write(&r, frame, hello_frame(frame, 2, 1));
    until(r.got_size > 0);
    size_t size = message_encode_head(&m, frame);
    memcpy(frame + size, "slowly", 6);
    for (size_t i = 0; i < size + 6; i++) {
        raw_write(&r, frame + i, 1);
        uv_run(&loop, UV_RUN_NOWAIT);
    }
    until(a.posts == 1);
    assert_int_equal(a.bytes, 6);
    raw_close(&r);
    node_close(&a);
}

static void a_listener_that_never_answers_is_given_up(void **state)
{
    (void)state;
    struct node a;
    uv_tcp_t mute;
    struct sockaddr_in address;
    struct sockaddr_storage bound;
    int length = sizeof bound;
    char text[64];
    uv_tcp_init(&loop, &mute);
    uv_ip4_addr("127.0.0.1", 0, &address);
    assert_int_equal(uv_tcp_bind(&mute, (struct sockaddr *)&address, 0), 0);
    /* listens in the kernel, is never accepted: half open for ever */
    int fd;
    assert_int_equal(uv_fileno((uv_handle_t *)&mute, &fd), 0);
    assert_int_equal(listen(fd, 8), 0);
    assert_int_equal(uv_tcp_getsockname(&mute, (struct sockaddr *)&bound, &length), 0);
    snprintf(text, sizeof text, "127.0.0.1:%d", ntohs(((struct sockaddr_in *)&bound)->sin_port));
    node_open(&a, config_of(1));
    transport_connect(a.t, 2, text);
    until(strstr(a.unreachable, "no HELLO in answer") != NULL);
    assert_false(transport_connected(a.t, 2));
    node_close(&a);
    uv_close((uv_handle_t *)&mute, NULL);
}

static void connections_are_bounded(void **state)
{
    (void)state;
    struct node a;
    struct raw r[3];
    struct transport_config ca = config_of(1);
    ca.connections_max = 2;
    ca.hello_timeout_ms = 60000;
    node_open(&a, ca);
    raw_open(&r[0], &a);
    raw_open(&r[1], &a);
    raw_open(&r[2], &a);
    until(r[2].ended);
    assert_non_null(strstr(a.refused, "too many connections"));
    assert_false(r[0].ended || r[1].ended);
    raw_close(&r[0]);
    for (unsigned i = 0; i < 3; i++) {
        uv_run(&loop, UV_RUN_NOWAIT);
    }
    struct raw again;
    raw_open(&again, &a);
    uint8_t frame[512];
    raw_write(&again, frame, hello_frame(frame, 2, 1));
    until(again.got_size > 0);
    raw_close(&r[1]);
    raw_close(&r[2]);
    raw_close(&again);
    node_close(&a);
}

static void an_unusable_listen_address_is_an_error(void **state)
{
    (void)state;
    struct node a;
    char err[256] = "";
    struct transport *t;
    struct transport_callbacks callbacks = {&a, on_message, on_adopt, on_link, on_event};
    struct transport_config c = config_of(2);
    node_open(&a, config_of(1));
    c.advertise = "x:1";
    c.listen = a.address; /* taken */
    assert_int_equal(transport_open(&t, &loop, &c, &callbacks, err, sizeof err), ASSENT_IO);
    assert_non_null(strstr(err, a.address));
    c.listen = "nonsense";
    assert_int_equal(transport_open(&t, &loop, &c, &callbacks, err, sizeof err), ASSENT_INVALID);
    node_close(&a);
}

int main(void)
{
#define CLAIM(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        CLAIM(messages_arrive_in_order_with_their_sender),
        CLAIM(both_directions_work_at_once),
        CLAIM(large_entries_pass_and_share_their_payload),
        CLAIM(a_full_queue_refuses_and_recovers),
        CLAIM(chunks_give_way_to_other_messages),
        CLAIM(a_restarted_peer_is_found_again),
        CLAIM(a_changed_address_reconnects),
        CLAIM(names_are_looked_up),
        CLAIM(closing_while_connecting_leaves_nothing),
        CLAIM(strangers_are_refused_with_a_reason),
        CLAIM(a_joining_node_adopts_its_cluster_once),
        CLAIM(a_failed_adoption_refuses),
        CLAIM(garbage_is_refused_with_a_reason),
        CLAIM(a_vote_asked_in_another_name_is_refused),
        CLAIM(a_connection_that_says_nothing_is_closed),
        CLAIM(bytes_that_trickle_in_are_one_message),
        CLAIM(a_listener_that_never_answers_is_given_up),
        CLAIM(connections_are_bounded),
        CLAIM(an_unusable_listen_address_is_an_error),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
