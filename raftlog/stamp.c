/* Steps of the wall clock become slews, see stamp.h. */
#include "stamp.h"

/* Wall and monotonic clock drift apart a little all the time (NTP slews, the two readings are not one): up to
 * this the wall clock is simply followed. */
#define FOLLOW_US 2000

int64_t stamp_look(struct stamp *s, int64_t wall_us, uint64_t monotonic_us)
{
    if (s->time_us == 0) {
        *s = (struct stamp){wall_us, monotonic_us};
        return wall_us;
    }
    const int64_t passed = (int64_t)(monotonic_us - s->monotonic_us);
    const int64_t apart = wall_us - (s->time_us + passed);
    int64_t moved = passed + apart;
    if (apart > FOLLOW_US && moved > 2 * passed) {
        moved = 2 * passed;
    } else if (apart < -FOLLOW_US && moved < passed / 2) {
        moved = passed / 2;
    } else if (moved < 0) {
        moved = 0;
    }
    *s = (struct stamp){s->time_us + moved, monotonic_us};
    return s->time_us;
}
