/* What goes wrong without guard 12: one core alone, whose disk and network are this file. */
#include <string.h>

#include "core.h"
#include "guard_scenarios.h"

struct lone {
    uint64_t claimed; /* highest index that it told a leader it holds, of the term 3 */
};

static int lone_vote(void *data, uint64_t term, uint64_t vote)
{
    (void)data, (void)term, (void)vote;
    return 0;
}

static void lone_append(void *data, uint64_t first, struct entry *const *entries, uint32_t n)
{
    (void)data, (void)first, (void)entries, (void)n; /* slow */
}

static void lone_install(void *data, const struct snapshot_manifest *manifest)
{
    (void)data, (void)manifest;
}

static void lone_compact(void *data, uint64_t index)
{
    (void)data, (void)index;
}

static void lone_send(void *data, uint64_t to, const char *address, const struct message *m)
{
    struct lone *lone = data;
    const struct raft_append_entries_result *result = &m->raft.raft.append_entries_result;
    (void)to, (void)address;
    if (m->type == MESSAGE_RAFT && m->raft.raft.type == RAFT_APPEND_ENTRIES_RESULT && result->term == 3 &&
        result->rejected == 0 && result->last_log_index > lone->claimed) {
        lone->claimed = result->last_log_index;
    }
}

static bool lone_snapshot(void *data, struct snapshot_manifest *out)
{
    (void)data, (void)out;
    return false;
}

static void lone_apply(void *data, struct entry *const *entries, uint32_t n)
{
    (void)data, (void)entries, (void)n;
}

static bool lone_admit(void *data, const struct entry *entry)
{
    (void)data, (void)entry;
    return true;
}

static void lone_servers(void *data, const struct raft_configuration *configuration)
{
    (void)data, (void)configuration;
}

static void lone_role(void *data, enum raftlog_role role, uint64_t term, uint64_t leader, bool ready)
{
    (void)data, (void)role, (void)term, (void)leader, (void)ready;
}

static void lone_event(void *data, int level, const char *event, const char *details)
{
    (void)data, (void)level, (void)event, (void)details;
}

static struct entry *configuration_entry(void)
{
    static const char *const addresses[] = {"n1", "n2", "n3"};
    struct raft_configuration conf;
    struct raft_buffer buf;
    raft_configuration_init(&conf);
    for (uint32_t i = 0; i < 3; i++) {
        (void)raft_configuration_add(&conf, i + 1, addresses[i], RAFT_VOTER);
    }
    (void)raft_configuration_encode(&conf, &buf);
    raft_configuration_close(&conf);
    struct entry *e = entry_new(ENTRY_CHANGE, (uint32_t)buf.len);
    memcpy(e->payload, buf.base, buf.len);
    entry_seal(e, 1, 1);
    raft_free(buf.base);
    return e;
}

/* Five entries behind the first, of this term, from the node that leads it. */
static void five_entries(struct core *core, uint64_t now_ms, uint64_t term)
{
    struct entry *entries[5];
    struct message m = {.type = MESSAGE_RAFT, .from = term};
    for (uint32_t i = 0; i < 5; i++) {
        entries[i] = entry_new(ENTRY_COMMAND, 8);
        memcpy(entries[i]->payload, &term, 8);
        entry_seal(entries[i], 2 + i, term);
    }
    m.raft.raft.type = RAFT_APPEND_ENTRIES;
    m.raft.raft.append_entries.term = term;
    m.raft.raft.append_entries.prev_log_index = 1;
    m.raft.raft.append_entries.prev_log_term = 1;
    m.raft.raft.append_entries.n_entries = 5;
    m.raft.entries = entries;
    (void)core_receive(core, now_ms, &m, term == 2 ? "n2" : "n3");
    for (uint32_t i = 0; i < 5; i++) {
        entry_unref(entries[i]);
    }
}

/* Entries are on their way to the disk when a new leader replaces them; then the first write is done. */
bool write_of_replaced_entries(uint32_t off)
{
    struct lone lone = {0};
    const struct core_io io = {.data = &lone,
                               .persist_vote = lone_vote,
                               .append = lone_append,
                               .install = lone_install,
                               .compact = lone_compact,
                               .send = lone_send,
                               .newest_snapshot = lone_snapshot,
                               .apply = lone_apply,
                               .admit = lone_admit,
                               .servers = lone_servers,
                               .role = lone_role,
                               .event = lone_event};
    const struct core_config config = {.id = 1,
                                       .address = "n1",
                                       .heartbeat_ms = 50,
                                       .election_ms = 500,
                                       .inflight_entries = 64,
                                       .uncommitted_entries_max = 4096,
                                       .pre_vote = true,
                                       .seed = 1,
                                       .guards_off = off};
    struct core *core;
    struct entry *first = configuration_entry();
    if (core_new(&core, &config, &io) != 0 || core_start(core, 1000, 1, 0, NULL, 1, &first, 1, 0) != 0) {
        return true;
    }
    five_entries(core, 1010, 2);
    five_entries(core, 1020, 3);
    (void)core_appended(core, 1030, 6, 2); /* the second write is not done yet */
    bool bad = lone.claimed > 1;
    (void)core_appended(core, 1040, 6, 3);
    bad = bad || lone.claimed != 6;
    core_close(core);
    entry_unref(first);
    return bad;
}
