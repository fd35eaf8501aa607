/* Lines of a node's log that tell of a crash. */
#ifndef JEPSEN_CRASH_H
#define JEPSEN_CRASH_H

#include <stdbool.h>

/* An assertion, a sanitizer, the allocator or a signal speaks.  `line` ends with a zero. */
bool crash_line(const char *line);

#endif
