/* Events of core_cluster in words, for whoever reads a failed run. */
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>

#include "core_cluster_private.h"

#define LINE_MAX_BYTES 240

void cluster_say(struct cluster *c, const char *format, ...)
{
    char text[LINE_MAX_BYTES];
    va_list args;
    if (c->o.say == NULL) {
        return;
    }
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    c->o.say(c->o.watch_data, c->now_us, text);
}

static void say_raft(struct cluster *c, uint32_t node, uint64_t from, const struct raft_message *m)
{
    switch (m->type) {
    case RAFT_APPEND_ENTRIES:
        cluster_say(c, "node %u <- %" PRIu64 ": append, term %llu, %u behind %llu (term %llu), commit %llu",
                    node, from, m->append_entries.term, m->append_entries.n_entries,
                    m->append_entries.prev_log_index, m->append_entries.prev_log_term,
                    m->append_entries.leader_commit);
        break;
    case RAFT_APPEND_ENTRIES_RESULT:
        cluster_say(c, "node %u <- %" PRIu64 ": appended, term %llu, last %llu, rejected %llu", node, from,
                    m->append_entries_result.term, m->append_entries_result.last_log_index,
                    m->append_entries_result.rejected);
        break;
    case RAFT_REQUEST_VOTE:
        cluster_say(c, "node %u <- %" PRIu64 ": %s, term %llu, log up to %llu (term %llu)", node, from,
                    m->request_vote.pre_vote ? "may I have your vote" : "vote for me", m->request_vote.term,
                    m->request_vote.last_log_index, m->request_vote.last_log_term);
        break;
    case RAFT_REQUEST_VOTE_RESULT:
        cluster_say(c, "node %u <- %" PRIu64 ": %s%s, term %llu", node, from,
                    m->request_vote_result.vote_granted ? "vote granted" : "vote refused",
                    m->request_vote_result.pre_vote ? " (before the election)" : "",
                    m->request_vote_result.term);
        break;
    case RAFT_INSTALL_SNAPSHOT:
        cluster_say(c, "node %u <- %" PRIu64 ": snapshot %llu offered, term %llu", node, from,
                    m->install_snapshot.last_index, m->install_snapshot.term);
        break;
    case RAFT_TIMEOUT_NOW:
        cluster_say(c, "node %u <- %" PRIu64 ": lead now, term %llu", node, from, m->timeout_now.term);
        break;
    default:
        cluster_say(c, "node %u <- %" PRIu64 ": message %d of the library", node, from, (int)m->type);
    }
}

void say_message(struct cluster *c, uint32_t node, const struct message *m)
{
    static const char *const messages[MESSAGE_TYPE_END] = {
        [MESSAGE_PROBE] = "do I still lead",
        [MESSAGE_PROBE_ACK] = "you still lead",
        [MESSAGE_READ_INDEX] = "an index to read at, please",
        [MESSAGE_READ_INDEX_ACK] = "an index to read at",
    };
    if (c->o.say == NULL) {
        return;
    }
    if (m->type == MESSAGE_RAFT) {
        say_raft(c, node, m->from, &m->raft.raft);
    } else {
        cluster_say(c, "node %u <- %" PRIu64 ": %s", node, m->from,
                    messages[m->type] != NULL ? messages[m->type] : "a message");
    }
}

void say_event(struct cluster *c, const struct event *e)
{
    static const char *const kinds[] = {
        [EV_TICK] = "a timer fires",           [EV_DISK] = "a commit of the disk ends",
        [EV_FETCHED] = "a snapshot is here",   [EV_INSTALLED] = "a snapshot is installed",
        [EV_DUMPED] = "an own snapshot ended", [EV_REPORT] = "its loop hears of the disk",
    };
    if (e->kind < sizeof kinds / sizeof kinds[0] && kinds[e->kind] != NULL) {
        cluster_say(c, "node %u: %s", e->node, kinds[e->kind]);
    }
}
