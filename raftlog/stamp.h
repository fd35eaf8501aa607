/* The clock entries are stamped with: the wall clock with its jumps turned into a faster or slower second.
 *
 * A step of the wall clock (an operator, a leap of NTP, a resumed machine) must not reach the log at once:
 * forward it would expire everything at a stroke and followers would refuse the stamps; backward it would
 * freeze log time until the clock is back where it was.  So between two looks the stamp moves by at least
 * half and at most twice the time the monotonic clock says has passed, and never backward.  Pure: the caller
 * reads the clocks. */
#ifndef RAFTLOG_STAMP_H
#define RAFTLOG_STAMP_H

#include <stdint.h>

struct stamp {
    int64_t time_us;       /* last value given; 0: never asked */
    uint64_t monotonic_us; /* when */
};

/* The time to stamp with, microseconds since 1970.  Ask at least every second or so: a step is only
 * recognised against the time since the last look.  `monotonic_us` never runs backwards. */
int64_t stamp_look(struct stamp *s, int64_t wall_us, uint64_t monotonic_us);

#endif /* RAFTLOG_STAMP_H */
