/* What every run looks at, whatever was asked: nodes that end by themselves, replicas that differ, logs that
 * speak of a crash.  What it finds is a violation. */
#ifndef JEPSEN_WATCH_H
#define JEPSEN_WATCH_H

#include "run.h"

/* Nodes that ended by themselves: a violation unless `may_die`, and then too unless with FAULT_EXIT (or, when
 * faults overlap, because one could not start).  `under` names the faults in force. */
void watch_deaths(struct run *r, bool may_die, const char *under);
/* Ask every running node for its applied index and the digest there: at one index all digests are one, in the
 * whole run.  Source: C19 of the list of invariants. */
void watch_replicas(struct run *r);
/* The judge's own disk has room: without it nodes fail for no fault of theirs.  False: less than a gigabyte
 * is free below `dir`, said in `why`. */
bool watch_room(const char *dir, char *why, size_t why_size);
/* After the last operation: everybody has caught up, replicas are equal, nodes end well when asked to, and no
 * log tells of a crash. */
void watch_end(struct run *r);
void watch_close(struct run *r);

#endif
