/* raftlog.h without consensus: one in-memory log shared by the fakes of a process, steered by the test. */
#include "fake_raftlog.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define FAKES_MAX 5

struct bytes {
    size_t size;
    uint8_t base[];
};

struct item {
    struct raftlog_propose *req;
    struct raftlog_read *read;
    struct raftlog_member *member;
    struct raftlog_take *take;
    uint64_t from;       /* of a message */
    struct bytes *bytes; /* of a command or message */
    struct item *next;
};

struct raftlog {
    struct raftlog_app app;
    struct raftlog_config config;
    uv_loop_t *loop;
    uv_idle_t idle;
    struct item *first, **last;
    struct item *held, **held_last;
    enum raftlog_role role;
    uint64_t term, leader, proposed, reads, applied;
    bool ready, role_told, holding, cut, closing;
    int refuse;
    char advert[1024];
    struct raftlog_metrics metrics;
    void (*closed)(void *);
    void *closed_data;
};

static struct raftlog *fakes[FAKES_MAX];
static uint64_t last_index;

const uint32_t raftlog_bucket_us[RAFTLOG_BUCKETS] = {100,    200,    400,     800,       1600,   3200,
                                                     6400,   12800,  25600,   51200,     102400, 204800,
                                                     409600, 819200, 1638400, UINT32_MAX};

void raftlog_config_init(struct raftlog_config *config)
{
    memset(config, 0, sizeof *config);
}

static struct item *push(struct raftlog *log)
{
    struct item *item = calloc(1, sizeof *item);
    assert(item != NULL);
    *log->last = item;
    log->last = &item->next;
    return item;
}

static struct bytes *keep(struct assent_bytes b)
{
    struct bytes *kept = malloc(sizeof *kept + b.size);
    assert(kept != NULL);
    kept->size = b.size;
    memcpy(kept->base, b.base, b.size);
    return kept;
}

static struct assent_bytes kept_bytes(const struct bytes *b)
{
    return (struct assent_bytes){b->base, b->size};
}

/* Apply on every fake; the result of `log`'s own goes to the request. */
static void commit(struct raftlog *log, struct item *item)
{
    last_index++;
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    for (int i = 0; i < FAKES_MAX; i++) {
        struct raftlog *f = fakes[i];
        if (f == NULL || f->cut)
            continue;
        struct raftlog_command c = {.index = last_index,
                                    .term = log->term,
                                    .time_us = (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000,
                                    .command = kept_bytes(item->bytes),
                                    .awaited = f == log};
        f->app.apply(f->app.data, &c, 1, last_index);
        f->applied = last_index;
        if (f == log) {
            item->req->index = last_index;
            item->req->term = log->term;
            item->req->cb(item->req, ASSENT_OK, c.result);
        }
    }
}

static void run_item(struct raftlog *log, struct item *item)
{
    struct assent_bytes none = {NULL, 0};
    if (item->req != NULL && log->holding) {
        item->next = NULL;
        *log->held_last = item;
        log->held_last = &item->next;
        return;
    }
    if (item->req != NULL && log->role == RAFTLOG_LEADER) {
        commit(log, item);
    } else if (item->req != NULL) {
        item->req->cb(item->req, log->closing ? ASSENT_SHUTDOWN : ASSENT_UNKNOWN_OUTCOME, none);
    } else if (item->read != NULL) {
        item->read->index = log->applied;
        item->read->term = log->term;
        item->read->local = log->role == RAFTLOG_LEADER;
        item->read->cb(item->read, log->closing       ? ASSENT_SHUTDOWN
                                   : log->leader == 0 ? ASSENT_NO_LEADER
                                                      : ASSENT_OK);
    } else if (item->member != NULL) {
        item->member->cb(item->member, ASSENT_OK, "changed");
    } else if (item->take != NULL) {
        struct raftlog_snapshot s = {
            .index = log->applied, .term = log->term, .size = 42, .path = "/somewhere"};
        item->take->cb(item->take, ASSENT_OK, &s);
    } else {
        log->app.post(log->app.data, item->from, kept_bytes(item->bytes));
    }
    free(item->bytes);
    free(item);
}

static void tell(struct raftlog *log)
{
    log->role_told = true;
    log->app.role(log->app.data, log->role, log->term, log->leader, log->ready);
}

static void on_closed(uv_handle_t *handle)
{
    struct raftlog *log = handle->data;
    for (int i = 0; i < FAKES_MAX; i++) {
        if (fakes[i] == log)
            fakes[i] = NULL;
    }
    log->closed(log->closed_data);
    free(log);
}

static void on_idle(uv_idle_t *idle)
{
    struct raftlog *log = idle->data;
    if (!log->role_told)
        tell(log);
    while (log->first != NULL) {
        struct item *item = log->first;
        log->first = item->next;
        if (log->first == NULL)
            log->last = &log->first;
        run_item(log, item);
    }
    if (log->closing && !uv_is_closing((uv_handle_t *)idle))
        uv_close((uv_handle_t *)idle, on_closed);
    else
        uv_idle_stop(idle);
}

static void kick(struct raftlog *log)
{
    uv_idle_start(&log->idle, on_idle);
}

int raftlog_open(struct raftlog **out, uv_loop_t *loop, const struct raftlog_config *config,
                 const struct raftlog_app *app, char *err, size_t err_size)
{
    (void)err;
    (void)err_size;
    struct raftlog *log = calloc(1, sizeof *log);
    assert(log != NULL);
    log->app = *app;
    log->config = *config;
    log->loop = loop;
    log->last = &log->first;
    log->held_last = &log->held;
    log->applied = config->applied;
    memcpy(log->advert, config->advert.base, config->advert.size);
    uv_idle_init(loop, &log->idle);
    log->idle.data = log;
    for (int i = 0; i < FAKES_MAX; i++) {
        if (fakes[i] == NULL) {
            fakes[i] = log;
            break;
        }
    }
    log->app.cluster(log->app.data, 0xc0ffee);
    kick(log);
    *out = log;
    return ASSENT_OK;
}

void raftlog_close(struct raftlog *log, void (*closed)(void *data), void *data)
{
    log->closing = true;
    log->role = RAFTLOG_STOPPED;
    log->closed = closed;
    log->closed_data = data;
    fake_release(log, ASSENT_SHUTDOWN);
    kick(log);
}

int raftlog_propose(struct raftlog *log, struct raftlog_propose *req, struct assent_bytes command,
                    raftlog_propose_cb cb)
{
    int refuse = log->refuse;
    log->refuse = ASSENT_OK;
    if (refuse != ASSENT_OK)
        return refuse;
    if (log->role != RAFTLOG_LEADER)
        return ASSENT_NOT_LEADER;
    if (!log->ready)
        return ASSENT_NO_LEADER;
    req->cb = cb;
    struct item *item = push(log);
    item->req = req;
    item->bytes = keep(command);
    log->proposed++;
    kick(log);
    return ASSENT_OK;
}

int raftlog_read(struct raftlog *log, struct raftlog_read *req, raftlog_read_cb cb)
{
    if (log->leader == 0)
        return ASSENT_NO_LEADER;
    req->cb = cb;
    push(log)->read = req;
    log->reads++;
    kick(log);
    return ASSENT_OK;
}

int raftlog_post(struct raftlog *log, uint64_t to, struct assent_bytes message)
{
    for (int i = 0; i < FAKES_MAX; i++) {
        struct raftlog *f = fakes[i];
        if (f == NULL || f->config.id != to)
            continue;
        if (log->cut || f->cut)
            return ASSENT_OK; /* lost */
        struct item *item = push(f);
        item->from = log->config.id;
        item->bytes = keep(message);
        kick(f);
        return ASSENT_OK;
    }
    return ASSENT_UNREACHABLE;
}

int raftlog_member(struct raftlog *log, struct raftlog_member *req, enum raftlog_change change, uint64_t id,
                   const char *address, raftlog_member_cb cb)
{
    (void)change;
    (void)id;
    (void)address;
    req->cb = cb;
    push(log)->member = req;
    kick(log);
    return ASSENT_OK;
}

int raftlog_take_snapshot(struct raftlog *log, struct raftlog_take *req, raftlog_take_cb cb)
{
    req->cb = cb;
    push(log)->take = req;
    kick(log);
    return ASSENT_OK;
}

bool raftlog_snapshot_find(const struct raftlog *log, uint64_t index, struct raftlog_snapshot *out)
{
    (void)log;
    (void)index;
    *out = (struct raftlog_snapshot){0};
    return false;
}

int raftlog_restore(const struct raftlog_restore *restore, char *err, size_t err_size)
{
    (void)restore;
    (void)err;
    (void)err_size;
    return ASSENT_UNSUPPORTED;
}

int raftlog_recover(const char *dir, uint64_t id, const char *address, char *err, size_t err_size)
{
    (void)dir;
    (void)id;
    (void)address;
    (void)err;
    (void)err_size;
    return ASSENT_UNSUPPORTED;
}

void raftlog_status(const struct raftlog *log, struct raftlog_status *out)
{
    *out = (struct raftlog_status){.role = log->role,
                                   .ready = log->ready,
                                   .current = log->leader != 0,
                                   .cluster_id = 0xc0ffee,
                                   .id = log->config.id,
                                   .term = log->term,
                                   .leader = log->leader,
                                   .last_index = last_index,
                                   .commit_index = log->applied,
                                   .applied_index = log->applied};
    for (int i = 0; i < FAKES_MAX; i++)
        out->servers_n += fakes[i] != NULL;
}

static void describe(const struct raftlog *log, const struct raftlog *f, struct raftlog_peer *out)
{
    *out = (struct raftlog_peer){.id = f->config.id, .voter = true, .self = f == log, .connected = f != log};
    snprintf(out->address, sizeof out->address, "fake:%llu", (unsigned long long)f->config.id);
    out->advert = (struct assent_bytes){(const uint8_t *)f->advert, strlen(f->advert)};
}

bool raftlog_member_at(const struct raftlog *log, uint32_t i, struct raftlog_peer *out)
{
    for (int k = 0; k < FAKES_MAX; k++) {
        if (fakes[k] != NULL && i-- == 0) {
            describe(log, fakes[k], out);
            return true;
        }
    }
    return false;
}

bool raftlog_peer(const struct raftlog *log, uint64_t id, struct raftlog_peer *out)
{
    for (uint32_t i = 0; raftlog_member_at(log, i, out); i++) {
        if (out->id == id)
            return true;
    }
    return false;
}

const struct raftlog_metrics *raftlog_metrics(const struct raftlog *log)
{
    return &log->metrics;
}

/* ---- steering ---- */

void fake_lead(struct raftlog *log, uint64_t term, bool ready)
{
    for (int i = 0; i < FAKES_MAX; i++) {
        struct raftlog *f = fakes[i];
        if (f == NULL)
            continue;
        f->role = f == log ? RAFTLOG_LEADER : RAFTLOG_FOLLOWER;
        f->term = term;
        f->leader = log->config.id;
        f->ready = f == log && ready;
        tell(f);
    }
}

void fake_lose(void)
{
    for (int i = 0; i < FAKES_MAX; i++) {
        struct raftlog *f = fakes[i];
        if (f == NULL)
            continue;
        f->role = RAFTLOG_FOLLOWER;
        f->leader = 0;
        f->ready = false;
        tell(f);
    }
}

void fake_hold(struct raftlog *log)
{
    log->holding = true;
}

void fake_release(struct raftlog *log, int status)
{
    struct item *held = log->held;
    log->held = NULL;
    log->held_last = &log->held;
    log->holding = false;
    while (held != NULL) {
        struct item *item = held;
        held = item->next;
        if (status == ASSENT_OK)
            commit(log, item);
        else
            item->req->cb(item->req, status, (struct assent_bytes){NULL, 0});
        free(item->bytes);
        free(item);
    }
}

uint64_t fake_proposed(const struct raftlog *log)
{
    return log->proposed;
}

uint64_t fake_reads(const struct raftlog *log)
{
    return log->reads;
}

void fake_refuse(struct raftlog *log, int status)
{
    log->refuse = status;
}

void fake_cut(struct raftlog *log, bool cut)
{
    log->cut = cut;
}
