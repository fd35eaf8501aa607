/* A node made of a script; see stub.h. */
#include "stub.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct stub_conn {
    uv_tcp_t tcp;
    struct stub *stub;
    struct stub_conn *next;
    uint8_t *in;
    size_t size;
    struct codec_writer out, scratch;
    struct codec_arena arena, inner;
};

static void conn_closed(uv_handle_t *handle)
{
    struct stub_conn *c = handle->data;
    codec_writer_close(&c->out);
    codec_writer_close(&c->scratch);
    codec_arena_close(&c->arena);
    codec_arena_close(&c->inner);
    free(c->in);
    free(c);
}

static void conn_close(struct stub_conn *c)
{
    if (uv_is_closing((uv_handle_t *)&c->tcp)) {
        return;
    }
    for (struct stub_conn **at = &c->stub->conns; *at != NULL; at = &(*at)->next) {
        if (*at == c) {
            *at = c->next;
            break;
        }
    }
    uv_close((uv_handle_t *)&c->tcp, conn_closed);
}

struct rest {
    uv_write_t req;
    char bytes[];
};

static void written(uv_write_t *req, int status)
{
    (void)status;
    free(req->data);
}

static void send_bytes(struct stub_conn *c, struct assent_bytes bytes)
{
    struct rest *rest = malloc(sizeof *rest + bytes.size);
    assert(rest != NULL);
    memcpy(rest->bytes, bytes.base, bytes.size);
    rest->req.data = rest;
    uv_buf_t buf = uv_buf_init(rest->bytes, (unsigned)bytes.size);
    int rc = uv_write(&rest->req, (uv_stream_t *)&c->tcp, &buf, 1, written);
    assert(rc == 0);
}

static void flush(struct stub_conn *c)
{
    struct assent_bytes bytes = codec_written(&c->out);
    if (bytes.size > 0 && !uv_is_closing((uv_handle_t *)&c->tcp)) {
        send_bytes(c, bytes);
    }
    codec_writer_reset(&c->out);
}

static void leader(struct stub_conn *c)
{
    if (c->stub->leader[0] != '\0') {
        codec_cstr(&c->out, c->stub->leader);
    } else {
        codec_nil(&c->out);
    }
}

static void welcome(struct stub_conn *c, uint64_t id)
{
    struct stub *s = c->stub;
    s->hellos++;
    if (s->no_welcome) {
        return;
    }
    size_t mark = frame_open(&c->out, FRAME_WELCOME, id, 5);
    codec_uint(&c->out, s->version != 0 ? s->version : FRAME_VERSION);
    codec_uint(&c->out, 77);
    codec_uint(&c->out, 1);
    leader(c);
    codec_bool(&c->out, s->leads);
    frame_close(&c->out, mark);
}

static void failed(struct stub_conn *c, uint64_t id, int code)
{
    size_t mark = frame_open(&c->out, FRAME_FAILED, id, 3);
    codec_uint(&c->out, (uint64_t)code);
    codec_nil(&c->out);
    leader(c);
    frame_close(&c->out, mark);
}

static const char *status_of(const struct stub *s)
{
    if (s->last_type == COMMAND_FREEZE && s->freezes != NULL)
        return *s->freezes == 'W' ? "WAITING" : *s->freezes == 'T' ? "TIMED_OUT" : "GRANTED";
    return s->last_type == COMMAND_VECTOR_RETIRE ? "RETIRED" : "COMMITTED";
}

/* What the next letter of the script says: (W)aiting, (T)imed out, (S)hared, (U)pgrade under way,
 * e(X)clusive. */
static void freeze_pairs(struct stub *s, struct codec_writer *w)
{
    char letter = s->last_type == COMMAND_FREEZE && s->freezes != NULL ? *s->freezes++ : 'T';
    codec_pair_cstr(w, "mode", letter == 'X' ? "exclusive" : letter == 'S' || letter == 'U' ? "shared" : "");
    codec_pair_cstr(w, "waitingFor", letter == 'W' || letter == 'U' ? "exclusive" : "");
    codec_pair_uint(w, "token", 97);
}
static_assert((uint32_t)COMMAND_FREEZE == (uint32_t)QUERY_FREEZE, "asked and looked at by one script");

/* RESULT with a map of everything the typed calls look for. */
static void result(struct stub_conn *c, uint64_t id, int code, uint64_t value)
{
    struct codec_writer *w = &c->out;
    size_t mark = frame_open(w, FRAME_RESULT, id, 3);
    codec_uint(w, 41);
    codec_uint(w, 3);
    codec_list(w, 3);
    codec_uint(w, (uint64_t)code);
    if (code == ASSENT_OK) {
        codec_map(w, 14);
        codec_pair_uint(w, "value", value);
        codec_pair_uint(w, "first", value);
        codec_pair_uint(w, "client", value);
        codec_pair_uint(w, "timeUs", value);
        codec_pair_uint(w, "lamport", value);
        codec_pair_uint(w, "epoch", 4);
        codec_pair_cstr(w, "xid", "tag-1");
        codec_pair_cstr(w, "status", status_of(c->stub));
        freeze_pairs(c->stub, w);
        codec_pair_cstr(w, "order", "CONCURRENT");
        for (int i = 0; i < 2; i++) {
            codec_cstr(w, i == 0 ? "vector" : "version");
            codec_map(w, 2);
            codec_pair_uint(w, "a", 1);
            codec_pair_uint(w, "b", value);
        }
    } else {
        codec_nil(w);
    }
    if (code == ASSENT_TXN_DECIDED) {
        codec_cstr(w, "it was \"decided\"");
    } else {
        codec_nil(w);
    }
    frame_close(w, mark);
}

/* Carry out under the session, or remember. */
static void execute(struct stub_conn *c, uint64_t id, const struct command *cmd)
{
    struct stub *s = c->stub;
    struct stub_model *m = s->model;
    uint64_t value, before = m->executed;
    if (cmd->session.kind == SESSION_SEQUENCE) {
        uint64_t *slot = &m->reply[cmd->session.sequence % STUB_SEQUENCES];
        if (s->expire || cmd->session.client != m->session) {
            s->expire = false;
            m->session++; /* whoever comes with the old one is refused */
            result(c, id, ASSENT_SESSION_EXPIRED, 0);
            return;
        }
        assert(cmd->session.sequence > m->acknowledged);
        assert(cmd->session.acknowledged < cmd->session.sequence);
        for (; m->acknowledged < cmd->session.acknowledged; m->acknowledged++) {
            m->reply[(m->acknowledged + 1) % STUB_SEQUENCES] = 0;
        }
        if (*slot != 0) {
            m->repeated++;
        } else {
            m->executed++;
            *slot = ++m->value;
        }
        value = *slot;
    } else {
        m->executed++;
        value = ++m->value;
    }
    if (s->drop_after > 0) {
        s->drop_after--;
        conn_close(c);
        return;
    }
    if (s->drop_each != 0 && m->executed != before && m->executed % s->drop_each == 0) {
        conn_close(c);
        return;
    }
    result(c, id, cmd->type == COMMAND_TXN_ROLLBACK ? ASSENT_TXN_DECIDED : ASSENT_OK, value);
}

static void command(struct stub_conn *c, uint64_t id, const struct codec_node *list)
{
    struct stub *s = c->stub;
    struct command cmd;
    int rc = command_decode(&c->inner, codec_as_bytes(codec_at(list, 2)), false, true, &cmd, s->last_args,
                            sizeof s->last_args);
    assert(rc == ASSENT_OK);
    s->last_type = cmd.type;
    if (!s->leads) {
        failed(c, id, ASSENT_NOT_LEADER);
    } else if (cmd.type == COMMAND_SESSION_CLOSE) {
        s->session_closes++;
    } else if (cmd.type == COMMAND_SESSION_OPEN) {
        s->session_opens++;
        struct stub_model *m = s->model;
        m->session += 100;
        m->acknowledged = 0;
        memset(m->reply, 0, sizeof m->reply);
        result(c, id, s->refuse_session, m->session);
        s->refuse_session = 0;
    } else if (s->commands++, s->fail > 0) {
        s->fail--;
        failed(c, id, s->fail_code);
    } else if (s->drop_before > 0) {
        s->drop_before--;
        conn_close(c);
    } else if (s->garbage > 0) {
        s->garbage--;
        send_bytes(c, (struct assent_bytes){(const uint8_t *)"\0\0\0\5HTTP/", 9});
    } else if (s->malformed > 0) {
        s->malformed--;
        size_t mark = frame_open(&c->out, FRAME_RESULT, id, 3);
        codec_uint(&c->out, 1);
        codec_uint(&c->out, 1);
        codec_list(&c->out, 3);
        codec_uint(&c->out, 0);
        codec_cstr(&c->out, "no map");
        codec_nil(&c->out);
        frame_close(&c->out, mark);
    } else {
        execute(c, id, &cmd);
    }
}

static void query(struct stub_conn *c, uint64_t id, const struct codec_node *list)
{
    struct stub *s = c->stub;
    struct command cmd;
    s->queries++;
    int rc = command_decode(&c->inner, codec_as_bytes(codec_at(list, 2)), true, true, &cmd, s->last_args,
                            sizeof s->last_args);
    assert(rc == ASSENT_OK);
    s->last_type = cmd.type;
    if (!s->leads && !codec_as_bool(codec_at(list, 3))) {
        failed(c, id, ASSENT_NOT_LEADER);
    } else {
        result(c, id, ASSENT_OK, s->model->value);
    }
}

static void tso(struct stub_conn *c, uint64_t id, const struct codec_node *list)
{
    struct stub *s = c->stub;
    s->tsos++;
    assert(codec_as_bool(codec_at(list, 3))); /* strict */
    if (s->fail > 0) {
        s->fail--;
        failed(c, id, s->fail_code);
        return;
    }
    uint64_t count = codec_as_uint(codec_at(list, 2));
    assert(count >= 1 && count <= ASSENT_COUNT_MAX);
    if (s->tso_most != 0 && count > s->tso_most) {
        count = s->tso_most;
    }
    size_t mark = frame_open(&c->out, FRAME_TSO_OK, id, 3);
    codec_uint(&c->out, ++s->model->tso_next);
    codec_uint(&c->out, count);
    codec_uint(&c->out, 3);
    frame_close(&c->out, mark);
    s->model->tso_next += count - 1;
}

static void one_frame(struct stub_conn *c, struct assent_bytes body)
{
    struct stub *s = c->stub;
    enum frame_kind kind;
    uint64_t id;
    const struct codec_node *list;
    bool good = frame_decode(&c->arena, body, &kind, &id, &list);
    assert(good);
    if (kind == FRAME_HELLO) {
        welcome(c, id);
    } else if (kind == FRAME_PING) {
        s->pings++;
        if (!s->deaf) {
            size_t mark = frame_open(&c->out, FRAME_PONG, id, 2);
            leader(c);
            codec_bool(&c->out, s->leads);
            frame_close(&c->out, mark);
        }
    } else if (s->mute || s->deaf) {
        s->commands++;
    } else if (kind == FRAME_COMMAND) {
        command(c, id, list);
    } else if (kind == FRAME_QUERY) {
        query(c, id, list);
    } else if (kind == FRAME_TSO) {
        tso(c, id, list);
    } else {
        assert(false);
    }
}

static void alloc_cb(uv_handle_t *handle, size_t suggested, uv_buf_t *buf)
{
    struct stub_conn *c = handle->data;
    c->in = realloc(c->in, c->size + suggested);
    assert(c->in != NULL);
    *buf = uv_buf_init((char *)c->in + c->size, (unsigned)suggested);
}

static void read_cb(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf)
{
    (void)buf;
    struct stub_conn *c = stream->data;
    if (n < 0) {
        conn_close(c);
        return;
    }
    c->size += (size_t)n;
    size_t done = 0;
    while (!uv_is_closing((uv_handle_t *)&c->tcp)) {
        struct assent_bytes body;
        int64_t size = frame_next((struct assent_bytes){c->in + done, c->size - done}, &body);
        assert(size >= 0);
        if (size == 0) {
            break;
        }
        one_frame(c, body);
        done += (size_t)size;
    }
    memmove(c->in, c->in + done, c->size - done);
    c->size -= done;
    flush(c);
}

static void accept_cb(uv_stream_t *listener, int status)
{
    assert(status == 0);
    struct stub *s = listener->data;
    struct stub_conn *c = calloc(1, sizeof *c);
    assert(c != NULL);
    c->stub = s;
    codec_writer_init(&c->out);
    codec_writer_init(&c->scratch);
    codec_arena_init(&c->arena);
    codec_arena_init(&c->inner);
    uv_tcp_init(s->loop, &c->tcp);
    c->tcp.data = c;
    int rc = uv_accept(listener, (uv_stream_t *)&c->tcp);
    assert(rc == 0);
    c->next = s->conns;
    s->conns = c;
    uv_read_start((uv_stream_t *)&c->tcp, alloc_cb, read_cb);
}

void stub_open(struct stub *s, uv_loop_t *loop, struct stub_model *model)
{
    *s = (struct stub){.loop = loop, .model = model, .leads = true};
    struct sockaddr_in any;
    uv_ip4_addr("127.0.0.1", 0, &any);
    uv_tcp_init(loop, &s->listener);
    s->listener.data = s;
    int rc = uv_tcp_bind(&s->listener, (const struct sockaddr *)&any, 0);
    assert(rc == 0);
    rc = uv_listen((uv_stream_t *)&s->listener, 16, accept_cb);
    assert(rc == 0);
    int size = sizeof any;
    uv_tcp_getsockname(&s->listener, (struct sockaddr *)&any, &size);
    (void)snprintf(s->address, sizeof s->address, "127.0.0.1:%d", ntohs(any.sin_port));
}

void stub_hang_up(struct stub *s)
{
    while (s->conns != NULL) {
        conn_close(s->conns);
    }
}

void stub_close(struct stub *s)
{
    stub_hang_up(s);
    if (!uv_is_closing((uv_handle_t *)&s->listener)) {
        uv_close((uv_handle_t *)&s->listener, NULL);
    }
}
