/* Hits of the marks in the product's code; see include/mark.h. */
#include "marks.h"

#include <inttypes.h>
#include <stdio.h>

#include "mark.h"

uint64_t assent_marks[MARK_NR];

bool marks_print(uint64_t runs)
{
    static const struct {
        const char *name, *what;
    } marks[MARK_NR] = {
#define MARK_ROW(name, what) [MARK_##name] = {#name, what},
        MARK_MAP(MARK_ROW)
#undef MARK_ROW
    };
    uint32_t missing = 0;
    printf("%12s %10s  mark\n", "hits", "per run");
    for (uint32_t i = 0; i < MARK_NR; i++) {
        printf("%12" PRIu64 " %10.3f  %s: %s\n", assent_marks[i], (double)assent_marks[i] / (double)runs,
               marks[i].name, marks[i].what);
        missing += assent_marks[i] == 0;
    }
    if (missing > 0)
        printf("%u of %u marks were never hit\n", missing, MARK_NR);
    return missing == 0;
}
