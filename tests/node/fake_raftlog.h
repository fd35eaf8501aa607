/* raftlog.h without consensus: one in-memory log shared by the fakes of a process, steered by the test. */
#ifndef TESTS_FAKE_RAFTLOG_H
#define TESTS_FAKE_RAFTLOG_H

#include "raftlog.h"

/* Make `log` the leader of `term`, known to every other fake; 0 known leader: fake_lose(). */
void fake_lead(struct raftlog *log, uint64_t term, bool ready);
/* Nobody leads, as every fake sees it. */
void fake_lose(void);
/* The next commands of this log wait until fake_release(); then each gets `status` (0: it is applied). */
void fake_hold(struct raftlog *log);
void fake_release(struct raftlog *log, int status);
/* Commands this log was given since start. */
uint64_t fake_proposed(const struct raftlog *log);
/* Calls of raftlog_read() of this log since start. */
uint64_t fake_reads(const struct raftlog *log);
/* What the next raftlog_propose() of this log returns at once, one time. */
void fake_refuse(struct raftlog *log, int status);
/* Messages to and from this log are lost while `cut`. */
void fake_cut(struct raftlog *log, bool cut);

#endif /* TESTS_FAKE_RAFTLOG_H */
