/* Hits of the marks in the product's code; see include/mark.h. */
#include "marks.h"

#include <inttypes.h>
#include <stdio.h>

#include "mark.h"

uint64_t assent_marks[MARK_NR];

/* Seeds within which a mark must be hit.  About one in e to the 10th of sets that size would miss a mark that
 * is hit ten times in it on average, so each is put where it is hit at least so often. */
enum { OFTEN = 100, SELDOM = 3000, RARELY = 20000 };

static const struct {
    const char *name, *what;
    uint32_t seeds;
} marks[MARK_NR] = {
#define MARK_ROW(name, seeds, what) [MARK_##name] = {#name, what, seeds},
    MARK_MAP(MARK_ROW)
#undef MARK_ROW
};

bool marks_print(uint64_t runs)
{
    uint32_t missing = 0;
    printf("%12s %10s  mark\n", "hits", "per run");
    for (uint32_t i = 0; i < MARK_NR; i++) {
        bool due = assent_marks[i] == 0 && runs >= marks[i].seeds;
        printf("%12" PRIu64 " %10.4f  %s: %s%s\n", assent_marks[i], (double)assent_marks[i] / (double)runs,
               marks[i].name, marks[i].what, due ? "  NEVER HIT" : "");
        missing += due;
    }
    if (missing > 0)
        printf("%u of %u marks should have been hit within %" PRIu64 " seeds\n", missing, MARK_NR, runs);
    return missing == 0;
}
