/* What is committed and durable here goes to the application; configurations among it are confirmed. */
#include <assert.h>

#include "assent/error.h"
#include "core_state.h"
#include "planted.h"

/* One pass of apply, so that replaying a long log leaves the loop free for heartbeats in between. */
#define APPLY_ENTRIES_MAX 1024
#define APPLY_BYTES_MAX   (1024 * 1024)

static_assert(APPLY_ENTRIES_MAX <= MESSAGE_ENTRIES_MAX, "one scratch array serves both");

/* Planted: the newest entry that more than half of the voters store, whatever its term. */
static uint64_t counted(const struct core *c, uint64_t commit)
{
    const struct raft_configuration *conf = &c->raft.configuration;
    for (uint64_t i = c->raft.last_stored; c->raft.state == RAFT_LEADER && i > commit; i--) {
        uint32_t voters = 0, store = 0;
        for (unsigned k = 0; k < conf->n; k++) {
            raft_index match = c->raft.last_stored;
            if (conf->servers[k].role != RAFT_VOTER) {
                continue;
            }
            voters++;
            if (conf->servers[k].id != c->config.id) {
                (void)raft_match_index(&c->raft, conf->servers[k].id, &match);
            }
            store += match >= i;
        }
        if (store > voters / 2) {
            return i;
        }
    }
    return commit;
}

/* Only what is committed and durable here: the application is a cache that survives a clean stop, and it
 * must never be ahead of this node's log.  A leader's own disk is as fast as its followers', so waiting for
 * it costs nothing on average. While a snapshot is being installed the commit index runs ahead of the log. */
static uint64_t apply_limit(const struct core *c)
{
    if (c->raft.snapshot.installing) {
        return 0;
    }
    uint64_t commit = raft_commit_index(&c->raft);
    if (PLANTED(COUNTED_COMMIT)) {
        commit = counted(c, commit);
    }
    return commit < c->raft.last_stored ? commit : c->raft.last_stored;
}

bool core_apply_waits(const struct core *c)
{
    return c->applied < apply_limit(c);
}

bool core_apply_can(const struct core *c)
{
    return core_apply_waits(c) && (c->io.apply_room == NULL || c->io.apply_room(c->io.data));
}

int core_decode_configuration(const void *base, size_t size, struct raft_configuration *out)
{
    struct raft_buffer buf = {(void *)(uintptr_t)base, size};
    raft_configuration_init(out);
    return raft_configuration_decode(&buf, out) == 0 ? 0 : ASSENT_CORRUPT;
}

static bool votes_in(const struct raft_configuration *c, uint64_t id)
{
    for (unsigned i = 0; i < c->n; i++) {
        if (c->servers[i].id == id) {
            return c->servers[i].role == RAFT_VOTER;
        }
    }
    return false;
}

/* The server that `to` made a voter; every voter of entry 1 knows it is one. */
static int promoted_between(const struct entry *from, const struct entry *to, uint64_t *promoted)
{
    struct raft_configuration old, new;
    if (core_decode_configuration(from->payload, from->size, &old) != 0) {
        return ASSENT_CORRUPT;
    }
    if (core_decode_configuration(to->payload, to->size, &new) != 0) {
        raft_configuration_close(&old);
        return ASSENT_CORRUPT;
    }
    *promoted = 0;
    for (unsigned i = 0; i < new.n; i++) {
        if (new.servers[i].role == RAFT_VOTER && !votes_in(&old, new.servers[i].id)) {
            *promoted = new.servers[i].id;
        }
    }
    raft_configuration_close(&old);
    raft_configuration_close(&new);
    return 0;
}

int core_note_change(struct core *c, uint64_t index, struct entry *e, bool known_before)
{
    uint64_t promoted = index == 1 ? 0 : UINT64_MAX;
    if (index > 1 && known_before && c->change.entry != NULL &&
        promoted_between(c->change.entry, e, &promoted) != 0) {
        return core_stop(c, ASSENT_CORRUPT, "configuration_undecodable", "a committed configuration");
    }
    struct entry *old = c->change.entry;
    c->change = (struct core_applied_change){index, entry_ref(e), promoted};
    entry_unref(old);
    return 0;
}

static int confirm_change(struct core *c, struct entry *e)
{
    struct raft_event event = {.type = RAFT_CONFIGURATION};
    if (core_note_change(c, e->index, e, true) != 0) {
        return ASSENT_STOPPED;
    }
    event.configuration.index = e->index;
    if (core_decode_configuration(e->payload, e->size, &event.configuration.conf) != 0) {
        return core_stop(c, ASSENT_CORRUPT, "configuration_undecodable", "a committed configuration");
    }
    return core_step(c, &event, NULL);
}

/* One bounded pass. */
static void apply_pass(struct core *c)
{
    uint64_t limit = apply_limit(c);
    uint32_t n = limit - c->applied < APPLY_ENTRIES_MAX ? (uint32_t)(limit - c->applied) : APPLY_ENTRIES_MAX;
    if (core_reserve(c, n) != 0) {
        return; /* again at the next event */
    }
    uint32_t copied = memlog_copy(&c->log, c->applied + 1, n, c->scratch);
    assert(copied == n);
    uint64_t bytes = 0;
    uint32_t take = 0;
    uint64_t changes[APPLY_ENTRIES_MAX];
    uint32_t changes_n = 0;
    while (take < n && (take == 0 || bytes < APPLY_BYTES_MAX)) {
        bytes += c->scratch[take]->size;
        if (c->scratch[take]->type == ENTRY_CHANGE) {
            changes[changes_n++] = c->scratch[take]->index;
        }
        take++;
    }
    c->io.apply(c->io.data, c->scratch, take);
    c->applied += take;
    for (uint32_t i = 0; i < changes_n && !c->stopped; i++) {
        (void)confirm_change(c, memlog_get(&c->log, changes[i]));
    }
}

void core_apply(struct core *c)
{
    if (core_apply_can(c)) {
        apply_pass(c);
    }
    c->lags = core_apply_waits(c);
}
