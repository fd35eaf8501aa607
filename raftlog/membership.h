/* Changes of the set of servers and transfers of leadership: one at a time, each a small state machine that
 * waits for the guards' gate, submits one change of one server, and ends when that is committed.
 *
 *   ADD      gate -> submit (standby)
 *   PROMOTE  catch up (repeated when the library gives up) -> gate -> submit (voter)
 *   DEMOTE   gate -> submit (standby)
 *   REMOVE   voter: gate -> submit (standby) ->| gate -> submit (without it)
 *   TRANSFER proposals pause -> target holds our whole log -> TimeoutNow -> somebody else leads
 *
 * Source: Raft dissertation, chapter 4; libraft leaves gates, next configuration and order to its driver. */
#ifndef RAFTLOG_MEMBERSHIP_H
#define RAFTLOG_MEMBERSHIP_H

#include <stdbool.h>
#include <stdint.h>

#include "raftlog.h"

struct core;

enum membership_phase {
    MEMBERSHIP_IDLE,
    MEMBERSHIP_CATCH_UP,  /* the target replicates, RAFT_CATCH_UP running */
    MEMBERSHIP_GATE,      /* waiting for the gate */
    MEMBERSHIP_SUBMITTED, /* the change is in the log at `index` */
    MEMBERSHIP_MATCH,     /* transfer: proposals paused until the target holds everything */
    MEMBERSHIP_TRANSFER,  /* transfer: TimeoutNow is under way */
    MEMBERSHIP_HANDOVER,  /* transfer: we stepped down; who leads? */
};

struct membership {
    enum membership_phase phase;
    bool fresh; /* begun, not yet advanced: never ended before membership_begin() has returned */
    uint64_t member_id;
    enum raftlog_change change;
    uint64_t target;
    char address[256];
    uint64_t term;        /* of the leadership it was asked in */
    uint64_t index;       /* of the submitted change */
    uint64_t phase_ms;    /* when the phase began */
    uint64_t progress_ms; /* last progress of the target's match index */
    uint64_t match;       /* match index then */
};

/* Begin: see raftlog_member().  A leader that is not ready yet waits at the gate.  NOT_LEADER,
 * CHANGE_PENDING, NOT_MEMBER, EXISTS, INVALID. */
int membership_begin(struct core *c, uint64_t member_id, enum raftlog_change change, uint64_t id,
                     const char *address);
/* Go as far as possible; called after every event. */
void membership_advance(struct core *c);
/* When membership_advance() should be called without further input; UINT64_MAX: never. */
uint64_t membership_deadline(const struct core *c);
/* Proposals must wait: leadership is being handed over. */
bool membership_pauses(const struct core *c);
/* The core stops. */
void membership_fail(struct core *c, int status, const char *detail);

#endif /* RAFTLOG_MEMBERSHIP_H */
