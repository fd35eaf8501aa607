/* Lines of a node's log that tell of a crash; see crash.h. */
#include "crash.h"

#include <stddef.h>
#include <string.h>

bool crash_line(const char *line)
{
    static const char *const signs[] = {
        "Assertion `",
        "AddressSanitizer",
        "LeakSanitizer",
        "ThreadSanitizer",
        "UndefinedBehaviorSanitizer",
        "runtime error:",
        "panic:",
        "double free",
        "free(): ",
        "malloc(): ",
        "corrupted size",
        "stack smashing",
        "Segmentation fault",
        "Bus error",
    };
    for (size_t i = 0; i < sizeof signs / sizeof signs[0]; i++)
        if (strstr(line, signs[i]) != NULL)
            return true;
    return false;
}
